//! The user's wish to stop, as a signal handler can express it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts requests to stop. The first means: end in good order. The second: end now.
///
/// In good order means that nothing more is waited for, but what was begun is put right: a migration is cancelled where it still can be, and memory is verified.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    count: Arc<AtomicUsize>,
    /// Requests that were heeded already.
    heeded: usize,
}

impl Interrupt {
    /// One more request to stop; safe to call from any thread.
    pub fn request(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the flight shall end.
    pub fn requested(&self) -> bool {
        self.count.load(Ordering::SeqCst) > self.heeded
    }

    /// Whether the flight shall end without waiting for anything.
    pub fn urgent(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 1
    }

    /// The same requests, seen by a step that belongs to ending in good order: one request brought it about, so only a second one ends it.
    pub fn next(&self) -> Interrupt {
        let heeded = usize::from(self.count.load(Ordering::SeqCst) > 0);
        Interrupt { count: Arc::clone(&self.count), heeded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_ends_and_the_second_ends_at_once() {
        let interrupt = Interrupt::default();
        let told = |it: &Interrupt| (it.requested(), it.urgent());
        assert_eq!(told(&interrupt), (false, false));
        interrupt.clone().request();
        assert_eq!(told(&interrupt), (true, false));
        interrupt.request();
        assert_eq!(told(&interrupt), (true, true));
    }

    #[test]
    fn a_step_of_the_good_order_is_ended_by_one_request_more() {
        let interrupt = Interrupt::default();
        let undisturbed = interrupt.next();
        interrupt.request();
        let orderly = interrupt.next();
        assert!(undisturbed.requested());
        assert!(!orderly.requested());
        interrupt.request();
        assert!(orderly.requested());
    }
}
