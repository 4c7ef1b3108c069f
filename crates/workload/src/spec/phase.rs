//! Other patterns, rates and working sets at certain times.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sterna_sys::PAGE_BYTES;
use sterna_units::{Bytes, Rate, Size, Span};
use thiserror::Error;

use super::error::SpecError;
use super::pace::Pace;
use super::pattern::Pattern;
use super::text::{known_name, out_of_range, parsed};

/// A stretch of time in which the workload differs; what a phase does not say is as in the rest of the spec.
///
/// The text form is `at=0s,for=30s,pattern=zipf(0.99),rate=100MB/s..500MB/s,memory=25%`; only `for` is required, and
/// without `at` a phase begins where the one before ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// When it begins, in running time since the workload began; pauses do not count.
    pub start: Span,
    /// How long it lasts.
    pub length: Span,
    /// In which order pages are written.
    pub pattern: Option<Pattern>,
    /// How fast.
    pub rate: Option<PhaseRate>,
    /// The working set: so much of the workload's memory, from the start of each worker's part of it.
    pub memory: Option<Size>,
}

/// How fast pages are written in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseRate {
    /// The same all the time.
    Steady(Pace),
    /// Evenly rising or falling; `100MB/s..500MB/s`.
    Ramp {
        /// The touch rate at the beginning.
        from: Rate,
        /// The touch rate at the end.
        to: Rate,
    },
}

/// A schedule of phases that do not overlap; between and after them, the rest of the spec holds.
///
/// A ramp is one phase, a burst two that repeat, a day curve as many ramps as it needs:
/// `for=4s,rate=10MB/s;for=1s,rate=unlimited` with `repeat=on` bursts every five seconds.
///
/// # Why a schedule can be replayed
///
/// Phases change by the clock, so no two runs change at the same write, and the order of writes is no longer known from
/// the seed and their number alone.
/// But what memory holds depends only on how often each page was written, not on when.
/// So each phase has an order of its own, and each worker a position in each of them: it goes on there when a repeated
/// phase comes again.
/// The number of writes made in each phase is then all that replaying needs; it does not grow with time, and it travels
/// with the workload, as does the running time, from which the destination knows which phase it is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phases {
    phases: Arc<[Phase]>,
    repeat: bool,
}

/// Phases that do not make a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PhaseError {
    /// A phase begins before the one before it ends.
    #[error(
        "Phase {number} begins at {start}, but phase {before} lasts until {end}; begin it later, or shorten phase {before}",
        before = number - 1
    )]
    Overlap {
        /// The phase, counted from 1.
        number: usize,
        /// When it begins.
        start: Span,
        /// When the one before it ends.
        end: Span,
    },
    /// A phase without length.
    #[error("Phase {number} takes no time; say how long it lasts, as in for=30s")]
    Empty {
        /// The phase, counted from 1.
        number: usize,
    },
    /// The working set is nothing, or more than there is.
    #[error(
        "Phase {number} cannot have a working set of {memory}; give from one page to the workload's memory of {whole}"
    )]
    Memory {
        /// The phase, counted from 1.
        number: usize,
        /// The working set.
        memory: Size,
        /// The workload's memory.
        whole: Bytes,
    },
    /// More phases than travel well.
    #[error("There are {count} phases, but at most {} can be had; repeat some", Phases::MOST)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// An order to repeat nothing.
    #[error("There are no phases to repeat; leave repeat off, or give phases")]
    Nothing,
}

/// Where in a schedule a moment of running time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The phase, by index; None between phases and after the last.
    pub(crate) phase: Option<usize>,
    /// The running time at which this began.
    pub(crate) began_ns: u64,
    /// The running time at which something else begins.
    pub(crate) ends_ns: u64,
}

const FIELDS: &[&str] = &["at", "for", "pattern", "rate", "memory"];

impl Phases {
    /// Most phases that a schedule may have.
    pub const MOST: usize = 128;

    /// A schedule of `phases`, which are in the order of time.
    ///
    /// # Errors
    /// Phases overlap, take no time, or are too many.
    pub fn new(phases: Vec<Phase>, repeat: bool) -> Result<Phases, PhaseError> {
        if phases.len() > Phases::MOST {
            return Err(PhaseError::TooMany { count: phases.len() });
        }
        let mut end = Span::default();
        for (number, phase) in (1..).zip(&phases) {
            if phase.length.is_zero() {
                return Err(PhaseError::Empty { number });
            }
            if phase.start < end {
                return Err(PhaseError::Overlap { number, start: phase.start, end });
            }
            end = phase.end();
        }
        Phases { phases: phases.into(), repeat: false }.repeated(repeat)
    }

