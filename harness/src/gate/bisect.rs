//! Which step did it? An ordered list whose first is good and whose last is bad → the two neighbours between which it
//! turned, with as few probes as can be. Both ends are verified first; what cannot be probed is passed over and said;
//! the step that was found is probed again, because a failure that does not repeat is none.

/// What one entry of the list turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// As the first.
    Good,
    /// Not as the first.
    Bad,
    /// It does not tell: it does not boot, or the evidence does not decide.
    Untold(String),
}

/// What a bisection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bisection {
    /// It turned between these two entries.
    Found {
        /// The last that is good.
        good: usize,
        /// The first that is bad.
        bad: usize,
        /// Entries between them that could not be probed.
        between: Vec<(usize, String)>,
    },
    /// The last entry is as good as the first: there is nothing to find.
    NothingWrong,
    /// An end does not tell.
    EndUntold(usize, String),
    /// The step was bad once and good when it was repeated.
    NotRepeatable(usize),
}

/// Bisects a list of `count` entries, of which the first is good by definition. `probe` is called with an index, and
/// twice for the entry that is found.
pub fn bisect<E>(count: usize, mut probe: impl FnMut(usize) -> Result<Probe, E>) -> Result<Bisection, E> {
    let Some(last) = count.checked_sub(1).filter(|last| *last > 0) else {
        return Ok(Bisection::NothingWrong);
    };
    match probe(last)? {
        Probe::Good => return Ok(Bisection::NothingWrong),
        Probe::Untold(why) => return Ok(Bisection::EndUntold(last, why)),
        Probe::Bad => {}
    }
    let (mut good, mut bad) = (0, last);
    let mut untold: Vec<(usize, String)> = Vec::new();
    while let Some(middle) = next(good, bad, &untold) {
        match probe(middle)? {
            Probe::Good => good = middle,
            Probe::Bad => bad = middle,
            Probe::Untold(why) => untold.push((middle, why)),
        }
    }
    match probe(bad)? {
        Probe::Bad => {}
        Probe::Good => return Ok(Bisection::NotRepeatable(bad)),
        Probe::Untold(why) => return Ok(Bisection::EndUntold(bad, why)),
    }
    let mut between: Vec<(usize, String)> = untold
        .into_iter()
        .filter(|(at, _)| good < *at && *at < bad)
        .collect();
    between.sort_by_key(|(at, _)| *at);
    Ok(Bisection::Found { good, bad, between })
}

/// The entry nearest to the middle that was not tried in vain.
fn next(good: usize, bad: usize, untold: &[(usize, String)]) -> Option<usize> {
    let middle = good.midpoint(bad);
    (good + 1..bad)
        .filter(|at| untold.iter().all(|(known, _)| known != at))
        .min_by_key(|at| at.abs_diff(middle))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn run(states: &[Probe]) -> (Bisection, usize) {
        let mut probes = 0;
        let found = bisect(states.len(), |at| {
            probes += 1;
            Ok::<_, Infallible>(states[at].clone())
        });
        let Ok(found) = found;
        (found, probes)
    }

    fn dead() -> Probe {
        Probe::Untold("does not boot".to_owned())
    }

    #[test]
    fn six_stacks_take_four_probes() {
        use Probe::{Bad, Good};
        let (found, probes) = run(&[Good, Good, Good, Bad, Bad, Bad]);
        assert_eq!(
            found,
            Bisection::Found {
                good: 2,
                bad: 3,
                between: Vec::new()
            }
        );
        assert_eq!(probes, 4, "the last, two in between, the found one again");
    }

    #[test]
    fn what_does_not_boot_is_passed_over_and_said() {
        let (found, _) = run(&[Probe::Good, Probe::Good, dead(), Probe::Bad]);
        let between = vec![(2, "does not boot".to_owned())];
        assert_eq!(
            found,
            Bisection::Found {
                good: 1,
                bad: 3,
                between
            }
        );
    }

    #[test]
    fn ends_are_verified() {
        assert_eq!(run(&[Probe::Good, Probe::Good]).0, Bisection::NothingWrong);
        assert_eq!(run(&[Probe::Good]).0, Bisection::NothingWrong);
        assert_eq!(run(&[]).0, Bisection::NothingWrong);
        assert_eq!(
            run(&[Probe::Good, dead()]).0,
            Bisection::EndUntold(1, "does not boot".to_owned())
        );
    }

    #[test]
    fn a_failure_that_does_not_repeat_is_none() {
        let mut calls = 0;
        let found = bisect(2, |_| {
            calls += 1;
            Ok::<_, Infallible>(if calls == 1 { Probe::Bad } else { Probe::Good })
        });
        assert_eq!(found, Ok(Bisection::NotRepeatable(1)));
    }

    proptest! {
        #[test]
        fn the_step_is_always_found(count in 2_usize..40, step in 1_usize..40, holes in prop::collection::vec(any::<bool>(), 40)) {
            let step = step.min(count - 1);
            let states: Vec<Probe> = (0..count)
                .map(|at| match at {
                    _ if at != 0 && at != count - 1 && holes[at] => dead(),
                    _ if at < step => Probe::Good,
                    _ => Probe::Bad,
                })
                .collect();
            let (found, probes) = run(&states);
            let good = (0..step).rev().find(|&at| states[at] == Probe::Good).unwrap();
            let bad = (step..count).find(|&at| states[at] == Probe::Bad).unwrap();
            let Bisection::Found { good: g, bad: b, between } = found else { panic!("{found:?}") };
            prop_assert_eq!((g, b, between.len()), (good, bad, bad - good - 1));
            let dead = states.iter().filter(|state| matches!(state, Probe::Untold(_))).count();
            prop_assert!(probes <= 3 + count.ilog2() as usize + dead + 1, "{probes} probes for {count}");
        }
    }
}
