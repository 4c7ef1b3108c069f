//! What was seen of the workers, between two looks and in all.

use sterna_sys::clock::monotonic_ns;
use sterna_sys::{PAGE_BYTES, process};
use sterna_workload::{Crew, CrewState, Gap, Histogram, Spec, distinct_pages};

/// What the workers' threads are called.
pub const THREADS: &str = "dirty";

/// The percentiles that are told, and their names.
pub const PERCENTILES: [(&str, f64); 6] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("p99.999", 99.999),
];

/// What happened in a stretch of time; small, because all of a long run are kept.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// When it began, since the workers were released.
    pub start_seconds: f64,
    /// When it ended.
    pub end_seconds: f64,
    /// Pages written, with repeats.
    pub touched_pages: u64,
    /// Different pages written.
    pub distinct_pages: u64,
    /// Processor time of all workers; None where the kernel does not tell.
    pub cpu_ns: Option<u64>,
    /// How many workers there were.
    pub workers: u32,
    /// The times of its writes; None when they are not timed, or there were none.
    pub times: Option<Times>,
    /// The times since its pages were due; None also without a rate.
    pub since_due: Option<Times>,
    /// How many times without progress ended in it.
    pub gaps: u64,
    /// How long these were together.
    pub gap_ns: u64,
    /// The longest of them.
    pub longest_gap_ns: Option<u64>,
}

/// How long writes took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How many there were.
    pub count: u64,
    /// Their mean.
    pub mean_ns: Option<f64>,
    /// In the order of [`PERCENTILES`].
    pub percentiles_ns: [Option<u64>; PERCENTILES.len()],
    /// The longest.
    pub max_ns: Option<u64>,
}

/// A stretch, with what is too large to be kept.
pub struct Seen {
    /// Its numbers.
    pub stretch: Stretch,
    /// The times of its writes.
    pub latency: Histogram,
    /// The times since its pages were due.
    pub since_due: Histogram,
    /// Times without progress that ended in it.
    pub gaps: Vec<Gap>,
}

impl Times {
    /// What a histogram says; None when it is empty.
    pub fn of(histogram: &Histogram) -> Option<Times> {
        let count = histogram.count();
        (count > 0).then(|| Times {
            count,
            mean_ns: histogram.mean_ns(),
            percentiles_ns: PERCENTILES.map(|(_, percent)| histogram.percentile_ns(percent)),
            max_ns: histogram.max_ns(),
        })
    }
}

impl Stretch {
    /// How long it was.
    pub fn seconds(&self) -> f64 {
        self.end_seconds - self.start_seconds
    }

    /// Pages per second, with repeats.
    pub fn touch_rate(&self) -> Option<f64> {
        per_second(self.touched_pages, self.seconds())
    }

    /// Different pages per second.
    pub fn dirty_rate(&self) -> Option<f64> {
        per_second(self.distinct_pages, self.seconds())
    }

    /// The share of the time in which a worker had a processor, from 0 to 1, as the mean of all workers.
    pub fn load(&self) -> Option<f64> {
        let all_ns = self.seconds() * 1e9 * f64::from(self.workers);
        self.cpu_ns.filter(|_| all_ns > 0.0).map(|cpu_ns| (cpu_ns as f64 / all_ns).min(1.0))
    }
}

/// Events per second; None in no time.
pub fn per_second(count: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| count as f64 / seconds)
}

/// Bytes of so many pages.
pub fn bytes(pages: f64) -> f64 {
    pages * PAGE_BYTES as f64
}

/// Looks at a crew again and again.
pub struct Observer<'a> {
    crew: &'a Crew,
    spec: &'a Spec,
    first: Look,
    last: Look,
}

/// The crew's counters at one time.
#[derive(Clone)]
struct Look {
    at_ns: u64,
    touched: u64,
    state: CrewState,
    cpu_ns: Option<u64>,
    latency: Histogram,
    since_due: Histogram,
}

impl Look {
    fn at(crew: &Crew, at_ns: u64) -> Look {
        Look {
            at_ns,
            touched: crew.counts().iter().sum(),
            state: crew.state(),
            cpu_ns: cpu_ns(),
            latency: crew.latency(),
            since_due: crew.since_due(),
        }
    }
}

impl<'a> Observer<'a> {
    /// Begins with a crew that was released at `start_ns`.
    pub fn new(crew: &'a Crew, spec: &'a Spec, start_ns: u64) -> Observer<'a> {
        let first = Look {
            at_ns: start_ns,
            touched: 0,
            state: CrewState::fresh_for(spec),
            cpu_ns: cpu_ns(),
            latency: Histogram::default(),
            since_due: Histogram::default(),
        };
        Observer { crew, spec, last: first.clone(), first }
    }

    /// What happened since the look before; now is when the crew stopped, if it has.
    pub fn next(&mut self, stopped_ns: Option<u64>) -> Seen {
        let now = Look::at(self.crew, stopped_ns.unwrap_or_else(monotonic_ns));
        let gaps = self.crew.take_gaps();
        let latency = now.latency.since(&self.last.latency);
        let since_due = now.since_due.since(&self.last.since_due);
        let stretch = self.between(&self.last, &now, [&latency, &since_due], &gaps);
        self.last = now;
        Seen { stretch, latency, since_due, gaps }
    }

    /// What happened up to the last look; its gaps are those of `intervals`.
    pub fn all(&self, intervals: &[Stretch]) -> Stretch {
        Stretch {
            gaps: intervals.iter().map(|it| it.gaps).sum(),
            gap_ns: intervals.iter().map(|it| it.gap_ns).sum(),
            longest_gap_ns: intervals.iter().filter_map(|it| it.longest_gap_ns).max(),
            ..self.between(&self.first, &self.last, [self.latency(), self.since_due()], &[])
        }
    }

    /// The times of all writes up to the last look.
    pub fn latency(&self) -> &Histogram {
        &self.last.latency
    }

    /// The times since pages were due, up to the last look.
    pub fn since_due(&self) -> &Histogram {
        &self.last.since_due
    }

    fn between(
        &self,
        then: &Look,
        now: &Look,
        [latency, since_due]: [&Histogram; 2],
        gaps: &[Gap],
    ) -> Stretch {
        let seconds = |ns: u64| ns.saturating_sub(self.first.at_ns) as f64 / 1e9;
        let lengths = gaps.iter().map(Gap::length_ns);
        Stretch {
            start_seconds: seconds(then.at_ns),
            end_seconds: seconds(now.at_ns),
            touched_pages: now.touched.saturating_sub(then.touched),
            distinct_pages: distinct_pages(self.spec, &then.state.counts, &now.state.counts),
            cpu_ns: now.cpu_ns.zip(then.cpu_ns).map(|(now, then)| now.saturating_sub(then)),
            workers: self.spec.workers,
            times: Times::of(latency),
            since_due: Times::of(since_due),
            gaps: gaps.len() as u64,
            gap_ns: lengths.clone().sum(),
            longest_gap_ns: lengths.max(),
        }
    }
}

fn cpu_ns() -> Option<u64> {
    let threads = process::thread_cpu_ns(std::process::id()).ok()?;
    let is_worker = |name: &str| name.strip_prefix(THREADS).is_some_and(|it| it.starts_with('-'));
    Some(threads.iter().filter(|it| is_worker(&it.name)).map(|it| it.cpu_ns).sum())
}
