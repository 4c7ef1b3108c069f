//! Mishaps that a run brings about on purpose.

use std::fmt;
use std::str::FromStr;

use sterna_units::{Bytes, ParseError, Span};

/// Mishaps, each of which happens once; written as `at=2s,action=drop;at-pass=3,action=drop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// At least one.
    pub list: Vec<Fault>,
}

/// One mishap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it happens.
    pub moment: Moment,
    /// What happens.
    pub action: FaultAction,
}

/// When a mishap happens. What never comes brings none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long after the migration began.
    At(Span),
    /// As soon as so many passes are complete.
    AtPass(u32),
    /// As soon as so much was sent.
    AtBytes(Bytes),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// The connections of the migration break.
    Drop,
}

/// Why a text is no list of mishaps.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A word that is no field.
    #[error(
        "Unknown fault field `{0}`; a fault has one of `at`, `at-pass` and `at-bytes`, and `action`, as in at=2s,action=drop"
    )]
    Field(String),
    /// A value that its field cannot have.
    #[error("Unusable `{field}`: {source}")]
    Quantity {
        /// Which field.
        field: &'static str,
        /// Why.
        source: ParseError,
    },
    /// Not a number of passes.
    #[error("`{0}` is no number of passes")]
    Passes(String),
    /// Something else than drop.
    #[error("Unknown fault action `{0}`; known is drop, which breaks the migration's connections")]
    Action(String),
    /// No moment, or several.
    #[error("The fault `{0}` needs exactly one of `at`, `at-pass` and `at-bytes`")]
    Moment(String),
}

impl FromStr for Faults {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Faults, FaultError> {
        text.split(';').map(str::parse).collect::<Result<_, _>>().map(|list| Faults { list })
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let mut moments = Vec::new();
        for word in text.split(',').map(str::trim) {
            moments.extend(field(word)?);
        }
        match moments[..] {
            [moment] => Ok(Fault { moment, action: FaultAction::Drop }),
            _ => Err(FaultError::Moment(text.to_owned())),
        }
    }
}

/// The moment that one word tells, if it tells one.
pub(crate) fn field(word: &str) -> Result<Option<Moment>, FaultError> {
    let (name, value) = word.split_once('=').ok_or_else(|| FaultError::Field(word.to_owned()))?;
    let quantity = |field| move |source| FaultError::Quantity { field, source };
    match name.trim() {
        "at" => value.parse().map(|it| Some(Moment::At(it))).map_err(quantity("at")),
        "at-bytes" => {
            value.parse().map(|it| Some(Moment::AtBytes(it))).map_err(quantity("at-bytes"))
        }
        "at-pass" => {
            let passes = value.trim().parse().map_err(|_| FaultError::Passes(value.to_owned()))?;
            Ok(Some(Moment::AtPass(passes)))
        }
        "action" if value.trim() == "drop" => Ok(None),
        "action" => Err(FaultError::Action(value.to_owned())),
        _ => Err(FaultError::Field(word.to_owned())),
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moment {
            Moment::At(span) => write!(f, "at={span}")?,
            Moment::AtPass(passes) => write!(f, "at-pass={passes}")?,
            Moment::AtBytes(bytes) => write!(f, "at-bytes={bytes}")?,
        }
        match self.action {
            FaultAction::Drop => write!(f, ",action=drop"),
        }
    }
}
