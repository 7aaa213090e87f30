//! How long it takes to read and to compare many goldens.

use std::{path::Path, time::Instant};

use rayon::prelude::*;
use serde::Serialize;

use super::Base;
use crate::{
    golden::{Comparison, Golden, GoldenDrift, GoldenError, compare, drift},
    judge::drift::{Scored, Suite, judge},
    vllm::Position,
};

/// Positions of a golden.
const POSITIONS: usize = 256;
/// Goldens that are in memory at once.
const AT_ONCE: usize = 1_000;

/// What was timed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// Goldens.
    pub goldens: usize,
    /// Positions of each.
    pub positions_each: usize,
    /// Alternatives of each position.
    pub alternatives: usize,
    /// Bytes of one file.
    pub bytes_each: usize,
    /// Cores.
    pub cores: usize,
    /// Seconds to parse and check all files, once each.
    pub read_s: f64,
    /// Seconds to compare all with an answer and with scores, and to judge the suite.
    pub compare_s: f64,
    /// Whether the program was built for speed; otherwise the times mean nothing.
    pub release: bool,
}

/// Times `goldens` goldens, made of the base's positions.
pub fn speed(base: &Base, goldens: usize) -> Result<Speed, GoldenError> {
    let made = made(base, AT_ONCE.min(goldens));
    let texts: Vec<String> = made.iter().map(Golden::to_snapshot).collect::<Result<_, _>>()?;
    let rounds = goldens.div_ceil(made.len().max(1));
    let begun = Instant::now();
    for _ in 0..rounds {
        let read = texts
            .par_iter()
            .map(|text| Golden::parse(text, Path::new("golden")));
        read.try_for_each(|golden| golden.map(drop))?;
    }
    let read_s = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let compared = compared(&made, rounds);
    let compare_s = begun.elapsed().as_secs_f64();
    Ok(Speed {
        goldens: compared,
        positions_each: POSITIONS,
        alternatives: made[0].positions[0].top.len(),
        bytes_each: texts[0].len(),
        cores: rayon::current_num_threads(),
        read_s,
        compare_s,
        release: !cfg!(debug_assertions),
    })
}

/// Goldens of the wanted length.
fn made(base: &Base, count: usize) -> Vec<Golden> {
    let all = base.first(usize::MAX);
    let pool: Vec<Position> = all
        .iter()
        .flat_map(|golden| golden.positions.iter().cloned())
        .collect();
    let pieces: Vec<String> = vec![" word".to_owned(); POSITIONS];
    let made = |number: usize| {
        let positions = (0..POSITIONS).map(|at| pool[(number * 37 + at) % pool.len()].clone());
        let mut golden = Golden {
            positions: positions.collect(),
            pieces: pieces.clone(),
            answer: " word".repeat(POSITIONS),
            ..all[0].clone()
        };
        golden.header.case = format!("case_{number}");
        golden
    };
    (0..count.max(1)).map(made).collect()
}

/// Compares all goldens `rounds` times with an answer and with scores, as trials do, and judges what came of it. How
/// many there were.
fn compared(made: &[Golden], rounds: usize) -> usize {
    let mut drifts: Vec<(usize, GoldenDrift)> = Vec::with_capacity(rounds * made.len());
    for _ in 0..rounds {
        let one = |(index, golden): (usize, &Golden)| {
            // An answer's clone is what a client hands over.
            let same = compare(golden, &golden.as_answer());
            let drift = drift(golden, &golden.positions).ok()?;
            matches!(same, Comparison::Identical).then_some((index, drift))
        };
        drifts.par_extend(made.par_iter().enumerate().filter_map(one));
    }
    let scored = drifts.iter().map(|(index, drift)| Scored {
        golden: &made[*index],
        drift,
    });
    let judged = judge(&Suite {
        scored: scored.collect(),
        ..Suite::default()
    });
    judged.figures.map_or(0, |figures| figures.prompts as usize)
}
