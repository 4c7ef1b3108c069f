//! When the next message is due.

/// A fixed beat that waits for nobody: neither for answers nor for a sender that was held up.
///
/// A beat that passed while the sender was held up is made up for at once, so that a probe of 1 ms sends 1000 messages in each second.
/// How late the sender was at most is remembered, for an outage of about that length may be its own.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ns: u64,
    due_ns: u64,
    latest_ns: u64,
}

/// Beats that may be made up for; a sender that was away for longer goes on from now.
const MOST_MISSED: u64 = 5_000;

impl Schedule {
    /// The first beat is now. An interval of 0 is taken for 1 ns.
    pub fn new(interval_ns: u64, now_ns: u64) -> Schedule {
        Schedule { interval_ns: interval_ns.max(1), due_ns: now_ns, latest_ns: 0 }
    }

    /// Whether a message is due; it then counts as sent.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let Some(late_ns) = now_ns.checked_sub(self.due_ns) else { return false };
        self.latest_ns = self.latest_ns.max(late_ns);
        let is_hopeless = late_ns / self.interval_ns > MOST_MISSED;
        self.due_ns = if is_hopeless { now_ns } else { self.due_ns } + self.interval_ns;
        true
    }

    /// When the next message is due.
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// How late the sender was at most.
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_that_were_missed_are_made_up_for() {
        let mut schedule = Schedule::new(10, 100);
        assert!(schedule.take(100) && !schedule.take(109));
        assert_eq!(schedule.due_ns(), 110);
        // Held up until 135: those of 110, 120 and 130 are due at once.
        let due = (0..5).filter(|_| schedule.take(135)).count();
        assert_eq!((due, schedule.due_ns(), schedule.latest_ns()), (3, 140, 25));
    }

    #[test]
    fn who_was_away_for_long_does_not_flood_the_network() {
        let mut schedule = Schedule::new(1, 0);
        let due = (0..20_000).filter(|_| schedule.take(1_000_000)).count();
        assert!(due <= 2, "{due}");
    }
}
