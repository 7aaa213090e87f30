//! What a scheduler counts of its steps, and its lines of statistics.

use super::scheduler::Scheduler;
use super::sequence::{Finish, Sequence};
use crate::logs::{Level, Process};
use crate::version::Generation;

/// Simulated seconds between lines of statistics.
const STATISTICS_S: f64 = 10.0;

/// Counts since the last line of statistics.
#[derive(Default)]
pub(super) struct Statistics {
    since_s: f64,
    prompt_tokens: u64,
    generation_tokens: u64,
}

impl Scheduler {
    /// Counts tokens that were looked up in the prefix cache, and found.
    pub(super) fn count_prefix(&self, sequence: &Sequence) {
        if !self.parts.settings.prefix_caching || sequence.given.sampling.prompt_logprobs.is_some() {
            return;
        }
        let mut counters = self.parts.metrics.lock();
        counters.cache_queries += sequence.tokens.len() as u64;
        counters.cache_hits += sequence.computed as u64;
    }

    /// Counts a token that is handed out.
    pub(super) fn count_token(&mut self, at: usize, first: bool) {
        let due_s = self.due_s;
        let sequence = &mut self.running[at];
        let mut counters = self.parts.metrics.lock();
        counters.generation_tokens += 1;
        self.statistics.generation_tokens += 1;
        if first {
            let prompt = sequence.given.prompt.len() as u64;
            counters.prompt_tokens += prompt;
            self.statistics.prompt_tokens += prompt;
            counters.first_token_s.observe(due_s - sequence.given.arrived_s);
            sequence.times.first_s = Some(due_s);
        } else {
            counters.inter_token_s.observe(due_s - sequence.times.latest_s);
        }
        sequence.times.latest_s = due_s;
    }

    /// Counts a sequence that is over; without a finish its client went away.
    pub(super) fn count_end(&self, sequence: &Sequence, finish: Option<&Finish>) {
        let mut counters = self.parts.metrics.lock();
        counters.leaked_gib += self.faulty.leak_mib / 1024.0;
        match finish {
            Some(Finish::Length) => counters.lengthy += 1,
            Some(_) => counters.stopped += 1,
            None => counters.aborted += 1,
        }
        let generated = sequence.generated() as f64;
        let (arrived_s, times) = (sequence.given.arrived_s, sequence.times);
        let scheduled_s = times.scheduled_s.unwrap_or(arrived_s);
        let first_s = times.first_s.unwrap_or(scheduled_s);
        counters.latency_s.observe(times.latest_s - arrived_s);
        counters.queue_s.observe(scheduled_s - arrived_s);
        counters.inference_s.observe(times.latest_s - scheduled_s);
        counters.prefill_s.observe(first_s - scheduled_s);
        counters.decode_s.observe(times.latest_s - first_s);
        counters
            .request_prompt
            .observe(sequence.given.prompt.len() as f64);
        counters.request_generation.observe(generated);
        counters
            .request_token_s
            .observe((times.latest_s - first_s) / (generated - 1.0).max(1.0));
        counters
            .params_max_tokens
            .observe(sequence.given.sampling.max_tokens as f64);
        if let Some(n) = sequence.given.leads {
            counters.params_n.observe(n as f64);
            counters.request_max_generation.observe(generated);
        }
    }

    /// Gauges, and now and then a line of statistics.
    pub(super) fn report(&mut self) {
        let (running, waiting, usage) = (self.running.len(), self.waiting.len(), self.pool.usage());
        let hit_rate = {
            let mut counters = self.parts.metrics.lock();
            counters.running = running as u64;
            counters.waiting = waiting as u64;
            counters.kv_usage = usage;
            counters.cache_hits as f64 / (counters.cache_queries as f64).max(1.0)
        };
        let elapsed_s = self.due_s - self.statistics.since_s;
        if elapsed_s < STATISTICS_S {
            return;
        }
        let statistics = std::mem::take(&mut self.statistics);
        self.statistics.since_s = self.due_s;
        if !self.parts.settings.log_stats {
            return;
        }
        let rates = format!(
            "Avg prompt throughput: {:.1} tokens/s, Avg generation throughput: {:.1} tokens/s",
            statistics.prompt_tokens as f64 / elapsed_s,
            statistics.generation_tokens as f64 / elapsed_s
        );
        let used = 100.0 * usage;
        let (source, line) = if self.parts.settings.generation == Generation::V0 {
            let line = format!(
                "{rates}, Running: {running} reqs, Swapped: 0 reqs, Pending: {waiting} reqs, GPU KV cache usage: {used:.1}%, CPU KV cache usage: 0.0%."
            );
            ("metrics.py:486", line)
        } else {
            let line = format!(
                "Engine 000: {rates}, Running: {running} reqs, Waiting: {waiting} reqs, GPU KV cache usage: {used:.1}%, Prefix cache hit rate: {:.1}%",
                100.0 * hit_rate
            );
            ("loggers.py:116", line)
        };
        self.parts.logger.log(Process::Api, Level::Info, source, &line);
    }
}
