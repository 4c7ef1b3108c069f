//! The threads that stand for a guest's virtual CPUs.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sterna_sys::clock::{Cycles, monotonic_ns};
use sterna_sys::cpu;
use sterna_sys::region::Region;

use crate::bitmap::DirtyBitmap;
use crate::control::{Control, Mode, Orders};
use crate::crew_error::CrewError;
use crate::first_write::{Book, FirstWrites, longest_check_ticks};
use crate::gaps::{Gap, Stall};
use crate::histogram::Histogram;
use crate::image::Images;
use crate::meter::Meter;
use crate::partition::partition;
use crate::replay::page_writes;
use crate::segment::segments;
use crate::spec::{Method, Spec};
use crate::state::{self, CrewState, WorkerState};
use crate::strokes::LongWrites;
use crate::timeline::Timeline;
use crate::verify::Verification;
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
    spec: Spec,
    threads: Vec<JoinHandle<()>>,
    /// Takers of gaps and stalls take turns.
    taking: Mutex<()>,
    /// Whether pages are checked after the next resume, and after those behind it.
    checks: AtomicBool,
    checks_first_writes: bool,
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
    /// Time of a single write from which on it is reported as a [`Stall`]; None reports none. Needs timed writes.
    pub stall_threshold_ns: Option<u64>,
    /// Check each page just before it is written again, also what others might have done to it.
    ///
    /// Needs memory that was filled, or with `remap` memory that is zero; costs a read of the whole page, and 8 bytes
    /// for each to count how often it was written.
    pub check: bool,
    /// Check each page before it is written for the first time after a resume, where the method would make a wrong page
    /// right; see [`FirstWrites`].
    ///
    /// Nothing is checked after the first release of a workload that has not begun. Needs memory that was filled.
    pub check_first_writes: bool,
    /// Give a worker's pages back to the kernel after each round of as many writes as it has pages, so that the next
    /// round meets a page fault at each.
    ///
    /// Memory begins as zero then, and is to be checked by [`verify_remapped`](crate::verify_remapped).
    pub remap: bool,
}

