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

impl Verdict {
    /// The process exit code for this end of a run. [`crate::Report::exit_code`] adds what thresholds say.
    ///
    /// What is corrupt outranks every verdict: a migration that completed with a wrong page, or without a record that was
    /// safe, is the worst result there is, and a script must never take it for a success or a mere failure.
    pub fn exit_code(self, integrity: Integrity) -> u8 {
        if integrity == Integrity::Corrupt {
            return 4;
        }
        match self {
            Verdict::Completed | Verdict::CompletedForced => 0,
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
            assert_eq!(verdict.exit_code(Integrity::Verified), code, "{verdict}");
            assert_eq!(verdict.exit_code(Integrity::Unchecked), code, "{verdict}");
        }
    }

    #[test]
    fn corrupt_memory_is_exit_code_4_whatever_the_verdict() {
        for (verdict, _) in ALL {
            assert_eq!(verdict.exit_code(Integrity::Corrupt), 4, "{verdict}");
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
