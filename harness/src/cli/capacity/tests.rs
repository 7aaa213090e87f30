//! Table, picture and JSON of what is known.

use std::path::Path;

use clap::Parser;

use super::{Answer, Arguments, picture, table};
use crate::report::Style;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn answer(words: &str) -> Answer {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let words = std::iter::once("capacity").chain(words.split_whitespace());
    let question = Command::parse_from(words).arguments.question(root).unwrap();
    Answer::of(&question).unwrap()
}

fn shown(words: &str) -> String {
    let style = Style {
        colour: false,
        width: 110,
    };
    table::render(&answer(words), style)
}

const REPORTED: &str =
    "--model mistral_7b_v0_1 --weights-gib 13.50 --non-torch-gib 0.48 --activation-gib 6.78";

#[test]
fn the_first_report_as_a_table() {
    insta::assert_snapshot!(shown(REPORTED));
}

#[test]
fn a_model_over_two_hosts_as_a_table() {
    insta::assert_snapshot!(shown("--model deepseek_v2_236b --card c500"));
}

#[test]
fn what_does_not_fit_as_a_table() {
    insta::assert_snapshot!(shown("--model qwen3_32b --tp 1"));
}

#[test]
fn the_json_has_every_key() {
    let mut answer = answer(REPORTED);
    assert_eq!(answer.layouts.len(), 16);
    answer.layouts.truncate(2);
    insta::assert_json_snapshot!(answer);
}

#[test]
fn the_cpu_has_no_card() {
    let answer = answer("--model smollm2_135m --stack cpu_vllm0.12.0 --kv-cache-gib 1");
    assert_eq!(
        (answer.chosen.kv_tokens, answer.chosen.max_concurrency),
        (46_592, 22.75)
    );
    assert_eq!(
        (answer.memory.card_gib, answer.chosen.decode_roof_tokens_per_s),
        (None, None)
    );
    assert!(answer.fits);
}

#[test]
fn the_picture_shows_each_layout() {
    let picture = picture::render(&answer("--model qwen2_vl_72b"));
    insta::assert_snapshot!(picture);
    let hostile = Answer {
        model: "<b>&\u{7}".to_owned(),
        ..answer(REPORTED)
    };
    assert!(picture::render(&hostile).contains("&lt;b&gt;&amp; "));
}
