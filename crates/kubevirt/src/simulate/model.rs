//! How a simulated migration goes: a geometric series of passes, as precopy does it; pure arithmetic.

use crate::policy::gigabytes;
use crate::views::MigrationConfiguration;

/// What decides how a migration goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Memory of the guest.
    pub memory_bytes: u64,
    /// How fast memory moves.
    pub bandwidth_bytes_per_second: f64,
    /// How fast pages become dirty.
    pub dirty_bytes_per_second: f64,
    /// What may become dirty at all.
    pub working_set_bytes: u64,
}

/// QEMU's downtime limit, which KubeVirt leaves alone.
const DOWNTIME_SECONDS: f64 = 0.3;

/// Where a migration stands at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// From 1.
    pub iteration: u64,
    /// Moved so far.
    pub processed_bytes: u64,
    /// Still to move.
    pub remaining_bytes: u64,
    /// Whether it is over by itself.
    pub is_done: bool,
}

/// What happens at a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTimeout {
    /// It is given up.
    Abort,
    /// The guest is paused.
    Pause,
    /// The guest goes on at the target.
    PostCopy,
}

/// Where a migration stands after so many seconds.
pub fn standing(load: &Load, seconds: f64) -> Standing {
    let bandwidth = load.bandwidth_bytes_per_second.max(1.0);
    let mut pending = load.memory_bytes as f64;
    let (mut elapsed, mut processed) = (0.0, 0.0);
    for iteration in 1..10_000 {
        let length = pending / bandwidth;
        if length <= DOWNTIME_SECONDS && iteration > 1 || load.memory_bytes == 0 {
            let is_done = seconds >= elapsed + length;
            let moved = (seconds - elapsed).clamp(0.0, length) * bandwidth;
            return at(iteration, processed + moved, pending - moved, is_done);
        }
        if seconds < elapsed + length {
            let moved = (seconds - elapsed).max(0.0) * bandwidth;
            return at(iteration, processed + moved, pending - moved, false);
        }
        elapsed += length;
        processed += pending;
        pending = (load.dirty_bytes_per_second * length).min(load.working_set_bytes as f64);
    }
    at(10_000, processed, pending, false)
}

fn at(iteration: u64, processed: f64, remaining: f64, is_done: bool) -> Standing {
    Standing {
        iteration,
        processed_bytes: processed as u64,
        remaining_bytes: remaining.max(0.0) as u64,
        is_done,
    }
}

/// The completion timeout of a guest, in seconds: for each decimal GB, rounded up.
pub fn completion_timeout(configuration: &MigrationConfiguration, memory_bytes: u64) -> f64 {
    let seconds = configuration.completion_timeout_per_gi_b.unwrap_or(150).max(0);
    seconds as f64 * gigabytes(memory_bytes) as f64
}

/// What happens then.
pub fn at_timeout(configuration: &MigrationConfiguration) -> AtTimeout {
    let is = |it: Option<bool>| it == Some(true);
    if !is(configuration.allow_workload_disruption) {
        AtTimeout::Abort
    } else if is(configuration.allow_post_copy) {
        AtTimeout::PostCopy
    } else {
        AtTimeout::Pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dirty: f64) -> Load {
        Load {
            memory_bytes: 8 << 30,
            bandwidth_bytes_per_second: 1e9,
            dirty_bytes_per_second: dirty,
            working_set_bytes: 6 << 30,
        }
    }

    #[test]
    fn passes_shrink_by_the_ratio_of_the_rates_and_the_last_is_the_stop() {
        let calm = load(1e8);
        let first = standing(&calm, 4.0);
        assert_eq!((first.iteration, first.is_done), (1, false));
        assert_eq!(first.processed_bytes, 4_000_000_000);
        let second = standing(&calm, 9.0);
        assert_eq!(second.iteration, 2);
        // 8.6 s, 0.86 s, and then 0.086 s that fit into the downtime limit.
        assert!(standing(&calm, 9.6).is_done);
        assert!(!standing(&calm, 9.4).is_done);
    }

    #[test]
    fn who_dirties_faster_than_memory_moves_never_ends() {
        let hard = load(2e9);
        assert!(!standing(&hard, 10_000.0).is_done);
        assert!(standing(&hard, 10_000.0).remaining_bytes <= 6 << 30);
    }

    #[test]
    fn the_timeout_counts_decimal_gigabytes_rounded_up() {
        let configuration = crate::policy::cluster_defaults();
        assert_eq!(completion_timeout(&configuration, 8 << 30), 1350.0);
        assert_eq!(completion_timeout(&configuration, 4 << 30), 750.0);
        assert_eq!(completion_timeout(&configuration, 1_000_000_000), 150.0);
        assert_eq!(at_timeout(&configuration), AtTimeout::Abort);
    }
}
