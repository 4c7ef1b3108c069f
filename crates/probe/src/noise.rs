//! How late this very process runs, apart from everything it looks at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::cpu::{self, Priority};

/// Time between two looks at the clock.
pub const NOISE_INTERVAL_NS: u64 = 1_000_000;

/// Being later than this is noted with its moment.
const NOTED_NS: u64 = 2_000_000;

/// So many are kept.
const MOST_NOTED: usize = 10_000;

const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 2;

/// A thread that only sleeps for a millisecond at a time, with the priority of the probes, and notes how much later it woke up.
///
/// A busy machine holds up a probe just so. What this thread notes is the machine's doing and never that of what is probed.
#[derive(Debug)]
pub struct Heartbeat {
    seen: Arc<Mutex<Seen>>,
    shall_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    late: Histogram<u32>,
    stalls: Vec<Stall>,
    priority: Priority,
}

/// A time in which this process did not run though it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When it should have run, CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// When it did.
    pub end_ns: u64,
}

/// All that was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// How the threads of the probes are preferred to others.
    pub priority: Priority,
    /// Half of the time it woke up at most so late.
    pub p50_ns: u64,
    /// 99 % of the time.
    pub p99_ns: u64,
    /// 99.9 % of the time.
    pub p99_9_ns: u64,
    /// The latest.
    pub max_ns: u64,
    /// Every time that it was later than 2 ms; at most 10,000.
    pub stalls: Vec<Stall>,
}

impl Heartbeat {
    /// Begins to listen.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> std::io::Result<Heartbeat> {
        let late = Histogram::new_with_bounds(1_000, LONGEST_NS, DIGITS)
            .expect("these bounds and digits are within what a histogram can have");
        let seen = Seen { late, stalls: Vec::new(), priority: Priority::Normal };
        let seen = Arc::new(Mutex::new(seen));
        let shall_end = Arc::new(AtomicBool::new(false));
        let (ours, end) = (Arc::clone(&seen), Arc::clone(&shall_end));
        let thread = std::thread::Builder::new().name("noise".to_owned());
        let thread = thread.spawn(move || beat(&ours, &end))?;
        Ok(Heartbeat { seen, shall_end, thread: Some(thread) })
    }

    /// What was noted so far.
    pub fn noise(&self) -> Noise {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Noise {
            priority: seen.priority,
            p50_ns: seen.late.value_at_percentile(50.0),
            p99_ns: seen.late.value_at_percentile(99.0),
            p99_9_ns: seen.late.value_at_percentile(99.9),
            max_ns: seen.late.max(),
            stalls: seen.stalls.clone(),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Noise {
    /// How much of a stretch of time this process did not run.
    pub fn within(&self, start_ns: u64, end_ns: u64) -> u64 {
        let part = |it: &Stall| it.end_ns.min(end_ns).saturating_sub(it.start_ns.max(start_ns));
        self.stalls.iter().map(part).sum()
    }
}

fn beat(seen: &Mutex<Seen>, shall_end: &AtomicBool) {
    let priority = cpu::raise_priority();
    let _ = cpu::set_timer_slack_ns(1_000);
    seen.lock().unwrap_or_else(PoisonError::into_inner).priority = priority;
    let mut due_ns = monotonic_ns() + NOISE_INTERVAL_NS;
    while !shall_end.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        let now_ns = monotonic_ns();
        let late_ns = now_ns.saturating_sub(due_ns);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.late.saturating_record(late_ns);
        if late_ns > NOTED_NS && seen.stalls.len() < MOST_NOTED {
            seen.stalls.push(Stall { start_ns: due_ns, end_ns: now_ns });
        }
        due_ns = due_ns.max(now_ns.saturating_sub(NOISE_INTERVAL_NS)) + NOISE_INTERVAL_NS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_beats_and_its_stalls_are_cut_to_what_is_asked_for() {
        let heart = Heartbeat::start().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let mut noise = heart.noise();
        assert!(noise.max_ns > 0 && noise.p50_ns <= noise.max_ns);
        noise.stalls = vec![Stall { start_ns: 10, end_ns: 20 }, Stall { start_ns: 30, end_ns: 40 }];
        assert_eq!([(0, 100), (15, 35), (20, 30)].map(|it| noise.within(it.0, it.1)), [20, 10, 0]);
    }
}
