//! When a guest is judged to write too fast, as QEMU judges it.

/// Dirtied bytes count as too many above this share of the bytes sent (QEMU: `throttle-trigger-threshold`).
const THRESHOLD_PERCENT: u64 = 50;

/// Periods are judged at the first synchronisation that is more than so long after the one before.
const SHORTEST_PERIOD_NS: u64 = 1_000_000_000;

/// So many bad periods, not necessarily in a row, are one step.
const STRIKES: u32 = 2;

/// Without a synchronisation for so long one is made, so that slowing down need not wait for a long pass to end (QEMU since 9.2).
const FORCED_SYNC_NS: u64 = 5_000_000_000;

/// What was dirtied and sent in a period that calls for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Bytes of pages that became dirty.
    pub dirty_bytes: u64,
    /// How many would have been tolerable.
    pub tolerable_bytes: u64,
}

/// Counts bad periods.
///
/// ```text
///           bad period          bad period
///  0 strikes ─────────► 1 strike ─────────► a step, and 0 strikes again
/// ```
///
/// A good period takes no strike back, and a period shorter than a second is not judged but goes on.
#[derive(Clone, Debug)]
pub struct Strikes {
    period_start_ns: u64,
    sent_bytes_before: u64,
    dirty_bytes: u64,
    count: u32,
}

impl Strikes {
    /// The first period begins with the first synchronisation.
    pub fn new(now_ns: u64) -> Strikes {
        Strikes { period_start_ns: now_ns, sent_bytes_before: 0, dirty_bytes: 0, count: 0 }
    }

    /// A synchronisation has found `new_bytes` in pages that were not pending already, when `sent_bytes` had been sent in all; the period when it calls for a step.
    pub fn synced(&mut self, now_ns: u64, new_bytes: u64, sent_bytes: u64) -> Option<Period> {
        self.dirty_bytes += new_bytes;
        if now_ns <= self.period_start_ns + SHORTEST_PERIOD_NS {
            return None;
        }
        let sent = sent_bytes.saturating_sub(self.sent_bytes_before);
        let tolerable = u128::from(sent) * u128::from(THRESHOLD_PERCENT) / 100;
        let period = Period { dirty_bytes: self.dirty_bytes, tolerable_bytes: tolerable as u64 };
        self.period_start_ns = now_ns;
        self.sent_bytes_before = sent_bytes;
        self.dirty_bytes = 0;
        if period.dirty_bytes <= period.tolerable_bytes {
            return None;
        }
        self.count += 1;
        if self.count < STRIKES {
            return None;
        }
        self.count = 0;
        Some(period)
    }
}

/// Says when a synchronisation is due that nothing else called for.
///
/// It looks every five seconds, and asks for one if there was none since it last looked; never within the first pass, which sends everything anyhow.
#[derive(Clone, Debug)]
pub struct SyncTimer {
    next_ns: u64,
    syncs_seen: u64,
}

impl SyncTimer {
    /// Starts with the migration.
    pub fn new(now_ns: u64) -> SyncTimer {
        SyncTimer { next_ns: now_ns + FORCED_SYNC_NS, syncs_seen: 0 }
    }

    /// When it looks next.
    pub fn next_look_ns(&self) -> u64 {
        self.next_ns
    }

    /// Whether to synchronise now, after `syncs` synchronisations, the first one included.
    pub fn is_due(&mut self, now_ns: u64, syncs: u64) -> bool {
        if now_ns < self.next_ns {
            return false;
        }
        self.next_ns = now_ns + FORCED_SYNC_NS;
        let is_due = syncs > 1 && syncs == self.syncs_seen;
        // The one that is now asked for counts as seen, as QEMU reads the counter again after it.
        self.syncs_seen = syncs + u64::from(is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Feeds (time in ms, newly dirty, sent in this period) and compares the times of steps.
    #[track_caller]
    fn check(table: &[(u64, u64, u64)], expected: &[u64]) {
        let mut strikes = Strikes::new(0);
        let mut sent = 0;
        let mut found = Vec::new();
        for (ms, dirty, more) in table {
            sent += more;
            if strikes.synced(ms * 1_000_000, *dirty, sent).is_some() {
                found.push(*ms);
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn two_bad_periods_are_a_step() {
        check(&[(1500, 60, 100), (3000, 60, 100), (4500, 60, 100)], &[3000]);
        check(&[(1500, 60, 100), (3000, 60, 100), (4500, 60, 100), (6000, 60, 100)], &[3000, 6000]);
    }

    #[test]
    fn exactly_half_is_tolerable() {
        check(&[(1500, 50, 100), (3000, 50, 100), (4500, 50, 100)], &[]);
        check(&[(1500, 51, 100), (3000, 51, 100)], &[3000]);
    }

    #[test]
    fn a_good_period_takes_no_strike_back() {
        check(&[(1500, 60, 100), (3000, 0, 100), (4500, 60, 100)], &[4500]);
    }

    #[test]
    fn short_periods_are_joined() {
        // Nothing is judged within a second, nor at exactly one; then all that came together counts.
        check(&[(500, 30, 50), (1000, 20, 30), (1001, 2, 20), (2500, 60, 100)], &[2500]);
        check(&[(500, 30, 50), (1001, 20, 50), (2500, 60, 100)], &[]);
    }

    #[test]
    fn a_step_tells_what_it_was_made_for() {
        let mut strikes = Strikes::new(0);
        assert_eq!(strikes.synced(2 * SECOND, 90, 100), None);
        let period = Period { dirty_bytes: 80, tolerable_bytes: 30 };
        assert_eq!(strikes.synced(4 * SECOND, 80, 160), Some(period));
    }

    #[test]
    fn a_synchronisation_is_forced_when_five_seconds_brought_none() {
        let mut timer = SyncTimer::new(0);
        let mut due = |seconds: u64, syncs| timer.is_due(seconds * SECOND, syncs);
        // The first pass is never cut short.
        assert!(!due(5, 1));
        assert!(!due(10, 1));
        // Pass 2 has begun since the last look.
        assert!(!due(15, 2));
        assert!(!due(19, 2));
        assert!(due(20, 2));
        // The forced one is the third; nothing else came.
        assert!(due(25, 3));
        assert!(!due(30, 9));
    }
}