    /// The same phases, to be repeated for ever or not.
    ///
    /// # Errors
    /// There is nothing to repeat.
    pub fn repeated(self, repeat: bool) -> Result<Phases, PhaseError> {
        if repeat && self.is_empty() {
            return Err(PhaseError::Nothing);
        }
        Ok(Phases { repeat, ..self })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.phases.is_empty()
    }

    /// Whether all begins anew after the last phase.
    pub fn repeat(&self) -> bool {
        self.repeat
    }

    /// The phases, in the order of time.
    pub fn all(&self) -> &[Phase] {
        &self.phases
    }

    /// Whether each working set is at least a page and at most `whole`, the workload's memory.
    ///
    /// # Errors
    /// One is not; the first of these is named.
    pub fn check_memory(&self, whole: Bytes) -> Result<(), PhaseError> {
        for (number, phase) in (1..).zip(self.all()) {
            let Some(memory) = phase.memory else { continue };
            let bytes = memory.of(whole);
            if bytes > whole || bytes.0 < PAGE_BYTES as u64 {
                return Err(PhaseError::Memory { number, memory, whole });
            }
        }
        Ok(())
    }

    /// What holds at `elapsed_ns` of running time.
    pub(crate) fn at(&self, elapsed_ns: u64) -> Moment {
        let whole_ns = self.phases.last().map_or(0, |last| ns(last.end()));
        let round_ns = if self.repeat { elapsed_ns - elapsed_ns % whole_ns.max(1) } else { 0 };
        let within_ns = elapsed_ns - round_ns;
        let mut began_ns = 0;
        for (index, phase) in self.phases.iter().enumerate() {
            let (start_ns, end_ns) = (ns(phase.start), ns(phase.end()));
            if within_ns < start_ns {
                let ends_ns = round_ns.saturating_add(start_ns);
                return Moment { phase: None, began_ns: round_ns + began_ns, ends_ns };
            }
            if within_ns < end_ns {
                let ends_ns = round_ns.saturating_add(end_ns);
                return Moment { phase: Some(index), began_ns: round_ns + start_ns, ends_ns };
            }
            began_ns = end_ns;
        }
        Moment { phase: None, began_ns, ends_ns: u64::MAX }
    }
}

impl Default for Phases {
    /// None.
    fn default() -> Phases {
        Phases { phases: Arc::default(), repeat: false }
    }
}

impl Phase {
    /// When it ends.
    pub fn end(&self) -> Span {
        Span(self.start.0.saturating_add(self.length.0))
    }

    /// How many of a worker's `pages` belong to the working set when all workers have `whole` bytes.
    pub(crate) fn pages(&self, pages: usize, whole: Bytes) -> usize {
        let Some(memory) = self.memory else { return pages };
        let part = u128::from(memory.of(whole).0) * pages as u128;
        let part = part.div_ceil(u128::from(whole.0.max(1)));
        usize::try_from(part).unwrap_or(pages).clamp(1, pages.max(1))
    }

    fn read(text: &str, before: Span) -> Result<Phase, SpecError> {
        let mut given: Vec<&'static str> = Vec::new();
        let mut phase = Phase {
            start: before,
            length: Span::default(),
            pattern: None,
            rate: None,
            memory: None,
        };
        for word in split(text, ',') {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| out_of_range("phase", word, "its fields are of the form for=30s"))?;
            let field = known_name("phase field", name.trim(), FIELDS)?;
            if given.contains(&field) {
                return Err(SpecError::Twice(field));
            }
            given.push(field);
            phase.set(field, value.trim())?;
        }
        Ok(phase)
    }

    fn set(&mut self, field: &'static str, value: &str) -> Result<(), SpecError> {
        match field {
            "at" => self.start = parsed("start of phase", value)?,
            "for" => self.length = parsed("length of phase", value)?,
            "pattern" => self.pattern = Some(value.parse()?),
            "rate" => self.rate = Some(value.parse()?),
            _ => self.memory = Some(parsed("memory of phase", value)?),
        }
        Ok(())
    }
}

