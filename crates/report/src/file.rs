//! Reports as text and as files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

use serde::Deserialize;
use serde_json::Value;

use crate::lines::numbers_in_one_line;
use crate::{Report, SCHEMA_NAME, SCHEMA_VERSION, Summary};

/// Why a text is not a report that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not JSON, or not a JSON object with a header.
    #[error("The text is not a report: expected a JSON object with `schema` and `schema_version`")]
    NotAReport(#[source] serde_json::Error),
    /// The JSON is a document of another kind.
    #[error("The document's `schema` is `{found}`, expected `{SCHEMA_NAME}`")]
    OtherDocument {
        /// What its field `schema` says.
        found: String,
    },
    /// `schema_version` is not `major.minor`.
    #[error(
        "The report's `schema_version` is `{found}`, expected two numbers such as `{SCHEMA_VERSION}`"
    )]
    Version {
        /// What its field `schema_version` says.
        found: String,
    },
    /// The report was written by a later major version.
    #[error(
        "The report has schema version {found}, this program reads up to {SCHEMA_VERSION} and later minor \
         versions of it; use a newer version of the program"
    )]
    TooNew {
        /// The version of the report.
        found: String,
    },
    /// The report has a major version that was never published or is no longer read.
    #[error(
        "The report has schema version {found}, which is older than any that this program reads ({SCHEMA_VERSION})"
    )]
    TooOld {
        /// The version of the report.
        found: String,
    },
    /// A number of the summary stands under another unit than the schema's.
    #[error(
        "The report's `summary.{found}` has another unit than the schema's `{expected}`; convert it and name it so"
    )]
    OtherUnit {
        /// The field's name in the report.
        found: String,
        /// The name that the schema has for it.
        expected: String,
    },
    /// The header is right, but a field is missing or has another type.
    #[error("The report does not have the shape of its schema version {version}")]
    Shape {
        /// The version of the report.
        version: String,
        /// Where and what, as the JSON reader says it.
        #[source]
        source: serde_json::Error,
    },
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("Cannot write the report to `{}`", path.display())]
pub struct WriteError {
    /// Where it should have gone.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Report {
    /// The report as indented JSON that ends with a newline; arrays of numbers stand in one line.
    ///
    /// JSON has no NaN and no infinity: they become null. A producer that lets one into a field
    /// that cannot be null makes a report that [`Report::read`] refuses.
    pub fn to_json_pretty(&self) -> String {
        let text = serde_json::to_string_pretty(self)
            .expect("a report has only text as map keys and cannot fail to serialise");
        let mut text = numbers_in_one_line(&text);
        text.push('\n');
        text
    }

    /// Reads a report of this major version of the schema, earlier and later minor versions included.
    ///
    /// What a later minor version added is not kept. Fails when the text is not a report, when its
    /// major version is another, or when it contradicts the schema.
    pub fn read(text: &str) -> Result<Report, ReadError> {
        let header: Header = serde_json::from_str(text).map_err(ReadError::NotAReport)?;
        header.check()?;
        header.check_units()?;
        serde_json::from_str(text)
            .map_err(|source| ReadError::Shape { version: header.schema_version, source })
    }

    /// Writes the report as JSON, so that a reader sees the old file or the whole new one.
    ///
    /// A temporary file beside the target is renamed over it, also where the target is a symbolic
    /// link. A target that is no regular file (a pipe, a terminal, `/dev/null`) is written to
    /// directly, because renaming would replace the device. Nothing is left behind on failure.
    pub fn write_atomically(&self, path: &Path) -> Result<(), WriteError> {
        write_atomically(path, self.to_json_pretty().as_bytes())
    }
}

/// Writes any document as [`Report::write_atomically`] writes a report.
///
/// # Errors
/// As there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write(path, bytes).map_err(|source| WriteError { path: path.to_owned(), source })
}

/// The part of a report that is the same in all versions.
#[derive(Deserialize)]
struct Header {
    schema: String,
    schema_version: String,
    #[serde(default)]
    summary: Option<Names>,
}

/// The names of an object's fields; what is no object has none, and is refused later with its place.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Names, D::Error> {
        let value = Value::deserialize(from)?;
        Ok(Names(value.as_object().map_or(Vec::new(), |it| it.keys().cloned().collect())))
    }
}

impl Header {
    fn check(&self) -> Result<(), ReadError> {
        if self.schema != SCHEMA_NAME {
            return Err(ReadError::OtherDocument { found: self.schema.clone() });
        }
        let found = || self.schema_version.clone();
        let major =
            major(&self.schema_version).ok_or_else(|| ReadError::Version { found: found() })?;
        let ours = major_of_this_version();
        match major {
            _ if major > ours => Err(ReadError::TooNew { found: found() }),
            _ if major < ours => Err(ReadError::TooOld { found: found() }),
            _ => Ok(()),
        }
    }
}

impl Header {
    /// A field that is absent is unknown, so `downtime_ms` in place of `downtime_seconds` would be lost without a word.
    fn check_units(&self) -> Result<(), ReadError> {
        let Some(Names(names)) = &self.summary else { return Ok(()) };
        let known = serde_json::to_value(Summary::default()).unwrap_or_default();
        let known: Vec<&String> = known.as_object().into_iter().flatten().map(|it| it.0).collect();
        for found in names.iter().filter(|it| !known.contains(it)) {
            let Some(stem) = stem(found) else { continue };
            let same = |it: &&&String| crate::file::stem(it) == Some(stem) && !names.contains(it);
            if let Some(expected) = known.iter().find(same) {
                let (found, expected) = (found.clone(), (*expected).clone());
                return Err(ReadError::OtherUnit { found, expected });
            }
        }
        Ok(())
    }
}

/// The name of a quantity without its unit; `None` where no unit is known in it.
fn stem(name: &str) -> Option<&str> {
    const UNITS: [&str; 22] = [
        "_bytes_per_second",
        "_bits_per_second",
        "_pages_per_second",
        "_mbit_per_second",
        "_mib_per_second",
        "_mb_per_second",
        "_mbps",
        "_gbps",
        "_seconds",
        "_secs",
        "_sec",
        "_s",
        "_milliseconds",
        "_ms",
        "_us",
        "_ns",
        "_bytes",
        "_kib",
        "_mib",
        "_gib",
        "_mb",
        "_kb",
    ];
    UNITS.iter().find_map(|unit| name.strip_suffix(unit))
}

fn major_of_this_version() -> u64 {
    major(SCHEMA_VERSION).expect("our own version is major.minor")
}

fn major(version: &str) -> Option<u64> {
    let (major, minor) = version.split_once('.')?;
    minor.parse::<u64>().ok()?;
    major.parse().ok()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            File::options().write(true).open(path)?.write_all(bytes)
        }
        Ok(_) => replace(&fs::canonicalize(path)?, bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(path, bytes),
        Err(error) => Err(error),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report; the file may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "The path does not name a file")
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", process::id()));
    Ok(path.with_file_name(temporary))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    // Without this, a crash soon after the rename could leave an empty file under the final name.
    file.sync_all()
}
