//! Holds the committed manifests, cases and stacks together: the strict loader has nothing to say of them, and the
//! cases keep the promises that runs and reports rely on. What a mistake looks like to a user is tested with the
//! loader; what the pictures show, with the example that draws them.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use harness::{
    judge::graders::{GradedAnswer, Judgement, grade, program},
    manifest::{Case, Catalogue, Diagnostics, Modality, check},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every case that a manifest uses, by its name; a case that several use must be the same one.
fn cases() -> Result<BTreeMap<String, Case>, Diagnostics> {
    let catalogue = Catalogue::open(&root());
    let mut cases = BTreeMap::new();
    for name in catalogue.model_names() {
        for loaded in catalogue.model(&name)?.cases {
            let earlier = cases.insert(loaded.case.id.clone(), loaded.case.clone());
            assert!(
                earlier.is_none_or(|case| case == loaded.case),
                "two cases called {}",
                loaded.case.id
            );
        }
    }
    Ok(cases)
}

#[test]
fn the_loader_finds_no_mistake() {
    let checked = check(&root(), &[]);
    assert!(checked.files.len() >= 7 + 12 + 7, "{:?}", checked.files);
    assert!(checked.errors.is_empty(), "{}", checked.errors);
}

#[test]
fn cases_are_plenty_and_about_a_third_have_goldens() -> Result<(), Diagnostics> {
    let cases = cases()?;
    let golden = cases.values().filter(|case| case.golden).count();
    let asked = cases.values().filter(|case| !case.scoring_only).count();
    assert!(asked >= 64, "{asked}");
    assert!((asked / 4..asked / 2).contains(&golden), "{golden} of {asked}");
    Ok(())
}

#[test]
fn every_model_has_prompts_enough_to_score() -> Result<(), Diagnostics> {
    let catalogue = Catalogue::open(&root());
    for name in catalogue.model_names() {
        let cases = catalogue.model(&name)?.cases;
        let scored = cases.iter().filter(|loaded| loaded.case.scoring_only);
        let tokens: Vec<u32> = scored.map(|loaded| loaded.case.max_tokens).collect();
        assert!(tokens.len() >= 50, "{name}: {} prompts", tokens.len());
        assert!(tokens.iter().sum::<u32>() >= 5_000, "{name}");
    }
    Ok(())
}

#[test]
fn every_case_is_graded_and_has_a_right_answer_within_its_limits() -> Result<(), Diagnostics> {
    for (id, case) in cases()? {
        if case.scoring_only {
            continue;
        }
        assert!(case.grade.is_some(), "{id}: no grader");
        assert!(
            case.reference.is_some() != case.reference_call.is_some(),
            "{id}: not one right answer"
        );
        assert!(
            !case.golden || case.max_tokens <= 64,
            "{id}: its golden would be long"
        );
        let reference = case.reference.unwrap_or_default();
        let cut = case.stop.iter().find(|stop| reference.contains(stop.as_str()));
        assert!(cut.is_none(), "{id}: {cut:?} would cut its right answer");
    }
    Ok(())
}

#[test]
fn every_case_fits_a_model() -> Result<(), Diagnostics> {
    let catalogue = Catalogue::open(&root());
    let mut orphans = cases()?;
    for name in catalogue.model_names() {
        let model = catalogue.model(&name)?;
        let sees = model.manifest.model.modalities.contains(&Modality::Image);
        let calls = model.manifest.model.tool_parser.is_some();
        for case in model.cases.into_iter().map(|loaded| loaded.case) {
            if (case.images.is_empty() || sees) && (case.tools.is_empty() || calls) {
                orphans.remove(&case.id);
            }
        }
    }
    assert!(orphans.is_empty(), "no model can be asked {:?}", orphans.keys());
    Ok(())
}

/// Findings of the graders that an answer does not satisfy. A grader that runs code is not asked here.
fn complaints(case: &Case, text: &str) -> Vec<String> {
    let tool_calls: Vec<_> = case.reference_call.clone().into_iter().collect();
    let answer = GradedAnswer {
        tool_calls: &tool_calls,
        ..GradedAnswer::of_text(text)
    };
    let results = case.grade.iter().flat_map(|wanted| grade(wanted, &answer));
    results
        .filter(|result| result.judgement == Judgement::Unsatisfied)
        .map(|result| format!("{}: {:?}", case.id, result.finding))
        .collect()
}

