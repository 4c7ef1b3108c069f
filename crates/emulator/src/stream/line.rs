//! Who writes to a lane next.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The right to write to a lane, given to requested pages first.
///
/// A plain lock would do for exclusion, but a thread that gives it back and takes it again at once mostly gets it, so that a requested page could wait for many blocks.
/// Here whoever has bulk lets those pass that have requested pages, and so keeps them for one block at most.
#[derive(Debug, Default)]
pub struct Line {
    turn: Mutex<()>,
    urgent: AtomicU32,
    passed: Condvar,
}

/// The turn of a requested page.
pub struct UrgentTurn<'a> {
    line: &'a Line,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Line {
    /// Waits until nobody writes, and nobody waits with a requested page.
    pub fn bulk(&self) -> MutexGuard<'_, ()> {
        let mut turn = self.lock();
        while self.urgent.load(Ordering::Acquire) > 0 {
            turn = self.passed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        turn
    }

    /// Waits until nobody writes.
    pub fn urgent(&self) -> UrgentTurn<'_> {
        self.urgent.fetch_add(1, Ordering::AcqRel);
        UrgentTurn { line: self, turn: Some(self.lock()) }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UrgentTurn<'_> {
    fn drop(&mut self) {
        self.line.urgent.fetch_sub(1, Ordering::AcqRel);
        self.turn = None;
        self.line.passed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[test]
    fn a_requested_page_waits_for_one_block_only() {
        let line = Line::default();
        let (is_over, blocks) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _turn = line.bulk();
                    blocks.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            while blocks.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            for _ in 0..20 {
                let turn = {
                    let before = blocks.load(Ordering::Relaxed);
                    let turn = line.urgent();
                    let waited = blocks.load(Ordering::Relaxed) - before;
                    assert!(waited <= 1, "{waited} blocks went first");
                    turn
                };
                drop(turn);
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
