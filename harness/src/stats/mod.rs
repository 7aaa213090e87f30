//! Statistics: pure functions over measured samples. Each states its source and is tested against figures computed
//! elsewhere.

mod describe;

pub use describe::{describe, mean, percentile};
