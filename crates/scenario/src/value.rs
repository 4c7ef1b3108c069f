//! Single values: from text, back to text, and how TOML writes them.

use std::fmt::Display;

use sterna_probe::{ProbeError, Probes};
use sterna_units::{Bytes, ParseError, Rate, Size, Span};
use sterna_workload::{Method, Pace, Pattern, Phases, SpecError, UnknownName};

use crate::types::{
    Compression, FaultError, Faults, HugePages, LimitAction, SwitchoverDecision, ThresholdError,
    Thresholds, TlsMode, Transport, Verify, ZeroPage,
};
use crate::{IdSet, IdSetError};

/// How a value is written in TOML and JSON. On the command line and in variables everything is plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// Why a text is not the value of a field.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Not the quantity that is needed.
    #[error(transparent)]
    Quantity(#[from] ParseError),
    /// Not one of the words that are known here.
    #[error(transparent)]
    Word(#[from] UnknownName),
    /// Not a set of processors or nodes.
    #[error(transparent)]
    Ids(#[from] IdSetError),
    /// Not a list of faults.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Not a list of thresholds.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// Not a whole number within the field's range.
    #[error("`{text}` is not a whole number from 0 to {largest}")]
    Integer {
        /// The text as it was given.
        text: String,
        /// The largest number that the field can hold.
        largest: u64,
    },
    /// Not a truth value.
    #[error("`{text}` is neither `{}` nor `{}`", words[0], words[1])]
    Boolean {
        /// The text as it was given.
        text: String,
        /// The words for yes and no.
        words: [&'static str; 2],
    },
    /// A word for "no value", where another word means that.
    #[error("`{text}` is no value of this field; {way_out}")]
    NoValue {
        /// The word as it was given.
        text: String,
        /// The right word.
        way_out: String,
    },
    /// Not a list of probes.
    #[error(transparent)]
    Probes(#[from] ProbeError),
    /// Not a workload's value.
    #[error(transparent)]
    Workload(Box<dyn std::error::Error + Send + Sync>),
}

/// A type that a field can have.
pub(crate) trait Value: Sized + Display {
    const KIND: Kind = Kind::Text;

    /// Whether it is a list that a file may write as one, and a flag by being repeated; elsewhere its entries have
    /// semicolons between them.
    const IS_LIST: bool = false;
    /// Whether it is an amount with a unit.
    const IS_QUANTITY: bool = false;

    /// The only possible words, where there is such a list.
    fn choices() -> &'static [&'static str] {
        &[]
    }

    fn read(text: &str) -> Result<Self, ValueError>;
}

macro_rules! parsed {
    ($($name:ty),+) => { $(
        impl Value for $name {
            fn read(text: &str) -> Result<$name, ValueError> {
                Ok(text.parse()?)
            }
        }
    )+ };
}
parsed!(IdSet, Probes, Faults);

macro_rules! quantities {
    ($($name:ty, $read:expr;)+) => { $(
        impl Value for $name {
            const IS_QUANTITY: bool = true;

            fn read(text: &str) -> Result<$name, ValueError> {
                let read: fn(&str) -> Result<$name, ParseError> = $read;
                Ok(read(text)?)
            }
        }
    )+ };
}
quantities! {
    Bytes, Bytes::of_memory;
    Size, Size::of_memory;
    Rate, str::parse;
    Span, str::parse;
}

impl Value for Thresholds {
    const IS_LIST: bool = true;

    fn read(text: &str) -> Result<Thresholds, ValueError> {
        Ok(text.parse()?)
    }
}

macro_rules! chosen {
    ($($name:ty, $choices:expr;)+) => { $(
        impl Value for $name {
            fn choices() -> &'static [&'static str] {
                $choices
            }

            fn read(text: &str) -> Result<$name, ValueError> {
                Ok(text.parse()?)
            }
        }
    )+ };
}
chosen! {
    HugePages, HugePages::NAMES;
    LimitAction, LimitAction::NAMES;
    Transport, Transport::NAMES;
    SwitchoverDecision, SwitchoverDecision::NAMES;
    ZeroPage, ZeroPage::NAMES;
    Compression, Compression::NAMES;
    TlsMode, TlsMode::NAMES;
    Verify, Verify::NAMES;
}

macro_rules! integers {
    ($($name:ty),+) => { $(
        impl Value for $name {
            const KIND: Kind = Kind::Integer;

            fn read(text: &str) -> Result<$name, ValueError> {
                let error = || ValueError::Integer { text: text.to_owned(), largest: <$name>::MAX.into() };
                text.trim().parse().map_err(|_| error())
            }
        }
    )+ };
}
integers!(u8, u32, u64);

impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn choices() -> &'static [&'static str] {
        &["true", "false"]
    }

    fn read(text: &str) -> Result<bool, ValueError> {
        let words = ["true", "false"];
        text.trim().parse().map_err(|_| ValueError::Boolean { text: text.to_owned(), words })
    }
}

impl Value for String {
    fn read(text: &str) -> Result<String, ValueError> {
        Ok(text.to_owned())
    }
}

macro_rules! of_workload {
    ($($name:ty),+) => { $(
        impl Value for $name {
            fn read(text: &str) -> Result<$name, ValueError> {
                text.parse().map_err(workload_error)
            }
        }
    )+ };
}
of_workload!(Pattern, Method, Phases);

impl Value for Pace {
    const IS_QUANTITY: bool = true;

    fn read(text: &str) -> Result<Pace, ValueError> {
        text.parse().map_err(workload_error)
    }
}

fn workload_error(error: SpecError) -> ValueError {
    match error {
        SpecError::Unknown(unknown) => ValueError::Word(unknown),
        // Its own sentence only names the field, which ours does too.
        SpecError::Value { source, .. } => ValueError::Workload(source),
        other => ValueError::Workload(Box::new(other)),
    }
}
