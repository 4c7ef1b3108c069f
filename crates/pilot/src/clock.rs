//! Time as the pilot knows it.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The pilot's clock: monotonic nanoseconds from an origin of its own.
pub trait Clock {
    /// Nanoseconds since the origin.
    fn now_ns(&self) -> u64;
    /// Returns when `now_ns() >= deadline_ns`, or somewhat earlier when the thread is woken.
    fn sleep_until_ns(&self, deadline_ns: u64);
}

/// The machine's monotonic clock.
///
/// The origin is given by the caller, so that an engine can map stamps of the kernel's clock to this one.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: Instant,
    origin_ns: u64,
}

impl RealClock {
    /// A clock that shows `now_ns` at this moment and runs on from there.
    pub fn starting_at(now_ns: u64) -> RealClock {
        RealClock { origin: Instant::now(), origin_ns: now_ns }
    }
}

impl Clock for RealClock {
    fn now_ns(&self) -> u64 {
        self.origin_ns + self.origin.elapsed().as_nanos() as u64
    }

    fn sleep_until_ns(&self, deadline_ns: u64) {
        let left_ns = deadline_ns.saturating_sub(self.now_ns());
        if left_ns > 0 {
            std::thread::sleep(Duration::from_nanos(left_ns));
        }
    }
}

/// Time that passes only when somebody sleeps: a flight of an hour takes no time at all.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    now_ns: Cell<u64>,
}

impl Clock for SimulatedClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn sleep_until_ns(&self, deadline_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(deadline_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_jumps_and_never_goes_back() {
        let clock = SimulatedClock::default();
        clock.sleep_until_ns(3_600_000_000_000);
        clock.sleep_until_ns(5);
        assert_eq!(clock.now_ns(), 3_600_000_000_000);
    }

    #[test]
    fn real_time_starts_where_it_is_told_and_sleeps_at_least_as_long_as_asked() {
        let clock = RealClock::starting_at(1_000_000_000);
        assert!(clock.now_ns() >= 1_000_000_000);
        clock.sleep_until_ns(1_005_000_000);
        assert!(clock.now_ns() >= 1_005_000_000);
    }
}
