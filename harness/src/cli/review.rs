//! `review`: shows the goldens that wait, one after another, and does what the reviewer decides. Without a terminal it
//! lists them; flags decide without a terminal, and a page shows them in a merge request.

use std::{
    env, fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use console::{Key, Term};
use serde::Serialize;

use super::{CliError, print, say};
use crate::{
    golden::Store,
    report::Style,
    review::{self, Pending, Step, View, Walk, page, screen},
    run::Exit,
};

/// What to review, and how.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags of a command line"
)]
pub struct Arguments {
    /// Only goldens of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Goldens that the simulator answered
    #[arg(long)]
    simulated: bool,
    /// Accept the pending golden of this case (`case`, or `model/case`); may be repeated
    #[arg(long, value_name = "CASE", conflicts_with = "accept_all")]
    accept: Vec<String>,
    /// Reject the pending golden of this case; may be repeated
    #[arg(long, value_name = "CASE", conflicts_with = "accept_all")]
    reject: Vec<String>,
    /// Accept all
    #[arg(long)]
    accept_all: bool,
    /// Why; kept in each golden that is accepted
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// List what waits
    #[arg(long)]
    list: bool,
    /// Print what waits, with all figures, as JSON
    #[arg(long, conflicts_with = "list")]
    json: bool,
    /// Write one self-contained page of what waits
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accept", "reject", "accept_all"])]
    html: Option<PathBuf>,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    accepted: Vec<String>,
    rejected: Vec<String>,
    pending: Vec<View>,
}

/// Reviews; exit 5 while goldens wait.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let store =
        Store::for_review(root.join("golden"), arguments.simulated).map_err(review::ReviewError::from)?;
    let read = || review::pending(&store, arguments.model.as_deref()).map_err(review::ReviewError::from);
    let pending = read()?;
    if let Some(file) = &arguments.html {
        return write_page(file, &views(&pending, arguments.simulated)?);
    }
    let decides = arguments.accept_all || !arguments.accept.is_empty() || !arguments.reject.is_empty();
    if !decides && arguments.reason.is_some() {
        let text = "--reason goes with --accept or --accept-all; at a terminal, `e` asks for it";
        return Err(CliError::Usage(text.to_owned()));
    }
    let (accepted, rejected) = decide(&store, &pending, arguments)?;
    let pending = if decides { read()? } else { pending };
    if arguments.json {
        let report = Report {
            schema_version: 1,
            accepted,
            rejected,
            pending: views(&pending, arguments.simulated)?,
        };
        print(&(serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n"))?;
        return Ok(exit(pending.len()));
    }
    for (verb, names) in [("accepted", &accepted), ("rejected", &rejected)] {
        for name in names {
            say(&format!("{verb} {name}\n"))?;
        }
    }
    let attended = io::stdin().is_terminal() && io::stderr().is_terminal();
    if decides || arguments.list || pending.is_empty() || !attended {
        return list(root, &pending, arguments, style);
    }
    walk(root, Walk::new(&store, pending), arguments.simulated, style)
}

const fn exit(waiting: usize) -> Exit {
    if waiting == 0 {
        Exit::Passed
    } else {
        Exit::Undecided
    }
}

fn views(pending: &[Pending], simulated: bool) -> Result<Vec<View>, review::ReviewError> {
    pending
        .iter()
        .map(|pending| View::of(pending, simulated))
        .collect()
}

/// Carries out the decisions of the command line: all of them, or none where one cannot be. Names of what was accepted
/// and rejected.
fn decide(
    store: &Store,
    pending: &[Pending],
    arguments: &Arguments,
) -> Result<(Vec<String>, Vec<String>), CliError> {
    let find = |names: &[String]| {
        names
            .iter()
            .map(|name| find(pending, name))
            .collect::<Result<Vec<_>, _>>()
    };
    let rejected = find(&arguments.reject)?;
    let accepted = if arguments.accept_all {
        pending.iter().collect()
    } else {
        find(&arguments.accept)?
    };
    let names = |decided: &[&Pending]| decided.iter().map(|pending| pending.name()).collect();
    let (accepted_names, rejected_names): (Vec<String>, Vec<String>) = (names(&accepted), names(&rejected));
    if let Some(both) = accepted_names.iter().find(|name| rejected_names.contains(name)) {
        return Err(CliError::Usage(format!("{both} is both accepted and rejected")));
    }
    review::accept_all(store, &accepted, arguments.reason.as_deref())?;
    for pending in rejected {
        review::reject(store, pending)?;
    }
    Ok((accepted_names, rejected_names))
}

/// The pending golden that is meant by `case` or `model/case`.
fn find<'a>(pending: &'a [Pending], name: &str) -> Result<&'a Pending, CliError> {
    let meant: Vec<_> = pending
        .iter()
        .filter(|pending| pending.case == name || pending.name() == name)
        .collect();
    match meant[..] {
        [only] => Ok(only),
        [] => Err(CliError::Usage(format!(
            "no golden of {name} waits; `harness review --list` shows those that do"
        ))),
        _ => {
            let names: Vec<_> = meant.iter().map(|pending| pending.name()).collect();
            let text = format!(
                "{name} waits for several models: name one of {}",
                names.join(", ")
            );
            Err(CliError::Usage(text))
        }
    }
}

