//! Bounds that a run must keep to, such as `downtime>300ms`.

use std::fmt;
use std::str::FromStr;

use sterna_units::{Bytes, ParseError, Rate, Span};
use sterna_workload::UnknownName;
use thiserror::Error;

use super::{Measure, MeasureUnit};
use crate::nearest;

/// The most bounds of a run.
const MOST: usize = 64;

/// One bound: the run misses it when the sentence is true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The number that is looked at.
    pub measure: &'static Measure,
    /// On which side of the bound the number must not be.
    pub relation: Relation,
    /// The bound, in the base unit of the measure.
    pub bound: Bound,
}

/// When a number misses its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// When it is larger.
    Above,
    /// When it is as large, or larger.
    AtLeast,
    /// When it is smaller.
    Below,
    /// When it is as small, or smaller.
    AtMost,
}

/// A bound as it was written; printing it and reading it again loses nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// A time.
    Time(Span),
    /// A number of bytes.
    Size(Bytes),
    /// Bytes per second.
    Rate(Rate),
    /// How many.
    Count(u64),
    /// A ratio.
    Ratio(f64),
}

/// All bounds of a run, in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds(pub Vec<Threshold>);

/// A text that is not a list of bounds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// No relation in it.
    #[error(
        "`{0}` is not of the form metric>value; write for example downtime>300ms, with one of > >= < <="
    )]
    NoRelation(String),
    /// A metric that no summary has.
    #[error(transparent)]
    Metric(#[from] UnknownName),
    /// A quantity that cannot be read.
    #[error(transparent)]
    Quantity(#[from] ParseError),
    /// Not a number where the metric has no unit.
    #[error(
        "`{text}` is not {expected}, which `{metric}` is compared with; write for example {metric}>{example}"
    )]
    Number {
        /// The text as it was given.
        text: String,
        /// The metric.
        metric: &'static str,
        /// What is needed.
        expected: &'static str,
        /// A value that would do.
        example: &'static str,
    },
    /// More than a report should list.
    #[error("{0} thresholds were given; at most {MOST} are allowed")]
    TooMany(usize),
}

impl Threshold {
    /// Whether `value`, in the base unit of the measure, misses the bound.
    pub fn is_missed_by(&self, value: f64) -> bool {
        let bound = self.bound.value();
        match self.relation {
            Relation::Above => value > bound,
            Relation::AtLeast => value >= bound,
            Relation::Below => value < bound,
            Relation::AtMost => value <= bound,
        }
    }

    /// Whether numbers miss the bound by being large.
    pub fn is_upper(&self) -> bool {
        matches!(self.relation, Relation::Above | Relation::AtLeast)
    }
}

impl Bound {
    /// In seconds, bytes, bytes per second, or as a plain number.
    pub fn value(self) -> f64 {
        match self {
            Bound::Time(span) => span.seconds(),
            Bound::Size(bytes) => bytes.0 as f64,
            Bound::Rate(rate) => rate.bytes_per_second_f64(),
            Bound::Count(count) => count as f64,
            Bound::Ratio(ratio) => ratio,
        }
    }

