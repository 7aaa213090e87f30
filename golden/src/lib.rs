//! The goldens themselves lie beside this crate, one file a case: `golden/<model>/<case>.snap`, those that the
//! simulator answered under `golden/simulated/`. `cargo insta` looks for snapshots only in the folders of
//! workspace members; this crate exists to be one. The format and its reader are in `harness::golden`.
