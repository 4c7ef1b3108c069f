//! The memory of the guest that is ours, and the workers that write it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu};
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{self, CorruptWord, GuestMessage};
use sterna_workload::{
    Crew, CrewOptions, CrewState, FirstWrites, Layout, Spec, Verification, fill, verify_with,
};

use crate::error::AgentError;

/// Workload, ballast and crew.
#[derive(Debug)]
pub struct Memory {
    region: Arc<Region>,
    layout: Layout,
    pub spec: Spec,
    pub crew: Crew,
    /// Whether the crew runs; orders take turns.
    running: Mutex<bool>,
    /// The latest resume that was announced.
    resumes: AtomicU64,
}

/// Memory left to the kernel, for whatever comes up while the workload runs.
const SPARE_BYTES: u64 = 4 << 20;

impl Memory {
    /// Fills the memory and lets the workers wait.
    pub fn prepare(config: &GuestConfig) -> Result<Memory, AgentError> {
        let spec: Spec = config.workload.parse()?;
        let workload_pages = spec.pages();
        let ballast_pages = usize::try_from(config.ballast_bytes / PAGE_BYTES as u64)
            .unwrap_or(usize::MAX - workload_pages);
        let total_pages = workload_pages.saturating_add(ballast_pages);
        let bytes = (total_pages as u64).saturating_mul(PAGE_BYTES as u64);
        check_available(bytes)?;
        let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
        let region = Arc::new(Region::new(&options)?);
        let layout = Layout { workload_pages, ballast_pages, total_pages };
        fill(&region, layout.filled(), spec.seed, cpu::online());
        let options = CrewOptions {
            paused: true,
            gap_threshold_ns: config.gap_threshold_ns,
            check_first_writes: true,
            ..CrewOptions::default()
        };
        let crew = Crew::start(&region, &spec, &CrewState::fresh(spec.workers), options)?;
        Ok(Memory {
            region,
            layout,
            spec,
            crew,
            running: Mutex::new(false),
            resumes: AtomicU64::new(0),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.region.bytes()
    }

    pub fn start(&self) -> GuestMessage {
        self.order(true)
    }

    pub fn pause(&self) -> GuestMessage {
        self.order(false)
    }

    /// Checks every word, with the workers paused.
    pub fn verify(&self) -> GuestMessage {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.crew.pause();
        let counts = self.crew.counts();
        let first_writes = self.crew.first_writes();
        let threads = cpu::online();
        let found =
            verify_with(&self.region, &self.layout, &self.spec, &counts, threads, &first_writes);
        let at_ns = monotonic_ns();
        if *running {
            self.crew.resume();
        }
        let Verification { pages_checked, corrupt_pages, corrupt } = found;
        let first = corrupt
            .iter()
            .map(|it| CorruptWord {
                page: it.page as u64,
                offset_bytes: it.offset_bytes as u64,
                expected: it.expected,
                found: it.found,
            })
            .collect();
        let first_writes = self.first_writes(&first_writes);
        GuestMessage::Verified { at_ns, pages_checked, corrupt_pages, first, first_writes }
    }

    /// None where the method makes nothing right that was wrong.
    fn first_writes(&self, found: &FirstWrites) -> Option<guest_line::FirstWrites> {
        FirstWrites::are_needed_for(self.spec.method).then(|| guest_line::FirstWrites {
            pages_checked: found.pages_checked,
            corrupt_pages: found.corrupt_pages,
            checking_ns: found.checking_ns,
            began_ns: self.crew.checks_began_ns().unwrap_or(0),
        })
    }

    /// The guest was stopped and runs again: pages are checked before they are written next. Of a resume that is known
    /// already nothing happens.
    pub fn resumed(&self, number: u64) {
        if self.resumes.fetch_max(number, Ordering::Relaxed) < number {
            self.crew.check_again();
        }
    }

    fn order(&self, run: bool) -> GuestMessage {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = run;
        let at_ns = if run { self.crew.resume() } else { self.crew.pause() };
        GuestMessage::State { at_ns, running: run, counts: self.crew.counts() }
    }
}

/// Better told in words than by the kernel's killer of processes, who in a guest like ours can only kill us.
fn check_available(wanted: u64) -> Result<(), AgentError> {
    let Some(available) = available_bytes() else { return Ok(()) };
    let available = available.saturating_sub(SPARE_BYTES);
    if wanted > available { Err(AgentError::TooLarge { wanted, available }) } else { Ok(()) }
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|it| it << 10)
}
