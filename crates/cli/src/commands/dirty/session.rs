//! The run itself: release the workers, look at them at every interval, stop them, check what they left.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sterna_probe::serve::pages::serve_metrics;
use sterna_sys::cpu;
use sterna_sys::region::{HugePages, Region};
use sterna_workload::{
    Crew, CrewError, CrewState, Gap, Layout, TimingCost, Verification, verify, verify_remapped,
};

use super::begin::{Begin, Pages};
use super::compress;
use super::files::Files;
use super::look::{Observer, Seen, Stretch};
use super::metrics::{self, Metrics};
use super::plan::Plan;
use super::report::{Ending, Report};
use super::signals::Wish;
use super::tell::Teller;
use crate::args::DirtyOptions;
use crate::usage;

/// Everything a run needs.
pub struct Session<'a> {
    /// What was asked for.
    pub options: &'a DirtyOptions,
    /// What that means here.
    pub plan: &'a Plan,
    /// The memory, ready.
    pub region: &'a Arc<Region>,
    /// What others want meanwhile.
    pub wishes: &'a Receiver<Wish>,
    /// Who is told.
    pub teller: &'a Teller,
    /// What is noted on the way.
    pub files: &'a mut Files,
}

/// What a run gathers as it goes.
struct Record<'a> {
    begin: Begin<'a>,
    released_ns: u64,
    intervals: Vec<Stretch>,
    longest_gaps: Vec<Gap>,
    timing: Option<TimingCost>,
    metrics: Option<Arc<Metrics>>,
}

impl Record<'_> {
    /// Keeps the longest, so that a run may last as long as it likes.
    fn note_gaps(&mut self, gaps: Vec<Gap>) {
        const KEPT: usize = 100;
        self.longest_gaps.extend(gaps);
        self.longest_gaps.sort_by_key(|gap| (Reverse(gap.length_ns()), gap.start_ns));
        self.longest_gaps.truncate(KEPT);
    }
}

