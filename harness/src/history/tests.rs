//! Lines made of records, the folder that holds them, trends, and how they are shown.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, thread};

use nix::fcntl::{Flock, FlockArg};
use time::{Duration, OffsetDateTime, macros::datetime};

use super::*;
use crate::{
    record::{Event, Finding, TrialKind, Verdict},
    report::{Summary, fixture},
    stats::Random,
};

const BEGAN: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
const OUTPUT: &str = "throughput.concurrency_8.output";

/// The `number`th run, a day after the one before.
fn line(number: usize, value: f64) -> Line {
    let days = i64::try_from(number).unwrap();
    Line {
        history: VERSION,
        run: format!("run-{number:03}"),
        at: BEGAN + Duration::days(days),
        session: "mistral_7b_v0_1@c500_maca2.33_vllm0.8.5".to_owned(),
        model: "mistral_7b_v0_1".to_owned(),
        stack: "c500_maca2.33_vllm0.8.5".to_owned(),
        accelerator: "c500".to_owned(),
        target: "docker".to_owned(),
        simulated: false,
        clock: 1.0,
        dtype: "bfloat16".to_owned(),
        verdict: Verdict::Passed,
        fingerprint: BTreeMap::from([("driver".to_owned(), "3.0.11".to_owned())]),
        metrics: BTreeMap::from([(OUTPUT.to_owned(), value), ("memory.kv_cache".to_owned(), 36.51)]),
        invalid: Vec::new(),
    }
}

/// Sixty runs; from the 40th on there is another driver, and 5 % less.
fn upgrade() -> Vec<Line> {
    let mut random = Random::new(7);
    (0..60)
        .map(|number| {
            let slower = number >= 40;
            let level = if slower { 203.1 } else { 213.75 };
            let mut line = line(number, level * (1.0 + 0.01 * random.gaussian()));
            if slower {
                line.fingerprint.insert("driver".to_owned(), "3.1.0".to_owned());
                line.fingerprint
                    .insert("maca_of_host".to_owned(), "3.2.1".to_owned());
            }
            line
        })
        .collect()
}

fn wanted(metric: &str) -> Wanted {
    Wanted {
        metric: Some(metric.to_owned()),
        ..Wanted::default()
    }
}

const STYLE: crate::report::Style = crate::report::Style {
    colour: false,
    width: 80,
};

#[test]
fn a_record_gives_a_line_a_session() {
    let lines = lines(&fixture::summary(&fixture::on_hardware()));
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].simulated && lines[0].verdict == Verdict::Passed);
    insta::assert_snapshot!(serde_json::to_string_pretty(&lines[0]).unwrap());
    // A line is one line, and reads back.
    let text = serde_json::to_string(&lines[0]).unwrap();
    assert!(!text.contains('\n'));
    assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), lines[0]);
}

#[test]
fn what_was_cut_short_is_no_better_than_inconclusive() {
    let of = |record: &fixture::Record| lines(&fixture::summary(record)).remove(0);
    assert_eq!(of(&fixture::interrupted()).verdict, Verdict::Inconclusive);
    let failed = of(&fixture::boot_failed());
    assert_eq!(
        (failed.verdict, failed.metrics.len(), failed.invalid),
        (Verdict::Error, 0, vec!["boot".to_owned()])
    );
    let cut = Summary::of(&fixture::passed().entries()[..6]).unwrap();
    assert_eq!(lines(&cut)[0].verdict, Verdict::Inconclusive);
}

/// The line of a run whose trial of this kind ended with this verdict.
fn with_verdict(kind: TrialKind, verdict: Verdict, waived: bool) -> Line {
    let mut entries = fixture::on_hardware().entries().to_vec();
    for entry in &mut entries {
        if let Event::TrialFinished(event) = &mut entry.event
            && event.outcome.kind == kind
        {
            event.outcome.verdict = verdict;
            if waived {
                event.outcome = event.outcome.clone().waived("2026-12-31", "known");
            }
        }
    }
    lines(&Summary::of(&entries).unwrap()).remove(0)
}

