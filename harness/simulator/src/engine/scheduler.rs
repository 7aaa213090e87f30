//! Continuous batching: who takes part in a step, and what a step yields.
//!
//! Running sequences come first, one token each or the next part of their prompt; waiting ones join while
//! sequences, tokens and blocks last. Without blocks for a running sequence the youngest one is thrown out,
//! to be computed again. V0's habit of a step for prompts alone is not played: its throughput is nearly the
//! same, and its measured figures fit the mixed step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;

use tokio::sync::Notify;

use super::accounts::Statistics;
use super::blocks::BlockPool;
use super::sequence::{Choice, Emitted, Event, Sequence, Submission};
use super::{Command, Faulty, Parts, Timing};
use crate::logs::{Level, Process, death_script, print_steps};
use crate::version::Generation;

/// Work of one sequence in a step.
struct Share {
    at: usize,
    tokens: usize,
}

/// The engine's thread.
pub(super) struct Scheduler {
    pub(super) parts: Parts,
    commands: Receiver<Command>,
    dead: Arc<AtomicBool>,
    death: Arc<Notify>,
    timing: Timing,
    pub(super) pool: BlockPool,
    pub(super) running: Vec<Sequence>,
    pub(super) waiting: VecDeque<Sequence>,
    pub(super) faulty: Faulty,
    /// Since the faults were set.
    requests: u64,
    tokens: u64,
    pub(super) due_s: f64,
    pub(super) statistics: Statistics,
}

impl Scheduler {
    pub(super) fn new(
        parts: Parts,
        commands: Receiver<Command>,
        dead: Arc<AtomicBool>,
        death: Arc<Notify>,
    ) -> Self {
        let settings = &parts.settings;
        let capacity = &settings.capacity;
        Self {
            timing: Timing::new(settings),
            pool: BlockPool::new(capacity.blocks, capacity.block_size, settings.prefix_caching),
            faulty: Faulty::of(&parts.faults),
            running: Vec::new(),
            waiting: VecDeque::new(),
            requests: 0,
            tokens: 0,
            due_s: 0.0,
            statistics: Statistics::default(),
            parts,
            commands,
            dead,
            death,
        }
    }

