//! When the guest may be stopped.

use sterna_wire::control::{RuleVerdict, Switchover, SwitchoverRule};

use super::travel::Travel;

/// Time over which bandwidth is averaged before a new estimate counts (QEMU: `BUFFER_DELAY`).
const WINDOW_NS: u64 = 100_000_000;

/// Shortest time that makes an estimate when nothing is left to send: a small guest is through before the first window ends.
const SHORT_WINDOW_NS: u64 = 1_000_000;

/// Estimates the bandwidth and derives from it how much may be pending at the stop.
///
/// Bytes sent in the last window of at least 100 ms give the bandwidth, and bandwidth × downtime limit is what can be sent while the guest stands still.
/// A synchronisation is due when less than that is pending, and the guest may be stopped when even after it less than that is pending.
///
/// # Two rules
/// QEMU holds raw bytes of pending pages against it, although its bandwidth is of bytes on the wire.
/// Where pages shrink on their way (zeros, differences, compression) that is too strict by the factor by which they shrink: a migration that could end goes on, perhaps for ever.
/// The effective rule holds against it what pending pages will take, as [`Travel`] has learnt.
/// Both judge at every synchronisation, whichever is followed, so that a report can tell what the other would have done.
#[derive(Debug, Clone)]
pub struct Decision {
    downtime_limit_ns: u64,
    window_start_ns: u64,
    window_start_bytes: u64,
    bytes_per_second: Option<u64>,
    rule: SwitchoverRule,
    travel: Travel,
    qemu: Option<RuleVerdict>,
    effective: Option<RuleVerdict>,
}

