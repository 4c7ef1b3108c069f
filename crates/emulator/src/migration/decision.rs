//! When the guest may be stopped, as QEMU decides it.

/// Time over which bandwidth is averaged before a new estimate counts (QEMU: `BUFFER_DELAY`).
const WINDOW_NS: u64 = 100_000_000;

/// Shortest time that makes an estimate when nothing is left to send: a small guest is through before the first window ends.
const SHORT_WINDOW_NS: u64 = 1_000_000;

/// Estimates the bandwidth and derives from it how much may be pending at the stop.
///
/// The rule is QEMU's: bytes sent in the last window of at least 100 ms give the bandwidth, and bandwidth × downtime limit gives the threshold.
/// A synchronisation is due when less than that is pending, and the guest may be stopped when even after it less than that is pending.
/// The comparison is between raw pages and wire bytes, as in QEMU: zero pages count in full although they cost next to nothing.
#[derive(Debug, Clone)]
pub struct Decision {
    downtime_limit_ns: u64,
    window_start_ns: u64,
    window_start_bytes: u64,
    bytes_per_second: Option<u64>,
}

impl Decision {
    /// Starts the first window.
    pub fn new(downtime_limit_ns: u64, now_ns: u64) -> Decision {
        Decision {
            downtime_limit_ns,
            window_start_ns: now_ns,
            window_start_bytes: 0,
            bytes_per_second: None,
        }
    }

    /// Changes the limit; the threshold follows at once.
    pub fn set_downtime_limit_ns(&mut self, limit_ns: u64) {
        self.downtime_limit_ns = limit_ns;
    }

    /// Looks at the bytes sent so far and begins a new window when this one is full.
    pub fn observe(&mut self, sent_bytes: u64, nothing_left: bool, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.window_start_ns);
        let is_first = self.bytes_per_second.is_none();
        let due = if nothing_left && is_first { SHORT_WINDOW_NS } else { WINDOW_NS };
        if elapsed_ns < due {
            return;
        }
        let bytes = sent_bytes - self.window_start_bytes;
        let rate = u128::from(bytes) * 1_000_000_000 / u128::from(elapsed_ns);
        self.bytes_per_second = Some(rate as u64);
        self.window_start_ns = now_ns;
        self.window_start_bytes = sent_bytes;
    }

    /// The current estimate; `None` before the first window is full.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    /// Bytes that can be sent within the downtime limit at the estimated bandwidth.
    pub fn threshold_bytes(&self) -> Option<u64> {
        let rate = u128::from(self.bytes_per_second?);
        let bytes = rate * u128::from(self.downtime_limit_ns) / 1_000_000_000;
        Some(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// Whether so little is pending that the guest may be stopped.
    ///
    /// Asked twice: with the amount known so far, to see whether a synchronisation is due, and after it with the exact one.
    pub fn may_stop(&self, pending_bytes: u64) -> bool {
        let below = |threshold| pending_bytes < threshold;
        pending_bytes == 0 || self.threshold_bytes().is_some_and(below)
    }

    /// What the downtime would be if all that is pending were sent at the estimated bandwidth.
    pub fn expected_downtime_ns(&self, pending_bytes: u64) -> Option<u64> {
        let rate = self.bytes_per_second.filter(|rate| *rate > 0)?;
        Some((u128::from(pending_bytes) * 1_000_000_000 / u128::from(rate)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_threshold_is_bandwidth_times_downtime_limit() {
        let mut it = Decision::new(300 * MS, 0);
        it.observe(12_000_000, false, 99 * MS);
        assert_eq!(it.threshold_bytes(), None);
        assert!(!it.may_stop(1));
        it.observe(12_500_000, false, 100 * MS);
        assert_eq!(it.bytes_per_second(), Some(125_000_000));
        assert_eq!(it.threshold_bytes(), Some(37_500_000));
        assert!(it.may_stop(37_499_999));
        assert!(!it.may_stop(37_500_000));
        assert_eq!(it.expected_downtime_ns(12_500_000), Some(100 * MS));
    }

    #[test]
    fn each_window_stands_for_itself() {
        let mut it = Decision::new(300 * MS, 0);
        it.observe(100_000_000, false, 100 * MS);
        it.observe(101_000_000, false, 200 * MS);
        assert_eq!(it.bytes_per_second(), Some(10_000_000));
    }

    #[test]
    fn a_small_guest_gets_an_early_estimate_only_when_all_is_sent() {
        let mut it = Decision::new(300 * MS, 0);
        it.observe(1_000_000, false, 2 * MS);
        assert_eq!(it.bytes_per_second(), None);
        it.observe(1_000_000, true, 2 * MS);
        assert_eq!(it.bytes_per_second(), Some(500_000_000));
    }

    #[test]
    fn with_nothing_pending_the_guest_may_stop_whatever_the_limit() {
        let it = Decision::new(0, 0);
        assert!(it.may_stop(0));
        assert!(!it.may_stop(1));
    }
}
