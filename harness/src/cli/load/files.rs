//! Files that load is made of, and those that it leaves.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    audit::{self, Known},
    cli::CliError,
    load::{
        self, Lengths, PromptBody, Shape, Spec, bench_serve,
        recording::{self, Header, Recorded},
        replay,
    },
    report::audited,
};

pub(super) fn named(path: &Path, what: &dyn std::fmt::Display) -> CliError {
    CliError::Usage(format!("{}: {what}", path.display()))
}

pub(super) fn open(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path).map_err(|error| named(path, &format!("cannot be read: {error}")))?;
    Ok(BufReader::new(file))
}

pub(super) fn read_recording(path: &Path) -> Result<(Header, Vec<Recorded>), CliError> {
    recording::read(open(path)?).map_err(|error| named(path, &error))
}

pub(super) fn read_trace(path: &Path, default_output: Option<u32>) -> Result<load::TraceFile, CliError> {
    replay::read(open(path)?, default_output).map_err(|error| named(path, &error))
}

/// Prompts of a file: JSON lines where the first line is JSON, else one a line.
pub(super) fn read_prompts(path: &Path, output: &Lengths) -> Result<Vec<Spec>, CliError> {
    let text =
        io::read_to_string(open(path)?).map_err(|error| named(path, &format!("cannot be read: {error}")))?;
    let spec = |prompt: &str, output_tokens: u32| Spec {
        prompt: PromptBody::Text(replay::escaped(prompt)),
        prompt_tokens: None,
        output_tokens,
        turn: None,
    };
    let draw = |index: usize| output.draw(index as u64, &mut crate::stats::Random::stream(0, index as u64));
    let specs: Vec<Spec> = if text.trim_start().starts_with('{') {
        let trace =
            replay::read(text.as_bytes(), Some(output.greatest())).map_err(|error| named(path, &error))?;
        let of_line = |(index, line): (usize, &replay::Line)| {
            let prompt = line.prompt.as_deref()?;
            Some(spec(prompt, line.output_length.unwrap_or_else(|| draw(index))))
        };
        trace.lines.iter().enumerate().filter_map(of_line).collect()
    } else {
        let lines = text.lines().filter(|line| !line.is_empty()).enumerate();
        lines.map(|(index, line)| spec(line, draw(index))).collect()
    };
    if specs.is_empty() {
        return Err(named(path, &"holds no prompt"));
    }
    Ok(specs)
}

/// One file a phase; of several, the number in flight is in each name. Returns what the audit of the files
/// found, a line each.
pub(super) fn write_bench_serve(
    path: &Path,
    header: &Header,
    recorded: &[Recorded],
    phases: &[load::Measured],
) -> Result<Vec<String>, CliError> {
    let shape: Shape = header
        .shape
        .parse()
        .map_err(|error: load::ShapeError| CliError::Usage(error.to_string()))?;
    let at = OffsetDateTime::parse(&header.at, &Rfc3339).map_err(io::Error::other)?;
    let mut contradictions = Vec::new();
    for (recorded, phase) in recorded.iter().zip(phases) {
        let about = bench_serve::About {
            at,
            chat: header.chat,
            model: &header.model,
            shape: &shape,
            in_flight: phase.in_flight,
        };
        let path = match (phases.len(), phase.in_flight) {
            (1, _) | (_, None) => path.to_owned(),
            (_, Some(n)) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                path.with_file_name(format!("{stem}-{n}.json"))
            }
        };
        let text = bench_serve::render(&about, &phase.figures, &recorded.samples).to_string();
        // Audited as a stranger's result would be, by the bytes that are published.
        if let Ok((_, sheet)) = audit::read(&text) {
            let found = audit::audit(&sheet, &Known::default());
            contradictions.extend(found.iter().map(audited::headline));
        }
        std::fs::write(&path, text).map_err(|error| named(&path, &format!("cannot be written: {error}")))?;
    }
    Ok(contradictions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_as_text_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_prompts(&file, &Lengths::Fixed(7))
        };
        let specs = read("say \"a\"\n\nb\n").unwrap();
        assert_eq!(specs.len(), 2);
        assert_eq!(specs[0].prompt, PromptBody::Text("say \\\"a\\\"".into()));
        assert_eq!(specs[1].output_tokens, 7);
        let specs = read("{\"prompt\": \"a\", \"output_tokens\": 3}\n{\"prompt\": \"b\"}\n").unwrap();
        assert_eq!((specs[0].output_tokens, specs[1].output_tokens), (3, 7));
        assert!(read("\n").unwrap_err().to_string().ends_with("holds no prompt"));
        assert!(
            read("{\"x\": 1}")
                .unwrap_err()
                .to_string()
                .contains("line 1: neither")
        );
    }
}
