//! The format and the store, tested from outside: what is written returns, what was changed is told, nothing
//! accepted is lost.

use std::path::Path;

use proptest::prelude::*;

use super::sample::{answer, golden, header, position};
use super::update::Mode;
use super::*;

fn parse(text: &str) -> Result<Golden, GoldenError> {
    Golden::parse(text, Path::new("golden/m/case.snap"))
}

#[test]
fn a_golden_reads_well() {
    insta::assert_snapshot!(golden().to_snapshot().unwrap());
}

#[test]
fn insta_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.snap");
    let text = golden().to_snapshot().unwrap();
    std::fs::write(&path, &text).unwrap();
    let snapshot = insta::Snapshot::from_file(&path).unwrap();
    assert_eq!(snapshot.metadata().source(), Some("models.d/smollm2_135m.yaml"));
    assert_eq!(snapshot.metadata().expression(), Some("capital_of_france"));
    let body = text.split_once("\n---\n").unwrap().1;
    let insta::internals::SnapshotContents::Text(contents) = snapshot.contents() else {
        panic!("insta takes it for a binary snapshot");
    };
    assert_eq!(contents.to_string(), body.trim_end());
    // What `cargo insta accept` writes is this snapshot with insta's own layout of the head.
    snapshot.save(&path).unwrap();
    let accepted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(parse(&accepted).unwrap(), golden());
}

#[test]
fn a_golden_of_256_tokens_stays_under_60_kb() {
    let top: Vec<_> = (0..20)
        .map(|rank| (151_000 + rank, -20.5 - f64::from(rank)))
        .collect();
    let long = Answer {
        positions: vec![position(151_000, &top); 256],
        ..answer()
    };
    let pieces = vec![" acknowledgement".to_owned(); 256];
    let text = Golden::record(header(), "prompt", &long, pieces)
        .unwrap()
        .to_snapshot()
        .unwrap();
    assert!(text.len() <= 60_000, "{} bytes", text.len());
    assert_eq!(parse(&text).unwrap().positions.len(), 256);
}

#[test]
fn damaged_files_are_told_with_their_line() {
    let whole = golden().to_snapshot().unwrap();
    let mut errors = Vec::new();
    let mut tell = |what: &str, text: &str| {
        let error = parse(text).expect_err(what);
        errors.push(format!("{what}: {error}"));
    };
    tell("empty", "");
    tell("foreign", "# a markdown file\n");
    tell("head cut off", &whole[..whole.len() / 8]);
    tell("body cut off", whole.rsplit_once("# sha256").unwrap().0);
    tell("answer edited", &whole.replace("| The capital", "| The capitol"));
    tell("grade edited", &whole.replace("verdict: right", "verdict: wrong"));
    tell("other version", &whole.replace("golden: 1", "golden: 2"));
    tell(
        "newer version with other keys",
        &whole.replace("golden: 1", "golden: 7\n  shards: 3"),
    );
    tell("no verdict", &whole.replace("verdict: right", "verdict: maybe"));
    tell("bar lost", &whole.replace("| The capital", "The capital"));
    tell("token lost", &whole.replace("\n3575 -0", "\nx3575 -0"));
    tell("NaN", &whole.replace("3575 -0.2000", "3575 NaN"));
    tell(
        "alternatives cut off",
        &whole.replace("282 -0.2000 0", "282 -0.2000 "),
    );
    tell("a text lost", &whole.replace(" \" of\"", ""));
    tell("a section lost", &whole.replace("# answer", "# reply"));
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn answers_that_cannot_be_recorded_are_told() {
    let mut nan = answer();
    nan.positions[2].top[1].logprob = f64::NAN;
    let error = Golden::record(header(), "", &nan, Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer to capital_of_france cannot be recorded: position 2: token 900 has the logprob NaN"
    );
    let error = Golden::record(header(), "", &answer(), vec!["The".to_owned()]).unwrap_err();
    assert!(
        error.to_string().contains("1 token texts for 7 positions"),
        "{error}"
    );
    let mut huge = answer();
    huge.positions[0].token.id = 700_000;
    let error = Golden::record(header(), "", &huge, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("beyond"), "{error}");
}

fn store(root: &Path, mode: Mode) -> Store {
    let update = Update {
        mode,
        pending_dir: None,
    };
    Store::with_update(root, false, update)
}

#[test]
fn a_difference_waits_for_review_and_never_overwrites() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path(), Mode::Pending);
    let accepted = golden();
    assert_eq!(store.load("smollm2_135m", "capital_of_france").unwrap(), None);
    let path = store.accept(&accepted).unwrap();
    let mut changed = golden();
    changed.answer = "Lyon.".to_owned();
    let pending = store.pend(&changed).unwrap().unwrap();
    assert_eq!(pending, path.with_extension("snap.new"));
    assert_eq!(
        store.load("smollm2_135m", "capital_of_france").unwrap(),
        Some(accepted)
    );
    assert_eq!(
        store.load_pending("smollm2_135m", "capital_of_france").unwrap(),
        Some(changed)
    );
    assert!(store.clear_pending("smollm2_135m", "capital_of_france").unwrap());
    assert!(!pending.exists() && path.exists());
    assert!(!store.clear_pending("smollm2_135m", "capital_of_france").unwrap());
    let files = std::fs::read_dir(root.path().join("smollm2_135m"))
        .unwrap()
        .count();
    assert_eq!(files, 1, "temporary files stay behind");
}

