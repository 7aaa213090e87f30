//! What a worker has yet to send, and when. Pure but for the shared number of the next request.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::worker::Share;
use crate::load::{
    Pace, Requests,
    spec::{Spec, Turn},
};

/// Connections of an open schedule that are set up before the start; more are set up when they are needed.
const OPEN_CONNECTIONS: usize = 16;

/// A request that is due.
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    /// Number of the request.
    pub index: u64,
    /// What it asks for.
    pub spec: Spec,
    /// When it was due.
    pub scheduled_ns: u64,
}

/// What is yet to be sent.
#[derive(Debug)]
pub struct Agenda<'a> {
    requests: &'a Requests,
    next: &'a AtomicU64,
    plan: Plan<'a>,
    think_ns: u64,
    /// Moment after which nothing new is begun.
    until_ns: u64,
    /// Due and without connection.
    waiting: VecDeque<Pending>,
    /// Due later, by moment; ties by number, so that the order is always the same.
    later: BinaryHeap<Reverse<Later>>,
    /// Set once there are no more requests.
    dry: bool,
}

#[derive(Debug)]
enum Plan<'a> {
    /// This worker's share of the requests in flight, and the time from one beginning to the next.
    Closed {
        slots: usize,
        worker: u64,
        workers: u64,
        apart_ns: u64,
    },
    /// This worker sends every request whose number leaves `worker` when divided by `workers`.
    Open {
        due_ns: &'a [u64],
        at: usize,
        step: usize,
        start_ns: u64,
        most: usize,
    },
}

/// A request that is due later: one that is known, or whichever comes next.
#[derive(Debug, PartialEq, Eq)]
struct Later {
    due_ns: u64,
    order: u64,
    known: Option<(u64, Spec)>,
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_ns, self.order).cmp(&(other.due_ns, other.order))
    }
}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The share of one of `workers` in `whole`: all shares together are the whole.
fn share(whole: usize, worker: usize, workers: usize) -> usize {
    whole / workers + usize::from(worker < whole % workers)
}

impl<'a> Agenda<'a> {
    /// The agenda of one worker.
    pub fn new(work: &Share<'a>) -> Self {
        let (worker, workers) = (work.worker, work.workers.max(1));
        let plan = match &work.phase.pace {
            Pace::Closed { in_flight, ramp } => {
                let ramp_ns = u64::try_from(ramp.as_nanos()).unwrap_or(u64::MAX);
                Plan::Closed {
                    slots: share(*in_flight as usize, worker, workers),
                    worker: worker as u64,
                    workers: workers as u64,
                    apart_ns: ramp_ns / u64::from((*in_flight).max(2) - 1),
                }
            }
            Pace::Open {
                due_ns,
                max_in_flight,
            } => Plan::Open {
                due_ns,
                at: worker,
                step: workers,
                start_ns: 0,
                most: share(*max_in_flight as usize, worker, workers).max(1),
            },
        };
        Self {
            requests: &work.phase.requests,
            next: work.next,
            plan,
            think_ns: u64::try_from(work.phase.think.as_nanos()).unwrap_or(u64::MAX),
            until_ns: u64::MAX,
            waiting: VecDeque::new(),
            later: BinaryHeap::new(),
            dry: false,
        }
    }

    /// Connections to set up before the start.
    pub fn connections(&self) -> usize {
        match &self.plan {
            Plan::Closed { slots, .. } => *slots,
            Plan::Open { most, due_ns, .. } => (*most).min(OPEN_CONNECTIONS).min(due_ns.len()),
        }
    }

    /// Most connections at once.
    pub const fn most_connections(&self) -> usize {
        match &self.plan {
            Plan::Closed { slots, .. } => *slots,
            Plan::Open { most, .. } => *most,
        }
    }

