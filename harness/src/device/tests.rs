//! The readers on every layout, on damaged text, and on a tool that only a read-only call may reach.
//!
//! The files in `fixtures/` are made for these tests after the layouts that mx-smi's versions are known to print.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::{
    invocation::Invocation,
    mx_smi::{MxSmiError, parse_any},
    nvidia_smi, parse_saved,
    query::{QueryError, Tools},
    report::DeviceReport,
    sample::Sampler,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name))
    };
}

const ALL: [(&str, &str); 14] = [
    ("table-2.1.6", fixture!("table-2.1.6.txt")),
    ("table-2.1.12", fixture!("table-2.1.12.txt")),
    ("table-2.2.3", fixture!("table-2.2.3.txt")),
    ("table-2.2.4", fixture!("table-2.2.4.txt")),
    ("table-2.2.8", fixture!("table-2.2.8.txt")),
    ("table-2.2.12-slices", fixture!("table-2.2.12-slices.txt")),
    ("table-2.3.1", fixture!("table-2.3.1.txt")),
    ("list", fixture!("list.txt")),
    ("several", fixture!("several.txt")),
    ("json", fixture!("json.txt")),
    ("dmon", fixture!("dmon.txt")),
    ("dmon-csv", fixture!("dmon.csv")),
    ("topology", fixture!("topology.txt")),
    ("empty-log", "mx-smi  version: 2.3.1\n"),
];

#[test]
fn every_layout() {
    for (name, text) in ALL {
        insta::assert_json_snapshot!(name, parse_any(text).unwrap());
    }
}

#[test]
fn outputs_one_after_another_are_joined() {
    let text = [
        fixture!("table-2.2.12-slices.txt"),
        fixture!("list.txt"),
        fixture!("several.txt"),
        fixture!("json.txt"),
    ];
    let report = parse_any(&text.concat()).unwrap();
    insta::assert_json_snapshot!("joined", report);
}

#[test]
fn line_ends_of_other_systems_and_indents_change_nothing() {
    for (name, text) in ALL {
        let expected = parse_any(text).unwrap();
        assert_eq!(
            parse_any(&text.replace('\n', "\r\n")).unwrap(),
            expected,
            "{name}"
        );
        assert_eq!(
            parse_any(&format!("    {}", text.replace('\n', "  \n    "))).unwrap(),
            expected,
            "{name}"
        );
    }
}

/// A figure that a cut-off text still shows is the whole text's figure, never the beginning of it.
#[test]
fn a_cut_off_text_has_no_wrong_figures() {
    for (name, text) in ALL {
        let whole = parse_any(text).unwrap();
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let Ok(part) = parse_any(&text[..cut]) else {
                continue;
            };
            let (versions, all) = (versions(&part), versions(&whole));
            let known = versions.iter().zip(&all).filter(|(part, _)| part.is_some());
            assert!(
                known.clone().all(|(part, whole)| part == whole),
                "{name} cut at {cut}: {versions:?}"
            );
            for card in &part.cards {
                let full = whole.card(card.index);
                assert!(
                    full.is_some_and(|full| agrees(card, full)),
                    "{name} cut at {cut}: {card:?}"
                );
            }
            for slice in &part.slices {
                let full = whole
                    .slices
                    .iter()
                    .find(|full| (full.card, full.id) == (slice.card, slice.id));
                assert!(
                    full.is_some_and(|full| agrees(slice, full)),
                    "{name} cut at {cut}: {slice:?}"
                );
            }
            for process in &part.processes {
                assert!(
                    whole.processes.contains(process),
                    "{name} cut at {cut}: {process:?}"
                );
            }
        }
    }
}

fn versions(report: &DeviceReport) -> [Option<String>; 4] {
    [
        &report.smi_version,
        &report.driver_version,
        &report.maca_version,
        &report.bios_version,
    ]
    .map(Clone::clone)
}

/// Whether everything that the part knows is what the whole knows.
fn agrees(part: &impl Serialize, whole: &impl Serialize) -> bool {
    fn within(part: &Value, whole: &Value) -> bool {
        match (part, whole) {
            (Value::Null, _) => true,
            (Value::Object(part), Value::Object(whole)) => part.iter().all(|(key, value)| {
                // Nothing shows where the name that somebody gave to a slice ends, and a chip's name gives way to its
                // board's further on.
                key == "alias" || value == "MXC500" || within(value, &whole[key])
            }),
            _ => part == whole,
        }
    }
    within(
        &serde_json::to_value(part).unwrap(),
        &serde_json::to_value(whole).unwrap(),
    )
}

#[test]
fn a_cut_off_text_says_so() {
    let text = fixture!("table-2.3.1.txt");
    let second = text.find("341W").unwrap();
    let report = parse_any(&text[..second]).unwrap();
    insta::assert_json_snapshot!("cut-off", report);
    let first = text.find("| 1     MetaX").unwrap();
    let report = parse_any(&text[..first]).unwrap();
    assert!(
        report
            .remarks
            .iter()
            .any(|remark| remark.contains("2 cards are attached and lists 1")),
        "{report:?}"
    );
}

#[test]
fn what_is_no_output_says_what_to_do() {
    let json = fixture!("json.txt");
    let cases = [
        ("empty", ""),
        ("refused", fixture!("refused.txt")),
        ("not-found", "bash: mx-smi: command not found\n"),
        (
            "nvidia",
            "+-----+\n| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |\n",
        ),
        ("cut-off-json", &json[..json.len() / 2]),
        ("wrong-json", "{\"0000:38:00.0\": {\"device_id\": \"zero\"}}"),
        ("essay", "Once upon a time: a card.\n"),
    ];
    for (name, text) in cases {
        insta::assert_snapshot!(format!("error-{name}"), parse_any(text).unwrap_err());
    }
    assert!(
        matches!(parse_any(fixture!("refused.txt")), Err(MxSmiError::Refused { argument }) if argument == "-q")
    );
}

