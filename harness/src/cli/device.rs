//! `device`: the cards of this host, or of a host whose tool's output was saved.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{CliError, print, say};
use crate::{
    device::{
        self, Card, DeviceReport, QueryError,
        health::{self, Concern},
    },
    report::Style,
    run::Exit,
};

/// Largest output that is read; those of sixteen cards are a few hundred KB.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Which cards, and how to show them.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Read a saved output of mx-smi (`mx-smi > FILE`; `-` is standard input) instead of asking this host
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
}

/// Shows cards; exit 2 on a file that cannot be read, 3 where this host has no cards or its tool fails.
pub fn run(arguments: &Arguments, _style: Style) -> Result<Exit, CliError> {
    let report = match &arguments.from {
        Some(file) => saved(file)?,
        None => match device::current() {
            Ok(report) => report,
            Err(error) => {
                say(&format!("error: {error}\n"))?;
                if matches!(error, QueryError::NoCards { .. }) {
                    say("  read a saved output instead: --from FILE\n")?;
                }
                return Ok(Exit::Infrastructure);
            }
        },
    };
    if arguments.json {
        print(&json(&report)?)?;
    } else {
        say(&render(&report))?;
    }
    Ok(Exit::Passed)
}

/// Pretty JSON with its end of line.
pub(super) fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn saved(file: &Path) -> Result<DeviceReport, CliError> {
    let named = |error: &dyn std::fmt::Display| CliError::Usage(format!("{}: {error}", file.display()));
    let bytes = read(file).map_err(|error| named(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        let text = format!("is larger than {MAX_BYTES} bytes: name the output of one call of mx-smi");
        return Err(named(&text));
    }
    // A terminal's log may hold stray bytes; they are no figures.
    device::parse_saved(&String::from_utf8_lossy(&bytes)).map_err(|error| named(&error))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Versions, then a line a card with its slices and processes, then what is noteworthy.
fn render(report: &DeviceReport) -> String {
    let mut lines = vec![versions(report)];
    if report.cards.is_empty() {
        lines.push("no cards are listed".to_owned());
    }
    for card in &report.cards {
        lines.push(card_line(card));
        lines.extend(
            below_card(report, card)
                .into_iter()
                .map(|line| format!("        {line}")),
        );
    }
    if let Some(topology) = report
        .topology
        .as_ref()
        .filter(|topology| topology.cards.len() > 1)
    {
        let island = |cards: &Vec<u32>| cards.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let islands: Vec<String> = topology.islands().iter().map(island).collect();
        lines.push(format!("linked by MetaXLink: {}", islands.join(" | ")));
    }
    lines.extend(report.remarks.iter().map(|remark| format!("note: {remark}")));
    lines.join("\n") + "\n"
}

/// Slices and processes of a card, and what speaks against using it beside that it is not available.
fn below_card(report: &DeviceReport, card: &Card) -> Vec<String> {
    let mut lines = Vec::new();
    for slice in report.slices.iter().filter(|slice| slice.card == card.index) {
        let memory = amount(slice.vram_used_mib, slice.vram_quota_mib);
        let share = shown(slice.compute_percent, "% of the card");
        let busy = shown(slice.utilization_percent, "%");
        lines.push(format!(
            "slice {:<4} {memory:<18} {share:<18} busy {busy}",
            slice.id
        ));
    }
    for process in report
        .processes
        .iter()
        .filter(|process| process.card == card.index)
    {
        let memory = process
            .memory_mib
            .map_or_else(|| "?".to_owned(), |memory| format!("{memory} MiB"));
        let name = process.name.as_deref().unwrap_or("?");
        lines.push(format!("process {} {name}: {memory}", process.pid));
    }
    let concerns = health::concerns(card).into_iter();
    let further = concerns.filter(|concern| !matches!(concern, Concern::NotAvailable { .. }));
    lines.extend(further.map(|concern| format!("note: {concern}")));
    lines
}

fn versions(report: &DeviceReport) -> String {
    let versions = [
        ("mx-smi", &report.smi_version),
        ("driver", &report.driver_version),
        ("MACA", &report.maca_version),
        ("BIOS", &report.bios_version),
    ];
    let said = |(name, version): (&str, &Option<String>)| {
        format!("{name} {}", version.as_deref().unwrap_or("unknown"))
    };
    versions.map(said).join(", ")
}

fn card_line(card: &Card) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
    let power = match card.power_cap_w {
        Some(cap) => format!("{} of {cap} W", shown(card.power_w, "")),
        None => shown(card.power_w, " W"),
    };
    let state = match &card.unavailable_reason {
        Some(reason) => format!("{} ({reason})", text(&card.state)),
        None => text(&card.state),
    };
    let line = format!(
        "{:>5}  {:<16} {:<13} {:<18} busy {:<6} {power:<16} {:<9} {}",
        card.index,
        text(&card.name),
        text(&card.bus_id),
        amount(card.memory_used_mib, card.memory_total_mib),
        shown(card.utilization_percent, "%"),
        shown(card.temperature_c, " °C"),
        state,
    );
    line.trim_end().to_owned()
}

fn shown(figure: Option<f64>, unit: &str) -> String {
    figure.map_or_else(|| "?".to_owned(), |figure| format!("{figure}{unit}"))
}

fn amount(used_mib: Option<u64>, total_mib: Option<u64>) -> String {
    let figure = |mib: Option<u64>| mib.map_or_else(|| "?".to_owned(), |mib| mib.to_string());
    format!("{}/{} MiB", figure(used_mib), figure(total_mib))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICES: &str = include_str!("../device/fixtures/table-2.2.12-slices.txt");
    const CARDS: &str = include_str!("../device/fixtures/table-2.3.1.txt");
    const LIST: &str = include_str!("../device/fixtures/list.txt");
    const TOPOLOGY: &str = include_str!("../device/fixtures/topology.txt");

    #[test]
    fn cards_slices_and_processes_are_shown() {
        for (name, text) in [
            ("slices-and-hidden", SLICES.to_owned() + LIST),
            ("two-cards", CARDS.to_owned()),
            ("cut-off", CARDS[..1200].to_owned()),
            ("topology", TOPOLOGY.to_owned()),
        ] {
            insta::assert_snapshot!(name, render(&device::parse_saved(&text).unwrap()));
        }
    }

    #[test]
    fn a_file_problem_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.txt");
        let error = saved(&absent).unwrap_err();
        assert!(
            error.to_string().contains("absent.txt: cannot be read"),
            "{error}"
        );
        assert_eq!(error.exit(), Exit::Usage);
        let wrong = folder.path().join("wrong.txt");
        fs::write(&wrong, b"\xff\xfe no table").unwrap();
        let error = saved(&wrong).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("wrong.txt: cannot read the output of mx-smi"),
            "{error}"
        );
        let large = folder.path().join("large.txt");
        fs::write(&large, CARDS.repeat(10_000)).unwrap();
        let error = saved(&large).unwrap_err();
        assert!(error.to_string().contains("is larger than"), "{error}");
    }
}
