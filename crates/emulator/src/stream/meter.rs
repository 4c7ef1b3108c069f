//! What is counted while pages move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sterna_sys::clock::monotonic_ns;
use sterna_sys::process::thread_cpu_ns;
use sterna_wire::control::ChannelStatus;
use sterna_workload::Histogram;

/// The first part of the names of all threads that move pages.
pub const THREAD: &str = "stream-";

/// One lane, as one side sees it.
#[derive(Debug, Default)]
pub struct LaneMeter {
    /// Bytes of bulk pages.
    pub bulk_bytes: AtomicU64,
    /// Bytes of pages that were asked for.
    pub page_bytes: AtomicU64,
    /// Bytes handed to the kernel.
    pub wire_sent: AtomicU64,
    /// Bytes taken from the kernel.
    pub wire_received: AtomicU64,
    /// Requests that were answered.
    pub answered: AtomicU64,
    /// When the last bulk page moved; 0 before.
    pub last_bulk_ns: AtomicU64,
    /// What came of sends without a copy.
    pub zero_copy: Mutex<Option<ChannelStatus>>,
}

/// Requests of one side.
#[derive(Debug, Default)]
pub struct RequestMeter {
    /// How long pages took that somebody waited for.
    pub awaited: Mutex<Histogram>,
    /// How long pages took that were asked for ahead.
    pub ahead: Mutex<Histogram>,
    /// Requests that are not answered.
    pub outstanding: AtomicU64,
}

impl LaneMeter {
    /// Bulk pages have moved.
    pub fn bulk(&self, bytes: u64) {
        self.bulk_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_bulk_ns.store(monotonic_ns(), Ordering::Relaxed);
    }
}

/// A number that others change.
pub fn of(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

/// A copy of times that are being recorded.
pub fn snapshot(times: &Mutex<Histogram>) -> Histogram {
    times.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Records a time.
pub fn record(times: &Mutex<Histogram>, ns: u64) {
    times.lock().unwrap_or_else(PoisonError::into_inner).record(ns);
}

/// Processor time of the calling thread.
pub fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of all threads that move pages now; `None` where the kernel does not tell.
pub fn live_cpu_ns() -> Option<u64> {
    let threads = thread_cpu_ns(std::process::id()).ok()?;
    let ours = threads.iter().filter(|it| it.name.starts_with(THREAD));
    Some(ours.map(|it| it.cpu_ns).sum())
}
