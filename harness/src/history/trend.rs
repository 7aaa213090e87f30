//! Trends: figures that compare, in the order of time, and the places at which their level changed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;
use time::OffsetDateTime;

use super::{Better, Line, kind};
use crate::{
    record::Verdict,
    stats::{ChangePoint, change_points, percentile},
};

/// How often a trend without any change may be cut (Otava's choice for nightly runs).
const ALPHA: f64 = 0.001;
/// Runs on either side of a change that are looked at for what else changed: the cut may be a run or two off.
const AROUND: usize = 2;

/// What figures have in common that compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// Model.
    pub model: String,
    /// Accelerator.
    pub accelerator: String,
    /// Whether a simulator played it.
    pub simulated: bool,
    /// Stack; `None` where stacks are joined.
    pub stack: Option<String>,
    /// Number type.
    pub dtype: String,
    /// Simulated seconds for each real second, as text.
    pub clock: String,
}

/// One figure over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// What its figures have in common.
    pub key: Key,
    /// Name of the figure.
    pub metric: String,
    /// The figures, the oldest first.
    pub points: Vec<Point>,
    /// Where their level changed, the oldest first.
    pub changes: Vec<Change>,
    /// Runs that measured it in a way that means nothing.
    pub invalid: usize,
}

/// One run's figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Name of the run.
    pub run: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Its stack.
    pub stack: String,
    /// Verdict of its session.
    pub verdict: Verdict,
    /// The figure.
    pub value: f64,
}

/// A change of level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Index of the first point of the new level.
    #[serde(rename = "index")]
    pub at: usize,
    /// Its run.
    pub run: String,
    /// Mean of the level before.
    pub before: f64,
    /// Mean of the level after.
    pub after: f64,
    /// Whether that is better; `None` where neither way is known to be.
    pub better: Option<bool>,
    /// Two-sided p of a t test for this cut alone.
    pub p: f64,
    /// What else changed there.
    pub with: Vec<Difference>,
}

/// Something of the stack, the harness or the manifest that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name in the fingerprint.
    pub what: String,
    /// What it was; `None` where it was not known.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

/// Which trends. What is absent restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Model.
    pub model: Option<String>,
    /// Stack.
    pub stack: Option<String>,
    /// Metrics: one by its whole name, otherwise those whose name contains this; `all`; absent: the headlines.
    pub metric: Option<String>,
    /// Whether stacks of one accelerator are joined into one trend.
    pub join_stacks: bool,
    /// Only so many of the latest runs of each trend.
    pub last: Option<usize>,
}

impl Wanted {
    /// The wanted names among all that there are.
    fn metrics<'a>(&self, all: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let keep = |wanted: &dyn Fn(&str) -> bool| all.iter().copied().filter(|name| wanted(name)).collect();
        match self.metric.as_deref() {
            None => keep(&|name| kind(name).headline),
            Some("all") => all.clone(),
            Some(text) if all.contains(text) => keep(&|name| name == text),
            Some(text) => keep(&|name| name.contains(text)),
        }
    }
}

/// The wanted trends of lines in the order of time; ordered by what they have in common, then by metric.
pub fn trends(lines: &[Line], wanted: &Wanted) -> Vec<Trend> {
    let is = |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let mut groups: BTreeMap<Key, Vec<&Line>> = BTreeMap::new();
    for line in lines
        .iter()
        .filter(|line| is(&wanted.model, &line.model) && is(&wanted.stack, &line.stack))
    {
        groups
            .entry(key(line, wanted.join_stacks))
            .or_default()
            .push(line);
    }
    let names: BTreeSet<&str> = groups
        .values()
        .flatten()
        .flat_map(|line| line.metrics.keys())
        .map(String::as_str)
        .collect();
    let metrics = wanted.metrics(&names);
    let jobs: Vec<(&Key, &Vec<&Line>, &str)> = groups
        .iter()
        .flat_map(|(key, lines)| metrics.iter().map(move |&metric| (key, lines, metric)))
        .collect();
    let trend = |(key, lines, metric): (&Key, &Vec<&Line>, &str)| trend(key, lines, metric, wanted.last);
    jobs.into_par_iter().filter_map(trend).collect()
}

