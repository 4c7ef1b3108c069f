//! The user's wish to stop, as a signal handler can express it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts requests to stop. The first means: end in good order. The second: end now.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    count: Arc<AtomicUsize>,
}

impl Interrupt {
    /// One more request to stop; safe to call from any thread.
    pub fn request(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the flight shall end.
    pub fn requested(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Whether the flight shall end without waiting for anything.
    pub fn urgent(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 1
    }
}
