//! The client's own limit of calls a second, so that a run with many guests does no harm to the API server.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens that come back at a steady pace.
pub(crate) struct Pace {
    every: Duration,
    burst: u32,
    /// When the next call would be due if there had been no burst.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many calls a second, and so many at once after a rest.
    pub(crate) fn new(qps: f64, burst: u32) -> Pace {
        let every = Duration::from_secs_f64(1.0 / qps.clamp(0.1, 100_000.0));
        Pace { every, burst: burst.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for a token.
    pub(crate) async fn wait(&self) {
        let pause = self.take(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes the next token; how long to wait for it.
    fn take(&self, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let credit = self.every * (self.burst - 1);
        let earliest = now.checked_sub(credit).unwrap_or(now);
        let due = (*next).max(earliest);
        *next = due + self.every;
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_calls_keep_the_pace() {
        let pace = Pace::new(10.0, 3);
        let start = Instant::now() + Duration::from_secs(10);
        let waits: Vec<u128> = (0..5).map(|_| pace.take(start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        let later = start + Duration::from_secs(5);
        assert_eq!(pace.take(later).as_millis(), 0);
    }
}
