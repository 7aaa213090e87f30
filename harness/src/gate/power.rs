//! What a gate's rule is worth: known slowdowns and known noise, gated many times over. Beside the harness's own rule
//! stands that of a nightly elsewhere: one run, failed below 0.97 × the baseline.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Looks, Metric, Series, Tolerances, judge_speed};
use crate::{record::Verdict, stats::Random};

/// Gated metrics of a simulated session.
const METRICS: [Metric; 3] = [
    Metric::Tpot,
    Metric::Output { concurrency: 2 },
    Metric::Output { concurrency: 8 },
];
/// Share of a session's variance that all its metrics have in common: the host is in one state for all of them.
const COMMON: f64 = 0.5;
/// The nightly's limit.
const ONE_RUN: f64 = 0.97;

/// A rule that gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Pairs, looks and bounds of this harness.
    #[serde(rename = "harness")]
    Harness,
    /// One run of each, failed where a rate is below 0.97 × the baseline's.
    #[serde(rename = "one_run_0.97")]
    OneRun,
}

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Standard deviation of a session's figures, as a share.
    pub cv: f64,
    /// True slowdown of every metric's rate, as a share: 0.05 gives 0.95 × the throughput.
    pub slowdown: f64,
    /// Gates.
    pub gates: u32,
    /// Pairs at the first and the last look.
    pub pairs: (usize, usize),
    /// Seed.
    pub seed: u64,
}

/// One line of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerRow {
    /// The rule.
    pub rule: Rule,
    /// Standard deviation of a session's figures, as a share.
    pub cv: f64,
    /// True slowdown, as a share.
    pub slowdown: f64,
    /// Gates.
    pub gates: u32,
    /// Share that failed, where there was a slowdown.
    pub power: Option<f64>,
    /// Share that failed, where there was none.
    pub false_alarm: Option<f64>,
    /// Share that passed.
    pub passed: f64,
    /// Mean pairs until the verdict.
    pub mean_pairs: f64,
}

/// Gates by both rules.
pub fn rows(setting: Setting, tolerances: Tolerances) -> [PowerRow; 2] {
    let looks = Looks::new(setting.pairs.0, setting.pairs.1, METRICS.len());
    let gate = |number: u32| {
        let mut random = Random::stream(setting.seed, u64::from(number));
        let ours = gate(&mut random, setting, &looks, tolerances);
        (ours, one_run(&mut random, setting))
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..setting.gates).into_par_iter().map(gate).unzip();
    [
        row(Rule::Harness, setting, &ours),
        row(Rule::OneRun, setting, &theirs),
    ]
}

fn row(rule: Rule, setting: Setting, gates: &[(Verdict, usize)]) -> PowerRow {
    let share = |wanted: Verdict| {
        gates.iter().filter(|(verdict, _)| *verdict == wanted).count() as f64 / gates.len().max(1) as f64
    };
    let failed = share(Verdict::Failed);
    let is_slower = setting.slowdown > 0.0;
    PowerRow {
        rule,
        cv: setting.cv,
        slowdown: setting.slowdown,
        gates: setting.gates,
        power: is_slower.then_some(failed),
        false_alarm: (!is_slower).then_some(failed),
        passed: share(Verdict::Passed),
        mean_pairs: gates.iter().map(|(_, pairs)| *pairs as f64).sum::<f64>() / gates.len().max(1) as f64,
    }
}

/// One gate, pair after pair until it is decided.
fn gate(random: &mut Random, setting: Setting, looks: &Looks, tolerances: Tolerances) -> (Verdict, usize) {
    let mut series = METRICS.map(|metric| Series {
        metric,
        baseline: Vec::new(),
        candidate: Vec::new(),
    });
    for pair in 1..=looks.most {
        let (baseline, candidate) = (
            session(random, setting.cv, 0.0),
            session(random, setting.cv, setting.slowdown),
        );
        for (index, series) in series.iter_mut().enumerate() {
            series.baseline.push(baseline[index]);
            series.candidate.push(candidate[index]);
        }
        if pair < looks.least {
            continue;
        }
        let gates = judge_speed(&series, true, looks, tolerances);
        let verdict = Verdict::over(gates.iter().map(|gate| gate.verdict));
        if verdict != Verdict::Inconclusive {
            return (verdict, pair);
        }
    }
    (Verdict::Inconclusive, looks.most)
}

/// The figures of a session, by metric.
fn session(random: &mut Random, cv: f64, slowdown: f64) -> [f64; METRICS.len()] {
    let common = COMMON.sqrt() * random.gaussian();
    METRICS.map(|metric| {
        let noise = cv * (common + (1.0 - COMMON).sqrt() * random.gaussian());
        let rate = (1.0 - slowdown) * noise.exp();
        if metric.is_rate() {
            100.0 * rate
        } else {
            0.01 / rate
        }
    })
}

fn one_run(random: &mut Random, setting: Setting) -> (Verdict, usize) {
    let (baseline, candidate) = (
        session(random, setting.cv, 0.0),
        session(random, setting.cv, setting.slowdown),
    );
    let is_slower = METRICS
        .iter()
        .enumerate()
        .any(|(index, metric)| -metric.log_ratio(baseline[index], candidate[index]) < ONE_RUN.ln());
    (
        if is_slower {
            Verdict::Failed
        } else {
            Verdict::Passed
        },
        1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCES: Tolerances = Tolerances {
        speed: 0.03,
        ttft: 0.1,
    };

    fn run(cv: f64, slowdown: f64) -> [PowerRow; 2] {
        let setting = Setting {
            cv,
            slowdown,
            gates: 200,
            pairs: (5, 10),
            seed: 7,
        };
        rows(setting, TOLERANCES)
    }

    #[test]
    fn five_percent_is_found_and_nothing_is_not() {
        let [ours, theirs] = run(0.02, 0.05);
        assert!(ours.power.unwrap() >= 0.85, "{ours:?}");
        assert!(theirs.power.unwrap() > 0.5, "{theirs:?}");
        let [ours, theirs] = run(0.02, 0.0);
        assert!(ours.false_alarm.unwrap() <= 0.02, "{ours:?}");
        assert!(theirs.false_alarm.unwrap() > 0.1, "{theirs:?}");
        assert!(ours.mean_pairs >= 5.0 && ours.mean_pairs <= 10.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        assert_eq!(run(0.01, 0.05), run(0.01, 0.05));
    }
}
