//! A thread that looks at the guest and at its own process at a steady pace.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_sys::{cpu, process};
use sterna_wire::control::{HostSample, LatencySummary};
use sterna_workload::{Crew, Histogram};

use super::guest::{Guest, WORKER_THREAD};
use super::session::MIGRATION_THREAD;
use crate::migration::multifd::CHANNEL_THREAD;

/// Samples kept when nobody fetches them: an hour at the default pace.
const MAX_SAMPLES: usize = 36_000;

/// The sampling thread; it ends with this handle.
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    samples: Mutex<Vec<HostSample>>,
    resident_peak: AtomicU64,
    closing: AtomicBool,
}

impl Sampler {
    /// Looks every `interval_ns`.
    pub fn start(guest: Arc<Guest>, interval_ns: u64) -> std::io::Result<Sampler> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || run(&guest, interval_ns, &theirs))?;
        Ok(Sampler { shared, thread: Some(thread) })
    }

    /// The samples since the last call.
    pub fn take(&self) -> Vec<HostSample> {
        std::mem::take(&mut *self.shared.samples())
    }

    /// Most resident memory seen.
    pub fn resident_peak_bytes(&self) -> Option<u64> {
        Some(self.shared.resident_peak.load(Ordering::Relaxed)).filter(|it| *it > 0)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn samples(&self) -> MutexGuard<'_, Vec<HostSample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of a histogram; `None` when nothing was timed.
pub fn latency_summary(histogram: &Histogram) -> Option<LatencySummary> {
    Some(LatencySummary {
        count: histogram.count(),
        p50_ns: histogram.percentile_ns(50.0)?,
        p99_ns: histogram.percentile_ns(99.0)?,
        p999_ns: histogram.percentile_ns(99.9)?,
        max_ns: histogram.max_ns()?,
    })
}

fn run(guest: &Guest, interval_ns: u64, shared: &Shared) {
    // The default slack of 50 us would be half a thousandth of an interval, but a sample is stamped when it is taken, so only the pace would suffer.
    let _ = cpu::set_timer_slack_ns(1_000);
    let mut costs = ThreadCosts::default();
    let mut latency = None;
    let mut next_ns = monotonic_ns();
    while !shared.closing.load(Ordering::Acquire) {
        let sample = look(guest, &mut costs, &mut latency);
        let resident = sample.resident_bytes.unwrap_or(0);
        shared.resident_peak.fetch_max(resident, Ordering::Relaxed);
        let mut samples = shared.samples();
        if samples.len() < MAX_SAMPLES {
            samples.push(sample);
        }
        drop(samples);
        // A late sample does not make the next ones late, and missed ones are not made up for.
        next_ns = (next_ns + interval_ns).max(monotonic_ns());
        thread::park_timeout(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns())));
    }
}

fn look(guest: &Guest, costs: &mut ThreadCosts, latency: &mut Option<Histogram>) -> HostSample {
    let pid = std::process::id();
    let cpu_ns = costs.by_class(pid);
    let resident_bytes = process::resident_bytes(pid).ok();
    let timed = guest.crew().filter(|_| guest.spec.latency).map(|crew| {
        let now = crew.latency();
        let before = latency.replace(now.clone());
        before.map_or(now.clone(), |before| now.since(&before))
    });
    // Counts and stamp are taken last and together: rates are computed from them.
    let checking_ns = guest.crew().map_or(0, |it| it.checking_ns().iter().sum());
    let counts = guest.crew().map(Crew::counts).unwrap_or_default();
    HostSample {
        at_ns: monotonic_ns(),
        counts,
        checking_ns,
        cpu_ns,
        resident_bytes,
        latency: timed.as_ref().and_then(latency_summary),
        latency_half_octaves: timed.map(|it| it.half_octaves()).unwrap_or_default(),
    }
}

/// CPU time by class of threads; what a thread used is not forgotten when it ends.
#[derive(Default)]
struct ThreadCosts {
    threads: HashMap<u32, (&'static str, u64)>,
}

impl ThreadCosts {
    fn by_class(&mut self, pid: u32) -> Vec<(String, u64)> {
        for thread in process::thread_cpu_ns(pid).unwrap_or_default() {
            self.threads.insert(thread.tid, (class_of(&thread.name), thread.cpu_ns));
        }
        let mut classes = BTreeMap::new();
        for (class, cpu_ns) in self.threads.values() {
            *classes.entry(*class).or_default() += cpu_ns;
        }
        classes.into_iter().map(|(class, cpu_ns)| (class.to_owned(), cpu_ns)).collect()
    }
}

fn class_of(thread: &str) -> &'static str {
    match thread {
        it if it.starts_with(WORKER_THREAD) => "workload",
        it if it.starts_with(MIGRATION_THREAD) => "migration",
        it if it.starts_with(CHANNEL_THREAD) => CHANNEL_THREAD,
        "replies" => "migration",
        "link" => "link",
        _ => "control",
    }
}