#[test]
fn graders_accept_the_right_answer() -> Result<(), Diagnostics> {
    let found: Vec<_> = cases()?
        .values()
        .flat_map(|case| complaints(case, case.reference.as_deref().unwrap_or_default()))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Right answers in other words than the reference's, as models give them.
const RIGHT: &[(&str, &str)] = &[
    ("arithmetic_product", "17 × 24 = **408**."),
    ("arithmetic_sum_of_three", "The sum is 1629."),
    ("arithmetic_negative_difference", "58 - 203 = -145"),
    ("arithmetic_percentage", "12.5% of 640 is 80."),
    ("arithmetic_celsius_to_fahrenheit", "35 °C is 95 °F."),
    ("arithmetic_chain", "160 + 50 - 120:\n\n\\(\\boxed{90}\\)"),
    ("knowledge_formula_of_water", "$\\mathrm{H_2O}$"),
    ("knowledge_sides_of_a_hexagon", "6"),
    ("knowledge_gas_of_respiration", "B) oxygen"),
    ("knowledge_gas_of_respiration", "The answer is **B**."),
    ("chinese_months_of_a_year", "一年有12个月。"),
    ("chinese_animal_that_lays_eggs", "答案是C。"),
    ("chinese_direction_of_sunrise", "东。"),
    ("first_animal_that_barks", "It is the dog that barks."),
    ("first_count_to_ten", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10"),
    ("first_days_of_a_week", "7"),
    ("instruction_numbered_list", "1) Red\n2) Green\n3) Blue\n"),
    ("instruction_last_words", "Apple END OF LIST."),
    ("instruction_of_the_system", "**HONEY**"),
    ("json_person", "```json\n{\"age\": 34, \"name\": \"Mira\"}\n```"),
    ("language_cat_into_chinese", "猫 (māo)"),
    ("language_tea_into_english", "Every morning I have a cup of tea."),
    ("needle_3k_depth_100", "It leaves at 9:35 p.m."),
    ("needle_6k_depth_40", "3,170 crowns"),
    ("steady_stops_when_told", "Tick tick tick tick tick stop."),
    ("vision_count_discs", "There are five black dots."),
    ("vision_corner", "Top-right corner"),
    ("vision_written_sum", "27+15 = 42"),
];

#[test]
fn graders_accept_right_answers_in_other_words() -> Result<(), Diagnostics> {
    let cases = cases()?;
    let found: Vec<_> = RIGHT
        .iter()
        .flat_map(|(id, text)| complaints(&cases[*id], text))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Wrong answers that hold something of the right one.
const WRONG: &[(&str, &str)] = &[
    ("arithmetic_product", "17 × 24 is 408, no: 418"),
    ("arithmetic_negative_difference", "145"),
    ("knowledge_formula_of_water", "H2O2"),
    ("knowledge_gas_of_respiration", "A or B"),
    ("knowledge_sides_of_a_hexagon", "Between 5 and 6"),
    ("knowledge_symbol_of_gold", "because it is golden"),
    ("chinese_direction_of_sunrise", "从西边到东边"),
    ("first_animal_that_barks", "A cat barks, not a dog."),
    ("first_count_to_ten", "1, 2, 3, 5, 6, 7, 8, 9, 10"),
    ("knowledge_farthest_from_the_equator", "A) Cairo"),
    ("instruction_capital_letters", "harbour light"),
    ("instruction_count_down", "5, 4, 3, 2, 1"),
    ("instruction_last_words", "END OF LIST"),
    ("instruction_numbered_list", "1. Red\n2. Green\n3. Blue\n4. Pink"),
    ("instruction_of_the_system", "Honey"),
    ("instruction_two_lines", "north south"),
    ("json_person", "{\"name\": \"Mira\", \"age\": \"34\"}"),
    ("json_list_of_squares", "[1, 4, 9, 16]"),
    ("needle_3k_depth_100", "It leaves at 20:35."),
    (
        "steady_count_to_forty",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 12, 13",
    ),
    ("steady_stops_when_told", "tick tick tick tick stop"),
    ("vision_count_discs", "There are 5 or 6 dots."),
    ("vision_corner", "bottom right"),
    ("vision_left_shape", "square"),
];

#[test]
fn graders_refuse_wrong_answers() -> Result<(), Diagnostics> {
    let cases = cases()?;
    let fooled: Vec<_> = WRONG
        .iter()
        .filter(|(id, text)| complaints(&cases[*id], text).is_empty())
        .collect();
    assert!(fooled.is_empty(), "{fooled:#?}");
    let looping = "the kite flew over the hill and ".repeat(20);
    for story in ["steady_story", "steady_story_in_chinese", "steady_explanation"] {
        assert!(!complaints(&cases[story], &looping).is_empty(), "{story}");
    }
    Ok(())
}

/// Runs a program of our own, which needs no sandbox.
fn python(text: &str) -> io::Result<Output> {
    let mut python = Command::new("python3")
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = python.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    python.wait_with_output()
}

#[test]
fn right_code_passes_its_tests_and_no_code_fails_them() -> Result<(), Diagnostics> {
    if let Err(error) = python("") {
        let required =
            env::var("HARNESS_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item == "python"));
        assert!(!required, "python3 is required: {error}");
        _ = writeln!(
            io::stderr(),
            "skipped: code cases are not run, as python3 cannot be started: {error}"
        );
        return Ok(());
    }
    for (id, case) in cases()? {
        let Some(code) = case.grade.and_then(|wanted| wanted.code) else {
            continue;
        };
        let run = |answer: &str| program(&code, answer).map(|text| python(&text));
        let right = run(case.reference.as_deref().unwrap_or_default());
        assert!(
            matches!(&right, Some(Ok(output)) if output.status.success()),
            "{id}: {right:?}"
        );
        let wrong = run("pass");
        assert!(
            matches!(&wrong, Some(Ok(output)) if !output.status.success()),
            "{id}: {wrong:?}"
        );
    }
    Ok(())
}