#[test]
fn figures_without_meaning_are_left_out() {
    let output = "throughput.concurrency_2.output";
    let has = |line: &Line| line.metrics.contains_key(output);
    assert!(has(&with_verdict(TrialKind::Throughput, Verdict::Failed, false)));
    assert!(has(&with_verdict(TrialKind::Throughput, Verdict::Failed, true)));
    for waived in [false, true] {
        let invalid = with_verdict(TrialKind::Throughput, Verdict::Invalid, waived);
        assert!(!has(&invalid));
        assert_eq!(invalid.invalid, ["throughput.concurrency_2"]);
        assert!(
            invalid
                .metrics
                .contains_key("latency.single_stream.mean_generation")
        );
    }
    // A server that is not what its stack promises.
    let other_stack = with_verdict(TrialKind::Boot, Verdict::Invalid, false);
    assert!(other_stack.metrics.is_empty());
}

#[test]
fn requests_that_failed_leave_the_others_a_server_of_their_own() {
    let mut entries = fixture::on_hardware().entries().to_vec();
    for entry in &mut entries {
        if let Event::Throughput(event) = &mut entry.event {
            event.figures.failed = 1;
        }
    }
    let line = lines(&Summary::of(&entries).unwrap()).remove(0);
    assert_eq!(line.invalid, ["throughput.concurrency_2"]);
}

#[test]
fn what_is_appended_is_read_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    assert!(read(&place).unwrap().lines.is_empty());
    append(&place, &[]).unwrap();
    assert!(!place.exists());
    append(&place, &[line(2, 1.0)]).unwrap();
    append(&place, &[line(0, 2.0), line(1, 3.0)]).unwrap();
    let index = read(&place).unwrap();
    assert_eq!(index.lines, [line(0, 2.0), line(1, 3.0), line(2, 1.0)]);
    assert!(index.damaged.is_empty());
}

#[test]
fn the_last_line_of_a_session_holds_and_other_files_count() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), &[line(0, 1.0), line(1, 1.0)]).unwrap();
    append(folder.path(), &[line(0, 2.0)]).unwrap();
    // As CI brings it together from the artefacts of several jobs.
    let more = serde_json::to_string(&line(5, 9.0)).unwrap();
    fs::write(folder.path().join("job-7.jsonl"), more).unwrap();
    fs::write(folder.path().join("notes.txt"), "not looked at").unwrap();
    let values: Vec<f64> = read(folder.path())
        .unwrap()
        .lines
        .iter()
        .map(|line| line.metrics[OUTPUT])
        .collect();
    assert_eq!(values, [2.0, 1.0, 9.0]);
}

#[test]
fn damaged_lines_are_named_and_cost_themselves_alone() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), &[line(0, 1.0)]).unwrap();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join(FILE))
        .unwrap();
    file.write_all(b"\n{\"history\":1,\"run\":\"\xff\"}\n{\"history\":2,\"anything\":[]}\n[1]\n{\"history\":1,\"run\":\"cut o")
        .unwrap();
    append(folder.path(), &[line(1, 2.0)]).unwrap();
    let mut index = read(folder.path()).unwrap();
    assert_eq!(index.lines, [line(0, 1.0), line(1, 2.0)]);
    for damaged in &mut index.damaged {
        damaged.file = Path::new("history").join(damaged.file.file_name().unwrap());
    }
    insta::assert_snapshot!(damage(&index.damaged, STYLE));
    let many = vec![index.damaged[0].clone(); 14];
    assert!(damage(&many, STYLE).ends_with("  and 4 more lines\n"));
}

#[test]
fn many_that_append_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                for number in 0..20 {
                    append(folder, &[line(writer * 100 + number, 1.0)]).unwrap();
                }
            });
        }
    });
    let index = read(folder.path()).unwrap();
    assert_eq!((index.lines.len(), index.damaged.len()), (160, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = append(&file, &[line(0, 1.0)]).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot make the folder ") && error.contains("file"),
        "{error}"
    );
    let error = read(&file).unwrap_err().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
}

