//! File → golden. Every mistake is told with its line; nothing is guessed, and an edited file is refused by its
//! digest. A body that is cut off is told from one that was changed.

use std::iter::Peekable;
use std::path::Path;
use std::str::Lines;

use serde::Deserialize;

use super::{FORMAT_VERSION, Golden, GoldenError, Header, base85, text, write};
use crate::vllm::{Position, TokenLogprob};

/// The head of insta's format. Keys that insta adds (`assertion_line`, …) are its own business.
#[derive(Deserialize)]
struct Head {
    info: Header,
}

/// Enough of a head to learn its version, when the rest could not be read.
#[derive(Deserialize)]
struct Versioned {
    info: VersionOnly,
}

#[derive(Deserialize)]
struct VersionOnly {
    golden: u64,
}

/// Begins the last section. Lines of text stand behind a bar, so only the heading itself matches.
const DIGEST_HEADING: &str = "\n# sha256\n";

impl Golden {
    /// Reads a file's text; `path` only names it in errors.
    pub fn parse(file: &str, path: &Path) -> Result<Self, GoldenError> {
        let (head, body, body_line) = split_head(file).map_err(|error| error.at(path))?;
        let header = parse_head(head, path)?;
        let cut = body.rfind(DIGEST_HEADING).ok_or_else(|| {
            let line = body_line + body.lines().count();
            Fault::new(
                line,
                "the file is cut off: its last section, `# sha256`, is missing",
            )
            .at(path)
        })?;
        let figures = &body[..=cut];
        let digest = &body[cut + DIGEST_HEADING.len()..];
        let mut sections = Sections::new(figures, body_line);
        let golden = sections.golden(header).map_err(|error| error.at(path))?;
        let holds = write::digest(&golden.header, figures)
            .map_err(|error| Fault::new(2, error.to_string()).at(path))?;
        if digest.trim_end() != holds {
            let line = body_line + figures.lines().count() + 1;
            return Err(Fault::new(
                line,
                "header or body were changed by hand: they do not match this digest",
            )
            .at(path));
        }
        Ok(golden)
    }
}

/// A mistake with its line.
struct Fault {
    line: usize,
    what: String,
}

impl Fault {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            what: what.into(),
        }
    }

    fn at(self, path: &Path) -> GoldenError {
        GoldenError::Malformed {
            path: path.to_owned(),
            line: self.line,
            what: self.what,
        }
    }
}

/// Head, body, and the body's first line.
fn split_head(file: &str) -> Result<(&str, &str, usize), Fault> {
    let rest = file
        .strip_prefix("---\n")
        .ok_or_else(|| Fault::new(1, "not a golden: the first line of a snapshot is `---`"))?;
    let (head, body) = rest.split_once("\n---\n").ok_or_else(|| {
        Fault::new(
            1 + rest.lines().count(),
            "the head is not closed by `---`: the file is cut off",
        )
    })?;
    Ok((head, body, 4 + head.matches('\n').count()))
}

fn parse_head(head: &str, path: &Path) -> Result<Header, GoldenError> {
    let parsed: Result<Head, _> = serde_yaml::from_str(head);
    match parsed {
        Ok(Head { info }) if info.golden == FORMAT_VERSION => Ok(info),
        Ok(Head { info }) => Err(GoldenError::Version {
            path: path.to_owned(),
            found: info.golden.into(),
        }),
        Err(error) => {
            if let Ok(Versioned { info }) = serde_yaml::from_str::<Versioned>(head)
                && info.golden != u64::from(FORMAT_VERSION)
            {
                return Err(GoldenError::Version {
                    path: path.to_owned(),
                    found: info.golden,
                });
            }
            let line = 1 + error.location().map_or(1, |location| location.line());
            // The parser's own place counts from the head's first line; ours counts from the file's.
            let error = error.to_string();
            let what = error.split(" at line ").next().unwrap_or(&error);
            Err(Fault::new(line, format!("the head cannot be read: {what}")).at(path))
        }
    }
}

/// The sections of a body, one after another.
struct Sections<'a> {
    lines: Peekable<Lines<'a>>,
    line: usize,
}

impl<'a> Sections<'a> {
    fn new(body: &'a str, first_line: usize) -> Self {
        Self {
            lines: body.lines().peekable(),
            line: first_line,
        }
    }

