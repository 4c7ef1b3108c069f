//! What a measured throughput means for migrations.

use sterna_report::stream::{Ceiling, EstimateForSize, LaneWay, StreamEstimate};

const GIB: u64 = 1 << 30;

/// Guests that are told about.
const SIZES_BYTES: [u64; 4] = [GIB, 8 * GIB, 64 * GIB, 300 * GIB];

/// Downtime limits that are told about.
const DOWNTIMES_SECONDS: [f64; 2] = [0.3, 1.0];

/// QEMU sends for at most so long before it looks whether little enough is pending (`MAX_WAIT` in its `ram.c`).
const STRETCH_SECONDS: f64 = 0.05;

/// As many passes as a scenario allows by default.
const MOST_PASSES: u32 = 30;

/// What follows from a throughput of bulk pages; `None` when there is none.
pub fn estimate(throughput_bytes_per_second: f64, way: LaneWay) -> Option<StreamEstimate> {
    if !throughput_bytes_per_second.is_finite() || throughput_bytes_per_second <= 0.0 {
        return None;
    }
    let sizes = SIZES_BYTES.map(|memory_bytes| EstimateForSize {
        memory_bytes,
        send_seconds: memory_bytes as f64 / throughput_bytes_per_second,
        ceilings: DOWNTIMES_SECONDS
            .map(|downtime_seconds| Ceiling {
                downtime_seconds,
                dirty_rate_bytes_per_second: ceiling(&Link {
                    memory_bytes: memory_bytes as f64,
                    bandwidth: throughput_bytes_per_second,
                    downtime_seconds,
                }),
            })
            .to_vec(),
    });
    Some(StreamEstimate { throughput_bytes_per_second, way, sizes: sizes.to_vec() })
}

struct Link {
    memory_bytes: f64,
    bandwidth: f64,
    downtime_seconds: f64,
}

/// The largest dirty rate that converges; `None` when any does.
fn ceiling(link: &Link) -> Option<f64> {
    if link.memory_bytes <= link.bandwidth * link.downtime_seconds {
        return None;
    }
    // No rate beyond this is left to be clean again after a single pass.
    let (mut good, mut bad) = (0.0, link.bandwidth * 1e6);
    for _ in 0..100 {
        let middle = (good + bad) / 2.0;
        match link.converges(middle) {
            true => good = middle,
            false => bad = middle,
        }
    }
    Some(good)
}

impl Link {
    /// QEMU's algorithm: a pass lasts until less is pending than the threshold (bandwidth × downtime limit); then the bitmap is synchronised, and when even then less is pending, the guest is stopped.
    ///
    /// That less is pending is noticed at the end of a stretch of sending, so on average half a stretch below the threshold.
    /// Writes are spread at random, so that they meet clean pages in proportion, and each time less of them.
    fn converges(&self, dirty_rate: f64) -> bool {
        let threshold = self.bandwidth * self.downtime_seconds;
        let remaining = (threshold - self.bandwidth * STRETCH_SECONDS / 2.0).max(0.0);
        let clean = self.memory_bytes - remaining;
        let mut pending = self.memory_bytes;
        for _ in 0..MOST_PASSES {
            let seconds = (pending - remaining) / self.bandwidth;
            let dirtied = clean * -(-dirty_rate * seconds / self.memory_bytes).exp_m1();
            pending = remaining + dirtied;
            if pending <= threshold {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(memory_gib: f64, bandwidth: f64, downtime_seconds: f64) -> Option<f64> {
        ceiling(&Link { memory_bytes: memory_gib * GIB as f64, bandwidth, downtime_seconds })
    }

    #[test]
    fn memory_that_fits_into_the_downtime_needs_no_pass() {
        assert_eq!(at(1.0, 4e9, 0.3), None);
        assert!(at(1.0, 3e9, 0.3).is_some());
    }

    #[test]
    fn a_large_guest_may_write_about_as_fast_as_the_link_carries() {
        let gigabit = 125e6;
        for downtime in [0.3, 1.0] {
            let rate = at(300.0, gigabit, downtime).unwrap() / gigabit;
            // As many passes as there may be: each leaves so much of the pass before, down to the threshold.
            assert!((0.65..0.75).contains(&rate), "{rate}");
        }
    }

    #[test]
    fn more_bandwidth_more_downtime_and_less_memory_allow_more() {
        let base = at(8.0, 1e9, 0.3).unwrap();
        assert!(at(8.0, 2e9, 0.3).unwrap() > 2.0 * base);
        assert!(at(8.0, 1e9, 1.0).unwrap() > base);
        assert!(at(4.0, 1e9, 0.3).unwrap() > base);
    }

    #[test]
    fn a_trace_of_qemu_is_met() {
        // 64 MiB written as fast as can be, 128 MiB/s, 300 ms: QEMU never gets there; with a limit of 1 s it needs no pass.
        let link = |downtime_seconds| Link {
            memory_bytes: 64.0 * 1_048_576.0,
            bandwidth: 128.0 * 1_048_576.0,
            downtime_seconds,
        };
        assert!(!link(0.3).converges(2e9));
        assert_eq!(ceiling(&link(1.0)), None);
        // Written at a quarter of the link's pace it is done in a few passes.
        assert!(link(0.3).converges(32.0 * 1_048_576.0));
    }

    #[test]
    fn nothing_follows_from_nothing() {
        assert_eq!(estimate(0.0, LaneWay::Up), None);
        assert_eq!(estimate(f64::NAN, LaneWay::Up), None);
        let found = estimate(1e9, LaneWay::Down).unwrap();
        assert_eq!(found.sizes.len(), 4);
        assert!((found.sizes[0].send_seconds - 1.073_741_824).abs() < 1e-9);
    }
}
