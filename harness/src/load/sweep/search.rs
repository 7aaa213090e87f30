//! Which concurrency is measured next. Pure: the whole search follows from what was seen so far.
//!
//! It climbs 1, 2, 4 … until throughput stops climbing, and then, under a promise, halves the interval between the last
//! level that kept it and the first that broke it. A level whose figures mean nothing is neither.

/// How a search goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The first level.
    pub from: u32,
    /// The last.
    pub to: u32,
    /// Share by which a doubling must raise throughput for the climb to go on.
    pub min_gain: f64,
    /// Whether a promise is looked for.
    pub promised: bool,
}

/// What a level turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its figures are valid and keep every promise.
    Kept,
    /// They are valid and break a promise.
    Broke,
    /// They mean nothing, or requests failed.
    Unfit,
}

/// A level that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Requests in flight.
    pub level: u32,
    /// Output tokens a second.
    pub tokens_per_s: f64,
    /// What it turned out to be.
    pub standing: Standing,
}

/// Why a search came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Throughput no longer climbs.
    Flat,
    /// It climbs still at the last level that was allowed.
    Top,
    /// Two levels one after the other, or one within the interval of a promise, gave no valid figures.
    Unfit,
    /// Somebody stopped it.
    Stopped,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// To measure this level.
    Level(u32),
    /// Nothing.
    Done(End),
}

/// Part of a level that an interval may be wide at its end: nobody sets a concurrency more finely.
const FINE: u32 = 16;

impl Rules {
    /// What to do after what was seen, in its order.
    pub fn next(&self, seen: &[Seen]) -> Next {
        let climbed = self.climbed(seen);
        let end = match climbed {
            Next::Level(level) => return Next::Level(level),
            Next::Done(end) => end,
        };
        if !self.promised {
            return Next::Done(end);
        }
        let Some((low, high)) = interval(seen) else {
            return Next::Done(end);
        };
        if high - low <= (low / FINE).max(1) {
            return Next::Done(end);
        }
        let middle = low.midpoint(high);
        // The interval would be another one had the middle told anything.
        if seen.iter().any(|step| step.level == middle) {
            return Next::Done(End::Unfit);
        }
        Next::Level(middle)
    }

    /// The climb: the seen levels that belong to it are the first ones.
    fn climbed(&self, seen: &[Seen]) -> Next {
        let mut level = self.from;
        let mut last: Option<Seen> = None;
        let mut unfit = 0;
        for step in seen {
            if step.standing == Standing::Unfit {
                unfit += 1;
                if unfit == 2 {
                    return Next::Done(End::Unfit);
                }
            } else {
                let is_flat = last.is_some_and(|last| self.is_flat(last, *step));
                if is_flat {
                    return Next::Done(End::Flat);
                }
                (last, unfit) = (Some(*step), 0);
            }
            if level >= self.to {
                return Next::Done(End::Top);
            }
            level = level.saturating_mul(2).min(self.to);
        }
        Next::Level(level)
    }

    /// Whether throughput stopped climbing: for less than a doubling, less is asked.
    fn is_flat(&self, before: Seen, now: Seen) -> bool {
        let doublings = (f64::from(now.level) / f64::from(before.level)).log2();
        now.tokens_per_s < before.tokens_per_s * (1.0 + self.min_gain).powf(doublings)
    }
}

/// The last level that kept its promises below the first that broke one; 0 where none did. `None` where none broke.
fn interval(seen: &[Seen]) -> Option<(u32, u32)> {
    let of = |standing| seen.iter().filter(move |step| step.standing == standing);
    let high = of(Standing::Broke).map(|step| step.level).min()?;
    let kept = of(Standing::Kept)
        .map(|step| step.level)
        .filter(|level| *level < high);
    Some((kept.max().unwrap_or(0), high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        from: 1,
        to: 512,
        min_gain: 0.1,
        promised: true,
    };

    /// A server that reads its weights in `weights` and adds `each` for every sequence, and breaks its promise above
    /// `most`.
    fn searched(rules: Rules, [weights, each]: [f64; 2], most: u32, unfit: &[u32]) -> (Vec<Seen>, End) {
        let mut seen = Vec::new();
        loop {
            let level = match rules.next(&seen) {
                Next::Level(level) => level,
                Next::Done(end) => return (seen, end),
            };
            assert!(seen.len() < 64, "no end: {seen:?}");
            assert!(
                !seen.iter().any(|step: &Seen| step.level == level),
                "{level} twice"
            );
            let n = f64::from(level);
            let standing = match level {
                level if unfit.contains(&level) => Standing::Unfit,
                level if level > most => Standing::Broke,
                _ => Standing::Kept,
            };
            seen.push(Seen {
                level,
                tokens_per_s: n / (weights + each * n),
                standing,
            });
        }
    }

    fn levels(seen: &[Seen]) -> Vec<u32> {
        seen.iter().map(|step| step.level).collect()
    }

    #[test]
    fn it_climbs_until_throughput_is_flat() {
        // A doubling from n gains 10 % at n = 4.5 weights/each = 36.
        let (seen, end) = searched(RULES, [8.0, 1.0], 1000, &[]);
        assert_eq!(
            (levels(&seen), end),
            (vec![1, 2, 4, 8, 16, 32, 64, 128], End::Flat)
        );
        let (seen, end) = searched(Rules { to: 24, ..RULES }, [8.0, 1.0], 1000, &[]);
        assert_eq!((levels(&seen), end), (vec![1, 2, 4, 8, 16, 24], End::Top));
    }

    #[test]
    fn a_promise_is_narrowed_down() {
        let (seen, end) = searched(RULES, [8.0, 1.0], 21, &[]);
        assert_eq!(levels(&seen[8..]), [24, 20, 22, 21]);
        assert_eq!(end, End::Flat);
        let (seen, _) = searched(
            Rules {
                promised: false,
                ..RULES
            },
            [8.0, 1.0],
            21,
            &[],
        );
        assert_eq!(seen.len(), 8);
        // Nothing keeps it.
        let (seen, _) = searched(RULES, [8.0, 1.0], 0, &[]);
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn levels_without_valid_figures_decide_nothing() {
        // One is passed over in the climb, and the doublings around it are judged together.
        let (seen, end) = searched(RULES, [8.0, 1.0], 1000, &[16]);
        assert_eq!(
            (levels(&seen), end),
            (vec![1, 2, 4, 8, 16, 32, 64, 128], End::Flat)
        );
        let (seen, end) = searched(RULES, [8.0, 1.0], 1000, &[16, 32]);
        assert_eq!((levels(&seen), end), (vec![1, 2, 4, 8, 16, 32], End::Unfit));
        // Within the interval of a promise nothing can be concluded.
        let (seen, end) = searched(RULES, [8.0, 1.0], 21, &[24]);
        assert_eq!((seen.len(), end), (9, End::Unfit));
    }

    proptest! {
        #[test]
        fn the_last_level_that_keeps_the_promise_is_found(
            most in 1_u32..300, weights in 1.0..400.0_f64, from in 1_u32..5, to in 1_u32..600,
        ) {
            let rules = Rules { from, to: to.max(from), ..RULES };
            let (seen, _) = searched(rules, [weights, 1.0], most, &[]);
            let best = seen.iter().filter(|step| step.standing == Standing::Kept).map(|step| step.level).max();
            let highest = seen.iter().map(|step| step.level).max().unwrap();
            let expected = most.min(highest);
            match best {
                Some(best) => {
                    prop_assert!(best <= expected);
                    prop_assert!(expected - best <= best / FINE, "{best} of {expected}");
                }
                None => prop_assert!(most < from),
            }
        }
    }
}
