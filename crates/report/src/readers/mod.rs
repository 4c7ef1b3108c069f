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
//! | iperf3 `--json-stream` | documents with `event` and `data` |
//! | QMP `query-migrate` | answers with a `status` or `ram`, one or a log of them |
//! | HMP `info migrate` | its line `Migration status:`, since 10.1 `Status:` |
//! | `virsh domjobinfo` | its line `Job type:` |
//! | a log of virt-launcher | its lines `Migration info for UID: …` |
//!
//! Any of them may be packed by gzip, or be UTF-16, or have a byte order mark. A value that is odd is
//! unknown, and the rest of the file is read.

mod decode;
mod foreign;
mod guestperf;
mod iperf3;
mod lenient;
mod mig_mon;
mod qemu;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{ReadError, Report, dirty::DIRTY_SCHEMA_NAME};
pub use decode::{DecodeError, MOST_UNPACKED_BYTES};
pub use qemu::{Answer, AnswerSource, MigrationLog, MigrationParameters, QueryMigrate};

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
    /// QMP's `query-migrate`, one answer or a log.
    QueryMigrate,
    /// HMP's `info migrate`.
    InfoMigrate,
    /// `virsh domjobinfo`.
    JobInfo,
    /// The log of KubeVirt's virt-launcher.
    LauncherLog,
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
            Format::QueryMigrate => "QMP query-migrate",
            Format::InfoMigrate => "HMP info migrate",
            Format::JobInfo => "virsh domjobinfo",
            Format::LauncherLog => "a virt-launcher log",
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
    /// The answers themselves, where the file holds what QEMU or libvirt says of a migration.
    pub migration: Option<MigrationLog>,
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
    /// It is packed, and not as it should be.
    #[error("Cannot read {}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DecodeError,
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
         and of `iperf3 -J`, the output of `mig_mon mm_dirty`, mig_mon's spike logs, QMP `query-migrate`, \
         HMP `info migrate`, `virsh domjobinfo`, and logs of virt-launcher",
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
    let text = decode::text(bytes)
        .map_err(|source| AnyReadError::Undecodable { path: path.to_owned(), source })?;
    let begin = text.trim_start();
    if begin.is_empty() {
        return Err(unknown(path, "it is empty"));
    }
    // Reports of ours are large, and are whole as they are.
    if begin.starts_with('{')
        && let Ok(Header { schema: Some(schema) }) = serde_json::from_str::<Header>(&text)
    {
        return of_schema(path, &schema, &text);
    }
    if let Some(found) = lines(path, &text)? {
        return Ok(found);
    }
    documents(path, &text)
}

/// The name by which our documents are told apart. All else is skipped and not kept.
#[derive(Deserialize)]
struct Header {
    schema: Option<Value>,
}

fn of_schema(path: &Path, schema: &Value, text: &str) -> Result<Found, AnyReadError> {
    match schema.as_str() {
        Some(DIRTY_SCHEMA_NAME) => {
            Err(unknown(path, "it is a report of `sterna dirty`, which knows of no migration"))
        }
        _ => ours(path, text),
    }
}

/// Formats that are lines of text.
fn lines(path: &Path, text: &str) -> Result<Option<Found>, AnyReadError> {
    if mig_mon::is_dirty(text) {
        return found(path, Format::MigMonDirty, mig_mon::read_dirty(text)).map(Some);
    }
    if mig_mon::is_spikes(text) {
        return found(path, Format::MigMonSpikes, mig_mon::read_spikes(text)).map(Some);
    }
    Ok(qemu::of_text(text).map(of_log))
}

fn of_log(log: MigrationLog) -> Found {
    let format = match log.source {
        AnswerSource::Qmp => Format::QueryMigrate,
        AnswerSource::Hmp => Format::InfoMigrate,
        AnswerSource::JobInfo => Format::JobInfo,
        AnswerSource::Launcher => Format::LauncherLog,
    };
    Found { format, report: qemu::report(&log), migration: Some(log) }
}

