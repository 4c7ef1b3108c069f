//! One side's guest: memory, the workers that stand for its vCPUs, and the tracker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use sterna_sys::clock::Cycles;
use sterna_sys::region::{HugePages, Region, RegionError, RegionOptions};
use sterna_sys::tracking::{TrackingError, WpTracker, probe_missing_faults};
use sterna_sys::{PAGE_BYTES, cpu, numa};
use sterna_wire::control::{HostConfig, Side};
use sterna_workload::{
    Crew, CrewError, CrewOptions, CrewState, FirstWrites, Histogram, Layout, Spec, SpecError,
    Verification, fill, verify_with,
};

use crate::migration::breakage::Defect;
use crate::probe::available_bytes;
use crate::tracker::{Choice, Tracker, TrackerError};

/// The name of worker threads, and of their class in CPU figures.
pub const WORKER_THREAD: &str = "worker";

/// A guest on one host.
///
/// Its memory is laid out as `[workload | ballast | zero]`; the workload's and the ballast's pages begin with content that follows from the seed.
pub struct Guest {
    /// Guest memory.
    pub region: Arc<Region>,
    /// What the workers do.
    pub spec: Spec,
    /// What lies where.
    pub layout: Layout,
    /// Whether workers check pages before they write them for the first time after a resume.
    pub checks_first_writes: bool,
    cpus: Option<Vec<usize>>,
    crew: OnceLock<Crew>,
    tracker: Mutex<Tracker>,
    /// Times of writes that belong to an earlier hop.
    times_of_others: Mutex<Option<WriteTimes>>,
    /// Times of writes up to the migrate request.
    times_before: Mutex<Option<WriteTimes>>,
}

/// What the choice of a tracker was.
#[derive(Clone, Debug)]
pub struct TrackerFacts {
    /// Its name.
    pub name: &'static str,
    /// Why this one.
    pub reason: String,
    /// Bytes that one tracked write makes dirty.
    pub page_bytes: u64,
}

