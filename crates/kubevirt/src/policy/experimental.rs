//! Fields of a policy that KubeVirt is still trying out, under `spec.experimental`: from 1.9 on, and to be removed again.
//!
//! So they are given by their own names, and not by flags of ours that would have to be kept.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{STALL_GATE, TUNING_GATE};

/// A field and its value, as in `downtimeTuning.steps=5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentalField {
    path: &'static str,
    value: Value,
}

/// What a field can hold.
enum Kind {
    Whole(RangeInclusive<u64>),
    /// A decimal number above 0, and at most this.
    Decimal(f64),
    Truth,
    OneOf(&'static [&'static str]),
}

const MANY: u64 = i32::MAX as u64;

const FIELDS: &[(&str, Kind)] = &[
    ("compression", Kind::OneOf(&["none", "zstd"])),
    ("downtimeTuning.cooldownSeconds", Kind::Whole(1..=MANY)),
    ("downtimeTuning.initialMs", Kind::Whole(1..=2_000_000)),
    ("downtimeTuning.startAfterIteration", Kind::Whole(1..=MANY)),
    ("downtimeTuning.steps", Kind::Whole(1..=MANY)),
    ("stallDetector.completionTimeoutFactor", Kind::Decimal(1e3)),
    ("stallDetector.ewmaAlpha", Kind::Decimal(1.0)),
    ("stallDetector.patienceWindowDecayFactor", Kind::Decimal(1e3)),
    ("stallDetector.precopyPossibleFactor", Kind::Decimal(1e3)),
    ("stallDetector.searchLocalMinima", Kind::Truth),
    ("stallDetector.stallMargin", Kind::Whole(0..=100)),
    ("stallDetector.stallProgressTimeout", Kind::Whole(0..=MANY)),
    ("stallDetector.switchoverTimeout", Kind::Whole(0..=MANY)),
];

impl ExperimentalField {
    /// A field of the table, with a value that fits.
    pub(super) fn known(path: &'static str, value: Value) -> ExperimentalField {
        debug_assert!(FIELDS.iter().any(|it| it.0 == path), "{path}");
        ExperimentalField { path, value }
    }

    /// Where it is in the policy's `spec`.
    pub(super) fn whole_path(&self) -> String {
        format!("experimental.{}", self.path)
    }

    /// What it belongs to, or itself.
    pub(super) fn group(&self) -> &'static str {
        self.path.split('.').next().unwrap_or(self.path)
    }

    /// The feature gates of which it needs one.
    pub(super) fn gates(&self) -> &'static [&'static str] {
        match self.group() {
            "downtimeTuning" => &[TUNING_GATE],
            "stallDetector" => &[STALL_GATE],
            _ => &[],
        }
    }
}

impl FromStr for ExperimentalField {
    type Err = String;

    fn from_str(text: &str) -> Result<ExperimentalField, String> {
        let (path, value) = text.split_once('=').ok_or_else(|| {
            format!("`{text}` is not of the form field=value, as in compression=zstd")
        })?;
        let Some((path, kind)) = FIELDS.iter().find(|it| it.0 == path) else {
            let known: Vec<&str> = FIELDS.iter().map(|it| it.0).collect();
            return Err(format!("There is no field `{path}`; known are {}", known.join(", ")));
        };
        let value =
            kind.read(value).ok_or_else(|| format!("{path} cannot be `{value}`; {kind}"))?;
        Ok(ExperimentalField { path, value })
    }
}

impl Kind {
    fn read(&self, text: &str) -> Option<Value> {
        match self {
            Kind::Whole(range) => {
                text.parse().ok().filter(|it| range.contains(it)).map(Value::from)
            }
            Kind::Decimal(most) => {
                let number = text.parse::<f64>().ok().filter(|it| *it > 0.0 && it <= most);
                // Kubernetes keeps decimal numbers as text, so that none is rounded.
                number.map(|_| Value::from(text))
            }
            Kind::Truth => text.parse::<bool>().ok().map(Value::from),
            Kind::OneOf(known) => known.contains(&text).then(|| Value::from(text)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Whole(range) => {
                write!(f, "give a whole number from {} to {}", range.start(), range.end())
            }
            Kind::Decimal(most) => write!(f, "give a decimal number above 0 and at most {most}"),
            Kind::Truth => f.write_str("give true or false"),
            Kind::OneOf(known) => write!(f, "give {}", known.join(" or ")),
        }
    }
}

/// All of them as the object that `spec.experimental` is; of two for one field the last holds.
pub fn object<'a>(fields: impl Iterator<Item = &'a ExperimentalField>) -> Value {
    let mut all = Map::new();
    for ExperimentalField { path, value } in fields {
        match path.split_once('.') {
            None => drop(all.insert((*path).to_owned(), value.clone())),
            Some((outer, inner)) => {
                let group = all.entry(outer).or_insert_with(|| Value::Object(Map::new()));
                group[inner] = value.clone();
            }
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_become_the_object_that_kubevirt_reads() {
        let texts = [
            "compression=zstd",
            "downtimeTuning.steps=4",
            "downtimeTuning.initialMs=100",
            "stallDetector.ewmaAlpha=0.4",
            "stallDetector.searchLocalMinima=false",
            "downtimeTuning.steps=5",
        ];
        let fields: Vec<ExperimentalField> = texts.iter().map(|it| it.parse().unwrap()).collect();
        let expected = json!({
            "compression": "zstd",
            "downtimeTuning": {"steps": 5, "initialMs": 100},
            "stallDetector": {"ewmaAlpha": "0.4", "searchLocalMinima": false},
        });
        assert_eq!(object(fields.iter()), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        for (text, words) in [
            ("compression", "field=value"),
            ("compression=gzip", "give none or zstd"),
            ("compresion=zstd", "known are compression, downtimeTuning.cooldownSeconds"),
            ("downtimeTuning.steps=0", "from 1 to"),
            ("stallDetector.stallMargin=101", "from 0 to 100"),
            ("stallDetector.ewmaAlpha=1.5", "at most 1"),
            ("stallDetector.ewmaAlpha=NaN", "at most 1"),
            ("stallDetector.searchLocalMinima=yes", "true or false"),
        ] {
            let error = text.parse::<ExperimentalField>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
