//! What a model needs, before anything is loaded: parameters, weights of each card, KV cache, what is left, how many
//! cards, and the roofs of speed. Pure. Exact where architecture decides; where only measurements tell (activations,
//! memory outside torch, graphs) the card's file estimates, with its error.
//!
//! The way: a manifest or a `config.json` gives a [`Shape`]; shape, [`Card`](crate::manifest::Card) and [`Settings`]
//! make a [`Demand`], which predicts one [`Layout`] or looks for the smallest that fits.

mod config;
mod estimate;
mod family;
mod layouts;
mod numbers;
mod obstacle;
mod parameters;
mod predict;
mod roof;
mod rules;
mod served;
mod settings;
mod shape;

pub use config::ModelConfig;
pub use estimate::Estimate;
pub use family::{AttentionKind, Caveat, FAMILIES, Family, FeedForwardKind, VisionKind, family};
pub use layouts::{SQUEEZED_UTILIZATION, Squeeze};
pub use numbers::{KvType, Method, Quantization};
pub use obstacle::Obstacle;
pub use parameters::{CountError, Parameters, stage_layers};
pub use predict::{Demand, GIB, Prediction};
pub use roof::Roof;
pub use rules::{Platform, Rules};
pub use served::Served;
pub use settings::{CPU_KV_CACHE, Known, Layout, Settings};
pub use shape::{Experts, Latent, Shape, Tower};

#[cfg(test)]
mod tests;
