//! Memory, power, temperature and utilization of the cards while a run goes on, for its record.
//!
//! One thread asks the tool at fixed points in time; an answer that takes longer than the interval makes the next
//! points fall out rather than pile up.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    query::{QueryError, Tools},
    report::{Card, DeviceReport},
};
use crate::record::CardSample;

/// All cards at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From the start of sampling to the tool's answer, seconds.
    pub at_s: f64,
    /// The cards, by index.
    pub cards: Vec<CardSample>,
}

impl From<&Card> for CardSample {
    fn from(card: &Card) -> Self {
        Self {
            index: card.index,
            memory_used_mib: card.memory_used_mib,
            power_w: card.power_w,
            temperature_c: card.temperature_c,
            utilization_percent: card.utilization_percent,
        }
    }
}

/// Samples until it is stopped or dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts to sample every `interval`, the first time at once. `sink` gets every sample and every failure, on the
    /// sampler's thread.
    pub fn start(
        tools: Tools,
        interval: Duration,
        mut sink: impl FnMut(Result<Sample, QueryError>) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let begin = Instant::now();
            let mut next = begin;
            loop {
                match tools.figures() {
                    Ok(Some(report)) => sink(Ok(sample(&report, begin.elapsed()))),
                    Ok(None) => return,
                    Err(error) => sink(Err(error)),
                }
                while next <= Instant::now() {
                    // An interval of nothing would never get past the present.
                    next += interval.max(Duration::from_millis(1));
                }
                let pause = next.saturating_duration_since(Instant::now());
                // Both a word and the sender's end mean stop.
                if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Ends sampling; returns when the sink will not be called any more, at most one call of the tool later.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A sink that panicked has said so on its own thread.
            drop(thread.join());
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn sample(report: &DeviceReport, at: Duration) -> Sample {
    Sample {
        at_s: at.as_secs_f64(),
        cards: report.cards.iter().map(CardSample::from).collect(),
    }
}
