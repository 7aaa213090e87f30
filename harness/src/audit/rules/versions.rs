//! Versions that never existed together: vLLM and MACA, torch and CUDA.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use crate::{
    audit::{Column, Finding, Rule, sheet::Word},
    vllm::parse_version,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    vllm: Vec<VllmLine>,
    torch: Vec<TorchLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VllmLine {
    line: String,
    maca: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TorchLine {
    line: String,
    cuda: String,
}

/// The table; a test proves that it can be read.
static TABLE: LazyLock<Option<Table>> =
    LazyLock::new(|| serde_yaml::from_str(include_str!("../versions.yaml")).ok());

static MACA: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?:maca\.ai|metax)(\d+\.\d+)").ok());
static CUDA: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"cuda:?-?(\d+\.\d+)").ok());

pub(super) fn versions(column: &Column, findings: &mut Vec<Finding>) {
    let Some(table) = TABLE.as_ref() else { return };
    findings.extend(maca(column, table));
    findings.extend(cuda(column, table));
}

/// `major.minor` of a version.
fn line(text: &str) -> Option<String> {
    let version = parse_version(text)?;
    Some(format!("{}.{}", version.major, version.minor))
}

fn caught(pattern: &LazyLock<Option<Regex>>, text: &str) -> Option<String> {
    let captures = pattern.as_ref()?.captures(text)?;
    Some(captures.get(1)?.as_str().to_owned())
}

/// vLLM beside the MACA that its container holds.
fn maca(column: &Column, table: &Table) -> Option<Finding> {
    let word = |word: Word| column.words.get(&word);
    let vllm = word(Word::Vllm)?;
    let found = word(Word::Maca)
        .and_then(|text| line(text))
        .or_else(|| caught(&MACA, word(Word::Image)?))
        .or_else(|| caught(&MACA, word(Word::Torch)?))?;
    let of_vllm = line(vllm)?;
    let row = table.vllm.iter().find(|row| row.line == of_vllm);
    if row.is_some_and(|row| row.maca.contains(&found)) {
        return None;
    }
    let (expected, arithmetic) = match row {
        Some(row) => {
            let expected = format!("MACA {}", row.maca.join(" or "));
            let text = format!(
                "MetaX's plugin for vLLM {of_vllm} was released with {expected}, not with MACA {found}"
            );
            (expected, text)
        }
        // What is newer than the table is not known to be wrong.
        None if newer(&of_vllm, table.vllm.last().map(|row| row.line.as_str())) => return None,
        None => {
            let text = format!("MetaX's plugin was never released for vLLM {of_vllm}");
            ("another vLLM".to_owned(), text)
        }
    };
    Some(Finding {
        column: column.name.clone(),
        cells: vec![
            format!("vLLM = {vllm}"),
            format!("MACA of the container = {found}"),
        ],
        arithmetic,
        expected,
        found: format!("MACA {found}"),
        rule: Rule::Versions,
    })
}

/// torch beside the CUDA of its image.
fn cuda(column: &Column, table: &Table) -> Option<Finding> {
    let (image, torch) = (column.words.get(&Word::Image)?, column.words.get(&Word::Torch)?);
    let found = caught(&CUDA, image)?;
    let of_torch = line(torch)?;
    let least = &table.torch.iter().find(|row| row.line == of_torch)?.cuda;
    if !newer(least, Some(&found)) {
        return None;
    }
    Some(Finding {
        column: column.name.clone(),
        cells: vec![format!("image = {image}"), format!("torch = {torch}")],
        expected: format!("CUDA {least} or newer"),
        found: format!("CUDA {found}"),
        rule: Rule::Versions,
        arithmetic: format!("torch {of_torch} was never built for CUDA {found}: the least is {least}"),
    })
}

/// Whether `major.minor` of the first lies above that of the second.
fn newer(first: &str, second: Option<&str>) -> bool {
    let numbers = |text: &str| -> Vec<u32> { text.split('.').filter_map(|part| part.parse().ok()).collect() };
    second.is_some_and(|second| numbers(first) > numbers(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[(Word, &str)]) -> Vec<String> {
        let column = Column {
            words: words
                .iter()
                .map(|(word, text)| (*word, (*text).to_owned()))
                .collect(),
            ..Column::default()
        };
        let mut findings = Vec::new();
        versions(&column, &mut findings);
        findings.into_iter().map(|finding| finding.arithmetic).collect()
    }

    #[test]
    fn the_table_can_be_read() {
        let table: Table = serde_yaml::from_str(include_str!("../versions.yaml")).unwrap();
        assert!(table.vllm.len() > 10 && table.torch.len() > 5);
        assert!(
            table
                .vllm
                .windows(2)
                .all(|pair| newer(&pair[1].line, Some(&pair[0].line)))
        );
    }

    #[test]
    fn pairs_that_never_were_are_found() {
        let image = "maca.ai2.33.1.12-torch2.6-py310-ubuntu22.04-amd64";
        assert!(found(&[(Word::Vllm, "0.8.5"), (Word::Image, image)]).is_empty());
        assert!(found(&[(Word::Vllm, "0.17.0"), (Word::Maca, "3.5.3.20")]).is_empty());
        assert!(found(&[(Word::Vllm, "0.30.0"), (Word::Maca, "4.1.0.1")]).is_empty());
        assert!(
            found(&[
                (Word::Image, "nvidia/cuda:12.4.1-runtime"),
                (Word::Torch, "2.6.0")
            ])
            .is_empty()
        );
        let told = [
            found(&[(Word::Vllm, "0.12.0"), (Word::Image, image)]),
            found(&[(Word::Vllm, "0.16.0"), (Word::Maca, "3.5.3.20")]),
            found(&[(Word::Vllm, "0.8.5"), (Word::Torch, "2.6.0+metax3.1.0.4")]),
            found(&[
                (Word::Image, "nvidia/cuda:11.3.1-cudnn8-runtime-ubuntu20.04"),
                (Word::Torch, "2.6.0"),
            ]),
        ];
        insta::assert_snapshot!(told.map(|told| told.join("\n")).join("\n"));
    }
}
