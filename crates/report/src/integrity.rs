//! Whether the guest's memory survived, and what was written to its disk.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Side;

/// Whether the guest's memory was found as it must be after the run, and the records on its disk where some were
/// written.
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
pub enum Integrity {
    /// Every page that the workload stamped was checked and was right.
    Verified,
    /// At least one page was wrong, or a record that a disk had acknowledged was not there. This ranks worst of all
    /// results.
    Corrupt,
    /// No check was made, or it did not finish.
    #[default]
    Unchecked,
}

impl Integrity {
    /// The name as it stands in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Integrity::Verified => "verified",
            Integrity::Corrupt => "corrupt",
            Integrity::Unchecked => "unchecked",
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the check of the guest's memory looked at and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrityDetail {
    /// The side whose memory was checked: where the guest was when the run ended.
    pub side: Side,
    /// Pages of 4 KiB that were compared with what they must hold.
    pub pages_checked: u64,
    /// Pages of those that were wrong. 0 means that all were right.
    pub corrupt_pages: u64,
    /// The first wrong pages in order of address; a short list even when many are wrong.
    #[serde(default)]
    pub first: Vec<CorruptPage>,
    /// All pages of 4 KiB that the guest's memory has, so that one sees of how much `pages_checked` speaks. Null when
    /// it is not known.
    #[serde(default)]
    pub memory_pages: Option<u64>,
    /// What workers found on pages before they wrote them for the first time after the guest was resumed. Null for
    /// methods that never make a wrong page right (touch, counter, xor-random), and where workers do not check.
    #[serde(default)]
    pub first_writes: Option<FirstWriteCheck>,
    /// Page writes that the source's workers still made after the source had given the guest up. Anything but 0 means
    /// that two copies of the guest ran, and counts as corruption. Null when this was not looked at, and when the guest never left.
    #[serde(default)]
    pub writes_after_go: Option<u64>,
}

/// What workers found on pages before they wrote them for the first time after the guest was resumed: a write of the
/// whole page would have made a wrong page right before the check at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstWriteCheck {
    /// Pages of 4 KiB that were compared with what their own stamp says, or for the method `zero` with the replay.
    pub pages_checked: u64,
    /// Pages of those that were wrong. They are among `corrupt_pages` of the whole check.
    pub corrupt_pages: u64,
    /// Time that all workers together spent on it, in seconds. It is left out of lost work and blackout.
    pub checking_seconds: f64,
    /// How long after the resume the last worker began to check, in seconds: pages that were written until then were
    /// not checked. 0 where workers check from their first write on; null when it is not known.
    #[serde(default)]
    pub began_seconds: Option<f64>,
}

impl IntegrityDetail {
    /// Whether all that was looked at was as it must be.
    pub fn is_sound(&self) -> bool {
        self.corrupt_pages == 0 && self.writes_after_go.unwrap_or(0) == 0
    }
}

/// One page that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorruptPage {
    /// Number of the page in guest memory, counted from 0 in pages of 4 KiB.
    pub page: u64,
    /// Offset within the page of the first wrong 8-byte word, in bytes.
    pub offset_bytes: u64,
    /// The word that the replayed workload left there, in hexadecimal.
    pub expected: Word,
    /// The word that was read, in hexadecimal.
    pub found: Word,
}

/// What became of the records that the agent in the guest wrote to a disk during the migration: each was made safe
/// (`fdatasync`) when it was due, and all were read again from the disk at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskIntegrity {
    /// The side that read them: where the guest was when the run ended.
    pub side: Side,
    /// Bytes of each record.
    pub record_bytes: u64,
    /// Records that the disk had acknowledged as safe, each of which must be there.
    pub records_checked: u64,
    /// Records of those that were not there: their place was empty, or the file ended before it.
    pub missing_records: u64,
    /// Records of those of which only a part was what had been written.
    pub torn_records: u64,
    /// Places of those that held another record, of this time or of an earlier one.
    pub misplaced_records: u64,
    /// The first of all of them; a short list even when many are wrong.
    #[serde(default)]
    pub first: Vec<DiskDefect>,
}

/// One record that is not what it must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskDefect {
    /// Number of the record that should be there, counted from 0.
    pub record: u64,
    /// Where in the file, in bytes.
    pub offset_bytes: u64,
    /// What is wrong, in words.
    pub what: String,
}

impl DiskIntegrity {
    /// Whether every acknowledged record was there, whole and in its place.
    pub fn is_sound(&self) -> bool {
        self.wrong_records() == 0
    }

    /// How many were not.
    pub fn wrong_records(&self) -> u64 {
        let all = [self.missing_records, self.torn_records, self.misplaced_records];
        all.into_iter().fold(0, u64::saturating_add)
    }
}

/// Eight bytes of guest memory.
///
/// In JSON this is text such as `0x000000000000002a`: many readers keep numbers as doubles,
/// which would round exactly the bits that one looks at here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^0x[0-9a-f]{16}$"))]
pub struct Word(pub u64);

impl From<Word> for String {
    fn from(word: Word) -> String {
        word.to_string()
    }
}

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Word, String> {
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Word)
            .ok_or_else(|| {
                format!("Expected 8 bytes as 0x and 16 hexadecimal digits, found `{text}`")
            })
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_all_64_bits_through_json() {
        for value in [0, 42, (1 << 53) + 1, u64::MAX] {
            let json = serde_json::to_string(&Word(value)).unwrap();
            assert_eq!(json.len(), "\"0x0123456789abcdef\"".len());
            assert_eq!(serde_json::from_str::<Word>(&json).unwrap(), Word(value));
        }
    }

    #[test]
    fn a_word_that_is_not_hexadecimal_is_refused_with_the_value() {
        for text in ["42", "0x", "0xg", "0x10000000000000000"] {
            let error = serde_json::from_value::<Word>(text.into()).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
