//! Every kind of difference as it is shown, and what each decision leaves on disk.

use std::fs;
use std::path::Path;

use time::macros::datetime;

use super::*;
use crate::golden::sample::{golden, position};
use crate::golden::{Floor, Golden, GradeVerdict, Grading};
use crate::report::Style;

const PLAIN: Style = Style {
    colour: false,
    width: 80,
};

/// The accepted golden with Lyon among the alternatives of Paris.
fn paris() -> Golden {
    let mut golden = golden();
    golden.positions[5] = position(
        7042,
        &[(7042, -0.5), (8000, -3.5), (902, -4.0), (903, -5.25), (904, -6.0)],
    );
    golden
}

/// The same case on another stack.
fn elsewhere(old: &Golden) -> Golden {
    let mut new = golden();
    new.header.recorded.at = datetime!(2026-04-01 08:30:00 UTC);
    new.header.recorded.stack = "cpu_vllm0.8.5".to_owned();
    new.header.recorded.vllm = "0.8.5".to_owned();
    new.header.recorded.command = "vllm serve /models/smollm2 --dtype bfloat16 --max-num-seqs 16 \
                                   --generation-config vllm --no-enable-prefix-caching"
        .to_owned();
    new.header.replaces = Some(old.digest().unwrap());
    new.positions[2].token.logprob = -0.25;
    new.positions[5] = position(
        7042,
        &[(7042, -0.5), (8000, -0.6), (902, -4.0), (903, -5.25), (904, -6.0)],
    );
    new
}

/// Lyon instead of Paris, with the logprob that Paris has beside Lyon's −0.5.
fn lyon(old: &Golden, paris_nat: f64) -> Golden {
    let mut new = elsewhere(old);
    new.answer = "The capital of France is Lyon.".to_owned();
    new.positions[5] = position(
        8000,
        &[
            (8000, -0.5),
            (7042, paris_nat),
            (902, -4.0),
            (903, -5.25),
            (904, -6.0),
        ],
    );
    new.pieces[5] = " Lyon".to_owned();
    new
}

fn wrong(mut golden: Golden) -> Golden {
    golden.header.grade = Grading {
        verdict: GradeVerdict::Wrong,
        graders: vec!["contains".to_owned()],
    };
    golden
}

fn pending(old: Option<Golden>, new: Golden) -> Pending {
    Pending {
        model: new.header.model.clone(),
        case: new.header.case.clone(),
        difference: Ok(Difference::of(old, new)),
    }
}

/// Answers parted by a near tie, with a floor that allows it.
fn near_tie() -> (Golden, Golden) {
    let mut old = paris();
    old.positions[5].top[1].logprob = -0.6;
    old.header.floor = Some(Floor {
        repeats: 3,
        top1_share: 1.0,
        max_kld_nat: 0.0,
        near_tie_nat: 0.2,
        identical_share: 0.9,
        mean_kld_nat: 1e-4,
        mean_delta_nat: 1e-3,
    });
    old.header.reason = Some("recorded on the reference card".to_owned());
    let new = lyon(&old, -0.6);
    (old, new)
}

/// One of each kind, by name.
fn gallery() -> Vec<(&'static str, Pending)> {
    let old = paris();
    let (tie_old, tie_new) = near_tie();
    let mut first = wrong(elsewhere(&old));
    first.header.replaces = None;
    let mut same_text = lyon(&tie_old, -0.6);
    same_text.answer.clone_from(&tie_old.answer);
    let mut other_prompt = elsewhere(&old);
    other_prompt.prompt_ids[4] = 9;
    let mut hostile = lyon(&old, -2.25);
    hostile.prompt = "</pre><script>alert(1)</script>\u{1b}[2J\u{202e}首都".to_owned();
    hostile.answer = "The capital of France is \"><img src=x onerror=alert(1)>\u{7}.".to_owned();
    hostile.pieces[5] = " \"><img src=x onerror=alert(1)>\u{7}\n".to_owned();
    hostile.header.recorded.command = "vllm serve '<b>'\u{1b}]0;title\u{7}".to_owned();
    let foreign = Golden::parse("not a golden", Path::new("golden/m/torn.snap.new")).unwrap_err();
    vec![
        ("new", pending(None, first)),
        ("identical", pending(Some(old.clone()), elsewhere(&old))),
        ("near_tie", pending(Some(tie_old.clone()), tie_new)),
        ("same_text", pending(Some(tie_old), same_text)),
        ("divergent", pending(Some(old.clone()), lyon(&old, -2.25))),
        ("grade_fell", pending(Some(old.clone()), wrong(lyon(&old, -2.25)))),
        ("other_prompt", pending(Some(old.clone()), other_prompt)),
        ("hostile", pending(Some(old), hostile)),
        (
            "unreadable",
            Pending {
                model: "m".to_owned(),
                case: "torn".to_owned(),
                difference: Err(foreign),
            },
        ),
    ]
}

