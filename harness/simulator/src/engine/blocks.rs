//! Blocks of keys and values: who holds them, and which can be shared by an equal prefix.
//!
//! A block is private to a sequence, or cached under the hash of all tokens up to its end. Cached blocks that
//! nobody holds stay until room is needed; the longest unused goes first. Invariant: blocks held and cached
//! never exceed the capacity.

use std::collections::{BTreeMap, HashMap};

use crate::tokenizer::Token;

/// Hash of all tokens from the beginning to the end of a block.
pub type Prefix = u64;

#[derive(Debug)]
struct Cached {
    holders: u64,
    idle_since: u64,
}

/// The pool of one server.
#[derive(Debug)]
pub struct BlockPool {
    capacity: u64,
    block_size: usize,
    caching: bool,
    private: u64,
    cached: HashMap<Prefix, Cached>,
    idle: BTreeMap<u64, Prefix>,
    ticks: u64,
    seed: u64,
}

/// Blocks that a sequence holds.
#[derive(Debug, Default, Clone)]
pub struct Held {
    shared: Vec<Prefix>,
    private: u64,
}

impl Held {
    fn count(&self) -> u64 {
        self.shared.len() as u64 + self.private
    }
}

fn chain(previous: Prefix, tokens: &[Token]) -> Prefix {
    tokens
        .iter()
        .fold(previous ^ 0x9e37_79b9_7f4a_7c15, |hash, token| {
            (hash.rotate_left(5) ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3_9e37)
        })
}

impl BlockPool {
    /// A pool of `capacity` blocks of `block_size` tokens.
    pub fn new(capacity: u64, block_size: u64, caching: bool) -> Self {
        Self {
            capacity,
            block_size: usize::try_from(block_size).unwrap_or(usize::MAX),
            caching,
            private: 0,
            cached: HashMap::new(),
            idle: BTreeMap::new(),
            ticks: 0,
            seed: 0x6b76,
        }
    }

    /// Share of the blocks that sequences hold, 0 to 1.
    pub fn usage(&self) -> f64 {
        if self.capacity == 0 {
            return 0.0;
        }
        self.held() as f64 / self.capacity as f64
    }

    fn held(&self) -> u64 {
        self.private + self.cached.len() as u64 - self.idle.len() as u64
    }

    /// Holds cached blocks that begin these tokens, and says how many tokens they cover. The last token is
    /// never covered: something must be computed.
    pub fn adopt(&mut self, tokens: &[Token]) -> (Held, usize) {
        let mut held = Held::default();
        if !self.caching {
            return (held, 0);
        }
        let coverable = tokens.len().saturating_sub(1);
        let mut prefix = self.seed;
        for block in tokens[..coverable].chunks_exact(self.block_size) {
            prefix = chain(prefix, block);
            let Some(cached) = self.cached.get_mut(&prefix) else {
                break;
            };
            if cached.holders == 0 {
                self.idle.remove(&cached.idle_since);
            }
            cached.holders += 1;
            held.shared.push(prefix);
        }
        let covered = held.shared.len() * self.block_size;
        (held, covered)
    }

    /// Makes a sequence hold room for `tokens` tokens; false when there is none.
    pub fn grow(&mut self, held: &mut Held, tokens: usize) -> bool {
        let needed = tokens.div_ceil(self.block_size) as u64;
        let missing = needed.saturating_sub(held.count());
        if self.held() + missing > self.capacity {
            return false;
        }
        while self.private + self.cached.len() as u64 + missing > self.capacity {
            match self.idle.pop_first() {
                Some((_, prefix)) => self.cached.remove(&prefix),
                None => return false,
            };
        }
        self.private += missing;
        held.private += missing;
        true
    }