fn key(line: &Line, join_stacks: bool) -> Key {
    Key {
        model: line.model.clone(),
        accelerator: line.accelerator.clone(),
        simulated: line.simulated,
        stack: (!join_stacks).then(|| line.stack.clone()),
        dtype: line.dtype.clone(),
        clock: line.clock.to_string(),
    }
}

/// The trend of one metric; `None` where no line has it.
fn trend(key: &Key, lines: &[&Line], metric: &str, last: Option<usize>) -> Option<Trend> {
    let mut measured: Vec<(&Line, f64)> = lines
        .iter()
        .filter_map(|&line| Some((line, *line.metrics.get(metric)?)))
        .collect();
    if let Some(last) = last {
        measured.drain(..measured.len().saturating_sub(last));
    }
    let oldest = measured.first()?.0.at;
    let is_of = |trial: &String| {
        metric == trial
            || metric
                .strip_prefix(trial.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let invalid = lines
        .iter()
        .filter(|line| line.at >= oldest && line.invalid.iter().any(is_of))
        .count();
    let points = measured.iter().map(|(line, value)| Point {
        run: line.run.clone(),
        at: line.at,
        stack: line.stack.clone(),
        verdict: line.verdict,
        value: *value,
    });
    Some(Trend {
        key: key.clone(),
        metric: metric.to_owned(),
        points: points.collect(),
        changes: changes(&measured, metric),
        invalid,
    })
}

fn changes(measured: &[(&Line, f64)], metric: &str) -> Vec<Change> {
    let values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
    let found = change_points(&values, ALPHA);
    let ends: Vec<usize> = found.iter().map(|change| change.at).collect();
    let change = |(number, found): (usize, &ChangePoint)| {
        let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
        let end = ends.get(number + 1).copied().unwrap_or(measured.len());
        let before = found.at.saturating_sub(AROUND + 1).max(begin);
        let after = (found.at + AROUND).min(end - 1);
        let better = match kind(metric).better {
            Better::Unknown => None,
            Better::Higher => Some(found.after > found.before),
            Better::Lower => Some(found.after < found.before),
        };
        Change {
            at: found.at,
            run: measured[found.at].0.run.clone(),
            before: found.before,
            after: found.after,
            better,
            p: found.p,
            with: differences(measured[before].0, measured[after].0),
        }
    };
    found.iter().enumerate().map(change).collect()
}

/// What differs between two lines, beside their figures.
fn differences(before: &Line, after: &Line) -> Vec<Difference> {
    let mut found = Vec::new();
    if before.stack != after.stack {
        found.push(Difference {
            what: "stack".to_owned(),
            from: Some(before.stack.clone()),
            to: Some(after.stack.clone()),
        });
    }
    let names: BTreeSet<&String> = before
        .fingerprint
        .keys()
        .chain(after.fingerprint.keys())
        .collect();
    for name in names {
        let (from, to) = (before.fingerprint.get(name), after.fingerprint.get(name));
        if from != to {
            found.push(Difference {
                what: name.clone(),
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    }
    found
}

impl Change {
    /// After / before − 1; `None` where it was 0 before.
    pub fn relative(&self) -> Option<f64> {
        (self.before != 0.0).then(|| self.after / self.before - 1.0)
    }
}

impl Trend {
    /// Median of the figures since the last change of level.
    pub fn level(&self) -> Option<f64> {
        let begin = self.changes.last().map_or(0, |change| change.at);
        let mut values: Vec<f64> = self.points.iter().skip(begin).map(|point| point.value).collect();
        values.sort_by(f64::total_cmp);
        percentile(&values, 50.0)
    }
}