#[test]
fn a_writer_that_does_not_end_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), &[line(0, 1.0)]).unwrap();
    let other = fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join(FILE))
        .unwrap();
    let held = Flock::lock(other, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .unwrap();
    let error = store::append_within(folder.path(), &[line(1, 1.0)], std::time::Duration::ZERO).unwrap_err();
    assert!(matches!(error, HistoryError::Busy { .. }), "{error}");
    drop(held);
    append(folder.path(), &[line(1, 1.0)]).unwrap();
    assert_eq!(read(folder.path()).unwrap().lines.len(), 2);
}

#[test]
fn an_upgrade_that_slows_is_found_with_what_changed() {
    let trends = trends(&upgrade(), &wanted("output"));
    let [trend] = &trends[..] else {
        panic!("{trends:?}")
    };
    let [change] = &trend.changes[..] else {
        panic!("{trend:?}")
    };
    assert!(change.at.abs_diff(40) <= 1, "{change:?}");
    assert_eq!(change.better, Some(false));
    assert!((change.relative().unwrap() + 0.05).abs() < 0.01);
    let with: Vec<&str> = change
        .with
        .iter()
        .map(|difference| difference.what.as_str())
        .collect();
    assert_eq!(with, ["driver", "maca_of_host"]);
    assert!((trend.level().unwrap() - 203.1).abs() < 2.0);
    insta::assert_snapshot!("one_trend", single(trend, 6, STYLE));
    insta::assert_snapshot!(
        "csv",
        csv(&trends)
            .unwrap()
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join("\n")
    );
    let text = csv(&trends).unwrap();
    let changes: Vec<&str> = text.lines().skip(1).filter(|line| !line.ends_with(',')).collect();
    assert_eq!(changes.len(), 1);
}

#[test]
fn what_does_not_compare_is_never_one_trend() {
    let mut lines: Vec<Line> = (0..7).map(|number| line(number, 100.0)).collect();
    lines[1].simulated = true;
    (lines[2].simulated, lines[2].clock) = (true, 50.0);
    lines[3].accelerator = "a100_40gb".to_owned();
    lines[4].dtype = "float32".to_owned();
    lines[5].stack = "c500_maca3.3_vllm0.12.0".to_owned();
    lines[6].model = "qwen3_32b".to_owned();
    assert_eq!(trends(&lines, &wanted(OUTPUT)).len(), 7);
    let joined = Wanted {
        join_stacks: true,
        ..wanted(OUTPUT)
    };
    let joined = trends(&lines, &joined);
    assert_eq!(joined.len(), 6);
    for trend in &joined {
        assert!(trend.points.len() == 1 || trend.points.len() == 2);
    }
}

#[test]
fn an_upgrade_shows_in_joined_stacks() {
    let mut lines = upgrade();
    for line in &mut lines[40..] {
        line.stack = "c500_maca3.3_vllm0.12.0".to_owned();
    }
    let apart = trends(&lines, &wanted(OUTPUT));
    assert!(apart.len() == 2 && apart.iter().all(|trend| trend.changes.is_empty()));
    let joined = Wanted {
        join_stacks: true,
        ..wanted(OUTPUT)
    };
    let joined = trends(&lines, &joined);
    assert_eq!(joined[0].changes[0].with[0].what, "stack");
}

#[test]
fn metrics_are_chosen_by_name_by_part_or_by_weight() {
    let lines = [line(0, 1.0)];
    let names = |metric: Option<&str>| {
        let wanted = Wanted {
            metric: metric.map(str::to_owned),
            ..Wanted::default()
        };
        trends(&lines, &wanted)
            .into_iter()
            .map(|trend| trend.metric)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["memory.kv_cache", OUTPUT]);
    assert_eq!(names(Some("all")), ["memory.kv_cache", OUTPUT]);
    assert_eq!(names(Some("concurrency_8")), [OUTPUT]);
    assert_eq!(names(Some(OUTPUT)), [OUTPUT]);
    assert!(names(Some("nonsense")).is_empty());
}

