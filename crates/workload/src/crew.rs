//! The threads that stand for a guest's virtual CPUs.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sterna_sys::clock::{Cycles, monotonic_ns};
use sterna_sys::cpu;
use sterna_sys::region::Region;
use thiserror::Error;

use crate::bitmap::DirtyBitmap;
use crate::control::{Control, Mode, Orders};
use crate::gaps::Gap;
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::pace::Pacer;
use crate::partition::{order, partition};
use crate::spec::Spec;
use crate::worker::{self, Job, Shared};

/// Worker threads that dirty a region.
///
/// A crew runs, is paused and goes on as a whole, like the virtual CPUs of a guest.
/// All methods take `&self` and may be called from any thread; none of them but [`Crew::pause`], [`Crew::track`] and
/// [`Crew::stop`] waits for a worker.
/// These three wait at most for one quantum (1 ms or less) and a wake-up, unless a worker is stuck in a page fault that
/// somebody else has to serve: then they wait as long as the fault does.
///
/// A crew that is dropped stops.
#[derive(Debug)]
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Takers of gaps take turns.
    taking: Mutex<()>,
}

/// All that a workload carries with it from one host to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrewState {
    /// Writes made by each worker since the beginning of the workload.
    pub counts: Vec<u64>,
}

/// How to run a crew.
#[derive(Clone, Debug)]
pub struct CrewOptions {
    /// Start stopped, as a guest that waits for its migration to arrive; [`Crew::resume`] releases it.
    pub paused: bool,
    /// The processors that workers may use; None leaves it to the kernel.
    pub cpus: Option<Vec<usize>>,
    /// Threads are called this, a dash and their number; the kernel shows 15 bytes.
    pub thread_name: &'static str,
    /// Time without progress, while work was due, from which on it is reported as a [`Gap`].
    pub gap_threshold_ns: u64,
}