impl FromStr for Phases {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Phases, SpecError> {
        let mut phases: Vec<Phase> = Vec::new();
        for part in split(text, ';').into_iter().filter(|part| !part.trim().is_empty()) {
            let before = phases.last().map(Phase::end).unwrap_or_default();
            phases.push(Phase::read(part, before)?);
        }
        Ok(Phases::new(phases, false)?)
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, phase) in self.phases.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{phase}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Phase { start, length, pattern, rate, memory } = self;
        // Spaces separate the fields of a spec.
        let [start, length] = [start, length].map(|span| span.to_string().replace(' ', ""));
        write!(f, "at={start},for={length}")?;
        if let Some(pattern) = pattern {
            write!(f, ",pattern={pattern}")?;
        }
        if let Some(rate) = rate {
            write!(f, ",rate={rate}")?;
        }
        match memory {
            Some(memory) => write!(f, ",memory={memory}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PhaseRate {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<PhaseRate, SpecError> {
        let Some((from, to)) = text.split_once("..") else {
            return Ok(PhaseRate::Steady(text.parse()?));
        };
        let (from, to): (Rate, Rate) = (parsed("rate", from.trim())?, parsed("rate", to.trim())?);
        if from.is_zero() && to.is_zero() {
            return Err(out_of_range("rate", text, "for no writes at all, say `idle`"));
        }
        Ok(PhaseRate::Ramp { from, to })
    }
}

impl fmt::Display for PhaseRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhaseRate::Steady(pace) => write!(f, "{pace}"),
            PhaseRate::Ramp { from, to } => write!(f, "{from}..{to}"),
        }
    }
}

/// Splits at a separator that is not within parentheses.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0;
    text.split(|it| {
        match it {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        it == separator && depth == 0
    })
    .collect()
}

fn ns(span: Span) -> u64 {
    u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(text: &str, repeat: bool) -> Phases {
        text.parse::<Phases>().unwrap().repeated(repeat).unwrap()
    }

    #[test]
    fn phases_are_read_and_printed() {
        #[track_caller]
        fn check(text: &str, canonical: &str) {
            let phases: Phases = text.parse().unwrap();
            assert_eq!(phases.to_string(), canonical);
            assert_eq!(canonical.parse::<Phases>().unwrap(), phases);
        }
        check("", "");
        check("for=90s", "at=0s,for=1m30s");
        check("for=1m 30s; for=1s", "at=0s,for=1m30s;at=1m30s,for=1s");
        check(
            "rate=0B/s..500MB/s,for=1s;at=5s,for=2s,pattern=hot-set(10%,90%),memory=25%,rate=idle",
            "at=0s,for=1s,rate=0B/s..500MB/s;at=5s,for=2s,pattern=hot-set(10%,90%),rate=idle,memory=25%",
        );
    }

    #[test]
    fn phases_that_make_no_schedule_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = text.parse::<Phases>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
        check("for=10s;at=5s,for=1s", "Phase 2 begins at 5s, but phase 1 lasts until 10s");
        check("for=0s", "Phase 1 takes no time");
        check("rate=idle", "Phase 1 takes no time");
        check("for=1s,for=2s", "`for` is given twice");
        check("for=1s,patern=random", "did you mean `pattern`?");
        check("for=1s,rate=0B/s..0B/s", "say `idle`");
        check("for=1s,random", "of the form for=30s");
        check(&"for=1s;".repeat(129), "There are 129 phases, but at most 128");
        assert_eq!(Phases::default().repeated(true), Err(PhaseError::Nothing));
    }

    #[test]
    fn each_moment_has_its_phase() {
        let text = "at=1s,for=2s;for=1s;at=6s,for=4s";
        let second = 1_000_000_000;
        let check = |repeat: bool, at: u64, expected: (Option<usize>, u64, u64)| {
            let Moment { phase, began_ns, ends_ns } = phases(text, repeat).at(at * second);
            let ends = if ends_ns == u64::MAX { u64::MAX } else { ends_ns / second };
            assert_eq!((phase, began_ns / second, ends), expected, "at {at} s");
        };
        check(false, 0, (None, 0, 1));
        check(false, 1, (Some(0), 1, 3));
        check(false, 3, (Some(1), 3, 4));
        check(false, 5, (None, 4, 6));
        check(false, 9, (Some(2), 6, 10));
        check(false, 10, (None, 10, u64::MAX));
        check(true, 10, (None, 10, 11));
        check(true, 23, (Some(1), 23, 24));
        check(true, 25, (None, 24, 26));
        assert_eq!(Phases::default().at(5), Moment { phase: None, began_ns: 0, ends_ns: u64::MAX });
    }

    #[test]
    fn a_working_set_is_a_part_of_every_worker() {
        let pages = |memory: &str, pages| {
            let text = format!("for=1s,memory={memory}");
            phases(&text, false).all()[0].pages(pages, Bytes(4096 * 1000))
        };
        assert_eq!(pages("100%", 500), 500);
        assert_eq!(pages("25%", 500), 125);
        assert_eq!(pages("4096", 500), 1, "rounded up, so that no worker is left without");
        assert_eq!(pages("2048000", 500), 250);
    }
}