fn view(pending: &Pending) -> View {
    View::of(pending, false).unwrap()
}

#[test]
fn each_kind_has_its_screen() {
    for (name, pending) in gallery() {
        insta::assert_snapshot!(name, screen::render(&view(&pending), (2, 7), PLAIN));
    }
}

#[test]
fn no_screen_is_wider_than_the_terminal() {
    for width in [40, 80] {
        for (name, pending) in gallery() {
            let shown = screen::render(&view(&pending), (2, 7), Style { width, ..PLAIN });
            let widest = shown.lines().map(crate::report::text::width).max().unwrap();
            assert!(widest <= width, "{name} at {width}: {widest}\n{shown}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, pending) in gallery() {
        let view = View::of(&pending, true).unwrap();
        let coloured = screen::render(
            &view,
            (1, 1),
            Style {
                colour: true,
                ..PLAIN
            },
        );
        let plain = screen::render(&view, (1, 1), PLAIN);
        assert_eq!(console::strip_ansi_codes(&coloured), plain, "{name}");
        assert_ne!(coloured, plain, "{name}");
        assert!(plain.starts_with("SIMULATED: "), "{plain}");
        assert!(!plain.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{plain:?}");
    }
}

#[test]
fn a_long_answer_keeps_what_is_beside_the_change() {
    let (mut old, mut new) = (paris(), lyon(&paris(), -2.25));
    for golden in [&mut old, &mut new] {
        golden.pieces.clear();
        golden.answer = format!("{}{}{}", "so ".repeat(900), golden.answer, " and".repeat(900));
    }
    let shown = screen::render(&view(&pending(Some(old), new)), (1, 1), PLAIN);
    assert!(
        shown.contains("▶[-Paris-]{+Lyon+}") || shown.contains("▶[-Paris. -]"),
        "{shown}"
    );
    assert!(shown.lines().count() < 50, "{shown}");
    assert_eq!(shown.matches(" characters …]").count(), 2, "{shown}");
}

#[test]
fn the_list_has_a_line_each() {
    let lines: String = gallery()
        .iter()
        .map(|(_, pending)| screen::line(&view(pending), PLAIN))
        .collect();
    insta::assert_snapshot!(lines);
}

#[test]
fn the_page_holds_them_all() {
    let views: Vec<_> = gallery().iter().map(|(_, pending)| view(pending)).collect();
    insta::assert_snapshot!("page", page::render(&views).unwrap());
}

#[test]
fn the_page_fetches_and_runs_nothing() {
    let views: Vec<_> = gallery().iter().map(|(_, pending)| view(pending)).collect();
    let html = page::render(&views).unwrap();
    for forbidden in [
        "<script", "<img", "<b>", "http://", "https://", "url(", "@import", "\u{1b}",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(html.contains("&lt;script&gt;"));
    assert!(!html.contains("SIMULATED"));
    let simulated = View::of(&gallery()[0].1, true).unwrap();
    assert!(page::render(&[simulated]).unwrap().contains("SIMULATED"));
    assert!(page::render(&[]).unwrap().contains("No golden waits"));
}

#[test]
fn the_json_is_what_is_shown() {
    let (_, divergent) = &gallery()[4];
    insta::assert_json_snapshot!(view(divergent));
}

/// A store with one accepted golden and its pending successor.
fn store(folder: &Path, old: Option<&Golden>, new: &Golden) -> Store {
    let update = crate::golden::Update::from_variables(|_| None).unwrap();
    let store = Store::with_update(folder.join("golden"), false, update);
    if let Some(old) = old {
        store.accept(old).unwrap();
    }
    store.pend(new).unwrap().unwrap();
    store
}

fn accepted(store: &Store) -> Golden {
    store.load("smollm2_135m", "capital_of_france").unwrap().unwrap()
}

#[test]
fn what_is_accepted_keeps_reason_and_predecessor() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (paris(), wrong(lyon(&paris(), -2.25)));
    let store = store(folder.path(), Some(&old), &new);
    let waiting = super::pending(&store, Some("smollm2_135m")).unwrap();
    let error = accept(&store, &waiting[0], Some("  ")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "smollm2_135m/capital_of_france needs a reason: the grade fell; say why with --reason"
    );
    assert_eq!(accepted(&store), old, "nothing was written");

    accept(&store, &waiting[0], Some(" the new tokenizer ")).unwrap();
    let now = accepted(&store);
    assert_eq!(now.header.reason.as_deref(), Some("the new tokenizer"));
    assert_eq!(now.header.replaces, Some(old.digest().unwrap()));
    assert_eq!(now.answer, new.answer);
    assert!(super::pending(&store, None).unwrap().is_empty());
}

#[test]
fn all_are_accepted_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (paris(), lyon(&paris(), -2.25));
    let store = store(folder.path(), Some(&old), &new);
    let mut unseen = new.clone();
    unseen.header.case = "another".to_owned();
    unseen.header.replaces = None;
    store.pend(&unseen).unwrap();
    let waiting = super::pending(&store, None).unwrap();
    assert_eq!(waiting.len(), 2);
    let both: Vec<_> = waiting.iter().collect();
    assert!(accept_all(&store, &both, None).is_err());
    assert_eq!(
        super::pending(&store, None).unwrap().len(),
        2,
        "nothing was written"
    );
    assert_eq!(accept_all(&store, &both, Some("reviewed")).unwrap().len(), 2);
    assert!(super::pending(&store, None).unwrap().is_empty());
}

#[test]
fn a_floor_outlives_an_answer_of_the_same_server_only() {
    let (old, mut new) = near_tie();
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Some(&old), &new);
    let waiting = super::pending(&store, None).unwrap();
    let error = accept(&store, &waiting[0], None).unwrap_err();
    assert!(
        error.to_string().contains("the bound of a near tie grows"),
        "{error}"
    );
    accept(
        &store,
        &waiting[0],
        Some("the floor of this stack is not known yet"),
    )
    .unwrap();
    assert_eq!(accepted(&store).header.floor, None);
    new.header.recorded = old.header.recorded.clone();
    store.accept(&old).unwrap();
    store.pend(&new).unwrap();
    accept(&store, &super::pending(&store, None).unwrap()[0], None).unwrap();
    assert_eq!(accepted(&store).header.floor, old.header.floor);
}

#[test]
fn what_cannot_be_read_is_only_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (paris(), lyon(&paris(), -2.25));
    let store = store(folder.path(), Some(&old), &new);
    let file = store.pending_path("smollm2_135m", "capital_of_france").unwrap();
    let text = fs::read_to_string(&file).unwrap().replace("Lyon", "Nice");
    fs::write(&file, text).unwrap();
    let waiting = super::pending(&store, None).unwrap();
    let error = accept(&store, &waiting[0], Some("why not")).unwrap_err();
    assert!(matches!(error, ReviewError::Unreadable { .. }), "{error}");
    assert_eq!(accepted(&store), old);
    assert!(reject(&store, &waiting[0]).unwrap());
    assert!(!file.exists());
    assert_eq!(accepted(&store), old);
}