impl Session<'_> {
    /// Runs to the end; returns the exit code.
    pub fn run(mut self) -> Result<u8> {
        let spec = &self.plan.spec;
        let timing = spec.latency.then(TimingCost::measured);
        self.break_something(self.options.verify);
        let crew =
            Crew::start(self.region, spec, &CrewState::fresh_for(spec), self.plan.crew.clone());
        let crew = Arc::new(crew.map_err(by_fault)?);
        let begin = Begin {
            plan: self.plan,
            pages: Pages::of(self.region),
            started_at: jiff::Timestamp::now().to_string(),
        };
        self.teller.start(&begin, self.options)?;
        let metrics = self.serve_metrics(&crew)?;
        let released_ns = crew.resume();
        self.files.begin(released_ns)?;
        let mut record = Record {
            begin,
            released_ns,
            intervals: Vec::new(),
            longest_gaps: Vec::new(),
            timing,
            metrics,
        };
        let mut observer = Observer::new(&crew, spec, released_ns);
        let ending = self.watch(&crew, &mut observer, &mut record)?;
        let stopped_ns = crew.pause();
        self.tell_interval(&crew, observer.next(Some(stopped_ns)), &mut record)?;
        self.break_something(!self.options.verify);
        let mut report = self.report(&crew, &observer, &record);
        report.ending = Some(ending);
        report.verification = self.verification(&crew);
        if self.options.telling.compressibility {
            report.compressibility = Some(compress::ratio(self.region)?);
        }
        report.warnings = self.warnings(&crew, &report);
        let code = report.exit_code(self.options.telling.strict_rate);
        self.teller.end(&report, self.options, code)
    }

    fn serve_metrics(&self, crew: &Arc<Crew>) -> Result<Option<Arc<Metrics>>> {
        let Some(address) = self.options.telling.metrics else { return Ok(None) };
        let metrics = Arc::new(Metrics::new(crew, &self.plan.spec, &self.options.telling.labels));
        let pages = Arc::clone(&metrics);
        let address = serve_metrics(address, metrics::CONTENT_TYPE, move || pages.page())
            .with_context(|| {
                format!("Cannot listen on {address}; choose another with --metrics-listen")
            })?;
        self.teller.metrics(address);
        Ok(Some(metrics))
    }

    /// Tells of each interval until the time is over or somebody wants an end.
    fn watch(
        &mut self,
        crew: &Crew,
        observer: &mut Observer<'_>,
        record: &mut Record<'_>,
    ) -> Result<Ending> {
        let began = Instant::now();
        let end = self.options.duration.map(|it| began + it.0);
        let interval = self.options.telling.interval.0;
        let mut next = began + interval;
        loop {
            let until = end.map_or(next, |end| end.min(next));
            match self.wishes.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Wish::End) => {
                    return Ok(if end.is_some() { Ending::Interrupted } else { Ending::Signal });
                }
                Ok(Wish::Summary) => {
                    self.tell_interval(crew, observer.next(None), record)?;
                    self.teller.summary(&self.report(crew, observer, record))?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Signal),
            }
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(Ending::Duration);
            }
            if now >= next {
                next = following(next, interval, now);
                if !self.tell_interval(crew, observer.next(None), record)? {
                    return Ok(Ending::Unread);
                }
            }
        }
    }

    /// Says whether anybody still reads.
    fn tell_interval(&mut self, crew: &Crew, seen: Seen, record: &mut Record<'_>) -> Result<bool> {
        let stretch = seen.stretch;
        // What is left after the last whole interval may be nothing.
        if stretch.seconds() < 1e-3 && stretch.touched_pages == 0 && !record.intervals.is_empty() {
            return Ok(true);
        }
        self.files.interval(&seen, &crew.take_stalls())?;
        record.metrics.iter().for_each(|it| it.interval(&stretch));
        let is_read = self.teller.interval(&stretch)?;
        record.intervals.push(stretch);
        record.note_gaps(seen.gaps);
        Ok(is_read)
    }

    fn report<'r>(
        &'r self,
        crew: &Crew,
        observer: &'r Observer<'_>,
        record: &'r Record<'r>,
    ) -> Report<'r> {
        Report {
            begin: &record.begin,
            released_ns: record.released_ns,
            ending: None,
            all: observer.all(&record.intervals),
            latency: observer.latency(),
            longest_gaps: &record.longest_gaps,
            intervals: &record.intervals,
            stalls: self.files.stalls(crew.lost_stalls()),
            full_speed: crew.full_speed_pages_per_second(),
            verification: None,
            compressibility: None,
            timing: record.timing,
            warnings: Vec::new(),
        }
    }

    /// What checking on the way and at the end found; the workers rest.
    fn verification(&self, crew: &Crew) -> Option<Verification> {
        let on_the_way = self.options.verify.then(|| crew.checked());
        // Memory of which some was given back and some not is not known.
        let is_known = crew.remap_error().is_none();
        let at_the_end = (self.options.verify_final && is_known).then(|| {
            if self.options.remap {
                let counts = crew.state().counts;
                return verify_remapped(self.region, &self.plan.spec, &counts, cpu::online());
            }
            let pages = self.plan.spec.pages();
            let layout = Layout { workload_pages: pages, ballast_pages: 0, total_pages: pages };
            let counts = crew.state().counts;
            verify(self.region, &layout, &self.plan.spec, &counts, cpu::online())
        });
        joined(on_the_way, at_the_end)
    }

    fn warnings(&self, crew: &Crew, report: &Report<'_>) -> Vec<String> {
        let mut warnings = Vec::new();
        if let (Some(false), Some(asked), Some(rate)) =
            (report.is_rate_reached(), report.asked(), report.all.touch_rate())
        {
            warnings.push(format!(
                "The rate of {asked:.0} pages/s was not reached; this machine made {rate:.0} pages/s. Ask for less, use more --workers, or a cheaper --method"
            ));
        }
        if self.options.huge_pages == Some(HugePages::Thp) && report.begin.pages.lacks_huge() {
            warnings.push(
                "There are no transparent huge pages here; look at /sys/kernel/mm/transparent_hugepage/enabled, or use --huge-pages 2MiB".to_owned(),
            );
        }
        if let Some(error) = crew.remap_error() {
            warnings.push(format!("Pages are no longer given back: {error}"));
        }
        warnings
    }

    /// Flips one bit of the page that was named, so that a check must find it.
    fn break_something(&self, is_time: bool) {
        /// No method leaves this word alone, and no stamp of a low page is here.
        const WORD: usize = 301;
        if let Some(page) = self.plan.broken_page.filter(|_| is_time) {
            self.region.page(page)[WORD].fetch_xor(1 << 17, Relaxed);
        }
    }
}

/// The next of the times that are `interval` apart and still to come.
fn following(time: Instant, interval: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(time).as_nanos();
    let steps = late / interval.as_nanos().max(1) + 1;
    time + interval.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// Two checks of the same memory; a page may have been looked at in both.
fn joined(first: Option<Verification>, second: Option<Verification>) -> Option<Verification> {
    let (Some(mut all), Some(more)) = (first.clone(), second.clone()) else {
        return first.or(second);
    };
    all.pages_checked += more.pages_checked;
    let is_new = |page: usize| all.corrupt.iter().all(|it| it.page != page);
    let new: Vec<_> = more.corrupt.into_iter().filter(|it| is_new(it.page)).collect();
    all.corrupt_pages = all.corrupt_pages.max(more.corrupt_pages);
    all.corrupt.extend(new);
    Some(all)
}

/// The kernel's refusals are not the user's mistakes; all others are.
fn by_fault(error: CrewError) -> anyhow::Error {
    match error {
        CrewError::Spawn { .. } => error.into(),
        _ => usage(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_were_missed_are_skipped() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let check = |now: u64, expected: u64| {
            assert_eq!(
                following(at(100), Duration::from_millis(100), at(now)),
                at(expected),
                "{now}"
            );
        };
        check(100, 200);
        check(101, 200);
        check(199, 200);
        check(200, 300);
        check(1234, 1300);
    }
}
