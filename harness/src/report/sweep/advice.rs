//! What to do with a sweep, in the words and the language of the performance reports (并发调优).

use super::{Axis, Row, SweepReport, milliseconds};
use crate::load::sweep::End;

/// Advice: a heading and its points.
pub fn advice(report: &SweepReport) -> Vec<String> {
    let valid: Vec<&Row> = report.rows.iter().filter(|row| row.is_valid()).collect();
    let mut lines = vec!["* **并发调优**：".to_owned()];
    let mut point = |text: String| lines.push(format!("  * {text}"));
    if report.about.simulated {
        point("以下数据由模拟器产生，不代表任何真实硬件。".to_owned());
    }
    let (Some(first), Some(most)) = (valid.first(), fastest(&valid)) else {
        point("没有一档测量有效，不能给出建议；请先排除上面列出的原因。".to_owned());
        return lines;
    };
    let unit = match report.about.axis {
        Axis::Concurrency => "并发",
        Axis::Rate => "请求速率",
    };
    if let Some(knee) = report.row(report.knee) {
        point(climb(unit, first, knee));
        point(format!(
            "拐点在{unit} {}：再往上，吞吐量的增幅小于延迟的增幅。",
            knee.level
        ));
    } else {
        point(climb(unit, first, most));
        point(format!(
            "尚未到达拐点：{unit} {} 时吞吐量与延迟之比仍在上升。",
            most.level
        ));
    }
    if !report.about.promises.is_empty() {
        let promises = report.about.promises.join("、");
        point(match report.row(report.best) {
            Some(best) => format!(
                "在 {promises} 的延迟要求下，建议{unit}设为 {}，吞吐量 {:.1} tokens/s。",
                best.level,
                best.tokens_per_s()
            ),
            None => format!("没有一档有效测量满足 {promises}：请放宽延迟要求，或减少每张卡的负载。"),
        });
    }
    match report.end {
        End::Flat => point(format!(
            "{unit}增至 {} 时，翻倍带来的吞吐量增幅已不足 {:.0} %，不建议继续增加。",
            most.level,
            100.0 * report.about.min_gain
        )),
        End::Top if report.about.axis == Axis::Concurrency => {
            point(format!(
                "{unit} {} 时吞吐量仍在提高，可用更大的 --to 再测。",
                most.level
            ));
        }
        End::Top | End::Unfit | End::Stopped => {}
    }
    lines
}

fn fastest<'a>(valid: &[&'a Row]) -> Option<&'a Row> {
    valid
        .iter()
        .copied()
        .max_by(|a, b| a.tokens_per_s().total_cmp(&b.tokens_per_s()))
}

/// From the lowest level to another: what is won, and what it costs.
fn climb(unit: &str, from: &Row, to: &Row) -> String {
    if from.level >= to.level {
        return format!("{unit} {} 时吞吐量 {:.1} tokens/s。", to.level, to.tokens_per_s());
    }
    let gain = 100.0 * (to.tokens_per_s() / from.tokens_per_s() - 1.0);
    let tpot = |row: &Row| {
        row.measured
            .figures
            .tpot
            .as_ref()
            .map(|spread| milliseconds(spread.mean_s))
    };
    let cost = match (tpot(from), tpot(to)) {
        (Some(from), Some(to)) => format!("，平均 TPOT 由 {from} 变为 {to}"),
        _ => String::new(),
    };
    format!(
        "{unit}由 {} 提高到 {}，吞吐量由 {:.1} 变为 {:.1} tokens/s（{gain:+.0} %）{cost}。",
        from.level,
        to.level,
        from.tokens_per_s(),
        to.tokens_per_s()
    )
}
