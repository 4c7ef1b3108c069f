//! The client's own limit of calls a second, so that a run with many guests does no harm to the API server.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Over this time the busiest stretch is looked for.
const WINDOW: Duration = Duration::from_secs(1);

/// Tokens that come back at a steady pace.
pub(crate) struct Pace {
    every: Duration,
    burst: u32,
    /// When the next call would be due if there had been no burst.
    next: Mutex<Instant>,
    let_through: Mutex<LetThrough>,
}

/// Calls of the last second, and how many the busiest second had.
#[derive(Default)]
struct LetThrough {
    recent: VecDeque<Instant>,
    most: usize,
}

impl Pace {
    /// So many calls a second, and so many at once after a rest.
    pub(crate) fn new(qps: f64, burst: u32) -> Pace {
        let every = Duration::from_secs_f64(1.0 / qps.clamp(0.1, 100_000.0));
        let (next, let_through) = (Mutex::new(Instant::now()), Mutex::default());
        Pace { every, burst: burst.max(1), next, let_through }
    }

    /// Waits for a token.
    pub(crate) async fn wait(&self) {
        let pause = self.take(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.count(Instant::now());
    }

    /// Time between two calls in the long run.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// How many calls the busiest second had.
    pub(crate) fn busiest_second(&self) -> usize {
        self.let_through.lock().unwrap_or_else(PoisonError::into_inner).most
    }

    fn count(&self, now: Instant) {
        let mut seen = self.let_through.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.recent.front().is_some_and(|it| now.duration_since(*it) >= WINDOW) {
            seen.recent.pop_front();
        }
        seen.recent.push_back(now);
        seen.most = seen.most.max(seen.recent.len());
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

    #[test]
    fn the_busiest_second_is_any_second_and_not_one_of_the_clock() {
        let pace = Pace::new(10.0, 3);
        let start = Instant::now();
        for ms in [0, 700, 900, 1100, 1650, 5000] {
            pace.count(start + Duration::from_millis(ms));
        }
        // 700, 900, 1100 and 1650.
        assert_eq!(pace.busiest_second(), 4);
    }
}
