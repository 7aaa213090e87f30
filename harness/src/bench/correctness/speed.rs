//! How long it takes to read and to compare many goldens.

use std::{path::Path, time::Instant};

use rayon::prelude::*;
use serde::Serialize;

use super::Base;
use crate::{
    golden::{Golden, GoldenDrift, GoldenError, compare, drift},
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
    let pool: Vec<Position> = base
        .first(usize::MAX)
        .iter()
        .flat_map(|golden| golden.positions.iter().cloned())
        .collect();
    let pieces: Vec<String> = vec![" word".to_owned(); POSITIONS];
    let model = base.first(1)[0];
    let made: Vec<Golden> = (0..AT_ONCE.min(goldens))
        .map(|number| {
            let from = number * 37;
            let positions = (0..POSITIONS).map(|at| pool[(from + at) % pool.len()].clone());
            let mut golden = Golden {
                positions: positions.collect(),
                pieces: pieces.clone(),
                answer: " word".repeat(POSITIONS),
                ..model.clone()
            };
            golden.header.case = format!("case_{number}");
            golden
        })
        .collect();
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
    let mut drifts: Vec<(usize, GoldenDrift)> = Vec::with_capacity(goldens);
    let mut compared = 0;
    for _ in 0..rounds {
        let one = |(index, golden): (usize, &Golden)| {
            // The very comparison and scoring of a trial; the answer's clone is part of what a client hands over.
            let same = compare(golden, &golden.as_answer());
            let drift = drift(golden, &golden.positions).ok();
            (index, same, drift)
        };
        let found: Vec<_> = made.par_iter().enumerate().map(one).collect();
        for (index, same, drift) in found {
            compared += usize::from(matches!(same, crate::golden::Comparison::Identical));
            drifts.extend(drift.map(|drift| (index, drift)));
        }
    }
    debug_assert_eq!(compared, drifts.len());
    let scored = drifts.iter().map(|(index, drift)| Scored {
        golden: &made[*index],
        drift,
    });
    let suite = Suite {
        scored: scored.collect(),
        ..Suite::default()
    };
    let judged = judge(&suite);
    let compare_s = begun.elapsed().as_secs_f64();
    let positions = judged.figures.map_or(0, |figures| figures.positions);
    debug_assert_eq!(positions, (drifts.len() * POSITIONS) as u64);
    Ok(Speed {
        goldens: drifts.len(),
        positions_each: POSITIONS,
        alternatives: pool.first().map_or(0, |position| position.top.len()),
        bytes_each: texts.first().map_or(0, String::len),
        cores: rayon::current_num_threads(),
        read_s,
        compare_s,
        release: !cfg!(debug_assertions),
    })
}
