//! Brings models in: drafts a complete manifest from a Hugging Face `config.json`, and turns the lists of other test
//! systems into manifests. Pure but for reading; nothing is written here.
//!
//! The way: a folder of a checkpoint, or a manifest that is there already, gives a [`Subject`]; a subject with
//! [`Wishes`] (what a list prescribes; nothing for `new-model`) becomes a [`Draft`], whose text is a manifest with
//! comments. What nobody has measured gets no budget: the trials then say `unrecorded`, and such a run never passes.

mod architecture;
mod arguments;
mod batched_test;
mod cases;
mod cluster;
mod draft;
mod folder;
mod import;
mod known;
mod placing;
mod render;
mod scalar;
mod subject;
mod vllm_ascend;
mod yaml;

pub use batched_test::batched_test;
pub use draft::{Draft, Wishes, draft};
pub use folder::Folder;
pub use import::{Import, LeftOut, Library};
pub use subject::{Subject, slug};
pub use vllm_ascend::vllm_ascend;

#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod tests;