#[test]
fn real_captures_are_read_where_they_are_at_hand() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    let folder = env::var_os("HARNESS_SHARED_FIXTURES")
        .map_or(beside, PathBuf::from)
        .join("mx-smi");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!(
            "skipped: no captures at {} (set HARNESS_SHARED_FIXTURES)",
            folder.display()
        );
        return;
    };
    let mut joined = DeviceReport::default();
    for entry in entries {
        let path = entry.unwrap().path();
        let report = parse_any(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(report.smi_version.is_some(), "{}", path.display());
        assert_eq!(report.remarks, [""; 0], "{}", path.display());
        joined.absorb(report);
    }
    let card = joined.card(0).unwrap();
    assert_eq!(card.name.as_deref(), Some("MetaX C500"));
    assert_eq!(
        (card.memory_used_mib, card.memory_total_mib),
        (Some(15155), Some(65536))
    );
    assert_eq!((card.temperature_c, card.power_cap_w), (Some(38.5), Some(350.0)));
    assert_eq!(joined.cards.len(), 8);
    assert_eq!(joined.slices[0].vram_quota_mib, Some(16000));
    assert_eq!(card.ecc.unwrap().errors(), 0);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        drop(parse_saved(&text));
    }

    #[test]
    fn no_answer_of_nvidia_smi_panics(text in "([0-9]{1,12}|[A-Z \\[\\]/.-]{0,8}|,){0,40}") {
        drop(nvidia_smi::parse(&text));
    }

    #[test]
    fn no_damage_panics(
        which in 0..ALL.len(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        put in "[|+={}:#%/ 0-9A-Zé\n]{0,6}",
    ) {
        let text = ALL[which].1;
        let boundary = |index: usize| (0..=index).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (cut, at) = (boundary(cut.index(text.len() + 1)), boundary(at.index(text.len() + 1)));
        let damaged = format!("{}{put}{}", &text[..at.min(cut)], &text[at.max(cut)..]);
        drop(parse_any(&damaged));
        drop(parse_any(&text[..cut]));
    }
}

/// A tool that writes its arguments down and answers with a table.
fn fake_tool(root: &Path, answer: &str) -> Tools {
    let folder = root.join("opt/mxdriver/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(root.join("answer"), answer).unwrap();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{root}/calls'\ncat '{root}/answer'\n",
        root = root.display()
    );
    let tool = folder.join("mx-smi");
    fs::write(&tool, script).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    Tools::find_in(root, "".as_ref())
}

#[test]
fn a_tool_is_only_ever_called_to_read() {
    let root = tempfile::tempdir().unwrap();
    let tools = fake_tool(root.path(), fixture!("table-2.2.8.txt"));
    let report = tools.report().unwrap();
    assert_eq!(report.cards[0].memory_used_mib, Some(858));
    for invocation in Invocation::ALL {
        tools.mx_smi_report(invocation).unwrap();
    }
    let samples = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&samples);
    let sampling = Sampler::start(tools, Duration::from_millis(10), move |sample| {
        taken.lock().unwrap().push(sample);
    });
    while samples.lock().unwrap().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    sampling.stop();
    let samples = samples.lock().unwrap();
    assert!(
        samples
            .iter()
            .all(|sample| sample.as_ref().unwrap().cards[0].power_w == Some(59.0))
    );
    let times: Vec<f64> = samples
        .iter()
        .map(|sample| sample.as_ref().unwrap().at_s)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    let calls = fs::read_to_string(root.path().join("calls")).unwrap();
    let allowed: Vec<String> = Invocation::ALL
        .iter()
        .map(|call| call.arguments().join(" "))
        .collect();
    for call in calls.lines() {
        assert!(allowed.iter().any(|arguments| arguments == call), "{call:?}");
    }
    assert_eq!(calls.lines().count(), 4 + Invocation::ALL.len() + samples.len());
}

#[test]
fn a_tool_that_fails_or_hangs_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let tools = fake_tool(root.path(), "");
    let tool = root.path().join("opt/mxdriver/bin/mx-smi");
    fs::write(
        &tool,
        "#!/bin/sh\necho 'no permission on /dev/mxcd' >&2\nexit 7\n",
    )
    .unwrap();
    let error = tools.report().unwrap_err();
    assert!(
        matches!(&error, QueryError::Failed { output, .. } if output == "no permission on /dev/mxcd"),
        "{error}"
    );
    fs::write(&tool, "#!/bin/sh\nsleep 600 & sleep 600\n").unwrap();
    let begin = std::time::Instant::now();
    let error = tools
        .with_deadline(Duration::from_millis(200))
        .report()
        .unwrap_err();
    assert!(matches!(error, QueryError::Deadline { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn without_a_tool_the_kernel_is_believed() {
    let root = tempfile::tempdir().unwrap();
    let tools = Tools::find_in(root.path(), "".as_ref());
    let error = tools.report().unwrap_err();
    assert!(error.to_string().contains("opt/mxdriver/bin/mx-smi"), "{error}");
    let device = root.path().join("sys/bus/pci/devices/0000:0e:00.0");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("vendor"), "0x9999\n").unwrap();
    let report = tools.report().unwrap();
    assert_eq!(report.cards[0].bus_id.as_deref(), Some("0000:0e:00.0"));
    assert_eq!(report.cards[0].memory_total_mib, None);
    assert!(report.remarks[0].contains("mx-smi is not installed"));
}