    fn golden(&mut self, header: Header) -> Result<Golden, Fault> {
        let prompt = self.text("# prompt")?.ok_or_else(|| self.missing("# prompt"))?;
        let reasoning = self.text("# thought")?;
        let tool_calls = self.each("# tool calls", |line| {
            serde_json::from_str(line).map_err(|error| format!("no tool call: {error}"))
        })?;
        let answer = self.text("# answer")?.ok_or_else(|| self.missing("# answer"))?;
        let prompt_ids = self.each("# prompt ids", parse_ids)?.concat();
        let (positions, pieces): (Vec<_>, Vec<_>) =
            self.each("# output", parse_position)?.into_iter().unzip();
        let position_count = positions.len();
        let pieces: Vec<String> = pieces.into_iter().flatten().collect();
        if !pieces.is_empty() && pieces.len() != position_count {
            return Err(Fault::new(
                self.line,
                "some positions have a text and some have none",
            ));
        }
        self.blank();
        if let Some(line) = self.lines.peek() {
            return Err(Fault::new(self.line, format!("unexpected {:?}", shortened(line))));
        }
        Ok(Golden {
            header,
            prompt,
            reasoning,
            tool_calls,
            answer,
            prompt_ids,
            positions,
            pieces,
        })
    }

    fn missing(&self, heading: &str) -> Fault {
        Fault::new(self.line, format!("section `{heading}` is missing"))
    }

    fn next(&mut self) -> Option<&'a str> {
        self.line += 1;
        self.lines.next()
    }

    fn blank(&mut self) {
        while self.lines.peek().is_some_and(|line| line.is_empty()) {
            self.next();
        }
    }

    /// The lines of the section, if it is the next one, each by `parse`.
    fn each<T>(&mut self, heading: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Fault> {
        self.blank();
        let mut parsed = Vec::new();
        if self.lines.peek() != Some(&heading) {
            return Ok(parsed);
        }
        self.next();
        while let Some(line) = self.lines.peek().copied().filter(|line| !line.is_empty()) {
            parsed.push(parse(line).map_err(|what| Fault::new(self.line, what))?);
            self.next();
        }
        Ok(parsed)
    }

    fn text(&mut self, heading: &str) -> Result<Option<String>, Fault> {
        let lines = self.each(heading, text::parse_line)?;
        Ok((!lines.is_empty()).then(|| lines.join("\n")))
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(60).collect()
}

fn parse_ids(line: &str) -> Result<Vec<u32>, String> {
    line.split(' ')
        .map(|id| {
            id.parse()
                .map_err(|_| format!("{:?} is no token id", shortened(id)))
        })
        .collect()
}

/// `id logprob alternatives ["text"]`.
fn parse_position(line: &str) -> Result<(Position, Option<String>), String> {
    let mut fields = line.splitn(4, ' ');
    let mut field = |name| {
        fields
            .next()
            .ok_or_else(|| format!("a position without its {name}"))
    };
    let id = field("token id")?;
    let id = id
        .parse()
        .map_err(|_| format!("{:?} is no token id", shortened(id)))?;
    let logprob: f64 = field("logprob")?
        .parse()
        .ok()
        .filter(|logprob: &f64| logprob.is_finite())
        .ok_or("the logprob is no number")?;
    let top = parse_top(field("alternatives")?)?;
    let piece = fields
        .next()
        .map(|json| serde_json::from_str(json).map_err(|error| format!("the token's text: {error}")))
        .transpose()?;
    let token = TokenLogprob { id, logprob };
    Ok((Position { token, top }, piece))
}

fn parse_top(digits: &str) -> Result<Vec<TokenLogprob>, String> {
    if digits == "-" {
        return Ok(Vec::new());
    }
    let (tokens, rest) = digits.as_bytes().as_chunks::<6>();
    if !rest.is_empty() {
        return Err("the alternatives are cut off: each takes six digits".to_owned());
    }
    // Sized at once: this is where nearly all of a golden's memory goes.
    let mut top = Vec::with_capacity(tokens.len());
    for &[a, b, c, d, e, f] in tokens {
        let (Some(id), Some(steps)) = (base85::parse([a, b, c]), base85::parse([d, e, f])) else {
            return Err("the alternatives hold a character that is no base-85 digit".to_owned());
        };
        let logprob = base85::logprob_of(steps);
        top.push(TokenLogprob { id, logprob });
    }
    Ok(top)
}
