//! Prompts of an exact length in tokens, different for every request, the same for every run of one seed.
//!
//! Prompts are token ids drawn from a vocabulary that the server's own tokenizer made of plain words, so the length
//! is exact whatever the tokenizer, no special token slips in, and no two prompts share a prefix worth caching.

use crate::stats::Random;

/// Source of seeded prompts.
#[derive(Debug, Clone)]
pub struct PromptSource {
    vocabulary: Vec<u32>,
    random: Random,
}

/// Plain words for the vocabulary; the tokenizer splits them as it likes.
pub const WORDS: &str = "river stone cloud garden market window letter bridge winter summer paper silver \
    orange engine signal harbor island planet bottle basket copper forest meadow valley castle mirror ribbon candle \
    feather hammer ladder needle pocket rocket saddle tunnel violin wagon yellow zebra anchor butter cotton dinner \
    eleven fabric guitar helmet insect jacket kitten lemon magnet number oyster pepper quartz rabbit sailor temple";

impl PromptSource {
    /// A source that draws from `vocabulary` (must not be empty: one token is put in its place then).
    pub fn new(mut vocabulary: Vec<u32>, seed: u64) -> Self {
        vocabulary.sort_unstable();
        vocabulary.dedup();
        if vocabulary.is_empty() {
            vocabulary.push(0);
        }
        Self {
            vocabulary,
            random: Random::new(seed),
        }
    }

    /// The next prompt, `tokens` long.
    pub fn next_prompt(&mut self, tokens: u32) -> Vec<u32> {
        (0..tokens).map(|_| self.next_token()).collect()
    }

    fn next_token(&mut self) -> u32 {
        let index = self.random.below(self.vocabulary.len());
        self.vocabulary.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn same_seed_same_prompts() {
        let mut a = PromptSource::new((0..100).collect(), 7);
        let mut b = a.clone();
        assert_eq!(a.next_prompt(64), b.next_prompt(64));
        assert_ne!(
            a.next_prompt(64),
            PromptSource::new((0..100).collect(), 8).next_prompt(64)
        );
    }

    #[test]
    fn prompts_share_no_prefix() {
        let mut source = PromptSource::new((0..200).collect(), 0);
        let prefixes: HashSet<Vec<u32>> = (0..500).map(|_| source.next_prompt(16)[..4].to_vec()).collect();
        assert_eq!(prefixes.len(), 500);
    }

    #[test]
    fn an_empty_vocabulary_still_gives_the_length() {
        assert_eq!(PromptSource::new(Vec::new(), 0).next_prompt(3), vec![0, 0, 0]);
    }
}
