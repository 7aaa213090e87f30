//! What noise is put on: the goldens of the repository's real model, whose margins and tails are those of a real model.

use std::path::Path;

use crate::golden::{Golden, GoldenError, Recording};

/// Alternatives that a golden needs to serve.
const LEAST_ALTERNATIVES: usize = 20;

/// Why there is nothing to put noise on.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The goldens.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// Too few.
    #[error(
        "{} goldens with {positions} positions are too few, 5,000 positions are needed: record more of this model",
        goldens
    )]
    TooFew {
        /// Goldens with enough alternatives.
        goldens: usize,
        /// Their positions.
        positions: usize,
    },
}

/// Goldens to put noise on.
#[derive(Debug, Clone)]
pub struct Base {
    goldens: Vec<Golden>,
}

impl Base {
    /// The goldens of a folder.
    pub fn read(folder: &Path) -> Result<Self, BaseError> {
        let recording = Recording::read(folder)?;
        let fits = |golden: &Golden| {
            golden
                .positions
                .iter()
                .all(|position| position.top.len() >= LEAST_ALTERNATIVES)
        };
        let goldens: Vec<_> = recording.goldens.into_values().filter(fits).collect();
        let positions = goldens.iter().map(|golden| golden.positions.len()).sum();
        if positions < 5_000 {
            let goldens = goldens.len();
            return Err(BaseError::TooFew { goldens, positions });
        }
        Ok(Self { goldens })
    }

    /// Goldens, from one in three to all, until they hold so many positions: prompts of every kind are among the first.
    pub fn first(&self, positions: usize) -> Vec<&Golden> {
        let mut held = 0;
        let spread = (0..3).flat_map(|start| self.goldens.iter().skip(start).step_by(3));
        spread
            .take_while(|golden| {
                let wanted = held < positions;
                held += golden.positions.len();
                wanted
            })
            .collect()
    }
}
