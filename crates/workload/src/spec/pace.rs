//! How fast pages are written.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use sterna_units::{Percent, Rate};

use super::error::SpecError;
use super::text::{out_of_range, parsed};

/// How fast pages are written, by all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// As fast as the machine can.
    Unlimited,
    /// Not at all; for phases of rest.
    Idle,
    /// A touch rate: each page written counts as 4 KiB, repeats included.
    BytesPerSecond(Rate),
    /// The same as a number of pages; `50000pages/s`.
    PagesPerSecond(NonZeroU64),
    /// A share of what each worker reaches without a limit, found in its first tenth of a second; `25%`.
    ///
    /// What was found travels with the workload, so a migration does not change the rate.
    ShareOfUnlimited(Percent),
}

const PAGES: &str = "pages/s";

impl FromStr for Pace {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Pace, SpecError> {
        let way_out =
            "give a rate such as 32MiB/s, 5000pages/s or 25%, `unlimited`, or `idle` for no writes";
        let zero = || out_of_range("rate", text, way_out);
        match text {
            "unlimited" => return Ok(Pace::Unlimited),
            "idle" => return Ok(Pace::Idle),
            _ => {}
        }
        if let Some(pages) = text.strip_suffix(PAGES) {
            let pages: u64 = parsed("rate", pages.trim_end())?;
            return NonZeroU64::new(pages).map(Pace::PagesPerSecond).ok_or_else(zero);
        }
        if text.ends_with('%') {
            let share: Percent = parsed("rate", text)?;
            let is_zero = share.hundredths() == 0;
            return if is_zero { Err(zero()) } else { Ok(Pace::ShareOfUnlimited(share)) };
        }
        let rate: Rate = parsed("rate", text)?;
        if rate.is_zero() { Err(zero()) } else { Ok(Pace::BytesPerSecond(rate)) }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Unlimited => f.write_str("unlimited"),
            Pace::Idle => f.write_str("idle"),
            Pace::BytesPerSecond(rate) => write!(f, "{rate}"),
            Pace::PagesPerSecond(pages) => write!(f, "{pages}{PAGES}"),
            Pace::ShareOfUnlimited(share) => write!(f, "{share}"),
        }
    }
}
