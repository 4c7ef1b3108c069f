//! What both QEMU processes cost, ten times a second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_pilot::CpuPoint;
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::process::{resident_bytes, thread_cpu_ns};

const INTERVAL: Duration = Duration::from_millis(100);

/// A thread that reads the processor time of both sides.
pub(crate) struct CostSampler {
    points: Arc<Mutex<Vec<CpuPoint>>>,
    shall_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CostSampler {
    /// Begins to watch these processes.
    pub fn start(pids: Vec<(Side, u32)>) -> std::io::Result<CostSampler> {
        let points = Arc::new(Mutex::new(Vec::new()));
        let shall_end = Arc::new(AtomicBool::new(false));
        let (theirs, end) = (Arc::clone(&points), Arc::clone(&shall_end));
        let thread = std::thread::Builder::new().name("costs".to_owned()).spawn(move || {
            let mut ended = BTreeMap::new();
            while !end.load(Ordering::Relaxed) {
                for (side, pid) in &pids {
                    if let Some(point) = look(*side, *pid, &mut ended) {
                        theirs.lock().unwrap_or_else(PoisonError::into_inner).push(point);
                    }
                }
                std::thread::sleep(INTERVAL);
            }
        })?;
        Ok(CostSampler { points, shall_end, thread: Some(thread) })
    }

    /// What was read since the last time.
    pub fn take(&self) -> Vec<CpuPoint> {
        std::mem::take(&mut *self.points.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for CostSampler {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Threads by process and number, with what was last known of them: those that end would else take their time along.
type Threads = BTreeMap<(u32, u32), (&'static str, u64)>;

fn look(side: Side, pid: u32, threads: &mut Threads) -> Option<CpuPoint> {
    for thread in thread_cpu_ns(pid).ok()? {
        threads.insert((pid, thread.tid), (class(&thread.name), thread.cpu_ns));
    }
    let mut classes = BTreeMap::new();
    for (_, (class, cpu_ns)) in threads.range((pid, 0)..=(pid, u32::MAX)) {
        *classes.entry((*class).to_owned()).or_insert(0) += cpu_ns;
    }
    Some(CpuPoint {
        side,
        at_ns: monotonic_ns(),
        classes,
        resident_bytes: resident_bytes(pid).ok(),
    })
}

/// QEMU names its threads when it is told to (`debug-threads=on`); names of migration threads differ between versions.
fn class(name: &str) -> &'static str {
    let is = |start: &str| name.starts_with(start);
    if is("CPU ") {
        "vcpu"
    } else if is("multifd") || is("mig/src/send") || is("mig/dst/recv") {
        "multifd"
    } else if is("live_migration")
        || is("mig/")
        || is("return path")
        || is("postcopy")
        || is("fault")
        || is("compress")
        || is("decompress")
    {
        "migration"
    } else {
        "main"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_all_versions_fall_into_their_classes() {
        let table = [
            ("CPU 0/TCG", "vcpu"),
            ("CPU 11/KVM", "vcpu"),
            ("live_migration", "migration"),
            ("mig/src/main", "migration"),
            ("mig/src/rp-thr", "migration"),
            ("mig/dst/fault", "migration"),
            ("multifdsend_0", "multifd"),
            ("mig/src/send_1", "multifd"),
            ("mig/dst/recv_1", "multifd"),
            ("qemu-system-x86", "main"),
        ];
        for (name, expected) in table {
            assert_eq!(class(name), expected, "{name}");
        }
    }

    #[test]
    fn a_process_that_is_gone_tells_nothing_and_what_ended_keeps_its_time() {
        assert_eq!(look(Side::Source, u32::MAX, &mut Threads::new()), None);
        let mut threads = Threads::from([((std::process::id(), 1), ("multifd", 77))]);
        let point = look(Side::Source, std::process::id(), &mut threads).unwrap();
        assert_eq!(point.classes["multifd"], 77);
        assert!(point.classes["main"] > 0 && point.resident_bytes > Some(0));
    }
}
