//! Walking through what waits, one key after another. No terminal in here: a key goes in, what to do next comes out,
//! and decisions are written as they are made.

use super::{Pending, ReviewError, accept, reject};
use crate::golden::Store;

/// The keys, for the foot of each screen.
pub const KEYS: &str = "a accept   r reject   s skip   e reason   o open in browser   q quit";

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Show the current golden and read a key.
    Show,
    /// Read a reason and hand it to [`Walk::give_reason`].
    AskReason,
    /// Show the current golden in a browser, then go on as with [`Step::Show`].
    Open,
    /// Nothing is left to look at, or the reviewer has had enough.
    End,
}

/// A walk through what waits.
#[derive(Debug)]
pub struct Walk<'a> {
    store: &'a Store,
    pending: Vec<Pending>,
    at: usize,
    reason: Option<String>,
    accept_with_reason: bool,
    notice: Option<String>,
    counts: Counts,
}

/// What became of those that were shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted.
    pub accepted: usize,
    /// Rejected.
    pub rejected: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the first.
    pub const fn new(store: &'a Store, pending: Vec<Pending>) -> Self {
        Self {
            store,
            pending,
            at: 0,
            reason: None,
            accept_with_reason: false,
            notice: None,
            counts: Counts {
                accepted: 0,
                rejected: 0,
            },
        }
    }

    /// The one to decide on.
    pub fn current(&self) -> Option<&Pending> {
        self.pending.get(self.at)
    }

    /// Which of how many the current one is, from 1.
    pub const fn place(&self) -> (usize, usize) {
        (self.at + 1, self.pending.len())
    }

    /// The reason given for the current one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What the last key came to, once.
    pub fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// Tells the reviewer something on the next screen.
    pub fn notify(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// How many were decided.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many still wait.
    pub fn left(&self) -> usize {
        self.pending.len() - self.counts.accepted - self.counts.rejected
    }

    /// Does what a key asks for.
    pub fn press(&mut self, key: char) -> Step {
        if self.current().is_none() {
            return Step::End;
        }
        match key {
            'a' => self.accept(),
            'r' => self.reject(),
            's' => self.next(),
            'e' => Step::AskReason,
            'o' => Step::Open,
            'q' => Step::End,
            _ => {
                self.notify(format!("keys: {KEYS}"));
                Step::Show
            }
        }
    }

    /// Takes the reason that [`Step::AskReason`] asked for; an empty one takes it back.
    pub fn give_reason(&mut self, reason: &str) -> Step {
        let reason = reason.trim();
        self.reason = (!reason.is_empty()).then(|| reason.to_owned());
        if std::mem::take(&mut self.accept_with_reason) {
            if self.reason.is_some() {
                return self.accept();
            }
            self.notify("not accepted: no reason was given".to_owned());
        }
        Step::Show
    }

    fn accept(&mut self) -> Step {
        let Some(pending) = self.pending.get(self.at) else {
            return Step::End;
        };
        match accept(self.store, pending, self.reason.as_deref()) {
            Ok(path) => {
                self.counts.accepted += 1;
                self.notify(format!("accepted: {}", path.display()));
                self.next()
            }
            Err(ReviewError::ReasonMissing { .. }) => {
                self.accept_with_reason = true;
                Step::AskReason
            }
            Err(error) => self.refused(&error),
        }
    }

    fn reject(&mut self) -> Step {
        let Some(pending) = self.pending.get(self.at) else {
            return Step::End;
        };
        match reject(self.store, pending) {
            Ok(_) => {
                self.counts.rejected += 1;
                let name = pending.name();
                self.notify(format!("rejected: {name}"));
                self.next()
            }
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &ReviewError) -> Step {
        self.notify(error.to_string());
        Step::Show
    }

    fn next(&mut self) -> Step {
        self.at += 1;
        self.reason = None;
        if self.current().is_some() {
            Step::Show
        } else {
            Step::End
        }
    }
}