#[test]
fn only_the_latest_runs_where_that_is_asked() {
    let last = Wanted {
        last: Some(10),
        ..wanted(OUTPUT)
    };
    let trends = trends(&upgrade(), &last);
    assert_eq!(trends[0].points.len(), 10);
    assert_eq!(trends[0].points[0].run, "run-050");
    assert!(trends[0].changes.is_empty());
}

#[test]
fn runs_whose_figures_mean_nothing_are_counted() {
    let mut lines = upgrade();
    for line in &mut lines[50..53] {
        line.metrics.remove(OUTPUT);
        line.invalid.push("throughput.concurrency_8".to_owned());
    }
    lines[54].invalid.push("throughput.concurrency_80".to_owned());
    let trends = trends(&lines, &wanted(OUTPUT));
    assert_eq!((trends[0].invalid, trends[0].points.len()), (3, 57));
    assert!(single(&trends[0], 1, STYLE).contains("3 more runs are left out"));
}

#[test]
fn many_trends_are_a_table_and_simulated_ones_say_so_first() {
    let mut lines = upgrade();
    for number in 0..3 {
        let mut simulated = line(number, 90.0 + number as f64);
        (simulated.simulated, simulated.clock) = (true, 10.0);
        simulated.stack = "simulator_c500".to_owned();
        simulated.metrics.insert("drift.mean_kld_nat".to_owned(), 1.25e-5);
        simulated
            .metrics
            .insert("correctness.passed_share".to_owned(), 1.0);
        lines.push(simulated);
    }
    lines.sort_by_key(|line| line.at);
    let all = trends(&lines, &Wanted::default());
    insta::assert_snapshot!(overview(&all, STYLE));
    let real: Vec<Trend> = all.iter().filter(|trend| !trend.key.simulated).cloned().collect();
    assert!(!overview(&real, STYLE).contains("SIMULATED"));
    let simulated = all.iter().find(|trend| trend.key.simulated).unwrap();
    let shown = single(simulated, 5, STYLE);
    assert!(shown.starts_with("SIMULATED: "), "{shown}");
    assert!(shown.contains("3 runs are too few"), "{shown}");
}

#[test]
fn hostile_names_are_shown_as_text() {
    let mut line = line(0, 1.0);
    line.model = fixture::HOSTILE.to_owned();
    line.stack = "=cmd()|'x'!A1,\"quoted\"\nnext".to_owned();
    line.metrics.insert(fixture::HOSTILE.to_owned(), f64::MAX);
    let trends = trends(&[line], &wanted("all"));
    let shown = overview(&trends, STYLE) + &single(&trends[0], 5, STYLE);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    let text = csv(&trends).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    assert!(reader.records().all(|record| record.unwrap().len() == 13));
}

#[test]
fn json_tells_everything() {
    let lines = &upgrade()[30..];
    let mut lines = lines.to_vec();
    for line in &mut lines {
        line.metrics.remove("memory.kv_cache");
        line.metrics.insert(
            OUTPUT.to_owned(),
            if line.run.as_str() < "run-044" {
                200.0
            } else {
                190.0
            },
        );
    }
    let trends = trends(&lines, &wanted("all"));
    let damaged = [Damage {
        file: "h.jsonl".into(),
        line: 3,
        what: "no line".to_owned(),
    }];
    let mut value: serde_json::Value =
        serde_json::from_str(&json(Path::new("h"), &trends, &damaged).unwrap()).unwrap();
    let points = value["trends"][0]["points"].as_array_mut().unwrap();
    assert_eq!(points.len(), 30);
    points.truncate(1);
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn findings_do_not_make_a_waiver() {
    let mut outcome = crate::record::Outcome::new("m::t", TrialKind::Latency, Verdict::Waived, Vec::new());
    outcome
        .findings
        .push(Finding::note("waived until never: (it nonsense)"));
    assert_eq!(outcome.before_waiver(), None);
}
