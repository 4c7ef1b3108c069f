//! In which order pages are written.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use sterna_units::Percent;

use super::error::SpecError;
use super::number;
use super::text::{out_of_range, parsed, unknown, with_parameters};

/// In which order pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Each worker walks its pages from first to last, over and over.
    Sequential,
    /// Each worker draws its pages uniformly, with repeats.
    Random,
    /// Each worker draws its pages so that the page of rank k is drawn in proportion to 1 / k^θ; `zipf(0.99)`.
    ///
    /// Ranks are scattered over memory.
    Zipf(Skew),
    /// A share of the pages takes a share of the writes, both sides uniformly; `hot-set(10%,90%)`.
    ///
    /// Hot pages are scattered over memory.
    HotSet(HotSet),
    /// Each worker takes every n-th page, and at the end starts again one page further; `stride(7)`.
    ///
    /// Each page is written once before any is written again.
    Stride(NonZeroU32),
    /// Each worker writes each of its pages once, as fast as it can, and then sleeps.
    Once,
}

/// The θ of a Zipf distribution, exact to a ten-thousandth, above 0 and at most 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Skew {
    ten_thousandths: u32,
}

/// A share of the pages, above 0 %, and the share of writes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HotSet {
    pages: Percent,
    writes: Percent,
}

const NAMES: &[&str] =
    &["sequential", "random", "zipf(0.99)", "hot-set(10%,90%)", "stride(7)", "once"];

const PLACES: u32 = 4;

impl Pattern {
    /// One pattern of each kind, in the order in which they are documented, those with parameters with usual ones.
    pub const ALL: &[Pattern] = &[
        Pattern::Sequential,
        Pattern::Random,
        Pattern::Zipf(Skew { ten_thousandths: 9900 }),
        Pattern::HotSet(HotSet {
            pages: const { Percent::new(10).expect("10 is at most 100") },
            writes: const { Percent::new(90).expect("90 is at most 100") },
        }),
        Pattern::Stride(const { NonZeroU32::new(7).expect("7 is not 0") }),
        Pattern::Once,
    ];

    /// The texts of [`Pattern::ALL`], for help and completion.
    pub const NAMES: &[&str] = NAMES;
}

impl Skew {
    /// θ in ten-thousandths; None at 0, which is the random pattern, and above 10, where nearly all writes go to one
    /// page.
    pub const fn from_ten_thousandths(ten_thousandths: u32) -> Option<Skew> {
        if ten_thousandths > 0 && ten_thousandths <= 100_000 {
            Some(Skew { ten_thousandths })
        } else {
            None
        }
    }

    /// θ.
    pub fn theta(self) -> f64 {
        f64::from(self.ten_thousandths) / 10_000.0
    }
}

impl HotSet {
    /// `pages` of the pages take `writes` of the writes; None if that share of pages is zero.
    pub fn new(pages: Percent, writes: Percent) -> Option<HotSet> {
        (pages.hundredths() > 0).then_some(HotSet { pages, writes })
    }

    /// The share of pages that is hot.
    pub fn pages(self) -> Percent {
        self.pages
    }

    /// The share of writes that goes to them.
    pub fn writes(self) -> Percent {
        self.writes
    }
}

impl FromStr for Pattern {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Pattern, SpecError> {
        match with_parameters(text) {
            ("sequential", None) => Ok(Pattern::Sequential),
            ("random", None) => Ok(Pattern::Random),
            ("once", None) => Ok(Pattern::Once),
            ("zipf", theta) => skew(text, theta).map(Pattern::Zipf),
            ("hot-set", shares) => hot_set(text, shares).map(Pattern::HotSet),
            ("stride", step) => stride(text, step).map(Pattern::Stride),
            _ => Err(unknown("pattern", text, NAMES).into()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Sequential => f.pad("sequential"),
            Pattern::Random => f.pad("random"),
            Pattern::Zipf(skew) => write!(f, "zipf({skew})"),
            Pattern::HotSet(HotSet { pages, writes }) => write!(f, "hot-set({pages},{writes})"),
            Pattern::Stride(step) => write!(f, "stride({step})"),
            Pattern::Once => f.pad("once"),
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number::write(f, self.ten_thousandths, PLACES)
    }
}

fn skew(text: &str, theta: Option<&str>) -> Result<Skew, SpecError> {
    let way_out =
        "θ is above 0, at most 10, with at most four digits after the point, as in zipf(0.99)";
    theta
        .and_then(|theta| number::read(theta, PLACES))
        .and_then(Skew::from_ten_thousandths)
        .ok_or_else(|| out_of_range("pattern", text, way_out))
}

fn hot_set(text: &str, shares: Option<&str>) -> Result<HotSet, SpecError> {
    let way_out =
        "give the share of hot pages, above 0 %, and their share of writes, as in hot-set(10%,90%)";
    let (pages, writes) = shares
        .and_then(|shares| shares.split_once(','))
        .ok_or_else(|| out_of_range("pattern", text, way_out))?;
    let share = |text: &str| parsed::<Percent>("share of hot-set", text.trim());
    HotSet::new(share(pages)?, share(writes)?).ok_or_else(|| out_of_range("pattern", text, way_out))
}

fn stride(text: &str, step: Option<&str>) -> Result<NonZeroU32, SpecError> {
    let way_out = "give a number of pages from 1 on, as in stride(7)";
    step.and_then(|step| step.parse().ok()).ok_or_else(|| out_of_range("pattern", text, way_out))
}