impl Decision {
    /// Starts the first window.
    pub fn new(rule: SwitchoverRule, downtime_limit_ns: u64, now_ns: u64) -> Decision {
        Decision {
            downtime_limit_ns,
            window_start_ns: now_ns,
            window_start_bytes: 0,
            bytes_per_second: None,
            rule,
            travel: Travel::default(),
            qemu: None,
            effective: None,
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

    /// Pages left, and this is what they took on the wire.
    pub fn learn(&mut self, pages: u64, wire_bytes: u64) {
        self.travel.count(pages, wire_bytes);
    }

    /// A synchronisation ended the pass after which `passes` are complete, and so much is pending exactly.
    pub fn synced(&mut self, passes: u32, pending_bytes: u64, now_ns: u64) {
        self.travel.next_pass();
        let judge = |rule| {
            self.may_stop_by(rule, pending_bytes).then(|| RuleVerdict {
                after_passes: passes,
                at_ns: now_ns,
                pending_bytes,
                expected_downtime_ns: self.expected_by(rule, pending_bytes).unwrap_or(0),
            })
        };
        let (qemu, effective) = (judge(SwitchoverRule::Qemu), judge(SwitchoverRule::Effective));
        self.qemu = self.qemu.or(qemu);
        self.effective = self.effective.or(effective);
    }

    /// The current estimate; `None` before the first window is full.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    /// Raw bytes that may be pending at the stop, by the rule that is followed.
    pub fn threshold_bytes(&self) -> Option<u64> {
        let sendable = self.sendable_bytes()?;
        Some(match self.rule {
            SwitchoverRule::Qemu => sendable,
            SwitchoverRule::Effective => {
                (sendable as f64 / self.travel.share().max(f64::MIN_POSITIVE)) as u64
            }
        })
    }

    /// Whether so little is pending that the guest may be stopped.
    ///
    /// Asked twice: with the amount known so far, to see whether a synchronisation is due, and after it with the exact one.
    pub fn may_stop(&self, pending_bytes: u64) -> bool {
        self.may_stop_by(self.rule, pending_bytes)
    }

    /// For the report.
    pub fn to_status(&self, pending_bytes: u64) -> Switchover {
        Switchover {
            rule: self.rule,
            wire_share: self.travel.share(),
            expected_downtime_ns: self.expected_by(self.rule, pending_bytes),
            qemu: self.qemu,
            effective: self.effective,
        }
    }

    /// Bytes that can be sent within the downtime limit at the estimated bandwidth.
    fn sendable_bytes(&self) -> Option<u64> {
        let rate = u128::from(self.bytes_per_second?);
        let bytes = rate * u128::from(self.downtime_limit_ns) / 1_000_000_000;
        Some(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn may_stop_by(&self, rule: SwitchoverRule, pending_bytes: u64) -> bool {
        let counted = self.counted_bytes(rule, pending_bytes);
        counted == 0 || self.sendable_bytes().is_some_and(|it| counted < it)
    }

    /// What the downtime would be if all that is pending were sent at the estimated bandwidth.
    fn expected_by(&self, rule: SwitchoverRule, pending_bytes: u64) -> Option<u64> {
        let rate = self.bytes_per_second.filter(|rate| *rate > 0)?;
        let counted = u128::from(self.counted_bytes(rule, pending_bytes));
        Some((counted * 1_000_000_000 / u128::from(rate)) as u64)
    }

    fn counted_bytes(&self, rule: SwitchoverRule, pending_bytes: u64) -> u64 {
        match rule {
            SwitchoverRule::Qemu => pending_bytes,
            SwitchoverRule::Effective => self.travel.travelling(pending_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn decision(limit_ms: u64) -> Decision {
        Decision::new(SwitchoverRule::Effective, limit_ms * MS, 0)
    }

    #[test]
    fn the_threshold_is_bandwidth_times_downtime_limit() {
        let mut it = decision(300);
        it.observe(12_000_000, false, 99 * MS);
        assert_eq!(it.threshold_bytes(), None);
        assert!(!it.may_stop(1));
        it.observe(12_500_000, false, 100 * MS);
        assert_eq!(it.bytes_per_second(), Some(125_000_000));
        assert_eq!(it.threshold_bytes(), Some(37_500_000));
        assert!(it.may_stop(37_499_999));
        assert!(!it.may_stop(37_500_000));
        assert_eq!(it.to_status(12_500_000).expected_downtime_ns, Some(100 * MS));
    }

    #[test]
    fn each_window_stands_for_itself() {
        let mut it = decision(300);
        it.observe(100_000_000, false, 100 * MS);
        it.observe(101_000_000, false, 200 * MS);
        assert_eq!(it.bytes_per_second(), Some(10_000_000));
    }

    #[test]
    fn a_small_guest_gets_an_early_estimate_only_when_all_is_sent() {
        let mut it = decision(300);
        it.observe(1_000_000, false, 2 * MS);
        assert_eq!(it.bytes_per_second(), None);
        it.observe(1_000_000, true, 2 * MS);
        assert_eq!(it.bytes_per_second(), Some(500_000_000));
    }

    #[test]
    fn with_nothing_pending_the_guest_may_stop_whatever_the_limit() {
        let it = decision(0);
        assert!(it.may_stop(0));
        assert!(!it.may_stop(1));
    }

    /// 100 MB/s, 100 ms, and pages that take a tenth of their size: 10 MB can be sent, which are 100 MB of pages.
    fn shrinking(rule: SwitchoverRule) -> Decision {
        let mut it = Decision::new(rule, 100 * MS, 0);
        it.observe(10_000_000, false, 100 * MS);
        it.synced(1, 500_000_000, 0);
        it.learn(1000, 409_600);
        it
    }

    #[test]
    fn pages_that_shrink_may_be_pending_in_greater_number() {
        let effective = shrinking(SwitchoverRule::Effective);
        assert!(effective.may_stop(99_000_000) && !effective.may_stop(101_000_000));
        let threshold = effective.threshold_bytes().unwrap();
        assert!(threshold.abs_diff(100_000_000) < 100, "{threshold}");
        let qemu = shrinking(SwitchoverRule::Qemu);
        assert!(qemu.may_stop(9_000_000) && !qemu.may_stop(11_000_000));
        assert_eq!(qemu.threshold_bytes(), Some(10_000_000));
    }

    #[test]
    fn both_rules_judge_whichever_is_followed() {
        for rule in [SwitchoverRule::Effective, SwitchoverRule::Qemu] {
            let mut it = shrinking(rule);
            it.synced(2, 50_000_000, 7);
            it.synced(3, 60_000_000, 8);
            it.synced(4, 5_000_000, 9);
            let found = it.to_status(0);
            let effective = RuleVerdict {
                after_passes: 2,
                at_ns: 7,
                pending_bytes: 50_000_000,
                expected_downtime_ns: 50 * MS,
            };
            assert_eq!(found.effective, Some(effective));
            assert_eq!(found.qemu.map(|it| it.after_passes), Some(4));
            assert_eq!(found.qemu.map(|it| it.expected_downtime_ns), Some(50 * MS));
        }
    }
}
