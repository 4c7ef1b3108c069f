//! The connection that something goes wrong on.

use std::fmt;
use std::str::FromStr;

use super::FaultError;
use super::fault::FaultSide;
use crate::types::Migration;

/// A connection of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FaultChannel {
    /// The first one, and whoever serves it: where it stalls, the other ones get no new work.
    #[default]
    Main,
    /// A parallel one, counted from 0 as in reports.
    Multifd(u8),
    /// The one for pages that are asked for in post-copy.
    Preempt,
}

impl FaultChannel {
    /// Whether a migration of this kind has it.
    pub fn is_in(self, migration: &Migration) -> bool {
        match self {
            FaultChannel::Main => true,
            FaultChannel::Multifd(index) => {
                migration.multifd.as_ref().is_some_and(|it| index < it.channels)
            }
            FaultChannel::Preempt => migration.postcopy.as_ref().is_some_and(|it| it.preempt),
        }
    }

    /// Whether that side says anything on it, once it is open.
    pub fn is_spoken_on(self, side: FaultSide) -> bool {
        !matches!((self, side), (FaultChannel::Multifd(_), FaultSide::Destination))
    }
}

impl FromStr for FaultChannel {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<FaultChannel, FaultError> {
        match (text, text.strip_prefix("multifd-").map(str::parse)) {
            ("main", _) => Ok(FaultChannel::Main),
            ("preempt", _) => Ok(FaultChannel::Preempt),
            (_, Some(Ok(index))) => Ok(FaultChannel::Multifd(index)),
            _ => Err(FaultError::Channel(text.to_owned())),
        }
    }
}

impl fmt::Display for FaultChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultChannel::Main => f.write_str("main"),
            FaultChannel::Multifd(index) => write!(f, "multifd-{index}"),
            FaultChannel::Preempt => f.write_str("preempt"),
        }
    }
}
