//! When the guest may be stopped.

use sterna_scenario::SwitchoverDecision;

use crate::travel::Travel;

/// Time over which bandwidth is averaged before a new estimate counts (QEMU: `BUFFER_DELAY`).
pub const WINDOW_NS: u64 = 100_000_000;

/// Shortest time between two synchronisations while pages are pending (QEMU sends for up to 50 ms, `MAX_WAIT`, before it looks again).
pub const SYNC_SPACING_NS: u64 = 50_000_000;

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
    fixed: Option<u64>,
    rule: SwitchoverDecision,
    travel: Travel,
    qemu: Option<Judgement>,
    effective: Option<Judgement>,
}

/// The synchronisation after which a rule would have stopped the guest for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Passes that were complete then.
    pub after_passes: u32,
    /// The moment.
    pub at_ns: u64,
    /// Raw bytes of the pages that were pending.
    pub pending_bytes: u64,
    /// What the downtime would have been, as that rule expects it.
    pub expected_downtime_ns: u64,
}

impl Decision {
    /// Starts the first window.
    pub fn new(rule: SwitchoverDecision, downtime_limit_ns: u64, now_ns: u64) -> Decision {
        Decision {
            downtime_limit_ns,
            window_start_ns: now_ns,
            window_start_bytes: 0,
            bytes_per_second: None,
            fixed: None,
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

    /// Plans the switchover with this bandwidth instead of the estimate.
    pub fn fix_bandwidth(&mut self, bytes_per_second: Option<u64>) {
        self.fixed = bytes_per_second;
    }

    /// When the window under way is full.
    pub fn next_window_ns(&self) -> u64 {
        self.window_start_ns + WINDOW_NS
    }

    /// The same as to observe at the end of each window since the present one began, when bytes have left at `bytes_per_second` all that time; for simulated time, which need not look at each.
    pub fn observe_steady(&mut self, sent_bytes: u64, bytes_per_second: u64, now_ns: u64) {
        let windows = now_ns.saturating_sub(self.window_start_ns) / WINDOW_NS;
        if windows == 0 {
            return;
        }
        self.bytes_per_second = Some(bytes_per_second);
        self.window_start_ns += windows * WINDOW_NS;
        let since = u128::from(bytes_per_second) * u128::from(now_ns - self.window_start_ns);
        self.window_start_bytes = sent_bytes.saturating_sub((since / 1_000_000_000) as u64);
    }

    /// What was measured in the last full window, whatever the switchover is planned with.
    pub fn measured_bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    /// Pages left, and this is what they took on the wire.
    pub fn learn(&mut self, pages: u64, wire_bytes: u64) {
        self.travel.count(pages, wire_bytes);
    }

    /// A synchronisation ended the pass after which `passes` are complete, and so much is pending exactly.
    pub fn synced(&mut self, passes: u32, pending_bytes: u64, now_ns: u64) {
        self.travel.next_pass();
        let judge = |rule| {
            self.may_stop_by(rule, pending_bytes).then(|| Judgement {
                after_passes: passes,
                at_ns: now_ns,
                pending_bytes,
                expected_downtime_ns: self.expected_by(rule, pending_bytes).unwrap_or(0),
            })
        };
        let (qemu, effective) =
            (judge(SwitchoverDecision::Qemu), judge(SwitchoverDecision::Effective));
        self.qemu = self.qemu.or(qemu);
        self.effective = self.effective.or(effective);
    }

    /// What the switchover is planned with: what was fixed, or the current estimate; `None` before the first window is full.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.fixed.or(self.bytes_per_second)
    }

    /// Raw bytes that may be pending at the stop, by the rule that is followed.
    pub fn threshold_bytes(&self) -> Option<u64> {
        let sendable = self.sendable_bytes()?;
        Some(match self.rule {
            SwitchoverDecision::Qemu => sendable,
            SwitchoverDecision::Effective => {
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

    /// The rule that is followed.
    pub fn rule(&self) -> SwitchoverDecision {
        self.rule
    }

    /// Bytes that a pending byte takes on the wire, as the passes so far have taught.
    pub fn wire_share(&self) -> f64 {
        self.travel.share()
    }

    /// What the downtime would be now, by the rule that is followed.
    pub fn expected_downtime_ns(&self, pending_bytes: u64) -> Option<u64> {
        self.expected_by(self.rule, pending_bytes)
    }

    /// When `rule` would have stopped the guest, whichever is followed.
    pub fn judged_by(&self, rule: SwitchoverDecision) -> Option<Judgement> {
        match rule {
            SwitchoverDecision::Qemu => self.qemu,
            SwitchoverDecision::Effective => self.effective,
        }
    }

    /// Bytes that can be sent within the downtime limit at the estimated bandwidth.
    fn sendable_bytes(&self) -> Option<u64> {
        let rate = u128::from(self.bytes_per_second()?);
        let bytes = rate * u128::from(self.downtime_limit_ns) / 1_000_000_000;
        Some(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn may_stop_by(&self, rule: SwitchoverDecision, pending_bytes: u64) -> bool {
        let counted = self.counted_bytes(rule, pending_bytes);
        counted == 0 || self.sendable_bytes().is_some_and(|it| counted < it)
    }

    /// What the downtime would be if all that is pending were sent at the estimated bandwidth.
    fn expected_by(&self, rule: SwitchoverDecision, pending_bytes: u64) -> Option<u64> {
        let rate = self.bytes_per_second().filter(|rate| *rate > 0)?;
        let counted = u128::from(self.counted_bytes(rule, pending_bytes));
        Some((counted * 1_000_000_000 / u128::from(rate)) as u64)
    }

    fn counted_bytes(&self, rule: SwitchoverDecision, pending_bytes: u64) -> u64 {
        match rule {
            SwitchoverDecision::Qemu => pending_bytes,
            SwitchoverDecision::Effective => self.travel.travelling(pending_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn decision(limit_ms: u64) -> Decision {
        Decision::new(SwitchoverDecision::Effective, limit_ms * MS, 0)
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
        assert_eq!(it.expected_downtime_ns(12_500_000), Some(100 * MS));
    }

    #[test]
    fn each_window_stands_for_itself() {
        let mut it = decision(300);
        it.observe(100_000_000, false, 100 * MS);
        it.observe(101_000_000, false, 200 * MS);
        assert_eq!(it.bytes_per_second(), Some(10_000_000));
    }

    #[test]
    fn steady_windows_are_the_same_looked_at_one_by_one_and_at_once() {
        let (mut one_by_one, mut at_once) = (decision(300), decision(300));
        for window in 1..=7 {
            one_by_one.observe(window * 1_000_000, false, window * 100 * MS);
        }
        at_once.observe_steady(7_350_000, 10_000_000, 735 * MS);
        for it in [&mut one_by_one, &mut at_once] {
            assert_eq!(it.bytes_per_second(), Some(10_000_000));
            assert_eq!(it.next_window_ns(), 800 * MS);
            it.observe(7_400_000, false, 800 * MS);
            assert_eq!(it.bytes_per_second(), Some(4_000_000));
        }
    }

    #[test]
    fn a_fixed_bandwidth_replaces_the_estimate() {
        let mut it = decision(300);
        it.observe(1_000_000, false, 100 * MS);
        it.fix_bandwidth(Some(100_000_000));
        assert_eq!(it.threshold_bytes(), Some(30_000_000));
        assert_eq!(it.measured_bytes_per_second(), Some(10_000_000));
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
    fn shrinking(rule: SwitchoverDecision) -> Decision {
        let mut it = Decision::new(rule, 100 * MS, 0);
        it.observe(10_000_000, false, 100 * MS);
        it.synced(1, 500_000_000, 0);
        it.learn(1000, 409_600);
        it
    }

    #[test]
    fn pages_that_shrink_may_be_pending_in_greater_number() {
        let effective = shrinking(SwitchoverDecision::Effective);
        assert!(effective.may_stop(99_000_000) && !effective.may_stop(101_000_000));
        let threshold = effective.threshold_bytes().unwrap();
        assert!(threshold.abs_diff(100_000_000) < 100, "{threshold}");
        let qemu = shrinking(SwitchoverDecision::Qemu);
        assert!(qemu.may_stop(9_000_000) && !qemu.may_stop(11_000_000));
        assert_eq!(qemu.threshold_bytes(), Some(10_000_000));
    }

    #[test]
    fn both_rules_judge_whichever_is_followed() {
        for rule in [SwitchoverDecision::Effective, SwitchoverDecision::Qemu] {
            let mut it = shrinking(rule);
            it.synced(2, 50_000_000, 7);
            it.synced(3, 60_000_000, 8);
            it.synced(4, 5_000_000, 9);
            let qemu = it.judged_by(SwitchoverDecision::Qemu);
            let effective = Judgement {
                after_passes: 2,
                at_ns: 7,
                pending_bytes: 50_000_000,
                expected_downtime_ns: 50 * MS,
            };
            assert_eq!(it.judged_by(SwitchoverDecision::Effective), Some(effective));
            assert_eq!(qemu.map(|it| it.after_passes), Some(4));
            assert_eq!(qemu.map(|it| it.expected_downtime_ns), Some(50 * MS));
        }
    }
}
