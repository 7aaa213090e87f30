//! Memory: the sum on the card, and the identities of the KV cache.

use super::{Contradiction, off, plain};
use crate::{
    audit::{Cell, Column, Fact, Finding, Interval, Rule, sheet::Word},
    capacity::GIB,
    vllm::{parse_version, version::at_least},
};

/// How far the memory of a card may lie above what is said of it: torch sees a little more or less on each host.
const CARD_SLACK: f64 = 0.01;

pub(super) fn memory(column: &Column, findings: &mut Vec<Finding>) {
    findings.extend(sum(column));
    findings.extend(kv_cache(column));
    findings.extend(kv_tokens(column));
    findings.extend(max_concurrency(column));
}

/// Whether the column's vLLM is at least a release; `None` where it names none.
fn since(column: &Column, release: (u64, u64, u64)) -> Option<bool> {
    let version = parse_version(column.words.get(&Word::Vllm)?)?;
    Some(at_least(&version, release))
}

/// Weights + non-torch + activations + KV cache ≤ utilization × card.
fn sum(column: &Column) -> Option<Finding> {
    let (card, kv) = (column.cell(Fact::CardMemory)?, column.cell(Fact::KvCache)?);
    let parts: Vec<&Cell> = [Fact::Weights, Fact::NonTorch, Fact::Activation]
        .into_iter()
        .filter_map(|fact| column.cell(fact))
        .chain([kv])
        .collect();
    let all = parts
        .iter()
        .fold(Interval::exact(0.0), |sum, cell| sum + cell.value);
    let utilization = column.cell(Fact::Utilization);
    let share = utilization.map_or(Interval::exact(1.0), |cell| cell.value);
    let given = (card.value * share).allowing(CARD_SLACK);
    if !all.is_above(given) {
        return None;
    }
    let words: Vec<String> = parts.iter().map(|cell| plain(cell.value.middle())).collect();
    let share_said = utilization.map_or_else(String::new, |cell| format!("{} of ", cell.text));
    let cells: Vec<&Cell> = [card].into_iter().chain(utilization).chain(parts).collect();
    let contradiction = Contradiction {
        rule: Rule::MemorySum,
        cells: &cells,
        expected: format!("at most {} GiB in all", plain(given.most)),
        arithmetic: format!(
            "{} = {} GiB, but {share_said}{} are {} GiB",
            words.join(" + "),
            plain(all.middle()),
            card.text,
            plain(given.middle())
        ),
    };
    Some(Finding {
        found: format!("{} GiB in all", plain(all.middle())),
        ..contradiction.in_column(column)
    })
}

/// Blocks × block size × bytes a token is the KV cache, less than one block below it.
fn kv_cache(column: &Column) -> Option<Finding> {
    let [blocks, size, token, kv] =
        [Fact::Blocks, Fact::BlockSize, Fact::TokenBytes, Fact::KvCache].map(|fact| column.cell(fact));
    let (blocks, size, token, kv) = (blocks?, size?, token?, kv?);
    let one = size.value * token.value;
    let held = blocks.value * one;
    let upper = held + one;
    let expected = Interval {
        least: held.least / GIB,
        most: upper.most / GIB,
    };
    if expected.meets(kv.value) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::KvCache,
        cells: &[blocks, kv],
        expected: format!("{:.2} GiB", expected.least),
        arithmetic: format!(
            "{} blocks × {} tokens × {} B = {:.2} GiB; {} is {}",
            blocks.text,
            plain(size.value.middle()),
            plain(token.value.middle()),
            expected.least,
            kv.text,
            off(expected, kv.value)
        ),
    };
    Some(contradiction.in_column(column))
}

/// Blocks × block size is the token count, until vLLM 0.20.2 printed another.
fn kv_tokens(column: &Column) -> Option<Finding> {
    let (blocks, size, tokens) = (
        column.cell(Fact::Blocks)?,
        column.cell(Fact::BlockSize)?,
        column.cell(Fact::KvTokens)?,
    );
    let expected = blocks.value * size.value;
    if since(column, (0, 20, 2)) != Some(false) || expected.meets(tokens.value) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::KvTokens,
        cells: &[blocks, tokens],
        expected: format!("{} tokens", plain(expected.middle())),
        arithmetic: format!(
            "{} blocks × {} tokens = {}; {} is {}",
            blocks.text,
            plain(size.value.middle()),
            plain(expected.middle()),
            tokens.text,
            off(expected, tokens.value)
        ),
    };
    Some(contradiction.in_column(column))
}

/// Concurrency is tokens / length. Later releases count whole blocks a request, and fewer behind a sliding window: what
/// tokens give is then the least.
fn max_concurrency(column: &Column) -> Option<Finding> {
    let (concurrency, len) = (
        column.cell(Fact::MaxConcurrency)?,
        column.cell(Fact::MaxModelLen)?,
    );
    let blocks = column.cell(Fact::Blocks).zip(column.cell(Fact::BlockSize));
    let (cells, tokens, words) = match (column.cell(Fact::KvTokens), blocks) {
        (Some(tokens), _) => (vec![tokens], tokens.value, tokens.text.clone()),
        (None, Some((blocks, size))) => {
            let tokens = blocks.value * size.value;
            let words = format!("{} blocks × {} tokens", blocks.text, plain(size.value.middle()));
            (vec![blocks], tokens, words)
        }
        (None, None) => return None,
    };
    let expected = tokens / len.value;
    // Whole blocks a request: at most one block more than its tokens fill.
    let block = column.value(Fact::BlockSize).map_or(0.0, |size| size.most);
    let least = tokens.least / (len.value.most + block);
    let wide = Interval {
        least: if since(column, (0, 10, 2)) == Some(false) {
            expected.least
        } else {
            least
        },
        most: expected.most,
    };
    let frees_blocks = since(column, (0, 10, 2)) != Some(false) && concurrency.value.least > wide.most;
    if wide.meets(concurrency.value) || frees_blocks {
        return None;
    }
    let cells: Vec<&Cell> = cells.into_iter().chain([len, concurrency]).collect();
    let contradiction = Contradiction {
        rule: Rule::MaxConcurrency,
        cells: &cells,
        expected: format!("{:.2}x", expected.middle()),
        arithmetic: format!(
            "{words} / {} tokens = {:.2}; {} is {}",
            len.text,
            expected.middle(),
            concurrency.text,
            off(expected, concurrency.value)
        ),
    };
    Some(contradiction.in_column(column))
}