/// Why a crew could not be started; nothing of it is left behind.
#[derive(Debug, Error)]
pub enum CrewError {
    /// A crew needs somebody to work.
    #[error("A workload with 0 workers dirties nothing; use at least 1")]
    NoWorkers,
    /// The workload is larger than the memory it is to run in.
    #[error(
        "Workload memory of {workload} pages exceeds the region of {region} pages; lower the workload's memory"
    )]
    TooLarge {
        /// Pages the workload wants.
        workload: usize,
        /// Pages there are.
        region: usize,
    },
    /// Some worker would have no page of its own.
    #[error(
        "{workers} workers cannot share {pages} pages; use at least one 4 KiB page for each worker"
    )]
    TooSmall {
        /// How many workers.
        workers: u32,
        /// Pages of the workload.
        pages: usize,
    },
    /// The state belongs to another workload.
    #[error("The state has counts of {found} workers, but the workload has {expected}")]
    OtherState {
        /// Workers of the workload.
        expected: u32,
        /// Workers of the state.
        found: usize,
    },
    /// The kernel gave no thread.
    #[error("Worker {worker} cannot be started")]
    Spawn {
        /// The worker's number.
        worker: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the processors.
    #[error(
        "Worker {worker} cannot run on processors {cpus:?}; choose among those that are online and allowed"
    )]
    Pin {
        /// The worker's number.
        worker: u32,
        /// The processors asked for.
        cpus: Vec<usize>,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CrewState {
    /// The state of a workload that has not begun.
    pub fn fresh(workers: u32) -> CrewState {
        CrewState { counts: vec![0; workers as usize] }
    }
}

impl Default for CrewOptions {
    /// Running at once, on any processor, as `worker`, gaps from 2 ms.
    fn default() -> CrewOptions {
        let gap_threshold_ns = 2_000_000;
        CrewOptions { paused: false, cpus: None, thread_name: "worker", gap_threshold_ns }
    }
}

impl Crew {
    /// Starts the workers of `spec` on the first pages of `region`, going on from `state`.
    ///
    /// # Errors
    /// Spec, state and region do not fit each other, or the kernel refuses a thread or its processors.
    pub fn start(
        region: &Arc<Region>,
        spec: &Spec,
        state: &CrewState,
        options: CrewOptions,
    ) -> Result<Crew, CrewError> {
        check(region, spec, state)?;
        // Calibrates the counter now, not in the first worker's first quantum.
        Cycles::calibrated();
        let mode = if options.paused { Mode::Pause } else { Mode::Run };
        let shared = Arc::new(Shared {
            region: Arc::clone(region),
            control: Control::new(spec.workers as usize, mode),
            meters: state.counts.iter().map(|count| Meter::new(*count)).collect(),
            gap_ns: options.gap_threshold_ns,
        });
        let mut crew = Crew { shared, threads: Vec::new(), taking: Mutex::new(()) };
        for worker in 0..spec.workers {
            let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
            crew.threads.push(spawn(&crew.shared, spec, worker, &options, ready)?);
            if let Ok(Err(source)) = is_ready.recv() {
                let cpus = options.cpus.unwrap_or_default();
                return Err(CrewError::Pin { worker, cpus, source });
            }
        }
        if options.paused {
            crew.shared.control.wait_for(1);
        }
        Ok(crew)
    }

    /// Stops all workers and returns when the last of them had stopped, on CLOCK_MONOTONIC.
    ///
    /// Of a crew that is paused already, the same time is returned again.
    pub fn pause(&self) -> u64 {
        let epoch = self.order(|orders| {
            let is_new = orders.mode != Mode::Pause;
            orders.mode = Mode::Pause;
            is_new
        });
        self.shared.control.wait_for(epoch).unwrap_or_else(monotonic_ns)
    }

    /// Lets the workers go on and returns the time just before, on CLOCK_MONOTONIC.
    ///
    /// Of a crew that runs already, the time of its last release is returned again.
    /// [`Crew::first_write_ns`] tells when each worker was really back.
    pub fn resume(&self) -> u64 {
        self.order(|orders| {
            let is_new = orders.mode == Mode::Pause;
            if is_new {
                // While workers wait for this lock to be free, none can stamp its first write.
                self.shared.meters.iter().for_each(|meter| meter.first_write.clear());
                orders.mode = Mode::Run;
                orders.released_ns = monotonic_ns();
            }
            is_new
        });
        self.shared.control.orders().released_ns
    }

    /// Turns cooperative tracking on or off; returns when every worker has noticed.
    ///
    /// Writes made after that are marked in the bitmap; a worker that had not noticed would dirty pages unseen.
    pub fn track(&self, bitmap: Option<Arc<DirtyBitmap>>) {
        let epoch = self.order(|orders| {
            orders.bitmap = bitmap;
            true
        });
        self.shared.control.wait_for(epoch);
    }

    /// Makes each worker sleep `percent` of the time, at most 99: after each 10 ms of running for as long as that
    /// takes; 0 turns throttling off.
    pub fn set_throttle(&self, percent: u8) {
        self.order(|orders| {
            orders.throttle_percent = percent.min(99);
            true
        });
    }

    /// Writes made by each worker since the beginning of the workload; reading them disturbs nobody.
    ///
    /// While the crew runs, each may be behind by one quantum.
    pub fn counts(&self) -> Vec<u64> {
        self.shared.meters.iter().map(|meter| meter.writes.load(Relaxed)).collect()
    }

    /// The state from which another crew can go on; exact only while the crew is paused.
    pub fn state(&self) -> CrewState {
        CrewState { counts: self.counts() }
    }

    /// The gaps noted since they were last taken, by worker and then by time.
    ///
    /// A worker's gap runs from the moment when work was due, or was last done, to its going on.
    /// A pause is noted when it ends, however short; any other gap only above the threshold, and without `latency` it
    /// is known to a quantum only.
    pub fn take_gaps(&self) -> Vec<Gap> {
        let _turn = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gaps = Vec::new();
        for (worker, meter) in (0..).zip(&self.shared.meters) {
            meter.gaps.take(worker, &mut gaps);
        }
        gaps
    }

    /// How many gaps were dropped because nobody took them in time.
    pub fn lost_gaps(&self) -> u64 {
        self.shared.meters.iter().map(|meter| meter.gaps.lost()).sum()
    }

    /// When each worker last made progress, on CLOCK_MONOTONIC; None before its first write in this crew.
    pub fn last_write_ns(&self) -> Vec<Option<u64>> {
        self.shared.meters.iter().map(|meter| meter.last_write.get()).collect()
    }

    /// When each worker's first write since the last release was done, on CLOCK_MONOTONIC; None until then.
    pub fn first_write_ns(&self) -> Vec<Option<u64>> {
        self.shared.meters.iter().map(|meter| meter.first_write.get()).collect()
    }

    /// The times of all writes so far, over all workers; empty if the spec does not ask for timing.
    pub fn latency(&self) -> Histogram {
        let mut all = Histogram::default();
        self.shared.meters.iter().for_each(|meter| all.merge(&meter.latency.snapshot()));
        all
    }

    /// Ends the workers and returns the exact state they ended in.
    pub fn stop(mut self) -> CrewState {
        self.end();
        self.state()
    }

    fn order(&self, change: impl FnOnce(&mut Orders) -> bool) -> u64 {
        let epoch = self.shared.control.order(change);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        epoch
    }

    fn end(&mut self) {
        self.order(|orders| {
            orders.mode = Mode::Stop;
            true
        });
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end();
    }
}

fn check(region: &Region, spec: &Spec, state: &CrewState) -> Result<(), CrewError> {
    let (workers, pages) = (spec.workers, spec.pages());
    if workers == 0 {
        return Err(CrewError::NoWorkers);
    }
    if pages > region.pages() {
        return Err(CrewError::TooLarge { workload: pages, region: region.pages() });
    }
    if pages < workers as usize {
        return Err(CrewError::TooSmall { workers, pages });
    }
    if state.counts.len() != workers as usize {
        return Err(CrewError::OtherState { expected: workers, found: state.counts.len() });
    }
    Ok(())
}

fn spawn(
    shared: &Arc<Shared>,
    spec: &Spec,
    worker: u32,
    options: &CrewOptions,
    ready: std::sync::mpsc::SyncSender<io::Result<()>>,
) -> Result<JoinHandle<()>, CrewError> {
    let (shared, cpus) = (Arc::clone(shared), options.cpus.clone());
    let job = Job {
        number: worker as usize,
        pages: partition(spec, worker),
        order: order(spec, worker),
        method: spec.method,
        is_timed: spec.latency,
        pacer: Pacer::new(spec.pace, worker, spec.workers, monotonic_ns()),
    };
    let name = format!("{}-{worker}", options.thread_name);
    let body = move || {
        let _leave = Leave { shared: &shared, worker: job.number };
        let prepared = prepare(cpus.as_deref());
        let is_prepared = prepared.is_ok();
        let is_awaited = ready.send(prepared).is_ok();
        if is_prepared && is_awaited {
            worker::run(&shared, job);
        }
    };
    thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|source| CrewError::Spawn { worker, source })
}

fn prepare(cpus: Option<&[usize]>) -> io::Result<()> {
    // Without it the kernel may round wake-ups by 50 us; a kernel that refuses costs smoothness only.
    let _ = cpu::set_timer_slack_ns(1);
    cpus.map_or(Ok(()), cpu::pin_current_thread)
}

/// Says goodbye also when the worker panics, so that nobody waits for it for ever.
struct Leave<'a> {
    shared: &'a Shared,
    worker: usize,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.shared.control.leave(self.worker);
    }
}