    fn read(measure: &'static Measure, text: &str) -> Result<Bound, ThresholdError> {
        let number = |expected, example| ThresholdError::Number {
            text: text.to_owned(),
            metric: measure.name,
            expected,
            example,
        };
        Ok(match measure.unit {
            MeasureUnit::Seconds => Bound::Time(text.parse()?),
            MeasureUnit::Bytes => Bound::Size(text.parse()?),
            MeasureUnit::BytesPerSecond => Bound::Rate(text.parse()?),
            MeasureUnit::Count => {
                Bound::Count(text.parse().map_err(|_| number("a whole number", "10"))?)
            }
            MeasureUnit::Ratio => {
                let ratio = text.parse().ok().filter(|it: &f64| it.is_finite() && *it >= 0.0);
                Bound::Ratio(ratio.ok_or_else(|| number("a number", "1.5"))?)
            }
        })
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Threshold, ThresholdError> {
        let no_relation = || ThresholdError::NoRelation(text.trim().to_owned());
        let at = text.find(['<', '>']).ok_or_else(no_relation)?;
        let (name, rest) = text.split_at(at);
        let (relation, value) = match rest.as_bytes() {
            [b'>', b'=', ..] => (Relation::AtLeast, &rest[2..]),
            [b'<', b'=', ..] => (Relation::AtMost, &rest[2..]),
            [b'>', ..] => (Relation::Above, &rest[1..]),
            _ => (Relation::Below, &rest[1..]),
        };
        let measure = measure(name.trim())?;
        Ok(Threshold { measure, relation, bound: Bound::read(measure, value.trim())? })
    }
}

fn measure(name: &str) -> Result<&'static Measure, ThresholdError> {
    Measure::named(name).ok_or_else(|| {
        let known = Measure::names();
        let nearest = nearest::nearest(name, known.iter().copied());
        UnknownName { what: "metric", found: name.to_owned(), nearest, known }.into()
    })
}

/// Bounds with semicolons between them.
impl FromStr for Thresholds {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Thresholds, ThresholdError> {
        let thresholds: Vec<Threshold> =
            text.split(';').map(str::parse).collect::<Result<_, _>>()?;
        if thresholds.len() > MOST {
            return Err(ThresholdError::TooMany(thresholds.len()));
        }
        Ok(Thresholds(thresholds))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.relation {
            Relation::Above => ">",
            Relation::AtLeast => ">=",
            Relation::Below => "<",
            Relation::AtMost => "<=",
        };
        write!(f, "{}{relation}", self.measure.name)?;
        match self.bound {
            Bound::Time(span) => span.fmt(f),
            Bound::Size(bytes) => bytes.fmt(f),
            Bound::Rate(rate) => rate.fmt(f),
            Bound::Count(count) => count.fmt(f),
            Bound::Ratio(ratio) => ratio.fmt(f),
        }
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Threshold::to_string).collect();
        f.pad(&texts.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Threshold {
        text.parse().unwrap()
    }

    #[test]
    fn every_relation_decides_at_its_bound() {
        #[track_caller]
        fn check(text: &str, [below, at, above]: [bool; 3]) {
            let threshold = read(text);
            let missed = [0.2, 0.3, 0.4].map(|it| threshold.is_missed_by(it));
            assert_eq!(missed, [below, at, above], "{text}");
        }
        check("downtime>300ms", [false, false, true]);
        check("downtime >= 300ms", [false, true, true]);
        check("downtime<300ms", [true, false, false]);
        check(" downtime <= 300ms ", [true, true, false]);
    }

    #[test]
    fn each_unit_has_its_own_values() {
        #[track_caller]
        fn check(text: &str, expected: f64) {
            let threshold = read(text);
            assert_eq!(threshold.bound.value(), expected, "{text}");
            assert_eq!(read(&threshold.to_string()), threshold, "{text}");
        }
        check("blackout>1s", 1.0);
        check("wire-bytes>1GiB", 1_073_741_824.0);
        check("bandwidth-mean<1Gbit/s", 125_000_000.0);
        check("passes>10", 10.0);
        check("amplification>1.5", 1.5);
        check("write-latency-p99>100us", 1e-4);
    }

    #[test]
    fn mistakes_name_the_text_and_the_way_out() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = text.parse::<Thresholds>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        check("downtime", "`downtime` is not of the form metric>value");
        check("", "is not of the form metric>value");
        check("downtime=300ms", "is not of the form metric>value");
        check("downtme>300ms", "Unknown metric `downtme`; did you mean `downtime`?");
        check("downtime>300", "has no unit");
        check("downtime>", "Duration");
        check("passes>ten", "`ten` is not a whole number, which `passes` is compared with");
        check("amplification>nan", "`nan` is not a number");
        check("downtime>1s;;blackout>1s", "is not of the form metric>value");
        check(&["downtime>1s"; 65].join(";"), "65 thresholds were given; at most 64");
    }
}