impl Default for CrewOptions {
    /// Running at once, on any processor, as `worker`, gaps from 2 ms, nothing else.
    fn default() -> CrewOptions {
        CrewOptions {
            paused: false,
            cpus: None,
            thread_name: "worker",
            gap_threshold_ns: 2_000_000,
            stall_threshold_ns: None,
            check: false,
            check_first_writes: false,
            remap: false,
        }
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
        let workers = check(region, spec, state, &options)?;
        // Calibrates the counter now, not in the first worker's first quantum.
        Cycles::calibrated();
        let mode = if options.paused { Mode::Pause } else { Mode::Run };
        let images = if options.remap {
            Images::blank(spec.method, spec.seed)
        } else {
            Images::new(spec.method, spec.seed)
        };
        let shared = Arc::new(Shared {
            region: Arc::clone(region),
            control: Control::new(spec.workers as usize, mode),
            meters: workers.iter().map(Meter::new).collect(),
            longest_check_ticks: match options.check_first_writes {
                true => longest_check_ticks(&images, *Cycles::calibrated()),
                false => 0,
            },
            images,
            long: LongWrites {
                gap_ns: options.gap_threshold_ns,
                stall_ns: options.stall_threshold_ns.unwrap_or(u64::MAX),
            },
        });
        let writes = options.check.then(|| page_writes(spec, &state.counts, cpu::online()));
        let (spec, taking) = (spec.clone(), Mutex::new(()));
        let checks_first_writes = options.check_first_writes;
        // The first release of a workload that has not begun finds memory as it was filled.
        let has_begun = !options.paused || state.counts.iter().any(|count| *count > 0);
        let checks = AtomicBool::new(checks_first_writes && has_begun);
        let threads = Vec::new();
        let mut crew = Crew { shared, spec, threads, taking, checks, checks_first_writes };
        let spec = &crew.spec;
        for worker in 0..spec.workers {
            let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
            let writes = writes.as_ref().map(|it| it[partition(spec, worker)].to_vec());
            crew.threads.push(spawn(&crew.shared, spec, worker, &options, writes, ready)?);
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
                // After the next resume there is something to check in any case.
                let checks = self.checks.swap(self.checks_first_writes, Relaxed);
                orders.checks += u64::from(checks);
                orders.released_ns = monotonic_ns();
            }
            is_new
        });
        self.shared.control.orders().released_ns
    }

    /// Lets each page be checked before it is written the next time, as after a resume; for a guest that was stopped
    /// without its knowledge.
    ///
    /// Without [`CrewOptions::check_first_writes`] nothing happens.
    pub fn check_again(&self) {
        self.order(|orders| {
            orders.checks += u64::from(self.checks_first_writes);
            self.checks_first_writes
        });
    }

    /// Whether workers were told to run, and not to stop since.
    pub fn is_running(&self) -> bool {
        self.shared.control.orders().mode == Mode::Run
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
        let percent = u64::from(percent.min(99));
        let rest_ns = worker::THROTTLE_RUN_NS * percent / (100 - percent);
        self.set_rests(&vec![rest_ns; self.spec.workers as usize]);
    }

    /// Makes each worker rest so many nanoseconds after each 10 ms of running; one for which there is no number is not
    /// held back.
    ///
    /// A worker that is not held back pays nothing for it.
    pub fn set_rests(&self, rests_ns: &[u64]) {
        self.order(|orders| {
            orders.rests_ns = rests_ns.into();
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
        let workers: Vec<WorkerState> = self.shared.meters.iter().map(Meter::state).collect();
        CrewState::of(&self.spec, &workers)
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
            meter.gaps.take(|gap| {
                gaps.push(Gap { worker, start_ns: gap.start_ns, end_ns: gap.end_ns });
            });
        }
        gaps
    }

    /// The stalls noted since they were last taken, by worker and then by time; empty without a threshold.
    pub fn take_stalls(&self) -> Vec<Stall> {
        let _turn = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stalls = Vec::new();
        for (worker, meter) in (0..).zip(&self.shared.meters) {
            meter.stalls.take(|stall| {
                let length_ns = stall.end_ns.saturating_sub(stall.start_ns);
                let (page, start_ns) = (stall.page, stall.start_ns);
                stalls.push(Stall { worker, page, start_ns, length_ns });
            });
        }
        stalls
    }

    /// How many stalls were dropped because nobody took them in time.
    pub fn lost_stalls(&self) -> u64 {
        self.shared.meters.iter().map(|meter| meter.stalls.lost()).sum()
    }

    /// What checking before each write has found so far; empty without [`CrewOptions::check`].
    pub fn checked(&self) -> Verification {
        let mut all = Verification::default();
        for meter in &self.shared.meters {
            all.append(meter.found.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        all
    }

    /// What checking before first writes has found so far, with a replay where the method leaves no stamps; exact only
    /// while the crew is paused.
    pub fn first_writes(&self) -> FirstWrites {
        let mut all = FirstWrites::default();
        let books: Vec<_> = self.shared.meters.iter().map(Meter::first_writes).collect();
        books.iter().for_each(|book| book.add_to(&mut all));
        all.checking_ns = self.checking_ns().iter().sum();
        if self.spec.method == Method::Zero {
            self.against_replay(&books, &mut all);
        }
        all
    }

    /// Time that each worker has spent on checking before first writes so far, as far as its schedule leaves it out.
    pub fn checking_ns(&self) -> Vec<u64> {
        self.shared.meters.iter().map(|meter| meter.checking_ns.load(Relaxed)).collect()
    }

    /// When the last worker had begun to check pages before first writes, on CLOCK_MONOTONIC; None before that.
    pub fn checks_began_ns(&self) -> Option<u64> {
        let meters = self.shared.meters.iter();
        meters
            .map(|meter| meter.checks_began.get())
            .collect::<Option<Vec<u64>>>()?
            .into_iter()
            .max()
    }

    fn against_replay(&self, books: &[MutexGuard<'_, Book>], all: &mut FirstWrites) {
        let numbers: BTreeSet<u64> =
            books.iter().flat_map(|book| book.rounds()).map(|round| round.number).collect();
        for number in numbers {
            let of_worker =
                |book: &Book| book.rounds().iter().position(|round| round.number == number);
            let places: Vec<_> = books.iter().map(|book| of_worker(book)).collect();
            // A worker that was paused again before it went on has nothing to be compared.
            let states: Vec<WorkerState> = books
                .iter()
                .zip(&places)
                .zip(&self.shared.meters)
                .map(|((book, place), meter)| {
                    place.map_or_else(|| meter.state(), |place| book.rounds()[place].at.clone())
                })
                .collect();
            let counts = CrewState::of(&self.spec, &states).counts;
            let writes = page_writes(&self.spec, &counts, cpu::online());
            for ((worker, book), place) in (0u32..).zip(books).zip(&places) {
                let Some(place) = *place else { continue };
                let pages = partition(&self.spec, worker);
                let round = &book.rounds()[place];
                let images = &self.shared.images;
                let wrong = round.against_replay(images, pages.start, &writes[pages.clone()]);
                wrong.into_iter().for_each(|corruption| all.add_wrong(corruption));
            }
        }
    }

    /// Why some worker no longer gives its pages back, if so.
    pub fn remap_error(&self) -> Option<&io::Error> {
        self.shared.meters.iter().find_map(|meter| meter.remap_error.get())
    }

    /// Pages per second of all workers without a limit, as found for a share of it; None while it is not known, or not
    /// needed.
    pub fn full_speed_pages_per_second(&self) -> Option<u64> {
        let speeds = self.shared.meters.iter().map(|meter| meter.full_speed.load(Relaxed));
        speeds.map(|speed| Some(speed).filter(|speed| *speed > 0)).sum()
    }

    /// How many different pages were written since `earlier`, a former [`Crew::state`] of this workload.
    ///
    /// See [`crate::distinct_pages`] for how exact it is and what it costs.
    pub fn distinct_pages_since(&self, earlier: &CrewState) -> u64 {
        crate::replay::distinct_pages(&self.spec, &earlier.counts, &self.state().counts)
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

    /// For each page that a rate makes due, the time from then until it was written: what a client would see that asks
    /// for each page in its time, whatever became of the one before. Empty without timing, and without a rate.
    ///
    /// [`Crew::latency`] has the time of each write alone. A worker that stands still for 100 ms makes no write in them, so
    /// there nothing is seen of it (coordinated omission); here each page that was due in them counts, with the time that
    /// was left of them. Pages that are due within a millisecond are gathered, and that is no delay. Those that a pause,
    /// a throttle or a long stall made the schedule give up count as written at its end; those that are made up for later
    /// count once more then.
    pub fn since_due(&self) -> Histogram {
        let mut all = Histogram::default();
        self.shared.meters.iter().for_each(|meter| all.merge(&meter.since_due.snapshot()));
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

fn check(
    region: &Region,
    spec: &Spec,
    state: &CrewState,
    options: &CrewOptions,
) -> Result<Vec<WorkerState>, CrewError> {
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
    if options.check && options.remap && state.counts.iter().any(|it| *it > 0) {
        return Err(CrewError::CannotCheckRemapped);
    }
    let (expected, found) = (state::numbers(spec), state.counts.len());
    state::workers(spec, &state.counts).ok_or(CrewError::OtherState { expected, found })
}

fn spawn(
    shared: &Arc<Shared>,
    spec: &Spec,
    worker: u32,
    options: &CrewOptions,
    writes: Option<Vec<u64>>,
    ready: std::sync::mpsc::SyncSender<io::Result<()>>,
) -> Result<JoinHandle<()>, CrewError> {
    let (shared, cpus) = (Arc::clone(shared), options.cpus.clone());
    let job = Job {
        number: worker as usize,
        pages: partition(spec, worker),
        segments: segments(spec, worker),
        timeline: Timeline::new(spec, worker, &shared.meters[worker as usize], monotonic_ns()),
        is_timed: spec.latency,
        writes,
        remaps: options.remap,
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