    /// The phase begins at `now_ns`.
    pub fn begin(&mut self, now_ns: u64, duration: Option<Duration>) {
        let duration = duration.and_then(|duration| u64::try_from(duration.as_nanos()).ok());
        self.until_ns = duration.map_or(u64::MAX, |duration| now_ns.saturating_add(duration));
        match &mut self.plan {
            Plan::Open { start_ns, .. } => *start_ns = now_ns,
            Plan::Closed {
                slots,
                worker,
                workers,
                apart_ns,
            } => {
                for slot in 0..*slots as u64 {
                    // Workers take turns, so that a ramp is even however many there are.
                    let order = *worker + slot * *workers;
                    self.later.push(Reverse(Later {
                        due_ns: now_ns + *apart_ns * order,
                        order,
                        known: None,
                    }));
                }
            }
        }
    }

    /// Moves what is due by `now_ns` to those that wait.
    pub fn advance(&mut self, now_ns: u64) {
        while let Some(Reverse(later)) = self.later.peek() {
            if later.due_ns > now_ns {
                break;
            }
            let Some(Reverse(later)) = self.later.pop() else {
                break;
            };
            let pending = match later.known {
                Some((index, spec)) => Some((index, spec)),
                None => self.draw(later.due_ns),
            };
            self.waiting.extend(pending.map(|(index, spec)| Pending {
                index,
                spec,
                scheduled_ns: later.due_ns,
            }));
        }
        self.advance_open(now_ns);
    }

    fn advance_open(&mut self, now_ns: u64) {
        let Plan::Open {
            due_ns,
            at,
            step,
            start_ns,
            ..
        } = &mut self.plan
        else {
            return;
        };
        while let Some(due) = due_ns.get(*at).map(|due| start_ns.saturating_add(*due)) {
            if due > now_ns {
                return;
            }
            let index = *at as u64;
            *at += *step;
            let spec = (due <= self.until_ns).then(|| self.requests.get(index)).flatten();
            match spec {
                Some(spec) => self.waiting.push_back(Pending {
                    index,
                    spec,
                    scheduled_ns: due,
                }),
                None => *at = due_ns.len(),
            }
        }
    }

    /// The next request of those that no moment of their own is given.
    fn draw(&mut self, due_ns: u64) -> Option<(u64, Spec)> {
        if self.dry || due_ns > self.until_ns {
            self.dry = true;
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let spec = self.requests.get(index);
        self.dry = spec.is_none();
        spec.map(|spec| (spec.turn.map_or(index, Turn::index), spec))
    }

    /// A request ended at `at_ns`; its successor, if the pace knows one, is due then, after the pause of a conversation,
    /// and not before `not_before_ns`. `answer`: what a next turn needs, where the request succeeded.
    pub fn ended(&mut self, spec: &Spec, answer: Option<&str>, at_ns: u64, not_before_ns: u64) {
        let follow = answer
            .filter(|_| spec.turn.is_some())
            .and_then(|answer| self.requests.follow(spec, answer))
            .filter(|_| at_ns <= self.until_ns);
        if let Some((next, turn)) = follow.and_then(|next| next.turn.map(|turn| (next, turn))) {
            let due_ns = at_ns.saturating_add(self.think_ns);
            let index = turn.index();
            self.later.push(Reverse(Later {
                due_ns,
                order: index,
                known: Some((index, next)),
            }));
        } else if matches!(self.plan, Plan::Closed { .. }) && !self.dry {
            self.later.push(Reverse(Later {
                due_ns: not_before_ns,
                order: 0,
                known: None,
            }));
        }
    }

    /// Whether a request waits for a connection.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The request that has waited longest.
    pub fn take_waiting(&mut self) -> Option<Pending> {
        self.waiting.pop_front()
    }

    /// When the next request is due; `None` where only the end of another can tell.
    pub fn next_due(&self) -> Option<u64> {
        let later = self.later.peek().map(|Reverse(later)| later.due_ns);
        let open = match &self.plan {
            Plan::Open {
                due_ns, at, start_ns, ..
            } => due_ns.get(*at).map(|due| start_ns.saturating_add(*due)),
            Plan::Closed { .. } => None,
        };
        [later, open].into_iter().flatten().min()
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.next_due().is_none()
    }
}
