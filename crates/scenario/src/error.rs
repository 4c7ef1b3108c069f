//! What is wrong with a scenario, where it was said, and the way out.

use std::fmt;

use crate::value::ValueError;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a scenario file.
    File {
        /// What the file was called.
        name: String,
        /// Line, counted from 1.
        line: usize,
        /// Character in the line, counted from 1.
        column: usize,
    },
    /// By a variable of the environment, whose name this is.
    Variable(String),
    /// On the command line, by this flag (with its dashes).
    Flag(String),
}

/// Why there is no scenario to run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file is not TOML.
    #[error("Scenario at {origin} is not valid TOML: {message}")]
    Syntax {
        /// Where reading ended.
        origin: Origin,
        /// What the TOML reader says.
        message: String,
    },
    /// A field that no scenario has.
    #[error("Unknown field `{name}` {} at {origin}; {hint}", within(table))]
    UnknownField {
        /// The field as it was written.
        name: String,
        /// The table that it stands in; empty at the top.
        table: String,
        /// Where it stands.
        origin: Origin,
        /// The nearest known name, or all that are known there.
        hint: String,
    },
    /// A path or variable that names no setting.
    #[error("Unknown setting `{name}` given by {origin}; {hint}")]
    UnknownSetting {
        /// The path as it was given.
        name: String,
        /// Who asked for it.
        origin: Origin,
        /// The nearest known name.
        hint: String,
    },
    /// A value of the wrong TOML type.
    #[error("Field `{path}` at {origin} must be {expected}, found {found}")]
    WrongType {
        /// The field.
        path: &'static str,
        /// Where its value stands.
        origin: Origin,
        /// What is needed, with an example.
        expected: String,
        /// What was found.
        found: &'static str,
    },
    /// A value that cannot be read.
    #[error("Field `{path}` has an unusable value at {origin}")]
    Value {
        /// The field.
        path: &'static str,
        /// Where its value stands.
        origin: Origin,
        /// What is wrong with the value.
        source: Box<ValueError>,
    },
    /// Two fields that mean the same thing differently, given by the same layer. Between layers the later one wins.
    #[error(
        "Fields `{first}` ({first_origin}) and `{second}` ({second_origin}) exclude each other; leave one of them out"
    )]
    Exclusive {
        /// The field that was given first.
        first: &'static str,
        /// Where.
        first_origin: Origin,
        /// The field that was given after it.
        second: &'static str,
        /// Where.
        second_origin: Origin,
    },
    /// An optional table that cannot be had without a field of it.
    #[error("Table [{table}] at {origin} needs {needed}")]
    Incomplete {
        /// The table.
        table: &'static str,
        /// Where it was asked for.
        origin: Origin,
        /// Which field, and what for.
        needed: &'static str,
    },
    /// Values that are fine alone and impossible together, or out of range. All of them, not only the first.
    #[error("Scenario cannot be run: {}", listed(.0))]
    Impossible(Vec<Problem>),
}

/// One thing that a scenario cannot ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The fields that are at odds, by dotted path.
    pub fields: Vec<&'static str>,
    /// Where those of them were given that were given at all; the others have their defaults.
    pub origins: Vec<Origin>,
    /// What is wrong, with names, values and the way out.
    pub message: String,
}

impl Origin {
    /// Whether both come from the same layer, where neither can be said to win over the other.
    pub(crate) fn is_same_layer(&self, other: &Origin) -> bool {
        match (self, other) {
            (Origin::File { name, .. }, Origin::File { name: other, .. }) => name == other,
            (Origin::Variable(_), Origin::Variable(_)) | (Origin::Flag(_), Origin::Flag(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Variable(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let origins: Vec<String> = self.origins.iter().map(Origin::to_string).collect();
        match origins.is_empty() {
            true => Ok(()),
            false => write!(f, " (given at {})", origins.join(", ")),
        }
    }
}

/// Where a field stands, as part of a sentence.
pub(crate) fn within(table: &str) -> String {
    match table {
        "" => "outside any table".to_owned(),
        _ => format!("in [{table}]"),
    }
}

/// One problem on the line, several as a list.
fn listed(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        _ => problems.iter().map(|problem| format!("\n  - {problem}")).collect(),
    }
}
