//! The numbers behind the summary: pure functions over the raw series of a report.
//!
//! Each returns `None` where the series cannot carry the number, and never a 0 in its place.
//! Times are in seconds on the pilot's clock, 0 is the acceptance of the migrate command.

mod bandwidth;
mod blackout;
mod convergence;
mod cpu;
mod descriptive;
mod dirty_rate;
mod exceedance;
mod permutation;
mod repeats;
mod throughput;
mod work;

pub use bandwidth::{BANDWIDTH_WINDOW_SECONDS, Bandwidth, bandwidth};
pub use blackout::{Gap, common_gaps};
pub use convergence::{Convergence, convergence};
pub use cpu::{cpu_by_class, resident_peak};
pub use descriptive::{median, percentile};
pub use dirty_rate::{all_was_written_again, mean_dirty_rate, pass_dirty_rate};
pub use exceedance::{Exceedance, exceedance, least_exceedance};
pub use permutation::{MOST_EXACT, Weighted, holm, least_p_value, permutation_test};
pub use repeats::{Interval, difference_interval, mad, median_interval};
pub use throughput::{Throughput, baseline};
pub use work::{LostWork, dip_percent, lost_work, resumption};

#[cfg(test)]
mod testing;
