//! How a run ended, and the exit code that says so.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Integrity;

/// How the migration ended.
///
/// The default is `interrupted`, because that is what a report is worth that was
/// written before the end was known.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The guest runs on the destination, by the way that the scenario asked for (post-copy included).
    Completed,
    /// The guest runs on the destination, but only because a limit paused it or switched it to post-copy.
    CompletedForced,
    /// A limit said stop before the commit point; the guest runs on at the source, unharmed.
    Cancelled,
    /// It was not to be: the engine gave up before the commit point, in its own words, and the guest runs on at the source, unharmed; or the guest could not be started at all.
    Failed,
    /// No side can run the guest: something broke after the commit point, or the side that ran the guest died.
    Lost,
    /// This engine or this machine cannot do what the scenario asks; nothing was started.
    Unsupported,
    /// The user stopped the run; the report holds what was seen until then.
    #[default]
    Interrupted,
}

/// Where a run failed before the migrate command was accepted: there was no migration, and its numbers are null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailedIn {
    /// A side could not be built or did not start.
    Boot,
    /// A side on another machine could not be reached, or did not accept this run: no answer, a wrong token, a
    /// certificate of another authority.
    Connect,
    /// Both sides were there, and it failed before the migrate command was accepted.
    Prepare,
}

impl FailedIn {
    /// The name as it stands in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FailedIn::Boot => "boot",
            FailedIn::Connect => "connect",
            FailedIn::Prepare => "prepare",
        }
    }
}

/// What decides on the exit code beside the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What was found of memory and disk.
    pub integrity: Integrity,
    /// Whether a threshold that the run was given was missed.
    pub misses_a_threshold: bool,
    /// Where it failed, if that was before a migration began.
    pub failed_in: Option<FailedIn>,
}

impl Verdict {
    /// The process exit code for this end of a run. [`crate::Report::exit_code`] adds what thresholds say.
    ///
    /// What is corrupt outranks every verdict: a migration that completed with a wrong page, or without a record that was
    /// safe, is the worst result there is, and a script must never take it for a success or a mere failure. A missed
    /// threshold comes next. A run that failed before a migration began says nothing about migrations: that is an error
    /// of the run, 1.
    pub fn exit_code(self, circumstances: Circumstances) -> u8 {
        if circumstances.integrity == Integrity::Corrupt || circumstances.misses_a_threshold {
            return 4;
        }
        match self {
            Verdict::Completed | Verdict::CompletedForced => 0,
            Verdict::Failed if circumstances.failed_in.is_some() => 1,
            Verdict::Cancelled | Verdict::Failed | Verdict::Lost => 3,
            Verdict::Unsupported => 5,
            Verdict::Interrupted => 130,
        }
    }

    /// The name as it stands in the JSON, for example `completed-forced`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Completed => "completed",
            Verdict::CompletedForced => "completed-forced",
            Verdict::Cancelled => "cancelled",
            Verdict::Failed => "failed",
            Verdict::Lost => "lost",
            Verdict::Unsupported => "unsupported",
            Verdict::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Verdict, u8); 7] = [
        (Verdict::Completed, 0),
        (Verdict::CompletedForced, 0),
        (Verdict::Cancelled, 3),
        (Verdict::Failed, 3),
        (Verdict::Lost, 3),
        (Verdict::Unsupported, 5),
        (Verdict::Interrupted, 130),
    ];

    #[test]
    fn each_verdict_has_its_exit_code() {
        for (verdict, code) in ALL {
            for integrity in [Integrity::Verified, Integrity::Unchecked] {
                let circumstances = Circumstances { integrity, ..Circumstances::default() };
                assert_eq!(verdict.exit_code(circumstances), code, "{verdict}");
            }
        }
    }

    #[test]
    fn corrupt_memory_and_a_missed_threshold_are_exit_code_4_whatever_the_verdict() {
        for (verdict, _) in ALL {
            let corrupt =
                Circumstances { integrity: Integrity::Corrupt, ..Circumstances::default() };
            assert_eq!(verdict.exit_code(corrupt), 4, "{verdict}");
            let missed = Circumstances { misses_a_threshold: true, ..Circumstances::default() };
            assert_eq!(verdict.exit_code(missed), 4, "{verdict}");
            let both = Circumstances { failed_in: Some(FailedIn::Boot), ..missed };
            assert_eq!(verdict.exit_code(both), 4, "{verdict}");
        }
    }

    #[test]
    fn a_run_that_failed_before_a_migration_is_exit_code_1() {
        for place in [FailedIn::Boot, FailedIn::Connect, FailedIn::Prepare] {
            for (verdict, code) in ALL {
                let circumstances =
                    Circumstances { failed_in: Some(place), ..Circumstances::default() };
                let expected = if verdict == Verdict::Failed { 1 } else { code };
                assert_eq!(verdict.exit_code(circumstances), expected, "{verdict}");
            }
            assert_eq!(serde_json::to_value(place).unwrap(), place.as_str());
        }
    }

    #[test]
    fn the_displayed_name_is_the_json_name() {
        for (verdict, _) in ALL {
            let json = serde_json::to_value(verdict).unwrap();
            assert_eq!(json, verdict.to_string());
        }
    }
}
