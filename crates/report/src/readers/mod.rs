//! Reading results, our own and those of other programs, into the one [`Report`].
//!
//! What a file is shows in the file itself, never in its name. What another program measured by our
//! definition of a number goes into that number's field; what it measured by a definition of its
//! own goes into the engine's details, or is named in a warning, and is never bent until it fits.
//!
//! | format | recognised by |
//! |---|---|
//! | report of `sterna run` | `"schema": "sterna-report"` |
//! | QEMU's guestperf, since 2016 | a `progress_history` beside `hardware` and `scenario` |
//! | iperf3 `-J` | `start`, `intervals` and `end` |
//! | `mig_mon mm_dirty` | its line `dirty-rate: … (MB/s), time (ms): …` |
//! | a spike log of mig_mon | lines of two numbers, time and delay |

mod foreign;
mod guestperf;
mod iperf3;
mod mig_mon;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};

use crate::{ReadError, Report, dirty::DIRTY_SCHEMA_NAME};

/// Files larger than this are refused: 256 MiB, many times the report of a migration of an hour.
pub const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// The program from which a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A report of ours.
    Sterna,
    /// The JSON of QEMU's guestperf.
    Guestperf,
    /// What `iperf3 -J` prints.
    Iperf3,
    /// What `mig_mon mm_dirty` prints.
    MigMonDirty,
    /// The spike log of mig_mon's server or client.
    MigMonSpikes,
}

impl Format {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Sterna => "a Sterna report",
            Format::Guestperf => "guestperf JSON",
            Format::Iperf3 => "iperf3 JSON",
            Format::MigMonDirty => "mig_mon mm_dirty output",
            Format::MigMonSpikes => "a mig_mon spike log",
        }
    }
}

/// A file that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it was.
    pub format: Format,
    /// What is in it. Where the format has something without a place here, a warning with the code
    /// `not-mapped` names it.
    pub report: Report,
}

/// Why a file cannot be read as a result.
#[derive(Debug, thiserror::Error)]
pub enum AnyReadError {
    /// The system would not let it be read.
    #[error("Cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any report.
    #[error(
        "{} is larger than {} MiB, which no report is; is it the right file?",
        path.display(),
        MOST_BYTES / (1024 * 1024)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is one of ours, and wrong.
    #[error("Cannot use {} as a report", path.display())]
    Ours {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ReadError,
    },
    /// It is the result of another program, and not as that program writes it.
    #[error("{} looks like {}, but {problem}", path.display(), format.as_str())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: Format,
        /// What is wrong with it.
        problem: String,
    },
    /// It begins as JSON and does not go on so.
    #[error("{} is not whole, or not JSON", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it breaks off.
        #[source]
        source: serde_json::Error,
    },
    /// It is nothing that is known here.
    #[error(
        "{} is no result that can be read: {what}; known are reports of `sterna run`, JSON of guestperf \
         and of `iperf3 -J`, the output of `mig_mon mm_dirty`, and mig_mon's spike logs",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
}

