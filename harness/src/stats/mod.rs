//! Statistics: pure functions over measured samples. Each states its source and is tested against figures computed
//! elsewhere.

mod binomial;
mod bootstrap;
mod describe;
mod normal;
mod paired;
mod proportion;
mod quantile;
mod random;

pub use bootstrap::{Bootstrap, Interval, cluster_bootstrap};
pub use describe::{describe, mean, percentile};
pub use paired::{Power, mcnemar_p, mcnemar_power, smallest_drop};
pub use proportion::{wilson_lower, wilson_upper};
pub use quantile::{Cluster, clustered_percentile_interval, percentile_interval, samples_needed};
pub use random::Random;