/// Why a guest cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// No such memory.
    #[error("Guest memory cannot be had: {0}")]
    Memory(#[from] RegionError),
    /// Not enough memory free, seen before the kernel has to kill somebody.
    #[error(
        "Guest memory of {asked} bytes does not fit: {available} bytes are available here; choose a smaller guest.memory, or guest.prealloc = false"
    )]
    NotEnough {
        /// What the guest needs.
        asked: u64,
        /// What the machine and its cgroup leave.
        available: u64,
    },
    /// The page size is none of ours.
    #[error("Unknown huge-pages `{0}`; known are none, thp, 2MiB and 1GiB")]
    HugePages(String),
    /// The workload's text form.
    #[error("The workload cannot be read")]
    Spec(#[from] SpecError),
    /// The workers.
    #[error("The workload cannot start: {0}")]
    Crew(#[from] CrewError),
    /// Missing pages.
    #[error(
        "migration.postcopy: page faults cannot be served here ({0}). {remedy}; or remove [migration.postcopy]",
        remedy = crate::probe::remedy(.0)
    )]
    Faults(#[source] TrackingError),
    /// Missing pages that are large.
    #[error(
        "guest.huge-pages: this kernel cannot serve missing pages of {page_bytes} bytes; use \"none\" or \"thp\", or remove [migration.postcopy]"
    )]
    LargeFaults {
        /// The size of a page.
        page_bytes: u64,
    },
    /// The tracker.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// NUMA binding.
    #[error(
        "guest.{side}.numa-nodes: memory cannot be bound to nodes {nodes:?}: {source}; this machine has {there:?}"
    )]
    Numa {
        /// Whose memory.
        side: &'static str,
        /// The nodes asked for.
        nodes: Vec<usize>,
        /// Those that there are.
        there: Vec<usize>,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// Times of a guest's writes.
#[derive(Clone, Debug)]
pub struct WriteTimes {
    /// What each write took.
    pub service: Histogram,
    /// What passed until each write was done since its page was due.
    pub since_due: Histogram,
}

impl WriteTimes {
    fn of(crew: &Crew) -> WriteTimes {
        WriteTimes { service: crew.latency(), since_due: crew.since_due() }
    }

    fn since(&self, earlier: &WriteTimes) -> WriteTimes {
        WriteTimes {
            service: self.service.since(&earlier.service),
            since_due: self.since_due.since(&earlier.since_due),
        }
    }
}

impl Guest {
    /// Builds the guest of one side; `progress` hears how much memory is ready.
    pub fn build(
        config: &HostConfig,
        defects: &[Defect],
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(Guest, TrackerFacts), GuestError> {
        let spec: Spec = config.workload.parse()?;
        if config.postcopy.is_some() && config.side == Side::Destination {
            probe_missing_faults().map_err(GuestError::Faults)?;
        }
        // Takes some 15 ms once, which must not fall into a downtime.
        Cycles::calibrated();
        let region = allocate(config)?;
        if config.postcopy.is_some() && config.side == Side::Destination {
            check_large_faults(&region)?;
        }
        if config.prealloc {
            check_available(config.memory_bytes)?;
            preallocate(&region, progress)?;
        }
        let layout = Layout {
            workload_pages: spec.pages(),
            ballast_pages: pages(config.ballast_bytes),
            total_pages: region.pages(),
        };
        let attach = match defects.contains(&Defect::NoWpAsync) {
            true => |_: &_| Err(TrackingError::NoAsyncWriteProtect { page_bytes: 4096 }),
            false => WpTracker::attach,
        };
        let Choice { tracker, reason } = Tracker::choose(&config.tracker, &region, attach)?;
        let facts = TrackerFacts { name: tracker.name(), reason, page_bytes: tracker.page_bytes() };
        let cpus = (!config.cpus.is_empty()).then(|| config.cpus.clone());
        let guest = Guest {
            region,
            spec,
            layout,
            cpus,
            checks_first_writes: !defects.contains(&Defect::SkipFirstChecks),
            crew: OnceLock::new(),
            tracker: Mutex::new(tracker),
            times_of_others: Mutex::default(),
            times_before: Mutex::default(),
        };
        if config.side == Side::Source {
            guest.fill();
            guest.enlist(&CrewState::fresh_for(&guest.spec))?;
        }
        Ok((guest, facts))
    }

    /// Creates the workers, paused, to go on from `state`.
    pub fn enlist(&self, state: &CrewState) -> Result<&Crew, CrewError> {
        let options = CrewOptions {
            paused: true,
            cpus: self.cpus.clone(),
            thread_name: WORKER_THREAD,
            check_first_writes: self.checks_first_writes,
            ..CrewOptions::default()
        };
        let crew = Crew::start(&self.region, &self.spec, state, options)?;
        Ok(self.crew.get_or_init(|| crew))
    }

    /// The workers, once there are any.
    pub fn crew(&self) -> Option<&Crew> {
        self.crew.get()
    }

    /// The tracker; whoever migrates holds it.
    pub fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the times of writes so far as those without migration.
    pub fn note_times_before(&self) {
        *self.times_before.lock().unwrap_or_else(PoisonError::into_inner) = self.times_now();
    }

    /// From now on times of writes count for another hop.
    pub fn begin_times(&self) {
        let times = self.crew().map(WriteTimes::of);
        *self.times_of_others.lock().unwrap_or_else(PoisonError::into_inner) = times;
        *self.times_before.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn times_now(&self) -> Option<WriteTimes> {
        let times = WriteTimes::of(self.crew()?);
        let others = self.times_of_others.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match others.as_ref() {
            Some(others) => times.since(others),
            None => times,
        })
    }

    /// Times of writes before the migration and since.
    pub fn times(&self) -> (Option<WriteTimes>, Option<WriteTimes>) {
        let now = self.times_now().filter(|_| self.spec.latency);
        let before = self.times_before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (before, now) {
            (Some(before), Some(now)) => {
                let since = now.since(&before);
                (Some(before), Some(since))
            }
            (_, now) => (None, now),
        }
    }

    /// Stops the workers and compares all of memory.
    pub fn verify(&self) -> Option<(Verification, FirstWrites)> {
        let crew = self.crew()?;
        crew.pause();
        let counts = crew.state().counts;
        let first = crew.first_writes();
        let threads = cpu::online();
        let found = verify_with(&self.region, &self.layout, &self.spec, &counts, threads, &first);
        Some((found, first))
    }

    fn fill(&self) {
        let filled = 0..self.layout.workload_pages + self.layout.ballast_pages;
        fill(&self.region, filled, self.spec.seed, cpu::online());
    }
}

/// Reserved huge pages are a feature of their own.
fn check_large_faults(region: &Region) -> Result<(), GuestError> {
    let page_bytes = region.page_bytes();
    let is_large = page_bytes > PAGE_BYTES as u64;
    match region.uffd().map_err(GuestError::Faults)?.features().missing_hugetlb || !is_large {
        true => Ok(()),
        false => Err(GuestError::LargeFaults { page_bytes }),
    }
}

fn allocate(config: &HostConfig) -> Result<Arc<Region>, GuestError> {
    let huge_pages = match config.huge_pages.as_str() {
        "none" => HugePages::None,
        "thp" => HugePages::Thp,
        "2MiB" => HugePages::Size2MiB,
        "1GiB" => HugePages::Size1GiB,
        other => return Err(GuestError::HugePages(other.to_owned())),
    };
    let bytes = config.memory_bytes.next_multiple_of(huge_pages.page_bytes());
    let region = Region::new(&RegionOptions { bytes, huge_pages, locked: config.locked })?;
    if !config.numa_nodes.is_empty() {
        let nodes = config.numa_nodes.clone();
        let side = match config.side {
            Side::Source => "source",
            Side::Destination => "destination",
        };
        numa::bind(&region, &nodes).map_err(|source| {
            let there = numa::nodes().iter().map(|it| it.id).collect();
            GuestError::Numa { side, nodes, there, source }
        })?;
    }
    Ok(Arc::new(region))
}

/// Touches all memory, by all CPUs, and tells four times a second how far it is.
fn preallocate(
    region: &Region,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), GuestError> {
    let (done, finished) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result = region.prealloc(cpu::online(), &done);
            finished.store(true, Ordering::Release);
            result
        });
        let mut ticks = 0u32;
        while !finished.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
            ticks += 1;
            if ticks.is_multiple_of(50) {
                progress("memory", done.load(Ordering::Relaxed), region.bytes());
            }
        }
        worker.join().unwrap_or(Ok(()))
    })?;
    Ok(())
}

/// Memory that is not there would be found by the kernel's OOM killer, which asks nobody.
fn check_available(asked: u64) -> Result<(), GuestError> {
    let Some(available) = available_bytes() else { return Ok(()) };
    if asked > available { Err(GuestError::NotEnough { asked, available }) } else { Ok(()) }
}

fn pages(bytes: u64) -> usize {
    (bytes / PAGE_BYTES as u64) as usize
}
