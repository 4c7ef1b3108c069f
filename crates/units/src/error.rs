//! Why a text is not a quantity, said so that the reader can mend it.

use std::fmt;

/// A text that is not the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{quantity} `{}` {problem}; write for example {}", shortened(value), quantity.examples())]
pub struct ParseError {
    /// What the text should have been.
    pub quantity: Quantity,
    /// The text as it was given.
    pub value: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The kinds of quantity that this crate parses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// [`Bytes`](crate::Bytes).
    Size,
    /// [`Rate`](crate::Rate).
    Rate,
    /// [`Span`](crate::Span).
    Duration,
    /// [`Percent`](crate::Percent).
    Share,
}

/// What is wrong with a text; completes the sentence "Size `x` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing but blanks was given.
    #[error("is empty")]
    Empty,
    /// There is no decimal number where one is needed.
    #[error("needs a decimal number in front")]
    NoNumber,
    /// A minus sign.
    #[error("is negative")]
    Negative,
    /// A number that the type cannot hold.
    #[error("is too large")]
    TooLarge,
    /// A fraction finer than the type's smallest step.
    #[error("is not a whole number of {step}")]
    NotWhole {
        /// The smallest step, such as "bytes".
        step: &'static str,
    },
    /// A unit that this quantity does not have.
    #[error("has the unknown unit `{}`{}", shortened(unit), did_you_mean(*nearest))]
    UnknownUnit {
        /// The unit as it was given.
        unit: String,
        /// The known unit that was most likely meant.
        nearest: Option<&'static str>,
    },
    /// A rate that leaves open whether bytes or bits are meant. Guessing would be wrong by a factor of eight for
    /// half of the readers: tools for memory count bytes, tools for links count bits.
    #[error("must end in B/s or bit/s, as in {suggestion}")]
    BytesOrBits {
        /// The given number with the possible units.
        suggestion: String,
    },
    /// A number with nothing that tells its unit.
    #[error("has no unit")]
    NoUnit,
    /// A comma, which some read as a decimal point and some as a separator of thousands.
    #[error("has a comma; write {suggestion}")]
    Comma {
        /// The same without it.
        suggestion: String,
    },
    /// A power of ten.
    #[error("is in scientific notation; write {suggestion}")]
    Scientific {
        /// The same without it.
        suggestion: String,
    },
    /// So few bytes where memory is meant that the unit was forgotten.
    #[error("is {number} bytes; did you mean `{number}MiB`? Write `{number}B` for bytes")]
    FewBytes {
        /// The number.
        number: u64,
    },
    /// A letter that Kubernetes and Sterna read differently.
    #[error("is `{decimal}` to Kubernetes and `{binary}` elsewhere; write one of the two")]
    TwoMeanings {
        /// As Kubernetes reads it.
        decimal: String,
        /// As Sterna reads it.
        binary: String,
    },
    /// No limit, where there must be one.
    #[error("is not possible here")]
    NoLimit,
    /// A share of more than the whole.
    #[error("is above 100%")]
    AboveWhole,
}

impl Quantity {
    /// Examples for messages and documents, as a phrase.
    pub fn examples(self) -> &'static str {
        match self {
            Quantity::Size => "`256MiB`, `2G` or `1048576`",
            Quantity::Rate => "`500MB/s`, `32MiB/s` or `1Gbit/s`",
            Quantity::Duration => "`300ms`, `10s` or `1h 30m`",
            Quantity::Share => "`25%` or `12.5%`",
        }
    }

    pub(crate) fn error(self, value: &str, problem: Problem) -> ParseError {
        ParseError { quantity: self, value: value.to_owned(), problem }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quantity::Size => "Size",
            Quantity::Rate => "Rate",
            Quantity::Duration => "Duration",
            Quantity::Share => "Share",
        })
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|unit| format!(" (did you mean `{unit}`?)")).unwrap_or_default()
}

/// Keeps a message readable when somebody pastes a file into a field.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_shortened_in_the_message_only() {
        let error = Quantity::Size.error(&"9".repeat(10_000), Problem::TooLarge);
        assert_eq!(error.value.len(), 10_000);
        assert!(error.to_string().len() < 200, "{error}");
    }
}