#[test]
fn a_successor_keeps_the_reason_and_the_old_digest() {
    let old = golden();
    let new = Golden {
        answer: "Paris.".to_owned(),
        ..golden()
    };
    let new = new
        .replacing(&old, Some("0.12.0 answers in fewer words".to_owned()))
        .unwrap();
    assert_ne!(new.digest().unwrap(), old.digest().unwrap());
    let returned = parse(&new.to_snapshot().unwrap()).unwrap();
    assert_eq!(returned.header.replaces, Some(old.digest().unwrap()));
    assert_eq!(
        returned.header.reason.as_deref(),
        Some("0.12.0 answers in fewer words")
    );
}

#[test]
fn modes_decide_what_is_written() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(store(root.path(), Mode::Nothing).pend(&golden()).unwrap(), None);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    let unseen = store(root.path(), Mode::AcceptUnseen);
    assert_eq!(
        unseen.pend(&golden()).unwrap().unwrap().extension().unwrap(),
        "snap"
    );
    assert_eq!(
        unseen.pend(&golden()).unwrap().unwrap().extension().unwrap(),
        "new"
    );
    let changed = Golden {
        answer: "Lyon.".to_owned(),
        ..golden()
    };
    store(root.path(), Mode::Accept).pend(&changed).unwrap();
    let loaded = unseen.load("smollm2_135m", "capital_of_france").unwrap();
    assert_eq!(loaded, Some(changed));
}

#[test]
fn a_pending_dir_mirrors_the_workspace() {
    let update = Update {
        mode: Mode::Pending,
        pending_dir: Some("/pending".into()),
    };
    let store = Store::with_update("/checkout/golden", true, update);
    assert_eq!(
        store.pending_path("m", "c").unwrap(),
        Path::new("/pending/golden/simulated/m/c.snap.new")
    );
}

#[test]
fn a_simulated_golden_never_answers_for_a_real_stack() {
    let root = tempfile::tempdir().unwrap();
    let real = store(root.path(), Mode::Pending);
    let path = real.path("smollm2_135m", "capital_of_france").unwrap();
    let mut simulated = golden();
    simulated.header.simulated = true;
    assert!(matches!(real.pend(&simulated), Err(GoldenError::Foreign { .. })));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, simulated.to_snapshot().unwrap()).unwrap();
    let error = real
        .load("smollm2_135m", "capital_of_france")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(
            "holds a simulated golden of smollm2_135m/capital_of_france, expected a real golden of \
             smollm2_135m/capital_of_france; it was moved or copied: record the case again"
        ),
        "{error}"
    );
    assert!(matches!(real.load("simulated", "m"), Err(GoldenError::Name(_))));
}

