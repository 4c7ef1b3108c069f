//! Durations.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{NO_LIMIT, ParseError, Problem, Quantity, number};

/// A duration, as exact as [`Duration`] (nanoseconds). A bare number other than zero is refused: `300` is read as
/// milliseconds by some and as seconds by others.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// The longest that a text may say, a hundred years: nothing waits for longer, and a clock can be moved by it without an overflow.
    pub const LONGEST: Span = Span(Duration::from_secs(100 * 366 * 86_400));

    /// `count` milliseconds; for constants.
    pub const fn from_millis(count: u64) -> Span {
        Span(Duration::from_millis(count))
    }

    /// `count` seconds; for constants.
    pub const fn from_secs(count: u64) -> Span {
        Span(Duration::from_secs(count))
    }

    /// In seconds, as reports carry it.
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// Whether it takes no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Span, ParseError> {
        // The micro sign and the Greek letter, which look the same.
        let plain = text.replace(['\u{b5}', '\u{3bc}'], "u");
        let parsed = if text.trim_start().starts_with('-') {
            Err(Problem::Negative)
        } else if let Some(slip) = number::slip(text, &[]) {
            Err(slip)
        } else if NO_LIMIT.contains(&text.trim()) {
            Err(Problem::NoLimit)
        } else {
            humantime::parse_duration(&plain).map_err(|error| problem(&plain, error))
        };
        let bounded = parsed.and_then(|it| match it <= Span::LONGEST.0 {
            true => Ok(Span(it)),
            false => Err(Problem::TooLarge),
        });
        bounded.map_err(|problem| Quantity::Duration.error(text, problem))
    }
}

/// Whole units, largest first: `300ms`, `1m 30s`, `250µs`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string().replace("us", "µs"))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(duration)
    }
}

crate::as_text!(Span);

fn problem(text: &str, error: humantime::DurationError) -> Problem {
    use humantime::DurationError as Error;
    match error {
        Error::Empty => Problem::Empty,
        Error::InvalidCharacter(_) | Error::NumberExpected(_) => Problem::NoNumber,
        Error::UnknownUnit { unit, .. } if unit.is_empty() => Problem::NoUnit,
        Error::UnknownUnit { unit, .. } => {
            let nearest = ["ns", "µs", "ms", "s", "m", "h"]
                .into_iter()
                .find(|name| name.eq_ignore_ascii_case(&unit));
            Problem::UnknownUnit { unit, nearest }
        }
        // One name for two reasons; a fraction that is finer than a nanosecond is by far the likelier one.
        Error::NumberOverflow if text.contains('.') => Problem::NotWhole { step: "nanoseconds" },
        Error::NumberOverflow => Problem::TooLarge,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        #[track_caller]
        fn check(text: &str, expected: Duration, canonical: &str) {
            assert_eq!(text.parse(), Ok(Span(expected)), "{text}");
            assert_eq!(Span(expected).to_string(), canonical);
        }
        check("300ms", Duration::from_millis(300), "300ms");
        check("2s", Duration::from_secs(2), "2s");
        check("90s", Duration::from_secs(90), "1m 30s");
        check("1h 30m", Duration::from_secs(5400), "1h 30m");
        check("1.5s", Duration::from_millis(1500), "1s 500ms");
        check("0s", Duration::ZERO, "0s");
        check("250us", Duration::from_micros(250), "250µs");
        check("250µs", Duration::from_micros(250), "250µs");
        check("250μs", Duration::from_micros(250), "250µs");
        check("1s 5µs", Duration::from_micros(1_000_005), "1s 5µs");
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let examples = "; write for example `300ms`, `10s` or `1h 30m`";
            assert_eq!(
                text.parse::<Span>().unwrap_err().to_string(),
                format!("Duration `{text}` {expected}{examples}")
            );
        }
        check("", "is empty");
        check("-1s", "is negative");
        check("101years", "is too large");
        check("18446744073709551615s", "is too large");
        check("300", "has no unit");
        check("0,5s", "has a comma; write `0.5s`");
        check("1e3s", "is in scientific notation; write the number out");
        check("unlimited", "is not possible here");
        check("soon", "needs a decimal number in front");
        check("3 parsecs", "has the unknown unit `parsecs`");
        check("3MS", "has the unknown unit `MS` (did you mean `ms`?)");
        check("99999999999999999999s", "is too large");
        check("0.5ns", "is not a whole number of nanoseconds");
    }

    #[test]
    fn serde_carries_the_text() {
        let span: Span = serde_json::from_str("\"90s\"").unwrap();
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"1m 30s\"");
        assert_eq!(span.seconds(), 90.0);
    }

    proptest! {
        #[test]
        fn every_duration_round_trips(seconds: u64, shift in 0_u32..64, nanoseconds in 0_u32..1_000_000_000) {
            let seconds = (seconds >> shift) % Span::LONGEST.0.as_secs();
            let span = Span(Duration::new(seconds, nanoseconds));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Span>();
        }
    }
}
