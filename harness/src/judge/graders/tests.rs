//! Each grader with right, wrong and adversarial answers; the findings' words are snapshots.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::manifest::{
    Choice, Code, CodeLanguage, Contains, Exact, ImageWords, Json, Language, NoRepetition, Number, Regex,
    ToolCallGrade,
};
use crate::sandbox::{CodeExit, CodeRun};

/// The one result of a case with one grader.
fn one(case: &Grade, answer: &GradedAnswer<'_>) -> GraderResult {
    let mut results = grade(case, answer);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn satisfied(case: &Grade, text: &str) -> bool {
    let result = one(case, &GradedAnswer::of_text(text));
    assert_ne!(result.judgement, Judgement::NotRun, "{}", result.finding.text);
    result.judgement == Judgement::Satisfied
}

#[track_caller]
fn check(case: &Grade, right: &[&str], wrong: &[&str]) {
    for text in right {
        assert!(satisfied(case, text), "should be right: {text:?}");
    }
    for text in wrong
        .iter()
        .chain(&["", " \n\t", "I'm sorry, but I can't help with that."])
    {
        assert!(!satisfied(case, text), "should be wrong: {text:?}");
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn exact(any: &[&str], case_sensitive: bool) -> Grade {
    Grade {
        exact: Some(Exact {
            any: strings(any),
            case_sensitive,
        }),
        ..Grade::default()
    }
}

fn contains(all: &[&str], any: &[&str], none: &[&str]) -> Grade {
    Grade {
        contains: Some(Contains {
            all: strings(all),
            any: strings(any),
            none: strings(none),
        }),
        ..Grade::default()
    }
}

fn regex(pattern: &str) -> Grade {
    Grade {
        regex: Some(Regex {
            pattern: pattern.to_owned(),
        }),
        ..Grade::default()
    }
}

fn number(value: f64, tolerance: f64) -> Grade {
    Grade {
        number: Some(Number { value, tolerance }),
        ..Grade::default()
    }
}

fn person() -> Grade {
    Grade {
        json: Some(Json {
            schema: json!({
                "type": "object",
                "required": ["name", "age"],
                "additionalProperties": false,
                "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
            }),
        }),
        ..Grade::default()
    }
}

fn choice(answer: &str) -> Grade {
    Grade {
        choice: Some(Choice {
            answer: answer.to_owned(),
            among: "ABCD".to_owned(),
        }),
        ..Grade::default()
    }
}

fn weather() -> Grade {
    Grade {
        tool_call: Some(ToolCallGrade {
            name: "get_weather".to_owned(),
            arguments: json!({
                "type": "object",
                "required": ["city"],
                "properties": {"city": {"enum": ["Paris"]}},
            }),
        }),
        ..Grade::default()
    }
}

fn square() -> Grade {
    Grade {
        code: Some(Code {
            language: CodeLanguage::Python,
            before: String::new(),
            tests: "assert f(2) == 4".to_owned(),
        }),
        ..Grade::default()
    }
}

fn images(all: &[&[&str]]) -> Grade {
    Grade {
        image_words: Some(ImageWords {
            all: all.iter().map(|names| strings(names)).collect(),
        }),
        ..Grade::default()
    }
}

fn no_repetition() -> Grade {
    Grade {
        no_repetition: Some(NoRepetition { max_share: 0.3 }),
        ..Grade::default()
    }
}

fn language(language: Language) -> Grade {
    Grade {
        language: Some(language),
        ..Grade::default()
    }
}

#[test]
fn exact_texts() {
    check(
        &exact(&["Paris", "PARIS, France"], false),
        &["Paris", " paris\n", "Paris, france"],
        &["Paris.", "Paris is it", "Par is"],
    );
    check(&exact(&["OK"], true), &["OK"], &["ok", "OK OK"]);
    assert!(
        satisfied(&exact(&["I cannot say."], false), "I cannot say."),
        "a refusal may be the truth"
    );
}

#[test]
fn contained_texts() {
    check(
        &contains(&["Paris"], &["Seine", "Louvre"], &["Lyon"]),
        &["PARIS lies on the seine"],
        &[
            "Paris",
            "The Seine and the Louvre",
            "Paris, Seine, Lyon",
            "As an AI, I cannot visit Paris on the Seine.",
        ],
    );
    check(&contains(&[], &[], &["error"]), &["fine"], &["An Error occurred"]);
    check(
        &contains(&["巴黎"], &[], &[]),
        &["法国的首都是巴黎。"],
        &["里昂", "抱歉，我无法回答关于巴黎的问题。"],
    );
}

#[test]
fn patterns() {
    check(
        &regex(r"^\d{4}-\d{2}-\d{2}$"),
        &["2024-02-29"],
        &["29.02.2024", "on 2024-02-29"],
    );
    let broken = one(&regex("("), &GradedAnswer::of_text("text"));
    assert_eq!(broken.judgement, Judgement::NotRun);
    assert!(
        broken
            .finding
            .text
            .starts_with("regex: not run: the case's pattern is broken"),
        "{}",
        broken.finding.text
    );
}

#[test]
fn numbers() {
    check(
        &number(42.0, 0.0),
        &["42", "6 × 7 = 42.", "It is **42**!", "四十二，即42。"],
        &["41", "42 or 43", "forty-two", "4.2", "-42", "420", "NaN", "H42"],
    );
    check(&number(2.54, 0.01), &["≈ 2.54", "2.55 cm"], &["2.52", "22"]);
}

#[test]
fn json_values() {
    check(
        &person(),
        &[
            r#"{"name": "Ada", "age": 36}"#,
            "Here you are:\n```json\n{\"name\": \"Ada\", \"age\": 36}\n```\nDone.",
        ],
        &[
            r#"{"name": "Ada"}"#,
            r#"{"name": "Ada", "age": "36"}"#,
            r#"{"name": "Ada", "age": 36, "more": 1}"#,
            r#"{"name": "Ada", "age": 36"#,
            r#"Sure! {"name": "Ada", "age": 36}"#,
            "```json\n{\"name\": \"Ada\", \"age\": 36}\n```\n```json\n{}\n```",
            "[]",
            &"[".repeat(100_000),
        ],
    );
    let broken = Grade {
        json: Some(Json {
            schema: json!({"type": 5}),
        }),
        ..Grade::default()
    };
    assert_eq!(
        one(&broken, &GradedAnswer::of_text("{}")).judgement,
        Judgement::NotRun
    );
}

#[test]
fn choices() {
    check(
        &choice("B"),
        &[
            "B",
            "b",
            "(B)",
            "B.",
            "**B**",
            "B) Paris",
            "B. Paris",
            "B: Paris, since A and C are not capitals",
            "The answer is B",
            "The correct answer is: **B**.",
            "The correct answer is option B) Paris.",
            "Answer: (B)",
            "答案是B。",
            "答案：B",
            "正确答案为 B，因为 A 不对",
            "我选择B",
            "Thus $\\boxed{B}$",
            "\\boxed{\\text{B}}",
            "Options: A) Lyon B) Paris C) Nice. The answer is B.",
            "I would say B because it is the capital.",
            "It isn't A. The answer is B.",
            "A is wrong, so B.",
            "A good question. The answer is B.",
        ],
        &[
            "A",
            "The answer is A",
            "A or B",
            "Both A and B",
            "The answer is B or C",
            "The answer is A. Wait, the answer is B.",
            "The answer is not B",
            "B is wrong.",
            "Paris",
            "A) Lyon\nB) Paris\nC) Nice\nD) Lille",
            "E",
            "Because",
            "答案是A和B",
            "不是B",
        ],
    );
    check(
        &choice("A"),
        &["A", "A) Lyon", "The answer is A"],
        &["A capital is a city.", "B"],
    );
}

#[test]
fn tool_calls() {
    let call = |name: &str, city: &str| ToolCall {
        name: name.to_owned(),
        arguments: [("city".to_owned(), json!(city))].into(),
    };
    let judge = |tool_calls: &[ToolCall], text: &str| {
        let answer = GradedAnswer {
            tool_calls,
            ..GradedAnswer::of_text(text)
        };
        one(&weather(), &answer)
    };
    assert_eq!(
        judge(&[call("get_weather", "Paris")], "").judgement,
        Judgement::Satisfied
    );
    let wrong = [
        judge(&[call("get_weather", "Lyon")], ""),
        judge(&[call("get_time", "Paris")], ""),
        judge(&[call("get_weather", "Paris"), call("get_weather", "Lyon")], ""),
        judge(&[], "It is sunny."),
        judge(&[], r#"<tool_call>{"name": "get_weather"}</tool_call>"#),
    ];
    let texts: Vec<_> = wrong.iter().map(|result| result.finding.text.as_str()).collect();
    assert!(
        wrong
            .iter()
            .all(|result| result.judgement == Judgement::Unsatisfied)
    );
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn code_by_its_run() {
    let judge = |text: &str, exit, output: &str| {
        let run = CodeRun {
            exit,
            output: output.to_owned(),
        };
        let answer = GradedAnswer {
            code_run: Ok(&run),
            ..GradedAnswer::of_text(text)
        };
        one(&square(), &answer)
    };
    let text = "```python\ndef f(x):\n    return x\n```";
    assert_eq!(
        judge(text, CodeExit::Finished, "").judgement,
        Judgement::Satisfied
    );
    let wrong = [
        judge(
            text,
            CodeExit::Code(1),
            "Traceback …\n  assert f(2) == 4\nAssertionError\n",
        ),
        judge(text, CodeExit::TimedOut { after_s: 10 }, ""),
        judge(text, CodeExit::OutOfMemory, ""),
        judge(text, CodeExit::LeftEarly, "bye\n"),
        judge("```rust\nfn f() {}\n```", CodeExit::Finished, ""),
        judge("", CodeExit::Finished, ""),
        judge("I cannot write code.", CodeExit::Finished, ""),
    ];
    assert!(
        wrong
            .iter()
            .all(|result| result.judgement == Judgement::Unsatisfied)
    );
    let answer = GradedAnswer {
        code_run: Err("Docker does not answer"),
        ..GradedAnswer::of_text(text)
    };
    let not_run = one(&square(), &answer);
    assert_eq!(not_run.judgement, Judgement::NotRun);
    let texts: Vec<_> = wrong
        .iter()
        .chain([&not_run])
        .map(|result| result.finding.text.as_str())
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn words_of_an_image() {
    check(
        &images(&[&["red", "crimson"], &["circle", "disc", "圆"]]),
        &[
            "A red circle.",
            "Two crimson discs",
            "RED circles",
            "一个 red 圆形",
        ],
        &["A circle", "It is coloured and circular", "a redcircle", "red"],
    );
}

#[test]
fn loops() {
    check(
        &no_repetition(),
        &[
            "The sun rises in the east and sets in the west, while the moon keeps its own hours.",
            "北京是中国的首都，也是全国的政治和文化中心，拥有三千多年的历史。",
            "42",
        ],
        &[
            &"the cat sat on the mat ".repeat(20),
            &"我不知道".repeat(20),
            &"!".repeat(400),
            &"ha".repeat(300),
            &"a\n".repeat(50),
        ],
    );
}

#[test]
fn languages() {
    check(
        &language(Language::English),
        &[
            "Paris is the capital of France.",
            "The word 巴黎 means Paris in Chinese.",
        ],
        &[
            "巴黎是法国的首都。",
            "Париж — столица Франции.",
            "42",
            "Paris是法国的首都，位于塞纳河畔。",
        ],
    );
    check(
        &language(Language::Chinese),
        &["巴黎是法国的首都。", "使用 Python 的 print 函数可以输出文字。"],
        &[
            "Paris is the capital of France.",
            "パリはフランスの首都です。",
            "東京都は日本の首都である。",
            "Paris (巴黎) is the capital of France.",
            "抱歉，我无法回答这个问题。",
        ],
    );
}

#[test]
fn refusals_in_the_usual_words() {
    for text in [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t assist with that.",
        "Sorry, I am unable to do so.",
        "As an AI language model, I cannot feel.",
        "Unfortunately, I am not able to see images.",
        "很抱歉，我无法提供帮助。",
        "我无法回答。",
    ] {
        assert!(prose::is_refusal(text), "{text}");
    }
    for text in [
        "Sorry is a song by Justin Bieber.",
        "The cannon can't fire.",
        "It cannot be determined.",
        "Unfortunately, the shop can't sell half an apple, so the answer is 7.",
        "Unfortunately, it cannot be determined.",
        "对不起的英文是 sorry。",
    ] {
        assert!(!prose::is_refusal(text), "{text}");
    }
}

#[test]
fn every_grader_of_a_case_is_asked_and_says_what_was_wanted() {
    let all = Grade {
        exact: exact(&["42"], false).exact,
        contains: contains(&["Paris", "Seine"], &[], &[]).contains,
        regex: regex("^yes$").regex,
        number: number(42.0, 0.5).number,
        json: person().json,
        choice: choice("B").choice,
        tool_call: weather().tool_call,
        code: square().code,
        image_words: images(&[&["red", "crimson"], &["circle"]]).image_words,
        no_repetition: no_repetition().no_repetition,
        language: Some(Language::Chinese),
    };
    let results = grade(
        &all,
        &GradedAnswer::of_text("A. It is 41.\nThat is it is it is it is it is it is it."),
    );
    let text: Vec<_> = results
        .iter()
        .map(|result| {
            format!(
                "{:?} {}\n  {}",
                result.judgement,
                result.finding.text,
                result.finding.evidence.join("\n  ")
            )
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"));
    assert!(grade(&Grade::default(), &GradedAnswer::of_text("text")).is_empty());
}

#[test]
fn long_answers_are_quoted_by_both_ends() {
    let long = format!("begin{}end", "长".repeat(1_000));
    let lines = quoted(&long);
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("answer | begin长") && lines[2].ends_with("长end"));
    assert_eq!(lines[1], "answer | […608 characters left out…]");
}

proptest! {
    #[test]
    fn no_answer_makes_a_grader_panic(text in "\\PC{0,200}") {
        let cases = [
            exact(&["x"], false), contains(&["x"], &["y"], &["z"]), regex("x+"), number(1.0, 0.0), person(), choice("B"),
            weather(), square(), images(&[&["x"]]), no_repetition(), language(Language::Chinese),
        ];
        for case in cases {
            let result = one(&case, &GradedAnswer::of_text(&text));
            prop_assert!(!result.finding.text.is_empty());
        }
    }
}