/// Reads a result of any known kind from a file.
///
/// At most [`MOST_BYTES`] are read, whatever the size of the file, also from a pipe.
///
/// # Errors
/// The file cannot be read, is too large, or is not a result that is known and whole.
pub fn read_any(path: &Path) -> Result<Found, AnyReadError> {
    let io_error = |source| AnyReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    if metadata.is_dir() {
        return Err(io_error(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > MOST_BYTES {
        return Err(AnyReadError::TooLarge { path: path.to_owned() });
    }
    read_any_from(path, file, MOST_BYTES)
}

/// Reads at most so much of whatever it is.
fn read_any_from(path: &Path, file: impl Read, most: u64) -> Result<Found, AnyReadError> {
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| AnyReadError::Io { path: path.to_owned(), source })?;
    if bytes.len() as u64 > most {
        return Err(AnyReadError::TooLarge { path: path.to_owned() });
    }
    read_any_bytes(path, &bytes)
}

/// Reads a result of any known kind; `path` is what errors call it.
///
/// # Errors
/// It is not a result that is known and whole.
pub fn read_any_bytes(path: &Path, bytes: &[u8]) -> Result<Found, AnyReadError> {
    let first = bytes.iter().find(|it| !it.is_ascii_whitespace());
    match first {
        Some(b'{') => json(path, bytes),
        Some(_) => text(path, &String::from_utf8_lossy(bytes)),
        None => Err(unknown(path, "it is empty")),
    }
}

/// The names by which documents are told apart. Their values are skipped and not kept.
#[derive(Deserialize)]
struct Header {
    schema: Option<serde_json::Value>,
    progress_history: Option<IgnoredAny>,
    hardware: Option<IgnoredAny>,
    scenario: Option<IgnoredAny>,
    start: Option<IgnoredAny>,
    intervals: Option<IgnoredAny>,
    end: Option<IgnoredAny>,
}

fn json(path: &Path, bytes: &[u8]) -> Result<Found, AnyReadError> {
    let header: Header = serde_json::from_slice(bytes)
        .map_err(|source| AnyReadError::NotJson { path: path.to_owned(), source })?;
    if let Some(schema) = &header.schema {
        return match schema.as_str() {
            Some(DIRTY_SCHEMA_NAME) => {
                Err(unknown(path, "it is a report of `sterna dirty`, which knows of no migration"))
            }
            _ => ours(path, bytes),
        };
    }
    let is_guestperf =
        header.progress_history.is_some() && header.hardware.is_some() && header.scenario.is_some();
    let is_iperf3 = header.start.is_some() && header.intervals.is_some() && header.end.is_some();
    if is_guestperf {
        return found(path, Format::Guestperf, guestperf::read(bytes));
    }
    if is_iperf3 {
        return found(path, Format::Iperf3, iperf3::read(bytes));
    }
    Err(unknown(path, "it is JSON without the fields of any known result"))
}

fn ours(path: &Path, bytes: &[u8]) -> Result<Found, AnyReadError> {
    let text = String::from_utf8_lossy(bytes);
    Report::read(&text)
        .map(|report| Found { format: Format::Sterna, report })
        .map_err(|source| AnyReadError::Ours { path: path.to_owned(), source })
}

fn text(path: &Path, text: &str) -> Result<Found, AnyReadError> {
    if mig_mon::is_dirty(text) {
        return found(path, Format::MigMonDirty, mig_mon::read_dirty(text));
    }
    if mig_mon::is_spikes(text) {
        return found(path, Format::MigMonSpikes, mig_mon::read_spikes(text));
    }
    let start: String = text.trim_start().chars().take(20).collect();
    Err(unknown(path, &format!("it begins with {start:?}")))
}

fn found(
    path: &Path,
    format: Format,
    report: Result<Report, String>,
) -> Result<Found, AnyReadError> {
    report.map(|report| Found { format, report }).map_err(|problem| AnyReadError::Foreign {
        path: path.to_owned(),
        format,
        problem,
    })
}

fn unknown(path: &Path, what: &str) -> AnyReadError {
    AnyReadError::Unknown { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_end_is_not_read_to_its_end() {
        let error = read_any_from(Path::new("pipe"), io::repeat(b' '), 1000).unwrap_err();
        assert!(matches!(error, AnyReadError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_number_is_no_text_of_anything() {
        for (text, expected) in [
            ("", "it is empty"),
            ("[1]", "it begins with \"[1]\""),
            ("1,2,3\n", "it begins with \"1,2,3"),
            ("{}", "without the fields of any known result"),
            ("{\"schema\": \"sterna-dirty\"}", "a report of `sterna dirty`"),
            ("{\"schema\": 7}", "Cannot use"),
            ("{\"start\": ", "not whole"),
        ] {
            let error = read_any_bytes(Path::new("f"), text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
