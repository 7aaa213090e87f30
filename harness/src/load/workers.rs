//! Workers: so many requests in flight, each worker sending its next request when the last one has ended.

use std::{sync::Arc, time::Instant};

use tokio::{sync::Mutex, task::JoinSet};

use super::Clock;
use crate::{
    record::RequestSample,
    vllm::{Client, Prompt, Request, StreamEvent},
};

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Length of the answer: generation goes on past the end-of-sequence token until it is reached.
    pub output_tokens: u32,
}

/// A phase of load: which session and trial it belongs to, how many workers, and the requests in order.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Name of the session.
    pub session: String,
    /// Name of the trial.
    pub trial: String,
    /// Requests in flight.
    pub concurrency: u32,
    /// The requests; workers take them from the front.
    pub requests: Vec<Spec>,
    /// Clock of the server.
    pub clock: Clock,
}

/// Runs a phase and returns a sample for each request, in order. A request that fails gives a sample with its error.
pub async fn run(client: &Client, phase: Phase) -> Vec<RequestSample> {
    let start = Instant::now();
    let concurrency = phase.concurrency;
    let frame = Arc::new(Frame {
        session: phase.session,
        trial: phase.trial,
        clock: phase.clock,
        start,
    });
    let queue = Arc::new(Mutex::new(phase.requests.into_iter().enumerate()));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (client, queue, frame) = (client.clone(), Arc::clone(&queue), Arc::clone(&frame));
        workers.spawn(async move {
            let mut samples = Vec::new();
            // A worker's first request is due when the phase begins, the others when the one before has ended.
            let mut due = start;
            loop {
                let next = queue.lock().await.next();
                let Some((index, spec)) = next else { return samples };
                samples.push(frame.send(&client, index, spec, due).await);
                due = Instant::now();
            }
        });
    }
    let mut samples: Vec<RequestSample> = workers.join_all().await.into_iter().flatten().collect();
    samples.sort_by_key(|sample| sample.index);
    samples
}

/// What all requests of a phase share.
struct Frame {
    session: String,
    trial: String,
    clock: Clock,
    start: Instant,
}

impl Frame {
    async fn send(&self, client: &Client, index: usize, spec: Spec, due: Instant) -> RequestSample {
        let asked_tokens = spec.output_tokens;
        let mut request = Request::greedy(Prompt::TokenIds(spec.prompt), asked_tokens);
        request.ignore_eos = true;
        let sent = Instant::now();
        let mut arrivals = Vec::with_capacity(asked_tokens as usize);
        let mut note = |StreamEvent::Tokens { at, .. }: StreamEvent| arrivals.push(at);
        let end = client.stream(&request, &mut note).await;
        let usage = end.as_ref().ok().and_then(|end| end.usage);
        let chunks_s: Vec<f64> = arrivals.iter().map(|&at| self.clock.seconds(sent, at)).collect();
        RequestSample {
            session: self.session.clone(),
            trial: self.trial.clone(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            scheduled_s: self.clock.seconds(self.start, due),
            sent_s: self.clock.seconds(self.start, sent),
            latency_s: end.is_ok().then(|| chunks_s.last().copied()).flatten(),
            chunks_s,
            prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            output_tokens: usage.map(|usage| usage.completion_tokens),
            asked_tokens,
            error: match end {
                Ok(_) if arrivals.is_empty() => Some("empty stream: no token arrived".to_owned()),
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            },
        }
    }
}
