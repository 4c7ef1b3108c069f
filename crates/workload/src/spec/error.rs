//! Why a text is not a workload.

use thiserror::Error;

use super::phase::PhaseError;

/// A word that is not one of those known in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Unknown {what} `{found}`; {}", way_out(.nearest, .known))]
pub struct UnknownName {
    /// What was being named, for example `pattern`.
    pub what: &'static str,
    /// The text as it was given.
    pub found: String,
    /// The known name closest to it, when one is close enough to be meant.
    pub nearest: Option<&'static str>,
    /// All names that are known.
    pub known: &'static [&'static str],
}

/// Why a text is not a workload.
#[derive(Debug, Error)]
pub enum SpecError {
    /// A field or a name within a field is not known.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A word is not of the form `field=value`.
    #[error("`{0}` is not of the form field=value, as in memory=64MiB")]
    NotAField(String),
    /// The same field is given twice.
    #[error("Field `{0}` is given twice; leave one")]
    Twice(&'static str),
    /// The one field without a default is absent.
    #[error("Field `memory` is missing; give a size such as memory=64MiB")]
    NoMemory,
    /// A value cannot be read.
    #[error("{field} cannot be `{value}`")]
    Value {
        /// The field.
        field: &'static str,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value is readable but out of range, or not of the right form.
    #[error("{field} cannot be `{value}`; {way_out}")]
    Range {
        /// The field.
        field: &'static str,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        way_out: &'static str,
    },
    /// The phases do not follow each other.
    #[error(transparent)]
    Phases(#[from] PhaseError),
}

fn way_out(nearest: &Option<&'static str>, known: &[&'static str]) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}