#[test]
fn names_cannot_leave_the_folder() {
    let store = store(Path::new("golden"), Mode::Pending);
    for name in ["", "..", "../x", "a/b", ".hidden", "a\0b", "a b"] {
        assert!(
            matches!(store.load(name, "case"), Err(GoldenError::Name(_))),
            "{name:?}"
        );
        assert!(
            matches!(store.load("model", name), Err(GoldenError::Name(_))),
            "{name:?}"
        );
    }
}

prop_compose! {
    fn any_token()(id in 0..base85::END, logprob in -70.0..0.01_f64) -> TokenLogprob {
        TokenLogprob { id, logprob }
    }
}

prop_compose! {
    fn any_position()(token in any_token(), top in prop::collection::vec(any_token(), 0..21)) -> Position {
        Position { token, top }
    }
}

prop_compose! {
    fn any_golden()(
        prompt in any::<String>(),
        text in any::<String>(),
        reasoning in any::<Option<String>>(),
        positions in prop::collection::vec((any_position(), any::<String>()), 0..6),
        with_pieces in any::<bool>(),
        prompt_ids in prop::collection::vec(any::<u32>(), 0..40),
        call in prop::option::of("\\PC*"),
        (reason, stop, near_tie_nat, kld) in (any::<Option<String>>(), any::<String>(), 0.0..9.0_f64, 0.0..1.0_f64),
    ) -> Golden {
        let (positions, pieces): (Vec<_>, Vec<_>) = positions.into_iter().unzip();
        let arguments = [("key\n".to_owned(), serde_json::json!(["# answer", "|"]))].into();
        let answer = Answer {
            text,
            reasoning,
            tool_calls: call.map(|name| ToolCall { name, arguments }).into_iter().collect(),
            positions,
            prompt_ids: Some(prompt_ids),
            ..answer()
        };
        let floor = Floor { repeats: 3, near_tie_nat, identical_share: 0.5, top1_share: 0.75, mean_kld_nat: kld, max_kld_nat: kld * 9.0, mean_delta_nat: kld / 3.0 };
        let finish = if stop == "stop" || stop == "length" || stop == "tool_calls" {
            FinishReason::Stop
        } else {
            FinishReason::Other(stop)
        };
        let header = Header { reason, finish, floor: Some(floor), ..header() };
        Golden::record(header, &prompt, &answer, if with_pieces { pieces } else { Vec::new() }).unwrap()
    }
}

proptest! {
    #[test]
    fn what_is_written_returns(golden in any_golden()) {
        let text = golden.to_snapshot().unwrap();
        let returned = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&returned, &golden);
        prop_assert_eq!(returned.to_snapshot().unwrap(), text);
    }

    #[test]
    fn insta_hands_on_what_is_written(golden in any_golden()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.snap");
        std::fs::write(&path, golden.to_snapshot().unwrap()).unwrap();
        insta::Snapshot::from_file(&path).unwrap().save(&path).unwrap();
        let accepted = std::fs::read_to_string(&path).unwrap();
        let returned = parse(&accepted).map_err(|error| TestCaseError::fail(format!("{error}\n{accepted}")))?;
        prop_assert_eq!(returned, golden);
    }

    #[test]
    fn no_cut_passes_unseen(golden in any_golden(), at in 0.0..1.0_f64) {
        let text = golden.to_snapshot().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at is a share of the length")]
        let cut = text.floor_char_boundary((text.len() as f64 * at) as usize).min(text.len() - 2);
        prop_assert!(parse(text.get(..cut).unwrap_or_default()).is_err());
    }

    #[test]
    fn no_file_makes_the_reader_panic(text in "(---\n)?\\PC*(\n---\n)?\\PC*(\n# sha256\n)?") {
        let _ = parse(&text);
    }
}