#[test]
fn a_golden_that_changed_meanwhile_is_told() {
    let (old, new) = (paris(), lyon(&paris(), -2.25));
    assert!(!Difference::of(Some(old.clone()), new.clone()).is_stale().unwrap());
    let mut other = old;
    other.header.reason = Some("another reviewer".to_owned());
    let stale = pending(Some(other), new);
    assert!(view(&stale).notes[0].contains("validate again"));
}

#[test]
fn the_keys_walk_through() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (paris(), wrong(lyon(&paris(), -2.25)));
    let store = store(folder.path(), Some(&old), &new);
    for case in ["d_second", "e_third", "f_fourth"] {
        let mut unseen = elsewhere(&old);
        unseen.header.case = case.to_owned();
        unseen.header.replaces = None;
        store.pend(&unseen).unwrap();
    }
    let mut walk = Walk::new(&store, super::pending(&store, None).unwrap());
    assert_eq!(walk.place(), (1, 4));
    assert_eq!(walk.press('?'), Step::Show);
    assert!(walk.take_notice().unwrap().contains("a accept"));
    assert_eq!(walk.press('o'), Step::Open);
    // A reason is asked for where one is needed; without one nothing happens.
    assert_eq!(walk.press('a'), Step::AskReason);
    assert_eq!(walk.give_reason(" "), Step::Show);
    assert!(walk.take_notice().unwrap().contains("no reason"));
    assert_eq!(walk.press('a'), Step::AskReason);
    assert_eq!(walk.give_reason("the kernel of this stack"), Step::Show);
    assert_eq!(
        accepted(&store).header.reason.as_deref(),
        Some("the kernel of this stack")
    );
    // Each golden has its own reason: the next one is accepted without.
    assert_eq!(walk.current().unwrap().case, "d_second");
    assert_eq!(walk.press('a'), Step::Show);
    let second = store.load("smollm2_135m", "d_second").unwrap().unwrap();
    assert_eq!(second.header.reason, None);
    assert_eq!(walk.press('r'), Step::Show);
    assert_eq!(store.load_pending("smollm2_135m", "e_third").unwrap(), None);
    assert_eq!(walk.press('e'), Step::AskReason);
    assert_eq!(walk.give_reason("a first look"), Step::Show);
    assert_eq!(walk.reason(), Some("a first look"));
    assert_eq!(walk.press('s'), Step::End);
    assert_eq!(
        (walk.counts().accepted, walk.counts().rejected, walk.left()),
        (2, 1, 1)
    );
    assert!(store.load_pending("smollm2_135m", "f_fourth").unwrap().is_some());
    assert_eq!(walk.press('a'), Step::End);
}
