//! Who may use the emulated wire next, in post-copy: pages that the guest waits for come first, and the background has a share that nobody takes from it.
//!
//! A real wire is shared by the kernel between connections that always have something to send.
//! Without a share of its own the background would stand still as long as workers ask as fast as the wire can answer, and memory that nobody asks for would never come.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

use crate::migration::bucket::TokenBucket;

/// The background may send for one part of the time out of so many.
const SHARE: u64 = 4;

/// Keeps the two apart.
pub(super) struct Turns {
    inner: Mutex<Inner>,
}

struct Inner {
    /// The wire as requested pages see it: they pass the background, but for its share.
    urgent: TokenBucket,
    /// The wire as the background has it for sure.
    share: TokenBucket,
}

impl Turns {
    /// Turns on a wire of that rate; without one the kernel decides.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Turns {
        let urgent = TokenBucket::new(bytes_per_second);
        let share = TokenBucket::new(bytes_per_second.map(|it| it / SHARE));
        Turns { inner: Mutex::new(Inner { urgent, share }) }
    }

    /// Waits until a requested page may leave.
    pub(super) fn await_urgent(&self) {
        let wait_ns = self.lock().urgent.wait_ns(monotonic_ns());
        if wait_ns > 0 {
            std::thread::sleep(Duration::from_nanos(wait_ns));
        }
    }

    /// Requested pages have left.
    pub(super) fn took_urgent(&self, bytes: u64) {
        self.lock().urgent.take(bytes, monotonic_ns());
    }

    /// How long the background has to wait, when the wire would be free for it in `wire_wait`.
    pub(super) fn background_wait(&self, wire_wait: Duration) -> Duration {
        wire_wait.min(Duration::from_nanos(self.lock().share.wait_ns(monotonic_ns())))
    }

    /// The background has sent; `had_to_wait` is how long the wire was still busy with requested pages, which give way now.
    pub(super) fn took_background(&self, bytes: u64, had_to_wait: Duration) {
        let now_ns = monotonic_ns();
        let inner = &mut *self.lock();
        inner.share.take(bytes, now_ns);
        if !had_to_wait.is_zero() {
            inner.urgent.take(bytes, now_ns);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_has_its_share_of_a_busy_wire() {
        let turns = Turns::new(Some(1_000_000));
        let busy = Duration::from_secs(60);
        turns.took_background(100_000, busy);
        // A quarter of 1 MB/s, and a burst of 10 ms.
        let wait = turns.background_wait(busy);
        assert!(
            wait > Duration::from_millis(300) && wait <= Duration::from_millis(400),
            "{wait:?}"
        );
        // Requested pages wait for what passed them, and not for what did not.
        let urgent_ns = || turns.lock().urgent.wait_ns(monotonic_ns());
        let before_ns = urgent_ns();
        assert!(before_ns > 50_000_000, "{before_ns}");
        turns.took_background(100_000, Duration::ZERO);
        assert!(urgent_ns() <= before_ns);
    }

    #[test]
    fn without_an_emulated_wire_nobody_waits() {
        let turns = Turns::new(None);
        turns.took_urgent(u64::MAX / 2);
        turns.took_background(u64::MAX / 2, Duration::from_secs(1));
        turns.await_urgent();
        assert_eq!(turns.background_wait(Duration::ZERO), Duration::ZERO);
    }
}