    /// Makes the full blocks of computed tokens available to others.
    pub fn publish(&mut self, held: &mut Held, computed: &[Token]) {
        if !self.caching {
            return;
        }
        let mut prefix = held.shared.last().copied().unwrap_or(self.seed);
        let known = held.shared.len() * self.block_size;
        for block in computed
            .get(known..)
            .unwrap_or_default()
            .chunks_exact(self.block_size)
        {
            if held.private == 0 {
                break;
            }
            prefix = chain(prefix, block);
            held.private -= 1;
            self.private -= 1;
            held.shared.push(prefix);
            match self.cached.get_mut(&prefix) {
                Some(cached) => {
                    if cached.holders == 0 {
                        self.idle.remove(&cached.idle_since);
                    }
                    cached.holders += 1;
                }
                None => {
                    self.cached.insert(
                        prefix,
                        Cached {
                            holders: 1,
                            idle_since: 0,
                        },
                    );
                }
            }
        }
    }

    /// Gives back all that a sequence holds. Ends of prefixes become idle first, so they are evicted first.
    pub fn release(&mut self, held: &mut Held) {
        self.private -= held.private;
        held.private = 0;
        for prefix in std::mem::take(&mut held.shared).into_iter().rev() {
            let Some(cached) = self.cached.get_mut(&prefix) else {
                continue;
            };
            cached.holders -= 1;
            if cached.holders == 0 {
                self.ticks += 1;
                cached.idle_since = self.ticks;
                self.idle.insert(self.ticks, prefix);
            }
        }
    }

    /// Forgets every cached block that nobody holds.
    pub fn reset_cache(&mut self) {
        for (_, prefix) in std::mem::take(&mut self.idle) {
            self.cached.remove(&prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_equal_prefix_is_shared_up_to_its_last_token() {
        let mut pool = BlockPool::new(10, 4, true);
        let tokens: Vec<Token> = (0..8).collect();
        let (mut first, covered) = pool.adopt(&tokens);
        assert_eq!(covered, 0);
        assert!(pool.grow(&mut first, 8));
        pool.publish(&mut first, &tokens);
        let (mut second, covered) = pool.adopt(&tokens);
        assert_eq!(covered, 4);
        pool.release(&mut first);
        pool.release(&mut second);
        assert!(pool.usage().abs() < 1e-12);
        assert_eq!(pool.adopt(&tokens).1, 4);
    }

    #[test]
    fn idle_blocks_give_way_and_held_ones_do_not() {
        let mut pool = BlockPool::new(4, 2, true);
        let mut held = Held::default();
        assert!(pool.grow(&mut held, 6));
        pool.publish(&mut held, &[1, 2, 3, 4, 5, 6]);
        assert!(!pool.grow(&mut Held::default(), 4));
        pool.release(&mut held);
        assert!(pool.grow(&mut Held::default(), 8));
        assert_eq!(pool.adopt(&[1, 2, 3]).1, 0);
    }

    #[test]
    fn without_caching_nothing_is_shared() {
        let mut pool = BlockPool::new(4, 2, false);
        let mut held = Held::default();
        assert!(pool.grow(&mut held, 4));
        pool.publish(&mut held, &[1, 2, 3, 4]);
        assert_eq!(pool.adopt(&[1, 2, 3, 4]).1, 0);
    }

    proptest! {
           #[test]
           fn accounts_always_balance(lengths in proptest::collection::vec((1_usize..40, 0_u32..3), 1..30)) {
               let mut pool = BlockPool::new(16, 4, true);
               let mut live: Vec<Held> = Vec::new();
               for (length, family) in lengths {
                   let tokens: Vec<Token> = (0..length).map(|at| family * 100 + u32::try_from(at).unwrap()).collect();
                   let (mut held, _) = pool.adopt(&tokens);
                   if pool.grow(&mut held, length) {
                       pool.publish(&mut held, &tokens);
                       live.push(held);
                   } else {
                       pool.release(&mut held);
                       for held in &mut live {
    pool.release(held);
    }
                       live.clear();
                   }
                   prop_assert!(pool.private + pool.cached.len() as u64 <= 16);
                   prop_assert!(pool.usage() <= 1.0);
               }
               for held in &mut live {
    pool.release(held);
    }
               prop_assert_eq!(pool.held(), 0);
           }
       }
}
