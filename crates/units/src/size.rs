//! Sizes that may also be given as a share of a whole.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Bytes, ParseError, Problem, Quantity, number};

/// A size, absolute (`64MiB`) or relative to a total that is known later (`25%`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Size {
    /// So many bytes, whatever the total.
    Bytes(Bytes),
    /// This share of the total.
    Percent(Percent),
}

/// A share between 0 % and 100 %, exact to a hundredth of a percent.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    hundredths: u32,
}

const WHOLE_HUNDREDTHS: u32 = 10_000;

impl Size {
    /// Reads an amount of memory: as [`FromStr`], but `256` is refused, since `256MiB` is meant.
    ///
    /// # Errors
    /// Neither size nor share, or a small number without a unit.
    pub fn of_memory(text: &str) -> Result<Size, ParseError> {
        if text.trim_end().ends_with('%') {
            return text.parse().map(Size::Percent);
        }
        Bytes::of_memory(text).map(Size::Bytes)
    }

    /// The size when the whole is `total`, rounded down to a byte. Rounding to pages is the caller's, who knows
    /// which pages.
    pub fn of(self, total: Bytes) -> Bytes {
        match self {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => percent.of(total),
        }
    }
}

impl Percent {
    /// Whole percents; `None` above 100.
    pub const fn new(percent: u32) -> Option<Percent> {
        if percent <= 100 { Some(Percent { hundredths: percent * 100 }) } else { None }
    }

    /// Hundredths of a percent; `None` above 10000.
    pub const fn from_hundredths(hundredths: u32) -> Option<Percent> {
        if hundredths <= WHOLE_HUNDREDTHS { Some(Percent { hundredths }) } else { None }
    }

    /// Hundredths of a percent, 0 to 10000.
    pub const fn hundredths(self) -> u32 {
        self.hundredths
    }

    /// This share of `total`, rounded down to a byte.
    pub fn of(self, total: Bytes) -> Bytes {
        let share =
            u128::from(total.0) * u128::from(self.hundredths) / u128::from(WHOLE_HUNDREDTHS);
        Bytes(u64::try_from(share).expect("a share is never above its whole, which fits"))
    }
}

impl From<Bytes> for Size {
    fn from(bytes: Bytes) -> Size {
        Size::Bytes(bytes)
    }
}

impl From<Percent> for Size {
    fn from(percent: Percent) -> Size {
        Size::Percent(percent)
    }
}

impl FromStr for Size {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Size, ParseError> {
        if text.trim_end().ends_with('%') {
            text.parse().map(Size::Percent)
        } else {
            text.parse().map(Size::Bytes)
        }
    }
}

impl FromStr for Percent {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Percent, ParseError> {
        parse_percent(text).map_err(|problem| Quantity::Share.error(text, problem))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => bytes.fmt(f),
            Size::Percent(percent) => percent.fmt(f),
        }
    }
}

/// As few decimals as are exact: `25%`, `12.5%`, `33.33%`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        f.pad(&match rest {
            0 => format!("{whole}%"),
            _ if rest % 10 == 0 => format!("{whole}.{}%", rest / 10),
            _ => format!("{whole}.{rest:02}%"),
        })
    }
}

crate::as_text!(Size);
crate::as_text!(Percent);

fn parse_percent(text: &str) -> Result<Percent, Problem> {
    let (number, unit) = number::split(text, &["%"])?;
    match unit {
        "%" => {}
        "" => return Err(Problem::NoUnit),
        other => return Err(Problem::UnknownUnit { unit: other.to_owned(), nearest: None }),
    }
    let hundredths = number::exact(number, 100, "hundredths of a percent")?;
    u32::try_from(hundredths).ok().and_then(Percent::from_hundredths).ok_or(Problem::AboveWhole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(hundredths: u32) -> Size {
        Size::Percent(Percent::from_hundredths(hundredths).unwrap())
    }

    #[test]
    fn sizes_and_shares_are_read() {
        #[track_caller]
        fn check(text: &str, expected: Size, canonical: &str) {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), canonical);
        }
        check("64MiB", Size::Bytes(Bytes::from_mib(64)), "64MiB");
        check("4096", Size::Bytes(Bytes(4096)), "4KiB");
        check("25%", percent(2500), "25%");
        check("12.5%", percent(1250), "12.5%");
        check("0.05%", percent(5), "0.05%");
        check("0%", percent(0), "0%");
        check("100 % ", percent(10_000), "100%");
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(text.parse::<Size>().unwrap_err().to_string(), expected);
        }
        let examples = "write for example `25%` or `12.5%`";
        check("120%", &format!("Share `120%` is above 100%; {examples}"));
        check("100.01%", &format!("Share `100.01%` is above 100%; {examples}"));
        check("-5%", &format!("Share `-5%` is negative; {examples}"));
        check("%", &format!("Share `%` needs a decimal number in front; {examples}"));
        check("5M%", &format!("Share `5M%` has the unknown unit `M%`; {examples}"));
        check(
            "0.001%",
            &format!("Share `0.001%` is not a whole number of hundredths of a percent; {examples}"),
        );
        assert_eq!("25".parse::<Percent>().unwrap_err().problem, Problem::NoUnit);
        assert_eq!("25".parse(), Ok(Size::Bytes(Bytes(25))));
    }

    #[test]
    fn shares_round_down_and_never_overflow() {
        #[track_caller]
        fn check(size: Size, total: u64, expected: u64) {
            assert_eq!(size.of(Bytes(total)), Bytes(expected));
        }
        check(percent(2500), 256 << 20, 64 << 20);
        check(percent(3333), 100, 33);
        check(percent(1), 9_999, 0);
        check(percent(10_000), u64::MAX, u64::MAX);
        check(percent(0), u64::MAX, 0);
        check(Size::Bytes(Bytes(7)), 1, 7);
        assert_eq!((Percent::new(101), Percent::from_hundredths(10_001)), (None, None));
    }

    #[test]
    fn serde_carries_the_text() {
        let size: Size = serde_json::from_str("\"25%\"").unwrap();
        assert_eq!(serde_json::to_string(&size).unwrap(), "\"25%\"");
    }

    proptest! {
        #[test]
        fn every_size_round_trips(bytes: u64, hundredths in 0_u32..=10_000) {
            for size in [Size::Bytes(Bytes(bytes)), percent(hundredths)] {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Size>();
        }
    }
}
