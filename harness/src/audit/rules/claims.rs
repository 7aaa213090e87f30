//! Claims of the text that its own lists contradict, and versions that a product never had.

use std::sync::LazyLock;

use regex::Regex;

use crate::audit::{Finding, Rule, Sheet};

/// A count of models in a sentence that announces a list: `以下 7 个先进的 AI 模型…：`, `the following 7 models:`.
static CLAIM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:以下|如下|following)\D{0,12}?(\d{1,3})\s*(?:个|款|种)?[^\d。.：:]{0,40}?(?:模型|models?)",
    )
    .ok()
});

/// Kubernetes has been at version 1 since 2015.
static KUBERNETES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:kubernetes|k8s)\s*\**\s*(?:版本|version)?\s*\**\s*[：:]?[^\d\n]{0,12}(0\.\d+(?:\.\d+)?)",
    )
    .ok()
});

/// Lines between a claim and the first item of its list.
const GAP: usize = 3;

/// Looks for claims in the text.
pub(in crate::audit) fn claims(sheet: &Sheet, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = sheet.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        findings.extend(counted(line, &lines[index + 1..]));
    }
    findings.extend(kubernetes(&sheet.text));
}

fn counted(line: &str, rest: &[&str]) -> Option<Finding> {
    if !line.trim_end().ends_with(['：', ':']) {
        return None;
    }
    let captures = CLAIM.as_ref()?.captures(line)?;
    let claimed: usize = captures.get(1)?.as_str().parse().ok()?;
    let items = list(rest);
    if items.is_empty() || items.len() == claimed {
        return None;
    }
    Some(Finding {
        column: String::new(),
        cells: std::iter::once(line.trim().to_owned())
            .chain(items.iter().map(|item| name_of(item)))
            .collect(),
        expected: format!("{claimed} models"),
        found: format!("{} models", items.len()),
        rule: Rule::ClaimedCount,
        arithmetic: format!("{claimed} are claimed and {} are listed", items.len()),
    })
}

/// The items of the list that begins within the next lines.
fn list<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let item = |line: &&'a str| line.strip_prefix("* ").or_else(|| line.strip_prefix("- "));
    let mut items = Vec::new();
    for (distance, line) in lines.iter().enumerate() {
        match item(line) {
            Some(text) => items.push(text),
            None if items.is_empty() && distance < GAP => {}
            // What belongs to an item is indented; an empty line may stand between items.
            None if !items.is_empty() && (line.trim().is_empty() || line.starts_with(' ')) => {}
            None => break,
        }
    }
    items
}

/// The name in front of an item's explanation.
fn name_of(item: &str) -> String {
    let name = item.split(['：', ':']).next().unwrap_or(item);
    name.trim().trim_matches('*').to_owned()
}

fn kubernetes(text: &str) -> Option<Finding> {
    let captures = KUBERNETES.as_ref()?.captures(text)?;
    let version = captures.get(1)?.as_str();
    let quoted = captures.get(0)?.as_str().replace('*', "");
    Some(Finding {
        column: String::new(),
        cells: vec![quoted.trim().to_owned()],
        expected: "1.x".to_owned(),
        found: version.to_owned(),
        rule: Rule::Versions,
        arithmetic: format!("Kubernetes has been at version 1 since 2015; {version} is another product's"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let sheet = Sheet {
            text: text.to_owned(),
            ..Sheet::default()
        };
        let mut findings = Vec::new();
        claims(&sheet, &mut findings);
        findings
            .into_iter()
            .map(|finding| (finding.expected, finding.found))
            .collect()
    }

    #[test]
    fn counts_are_held_against_their_lists() {
        let seven = "我们将以下 7 个先进的 AI 模型适配到 GPU 环境：\n\n* **A**：x\n* **B**：y\n\n---\n* c\n";
        assert_eq!(found(seven), [("7 models".to_owned(), "2 models".to_owned())]);
        let right = "The following 2 models were adapted:\n- A\n  - detail\n- B\n\nOther text\n- C\n";
        assert_eq!(found(right), []);
        assert_eq!(found("以下 7 个模型。\n* a\n"), []);
        assert_eq!(found("The following 2 models were adapted:\n\nnone\n"), []);
    }

    #[test]
    fn kubernetes_is_no_version_0() {
        assert_eq!(
            found("**Kubernetes 版本**：测试中的 **0.12.0**"),
            [("1.x".to_owned(), "0.12.0".to_owned())]
        );
        assert_eq!(found("Kubernetes 1.29.0, vLLM 0.12.0"), []);
    }
}
