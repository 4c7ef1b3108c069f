//! What a watcher of the flight is told while it goes on.

use sterna_report::Side;

use crate::{Progress, Status};

/// Where the flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Both sides are built.
    Boot,
    /// The guest works, nothing migrates: the baseline.
    WarmUp,
    /// From the migrate command to the terminal state.
    Migrate,
    /// The guest works on; is it back to its baseline?
    CoolDown,
    /// All memory is compared.
    Verify,
    /// Both sides are ended.
    Shutdown,
}

impl Phase {
    /// The word for progress lines and event streams.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Boot => "boot",
            Phase::WarmUp => "warm-up",
            Phase::Migrate => "migrate",
            Phase::CoolDown => "cool-down",
            Phase::Verify => "verify",
            Phase::Shutdown => "shutdown",
        }
    }

    /// The phase within a sentence: "during ...".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Phase::Boot => "the boot",
            Phase::WarmUp => "the warm-up",
            Phase::Migrate => "the migration",
            Phase::CoolDown => "the cool-down",
            Phase::Verify => "the verification",
            Phase::Shutdown => "the shutdown",
        }
    }
}

/// One thing to tell a watcher.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A phase begins.
    Phase(Phase),
    /// A long step goes on.
    Progress(Progress),
    /// A status poll during the migration, with the time since it was accepted.
    Status {
        /// Seconds since the migrate command was accepted.
        elapsed_seconds: f64,
        /// The poll.
        status: Box<Status>,
        /// For how long nothing has been sent; 0 while something is.
        stalled_seconds: f64,
    },
    /// A poll during the migration that the source did not answer.
    Silence {
        /// Seconds since the migrate command was accepted.
        elapsed_seconds: f64,
        /// The side that is silent.
        side: Side,
        /// For how long.
        silent_seconds: f64,
    },
    /// Something happened that a person wants to know at once.
    Event {
        /// Seconds since the migrate command was accepted; `None` before it.
        elapsed_seconds: Option<f64>,
        /// One stable word.
        kind: &'static str,
        /// One sentence.
        text: String,
    },
}