/// Formats that are documents of JSON, with whatever stands around them.
fn documents(path: &Path, text: &str) -> Result<Found, AnyReadError> {
    let mut documents = lenient::documents(text);
    let known = documents.values.iter().position(|it| kind(it).is_some());
    let mut read = if let Some(at) = known {
        let more = documents.values.len() - 1;
        let value = documents.values.swap_remove(at);
        let mut read = document(path, value)?;
        if more > 0 {
            let text = format!("The file has {more} more documents, which were not read");
            foreign::warn(&mut read.report, "more-documents", text);
        }
        read
    } else if let Some(value) = iperf3::of_events(&documents.values) {
        found(path, Format::Iperf3, iperf3::read(value))?
    } else if let Some(log) = qemu::of_documents(&documents) {
        // What stands around the answers of a monitor belongs to its log.
        documents.has_other_text = false;
        of_log(log)
    } else {
        return Err(nothing(path, text, !documents.values.is_empty()));
    };
    if documents.has_other_text && read.format != Format::Sterna {
        let text = "There is text around the document, which was not read";
        foreign::warn(&mut read.report, "text-around", text);
    }
    if documents.not_numbers > 0 && read.format != Format::Sterna {
        let text =
            format!("{} values are `nan` or infinite and unknown here", documents.not_numbers);
        foreign::warn(&mut read.report, "not-a-number", text);
    }
    Ok(read)
}

/// What a document is, by the names of its fields.
fn kind(value: &Value) -> Option<Format> {
    let has = |name: &str| value.get(name).is_some_and(|it| !it.is_null());
    let is_error_alone =
        || value.as_object().is_some_and(|it| it.len() == 1) && value["error"].is_string();
    match () {
        () if has("schema") => Some(Format::Sterna),
        () if has("progress_history") && has("hardware") && has("scenario") => {
            Some(Format::Guestperf)
        }
        () if has("start") && has("intervals") && has("end") => Some(Format::Iperf3),
        () if is_error_alone() => Some(Format::Iperf3),
        () => None,
    }
}

fn document(path: &Path, value: Value) -> Result<Found, AnyReadError> {
    match kind(&value) {
        Some(Format::Guestperf) => found(path, Format::Guestperf, guestperf::read(value)),
        Some(Format::Iperf3) => found(path, Format::Iperf3, iperf3::read(value)),
        _ => {
            let schema = value.get("schema").cloned().unwrap_or_default();
            of_schema(path, &schema, &value.to_string())
        }
    }
}

/// Why nothing was found.
fn nothing(path: &Path, text: &str, has_documents: bool) -> AnyReadError {
    match serde_json::from_str::<Header>(text) {
        Err(source) if text.trim_start().starts_with('{') && !has_documents => {
            AnyReadError::NotJson { path: path.to_owned(), source }
        }
        _ if text.split_whitespace().collect::<String>() == r#"{"return":{}}"# => unknown(
            path,
            "it is an empty answer, which QEMU gives to `query-migrate` before its first migration; \
             ask during a migration or after it",
        ),
        _ if has_documents => unknown(path, "it is JSON without the fields of any known result"),
        _ => {
            let start: String = text.trim_start().chars().take(20).collect();
            unknown(path, &format!("it begins with {start:?}"))
        }
    }
}

fn ours(path: &Path, text: &str) -> Result<Found, AnyReadError> {
    Report::read(text)
        .map(|report| Found { format: Format::Sterna, report, migration: None })
        .map_err(|source| AnyReadError::Ours { path: path.to_owned(), source })
}

fn found(
    path: &Path,
    format: Format,
    report: Result<Report, String>,
) -> Result<Found, AnyReadError> {
    report
        .map(|report| Found { format, report, migration: None })
        .map_err(|problem| AnyReadError::Foreign { path: path.to_owned(), format, problem })
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
