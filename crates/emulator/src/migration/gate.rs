//! The commit point, and what may still be ordered before it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Orders to a running migration, and the one place where "cancelled" and "committed" exclude each other.
///
/// # The commit point
/// Until GO is sent the source may run the guest again; from then on never, since the destination may be running it.
/// A cancel that arrives while GO leaves must be either before or after it, so both take the same lock: whoever comes first wins, and the other one learns it.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    cancel_seen: AtomicBool,
    pause: AtomicBool,
    postcopy: AtomicBool,
    held: AtomicBool,
    recovery: AtomicBool,
    left: AtomicBool,
    writes_at_go: AtomicU64,
    downtime_limit_ns: AtomicU64,
    max_bytes_per_second: AtomicU64,
    is_postcopy_limit_lifted: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    committed: bool,
    cancelled: bool,
    given_up: Option<String>,
}

/// No guest writes so often.
const NO_GO: u64 = u64::MAX;

/// The stream's limit when there is none.
const UNLIMITED: u64 = u64::MAX;

impl Gate {
    /// A gate with the limits the migration starts with.
    pub fn new(downtime_limit_ns: u64, max_bytes_per_second: Option<u64>) -> Gate {
        Gate {
            state: Mutex::default(),
            cancel_seen: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            postcopy: AtomicBool::new(false),
            held: AtomicBool::new(false),
            recovery: AtomicBool::new(false),
            left: AtomicBool::new(false),
            writes_at_go: AtomicU64::new(NO_GO),
            downtime_limit_ns: AtomicU64::new(downtime_limit_ns),
            max_bytes_per_second: AtomicU64::new(max_bytes_per_second.unwrap_or(UNLIMITED)),
            is_postcopy_limit_lifted: AtomicBool::new(false),
        }
    }

    /// Passes the commit point by sending GO; `None` when the migration was cancelled before.
    ///
    /// When `send_go` fails, not all of GO has left, so the destination cannot have understood it, and the commit point is not passed.
    pub fn commit<E>(&self, send_go: impl FnOnce() -> Result<(), E>) -> Option<Result<(), E>> {
        let mut state = self.lock();
        if state.cancelled {
            return None;
        }
        let sent = send_go();
        state.committed = sent.is_ok();
        Some(sent)
    }

    /// Cancels the migration; false when it is past the commit point.
    pub fn cancel(&self) -> bool {
        let mut state = self.lock();
        state.cancelled = !state.committed;
        self.cancel_seen.store(state.cancelled, Ordering::Release);
        state.cancelled
    }

    /// Ends the migration for a reason of ours; false when it is past the commit point or cancelled.
    pub fn give_up(&self, reason: String) -> bool {
        let mut state = self.lock();
        if state.committed || state.cancelled {
            return false;
        }
        state.cancelled = true;
        state.given_up = Some(reason);
        self.cancel_seen.store(true, Ordering::Release);
        true
    }

    /// Why it was given up; `None` when it was not, or when a user cancelled it.
    pub fn given_up(&self) -> Option<String> {
        self.lock().given_up.clone()
    }

    /// Whether the commit point lies behind.
    pub fn is_committed(&self) -> bool {
        self.lock().committed
    }

    /// Notes how often the guest had written when it was given up.
    pub fn note_writes_at_go(&self, writes: u64) {
        self.writes_at_go.store(writes, Ordering::Release);
    }

    /// How often the guest had written when it was given up; `None` while it was not.
    pub fn writes_at_go(&self) -> Option<u64> {
        Some(self.writes_at_go.load(Ordering::Acquire)).filter(|it| *it != NO_GO)
    }

    /// Whether the migration shall end; cheap enough to ask at every batch.
    pub fn is_cancelled(&self) -> bool {
        self.cancel_seen.load(Ordering::Acquire)
    }

    /// Orders the guest to be stopped and the migration to be finished.
    pub fn order_pause(&self) {
        self.pause.store(true, Ordering::Release);
    }

    /// Whether the guest shall be stopped whatever is pending.
    pub fn wants_pause(&self) -> bool {
        self.pause.load(Ordering::Acquire)
    }

