//! How a crew tells its workers to pause, go on, track or stop, and learns that they have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sterna_sys::clock::monotonic_ns;

use crate::bitmap::DirtyBitmap;

/// Orders from the crew and answers from the workers.
///
/// # One word to look at
///
/// A worker may spend no more on being controllable than one load of a cache line that nobody writes to.
/// So all orders are behind one number, the epoch, which every change raises; a worker compares it with the epoch it
/// has obeyed, once a quantum, and only when they differ does it take the lock and look what is wanted.
/// There it also leaves its answer: the epoch it has obeyed and, when paused, the time at which it stopped.
/// An order is complete when every worker has answered with its epoch or a later one.
///
/// Workers that sleep until their next page is due are woken by unparking them after the epoch is raised; they look at
/// the epoch before they sleep, so no wake-up is lost.
#[derive(Debug)]
pub(crate) struct Control {
    epoch: AtomicU64,
    state: Mutex<State>,
    /// Tells paused workers that the orders changed.
    ordered: Condvar,
    /// Tells the crew that a worker answered.
    answered: Condvar,
}

#[derive(Debug)]
struct State {
    orders: Orders,
    answers: Vec<Answer>,
}

/// What is wanted of every worker.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) mode: Mode,
    /// Where to mark written pages.
    pub(crate) bitmap: Option<Arc<DirtyBitmap>>,
    /// How long each worker rests after each stretch of running; nobody where there is no number.
    pub(crate) rests_ns: Arc<[u64]>,
    /// How often pages were to be checked before their first write.
    pub(crate) checks: u64,
    /// When the crew was last released to run.
    pub(crate) released_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Pause,
    Stop,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    epoch: u64,
    stopped_ns: Option<u64>,
    has_left: bool,
}

/// What a worker is to do next, and whether it was paused before.
pub(crate) struct Obeyed {
    pub(crate) epoch: u64,
    pub(crate) orders: Orders,
    /// When this worker stopped, if it was paused before.
    pub(crate) paused_since: Option<u64>,
}

impl Answer {
    /// When a worker that is to be paused stopped: as answered before, unless it was released since then.
    fn stop_time(&self, orders: &Orders) -> u64 {
        let earlier = self.stopped_ns.filter(|stopped_ns| *stopped_ns >= orders.released_ns);
        earlier.unwrap_or_else(monotonic_ns)
    }
}

impl Control {
    pub(crate) fn new(workers: usize, mode: Mode) -> Control {
        let orders = Orders {
            mode,
            bitmap: None,
            rests_ns: Arc::default(),
            checks: 0,
            released_ns: monotonic_ns(),
        };
        Control {
            epoch: AtomicU64::new(1),
            state: Mutex::new(State { orders, answers: vec![Answer::default(); workers] }),
            ordered: Condvar::new(),
            answered: Condvar::new(),
        }
    }

    /// The number of the latest order; a worker that has obeyed another must call [`Control::obey`].
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Answers the latest orders for `worker` and stays as long as they say pause.
    pub(crate) fn obey(&self, worker: usize) -> Obeyed {
        let mut state = self.lock();
        let mut paused_since = None;
        loop {
            let (epoch, orders) = (self.epoch(), state.orders.clone());
            let is_paused = orders.mode == Mode::Pause;
            let stopped_ns = is_paused.then(|| state.answers[worker].stop_time(&orders));
            paused_since = paused_since.or(stopped_ns);
            state.answers[worker] = Answer { epoch, stopped_ns, has_left: false };
            self.answered.notify_all();
            if !is_paused {
                return Obeyed { epoch, orders, paused_since };
            }
            while self.epoch() == epoch {
                state = self.ordered.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Notes that `worker` is gone, so that nobody waits for its answers.
    pub(crate) fn leave(&self, worker: usize) {
        self.lock().answers[worker].has_left = true;
        self.answered.notify_all();
    }

    /// Changes the orders, wakes paused workers, and returns the epoch to wait for.
    ///
    /// `change` says whether it changed anything; if not, the epoch of the orders as they are is returned.
    /// The caller wakes workers that sleep.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders) -> bool) -> u64 {
        let mut state = self.lock();
        let epoch = self.epoch.load(Ordering::Relaxed);
        if !change(&mut state.orders) {
            return epoch;
        }
        // Release, under the lock: who sees the epoch and takes the lock sees the orders that belong to it.
        self.epoch.store(epoch + 1, Ordering::Release);
        self.ordered.notify_all();
        epoch + 1
    }

    /// What the orders are now.
    pub(crate) fn orders(&self) -> Orders {
        self.lock().orders.clone()
    }

    /// Waits until every worker has obeyed `epoch`; returns when the last of them stopped, if they are paused.
    pub(crate) fn wait_for(&self, epoch: u64) -> Option<u64> {
        let mut state = self.lock();
        while state.answers.iter().any(|answer| !answer.has_left && answer.epoch < epoch) {
            state = self.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.answers.iter().filter_map(|answer| answer.stopped_ns).max()
    }

    /// A worker that panicked while holding the lock left plain values behind, which are still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
