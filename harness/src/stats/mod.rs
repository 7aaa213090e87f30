//! Statistics: pure functions over measured samples. Each states its source and is tested against figures computed
//! elsewhere.

mod binomial;
mod bootstrap;
mod change_point;
mod describe;
mod normal;
mod paired;
mod promise;
mod proportion;
mod quantile;
mod random;
mod ranks;
mod sequential;
mod slowdown;

pub use bootstrap::{Bootstrap, Interval, cluster_bootstrap};
pub use change_point::{ChangePoint, change_points};
pub use describe::{describe, mean, percentile};
pub use paired::{Power, mcnemar_p, mcnemar_power, smallest_drop};
pub use promise::{Promise, lower_share, promise, upper_share};
pub use proportion::{wilson_lower, wilson_upper};
pub use quantile::{Cluster, clustered_percentile_interval, percentile_interval, samples_needed};
pub use random::Random;
pub use ranks::mann_whitney_p;
pub use sequential::{holm, nominal_levels};
pub use slowdown::{Slowdown, paired, unpaired};