    /// Orders the guest to be stopped and to go on at the destination before its memory is there.
    pub fn order_postcopy(&self) {
        self.postcopy.store(true, Ordering::Release);
    }

    /// Whether the migration shall be finished by post-copy.
    pub fn wants_postcopy(&self) -> bool {
        self.postcopy.load(Ordering::Acquire)
    }

    /// Orders a new connection in place of one that was lost in post-copy; false when one is being made already.
    pub fn order_recovery(&self) -> bool {
        !self.recovery.swap(true, Ordering::AcqRel)
    }

    /// Whether a new connection was ordered, or is being made.
    pub fn wants_recovery(&self) -> bool {
        self.recovery.load(Ordering::Acquire)
    }

    /// The attempt that was ordered has ended, one way or the other.
    pub fn end_recovery(&self) {
        self.recovery.store(false, Ordering::Release);
    }

    /// Nobody waits for the migration any more, also past the commit point.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether nobody waits for the migration any more.
    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Keeps the migration from finishing by itself until it is released.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// Lets the migration finish.
    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Whether the migration may not finish by itself yet.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Changes the downtime limit.
    pub fn set_downtime_limit_ns(&self, limit_ns: u64) {
        self.downtime_limit_ns.store(limit_ns, Ordering::Relaxed);
    }

    /// The downtime limit in force.
    pub fn downtime_limit_ns(&self) -> u64 {
        self.downtime_limit_ns.load(Ordering::Relaxed)
    }

    /// Lets post-copy send as fast as the link takes it.
    pub fn lift_postcopy_limit(&self) {
        self.is_postcopy_limit_lifted.store(true, Ordering::Relaxed);
    }

    /// Whether the limit on post-copy's bandwidth holds no more.
    pub fn is_postcopy_limit_lifted(&self) -> bool {
        self.is_postcopy_limit_lifted.load(Ordering::Relaxed)
    }

    /// Changes the bandwidth limit.
    pub fn set_max_bytes_per_second(&self, limit: Option<u64>) {
        self.max_bytes_per_second.store(limit.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    /// The bandwidth limit in force.
    pub fn max_bytes_per_second(&self) -> Option<u64> {
        Some(self.max_bytes_per_second.load(Ordering::Relaxed)).filter(|it| *it != UNLIMITED)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_wins() {
        let gate = Gate::new(1, None);
        assert!(gate.cancel());
        assert_eq!(gate.commit(|| Ok::<_, ()>(())), None);
        assert!(gate.is_cancelled());

        let gate = Gate::new(1, None);
        assert_eq!(gate.commit(|| Ok::<_, ()>(())), Some(Ok(())));
        assert!(!gate.cancel());
        assert!(!gate.is_cancelled());
        assert!(gate.is_committed());
    }

    #[test]
    fn a_go_that_did_not_leave_commits_nothing() {
        let gate = Gate::new(1, None);
        assert_eq!(gate.commit(|| Err("broken pipe")), Some(Err("broken pipe")));
        assert!(!gate.is_committed());
        assert!(gate.cancel());
    }

    #[test]
    fn giving_up_is_a_cancel_with_a_reason() {
        let gate = Gate::new(1, None);
        assert!(gate.give_up("why".to_owned()));
        assert_eq!(gate.commit(|| Ok::<_, ()>(())), None);
        assert!(gate.is_cancelled());
        assert_eq!(gate.given_up().as_deref(), Some("why"));

        for end in
            [|gate: &Gate| gate.cancel(), |gate: &Gate| gate.commit(|| Ok::<_, ()>(())).is_some()]
        {
            let gate = Gate::new(1, None);
            assert!(end(&gate));
            assert!(!gate.give_up("too late".to_owned()));
            assert_eq!(gate.given_up(), None);
        }
    }

    #[test]
    fn a_race_has_exactly_one_winner() {
        for _ in 0..200 {
            let gate = Gate::new(1, Some(5));
            let (committed, cancelled) = std::thread::scope(|scope| {
                let other = scope.spawn(|| gate.cancel());
                (gate.commit(|| Ok::<_, ()>(())), other.join().unwrap())
            });
            assert_ne!(committed.is_some(), cancelled);
        }
    }
}
