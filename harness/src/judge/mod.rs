//! Measurements and answers → verdicts with findings. Pure: nothing here asks a server or touches a file.

pub mod correctness;
pub mod graders;
