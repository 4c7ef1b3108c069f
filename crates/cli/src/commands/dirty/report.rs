//! All that is known of a run, at its end or in the middle.

use sterna_report::Integrity;
use sterna_workload::{Gap, Histogram, TimingCost, Verification};

use super::begin::Begin;
use super::look::Stretch;

/// Less than this share of the rate that was asked for is not that rate.
const REACHED: f64 = 0.99;

/// A run that is short may also lack what this time would have brought, which a single late wake-up takes.
const LATE_SECONDS: f64 = 0.02;

/// A run so far.
pub struct Report<'a> {
    /// How it began.
    pub begin: &'a Begin<'a>,
    /// When the workers were released, on CLOCK_MONOTONIC.
    pub released_ns: u64,
    /// Why it ended; None while it goes on.
    pub ending: Option<Ending>,
    /// All of it.
    pub all: Stretch,
    /// The times of all writes; empty when they are not timed.
    pub latency: &'a Histogram,
    /// The longest times without progress, longest first.
    pub longest_gaps: &'a [Gap],
    /// Its intervals.
    pub intervals: &'a [Stretch],
    /// Single long writes that were noted, and those that were lost because there were too many; None when not looked for.
    pub stalls: Option<Stalls>,
    /// Pages per second without a limit, where a share of it was asked for.
    pub full_speed: Option<u64>,
    /// What the checks found; None when there were none.
    pub verification: Option<Verification>,
    /// How many times smaller zstd makes a sample of the memory.
    pub compressibility: Option<f64>,
    /// What timing each write costs; None when they are not timed.
    pub timing: Option<TimingCost>,
    /// What does not hold for the numbers above.
    pub warnings: Vec<String>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time was over.
    Duration,
    /// A signal came, as was expected without a duration.
    Signal,
    /// A signal came before its time was over.
    Interrupted,
    /// Nobody reads its output any more.
    Unread,
}

/// How many single writes were long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// Those that were noted.
    pub noted: u64,
    /// Those that came too fast to be noted.
    pub lost: u64,
}

impl Report<'_> {
    /// Different pages per second within an interval, as the mean over all whole intervals.
    ///
    /// Those that an end or a summary cut short are left out: within a shorter time, more of the pages are new.
    pub fn dirty_rate(&self) -> Option<f64> {
        const WHOLE: f64 = 0.5;
        let mut lengths: Vec<f64> = self.intervals.iter().map(Stretch::seconds).collect();
        lengths.sort_by(f64::total_cmp);
        let median = lengths.get(lengths.len() / 2)?;
        let whole = self.intervals.iter().filter(|it| it.seconds() > median * WHOLE);
        let (pages, seconds) = whole.fold((0, 0.0), |(pages, seconds), it| {
            (pages + it.distinct_pages, seconds + it.seconds())
        });
        super::look::per_second(pages, seconds)
    }

    /// The rate that was asked for, in pages per second.
    pub fn asked(&self) -> Option<f64> {
        self.begin.plan.asked_pages_per_second(self.full_speed)
    }

    /// Whether the rate that was asked for was reached; None if none was.
    pub fn is_rate_reached(&self) -> Option<bool> {
        let (pages, seconds) = (self.all.touched_pages as f64, self.all.seconds());
        let share = REACHED.min(1.0 - LATE_SECONDS / seconds);
        Some(pages >= self.asked()? * seconds * share)
    }

    /// What the checks say together.
    pub fn integrity(&self) -> Integrity {
        match &self.verification {
            None => Integrity::Unchecked,
            Some(found) if !found.is_clean() => Integrity::Corrupt,
            Some(found) if found.pages_checked == 0 => Integrity::Unchecked,
            Some(_) => Integrity::Verified,
        }
    }

    /// What the process says when it exits.
    pub fn exit_code(&self, strict_rate: bool) -> u8 {
        if self.integrity() == Integrity::Corrupt {
            4
        } else if self.ending == Some(Ending::Interrupted) {
            super::signals::INTERRUPTED
        } else if strict_rate && self.is_rate_reached() == Some(false) {
            4
        } else {
            0
        }
    }
}
