//! Reports of the instruments that look at one thing and migrate nothing: `sterna dirty`, `sterna probe`, `sterna stream`.

use jiff::Timestamp;
use serde::Deserialize;

use crate::Tool;
use crate::dirty::{DIRTY_SCHEMA_NAME, DirtyReport};
use crate::probing::{PROBE_SCHEMA_NAME, ProbeReport};
use crate::stream::{STREAM_SCHEMA_NAME, StreamReport};

/// The report of one instrument.
#[derive(Clone, Debug, PartialEq)]
pub enum Instrument {
    /// Of `sterna dirty`.
    Dirty(Box<DirtyReport>),
    /// Of `sterna probe`.
    Probe(Box<ProbeReport>),
    /// Of `sterna stream`.
    Stream(Box<StreamReport>),
}

/// Why a document of an instrument cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstrumentError {
    /// Its version is of another major.
    #[error("Its schema version is {0}, and this Sterna reads 1; use the Sterna that wrote it")]
    Version(String),
    /// A field is missing or has another form.
    #[error("It is not as its schema says")]
    Form(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Header {
    schema: Option<String>,
    schema_version: Option<String>,
}

impl Instrument {
    /// Reads a document; None where it is that of no instrument.
    ///
    /// # Errors
    /// It says that it is one, and cannot be read as such.
    pub fn read(bytes: &[u8]) -> Option<Result<Instrument, InstrumentError>> {
        let header: Header = serde_json::from_slice(bytes).ok()?;
        let schema = header.schema?;
        let read = match schema.as_str() {
            DIRTY_SCHEMA_NAME => {
                serde_json::from_slice(bytes).map(|it| Instrument::Dirty(Box::new(it)))
            }
            PROBE_SCHEMA_NAME => {
                serde_json::from_slice(bytes).map(|it| Instrument::Probe(Box::new(it)))
            }
            STREAM_SCHEMA_NAME => {
                serde_json::from_slice(bytes).map(|it| Instrument::Stream(Box::new(it)))
            }
            _ => return None,
        };
        let version = header.schema_version.unwrap_or_default();
        if version.split('.').next() != Some("1") {
            return Some(Err(InstrumentError::Version(version)));
        }
        Some(read.map_err(InstrumentError::Form))
    }

    /// The command that wrote it.
    pub fn command(&self) -> &'static str {
        match self {
            Instrument::Dirty(_) => "sterna dirty",
            Instrument::Probe(_) => "sterna probe",
            Instrument::Stream(_) => "sterna stream",
        }
    }

    /// When it began, as RFC 3339 text in UTC.
    pub fn started_at(&self) -> &str {
        match self {
            Instrument::Dirty(it) => &it.start.started_at,
            Instrument::Probe(it) => &it.start.started_at,
            Instrument::Stream(it) => &it.start.started_at,
        }
    }

    /// The program that wrote it.
    pub fn tool(&self) -> &Tool {
        match self {
            Instrument::Dirty(it) => &it.start.tool,
            Instrument::Probe(it) => &it.start.tool,
            Instrument::Stream(it) => &it.start.tool,
        }
    }

    /// What does not hold for its numbers.
    pub fn warnings(&self) -> &[String] {
        match self {
            Instrument::Dirty(it) => &it.warnings,
            Instrument::Probe(it) => &it.warnings,
            Instrument::Stream(it) => &it.warnings,
        }
    }

    /// How long it took, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        match self {
            Instrument::Dirty(it) => it.summary.duration_seconds,
            Instrument::Probe(it) => it.duration_seconds,
            Instrument::Stream(it) => it.summary.duration_seconds,
        }
    }
}

/// Seconds from the beginning of the first to the beginning of each; None for one whose beginning is no time.
///
/// Each began by the clock of its machine, so reports of several machines are as far apart as their clocks say.
pub fn offsets(instruments: &[&Instrument]) -> Vec<Option<f64>> {
    let times: Vec<Option<Timestamp>> =
        instruments.iter().map(|it| it.started_at().parse().ok()).collect();
    let first = times.iter().flatten().min().copied();
    times
        .into_iter()
        .map(|it| Some((it?.as_nanosecond() - first?.as_nanosecond()) as f64 / 1e9))
        .collect()
}