    /// Runs until every handle is gone.
    pub(super) fn run(mut self) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match self.commands.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
                continue;
            }
            if !self.obey_pending() {
                return;
            }
            if self.faulty.crash_after.is_some_and(|after| self.requests > after) {
                self.die();
                return;
            }
            if self.faulty.hang_after.is_some_and(|after| self.tokens >= after) {
                match self.commands.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
                continue;
            }
            if !self.step() {
                return;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.accept(*submission),
            Command::ResetPrefixCache => self.pool.reset_cache(),
            Command::SetFaults(faults) => {
                self.faulty = Faulty::of(&faults);
                self.requests = 0;
                self.tokens = 0;
            }
        }
    }

    /// Takes all commands that are there; false when no handle is left.
    fn obey_pending(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn accept(&mut self, submission: Submission) {
        if submission.leads.is_some() {
            self.requests += 1;
        }
        self.parts
            .truth
            .arrived(&submission.request_id, submission.index, &self.parts.clock);
        let sequence = Sequence::new(submission, &self.parts.language);
        self.waiting.push_back(sequence);
        self.parts.metrics.lock().waiting = self.waiting.len() as u64;
    }

    /// One step; false when no handle is left.
    fn step(&mut self) -> bool {
        let now_s = self.parts.clock.now();
        if self.running.is_empty() {
            let arrived_s = self
                .waiting
                .front()
                .map_or(now_s, |sequence| sequence.given.arrived_s);
            self.due_s = self.due_s.max(arrived_s);
        }
        let start_s = self.due_s;
        let shares = self.schedule(start_s);
        let prefill: usize = shares.iter().map(|share| share.tokens).sum::<usize>() - self.decoding(&shares);
        let slowness = match self.faulty.drift {
            Some((factor, after)) if self.requests > after => factor,
            _ => 1.0,
        };
        let slowness = slowness * self.faulty.run_noise.exp();
        self.due_s = start_s + slowness * self.timing.step_s(shares.len(), prefill as u64);
        let ready = self.compute(&shares);
        self.parts
            .metrics
            .lock()
            .step_tokens
            .observe(shares.iter().map(|share| share.tokens).sum::<usize>() as f64);
        if !self.wait_until_due() {
            return false;
        }
        self.hand_out(ready);
        self.report();
        true
    }

    fn decoding(&self, shares: &[Share]) -> usize {
        let decodes = |share: &&Share| {
            let sequence = &self.running[share.at];
            share.tokens == 1 && sequence.generated() > 0 && sequence.computed + 1 == sequence.tokens.len()
        };
        shares.iter().filter(decodes).count()
    }

    /// Chooses who takes part and gives them blocks.
    fn schedule(&mut self, now_s: f64) -> Vec<Share> {
        let placement = &self.parts.settings.placement;
        let mut budget = usize::try_from(placement.max_num_batched_tokens).unwrap_or(usize::MAX);
        let max_num_seqs = usize::try_from(placement.max_num_seqs).unwrap_or(usize::MAX);
        let mut shares = Vec::new();
        let mut at = 0;
        while at < self.running.len() && budget > 0 {
            let sequence = &mut self.running[at];
            let tokens = (sequence.tokens.len() - sequence.computed).min(budget);
            let end = sequence.computed + tokens;
            if self.pool.grow(&mut sequence.held, end) {
                budget -= tokens;
                shares.push(Share { at, tokens });
                at += 1;
            } else {
                self.preempt();
            }
        }
        while budget > 0 && self.running.len() < max_num_seqs {
            let Some(mut sequence) = self.waiting.pop_front() else {
                break;
            };
            self.adopt_prefix(&mut sequence);
            let tokens = (sequence.tokens.len() - sequence.computed).min(budget);
            let whole = self.parts.settings.chunked_prefill || shares.is_empty();
            let fits = whole || tokens == sequence.tokens.len() - sequence.computed;
            let end = sequence.computed + tokens;
            if !fits || !self.pool.grow(&mut sequence.held, end) {
                self.pool.release(&mut sequence.held);
                sequence.computed = 0;
                self.waiting.push_front(sequence);
                break;
            }
            self.count_prefix(&sequence);
            sequence
                .times
                .scheduled_s
                .get_or_insert(now_s.max(sequence.given.arrived_s));
            budget -= tokens;
            shares.push(Share {
                at: self.running.len(),
                tokens,
            });
            self.running.push(sequence);
        }
        shares
    }

    fn adopt_prefix(&mut self, sequence: &mut Sequence) {
        // Figures of the prompt need the prompt to be computed.
        if sequence.given.sampling.prompt_logprobs.is_some() {
            return;
        }
        let (held, covered) = self.pool.adopt(&sequence.tokens);
        sequence.held = held;
        sequence.computed = covered;
        sequence.cached_tokens = covered.min(sequence.given.prompt.len());
    }

    /// Throws the youngest running sequence out.
    fn preempt(&mut self) {
        let Some(mut sequence) = self.running.pop() else {
            return;
        };
        self.pool.release(&mut sequence.held);
        sequence.computed = 0;
        self.parts.metrics.lock().preemptions += 1;
        if self.parts.settings.generation == Generation::V0 {
            let line = format!(
                "Sequence group {} is preempted by PreemptionMode.RECOMPUTE mode because there is not enough KV \
                 cache space. This can affect the end-to-end performance. Increase gpu_memory_utilization or \
                 tensor_parallel_size to provide more KV cache memory.",
                sequence.given.request_id
            );
            self.parts
                .logger
                .log(Process::Engine, Level::Warning, "scheduler.py:1754", &line);
        }
        self.waiting.push_front(sequence);
    }

    /// Computes the shares; sequences whose tokens are all computed choose their next one.
    fn compute(&mut self, shares: &[Share]) -> Vec<(usize, Choice)> {
        let mut ready = Vec::with_capacity(shares.len());
        for share in shares {
            let sequence = &mut self.running[share.at];
            sequence.computed += share.tokens;
            self.pool
                .publish(&mut sequence.held, &sequence.tokens[..sequence.computed]);
            if sequence.computed == sequence.tokens.len() {
                self.tokens += 1;
                let garble = self
                    .faulty
                    .garble_every
                    .is_some_and(|every| self.tokens.is_multiple_of(every));
                ready.push((
                    share.at,
                    sequence.choose(&self.parts.language, &self.faulty, garble),
                ));
            }
        }
        ready
    }

    /// Waits for the step's end, taking commands meanwhile; false when no handle is left.
    fn wait_until_due(&mut self) -> bool {
        let due = self.parts.clock.instant(self.due_s);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.commands.recv_timeout(left) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Hands tokens to their clients. Everything is counted first: who has an answer finds it in the metrics.
    fn hand_out(&mut self, ready: Vec<(usize, Choice)>) {
        let max_model_len = self.parts.settings.placement.max_model_len;
        let mut over = Vec::new();
        for (at, choice) in ready {
            let sequence = &mut self.running[at];
            let first = sequence.generated() == 0;
            let index = sequence.given.index;
            let mut listening = true;
            if first {
                let figures = sequence.prompt_figures(&self.parts.language, &self.faulty);
                let event = Event::Prompt {
                    index,
                    cached_tokens: sequence.cached_tokens,
                    figures,
                };
                listening = sequence.given.events.send(event).is_ok();
            }
            let token = choice.token;
            let (text, finish) = sequence.push(&self.parts.language, token, max_model_len);
            let event = Event::Token(Emitted {
                index,
                token,
                text,
                figures: choice.figures,
                finish: finish.clone(),
            });
            self.parts.truth.token(
                &sequence.given.request_id,
                index,
                sequence.generated(),
                &self.parts.clock,
            );
            self.count_token(at, first);
            if finish.is_some() {
                over.push((at, finish.filter(|_| listening), Some(event)));
                continue;
            }
            listening &= self.running[at].given.events.send(event).is_ok();
            if !listening {
                over.push((at, None, None));
            }
        }
        self.parts.truth.flush();
        for (at, finish, last) in over.into_iter().rev() {
            let mut sequence = self.running.remove(at);
            self.pool.release(&mut sequence.held);
            self.count_end(&sequence, finish.as_ref());
            if let Some(event) = last {
                // The client may have gone in this very moment; nothing is left to do for it.
                drop(sequence.given.events.send(event));
            }
        }
    }

    fn die(mut self) {
        print_steps(&self.parts.logger, &death_script(&self.parts.settings));
        self.dead.store(true, Ordering::Release);
        self.obey_pending();
        for sequence in self.running.drain(..).chain(self.waiting.drain(..)) {
            // A handler that has gone needs no news.
            drop(sequence.given.events.send(Event::Dead));
        }
        self.death.notify_one();
    }
}