fn list(root: &Path, pending: &[Pending], arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    if pending.is_empty() {
        say("no golden waits for review\n")?;
        if !arguments.simulated {
            let simulated = Store::for_review(root.join("golden"), true)
                .and_then(|store| store.pending())
                .map_err(review::ReviewError::from)?;
            if !simulated.is_empty() {
                let count = simulated.len();
                say(&format!(
                    "{count} of the simulator wait: `harness review --simulated`\n"
                ))?;
            }
        }
        return Ok(Exit::Passed);
    }
    let simulated = if arguments.simulated {
        "SIMULATED: a simulator answered\n"
    } else {
        ""
    };
    let s = if pending.len() == 1 { "" } else { "s" };
    let views = views(pending, arguments.simulated)?;
    let lines: String = views.iter().map(|view| screen::line(view, style)).collect();
    say(&format!(
        "{simulated}{} golden{s} to review\n{lines}`harness review` at a terminal shows each; --accept CASE, \
         --reject CASE and --html FILE need none\n",
        pending.len()
    ))?;
    Ok(exit(pending.len()))
}

fn write_page(file: &Path, views: &[View]) -> Result<Exit, CliError> {
    let html = page::render(views).map_err(crate::report::ReportError::from)?;
    fs::write(file, html).map_err(|source| crate::report::ReportError::Io {
        path: file.to_owned(),
        source,
    })?;
    say(&format!("{}: {} to review\n", file.display(), views.len()))?;
    Ok(Exit::Passed)
}

/// The screen: one golden, one key.
fn walk(root: &Path, mut walk: Walk<'_>, simulated: bool, style: Style) -> Result<Exit, CliError> {
    let term = Term::stderr();
    let mut step = Step::Show;
    while let Some(pending) = walk.current() {
        let view = View::of(pending, simulated)?;
        step = match step {
            Step::End => break,
            Step::AskReason => {
                term.write_str("reason (empty: none): ")?;
                let reason = term.read_line()?;
                walk.give_reason(&reason)
            }
            Step::Open => {
                let notice = open(root, &view)?;
                walk.notify(notice);
                Step::Show
            }
            Step::Show => {
                term.clear_screen()?;
                say(&screen::render(&view, walk.place(), style))?;
                if let Some(reason) = walk.reason() {
                    say(&format!("reason    {reason}\n"))?;
                }
                if let Some(notice) = walk.take_notice() {
                    say(&format!("\n{notice}\n"))?;
                }
                say(&format!("\n{} ", review::KEYS))?;
                match term.read_key()? {
                    Key::Char(key) => walk.press(key),
                    Key::CtrlC | Key::Escape => Step::End,
                    _ => walk.press(' '),
                }
            }
        };
        if step != Step::Show {
            say("\n")?;
        }
    }
    if let Some(notice) = walk.take_notice() {
        say(&format!("{notice}\n"))?;
    }
    let counts = walk.counts();
    let (accepted, rejected, left) = (counts.accepted, counts.rejected, walk.left());
    say(&format!(
        "{accepted} accepted, {rejected} rejected, {left} still to review\n"
    ))?;
    Ok(exit(left))
}

/// Writes the page of one case and hands it to the desktop's browser; what to tell the reviewer.
fn open(root: &Path, view: &View) -> Result<String, CliError> {
    let folder = root.join("target/review");
    let file = folder.join(format!("{}.html", view.name.replace('/', ".")));
    let html = page::render(std::slice::from_ref(view)).map_err(crate::report::ReportError::from)?;
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, html))
        .map_err(|source| crate::report::ReportError::Io {
            path: file.clone(),
            source,
        })?;
    let browser = env::var_os("BROWSER").unwrap_or_else(|| "xdg-open".into());
    let started = Command::new(&browser)
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Ok(match started {
        Ok(_) => format!("opened {}", file.display()),
        Err(error) => format!(
            "{} cannot be started ({error}); the page is {}",
            Path::new(&browser).display(),
            file.display()
        ),
    })
}
