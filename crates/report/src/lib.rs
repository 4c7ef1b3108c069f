//! What was seen: the stable report of one migration, its JSON Schema and the statistics behind it.
//!
//! [`Report`] is the boundary type: engines and the pilot fill it, renderers and comparisons read it.
//! The doc comment of each field is the definition of its number, and it is also the description
//! that users find in the [`schema()`]; there is no second place that could say something else.
//!
//! Four rules hold everywhere:
//!
//! * Unknown is `null`, never 0. A 0 was measured.
//! * Units are in the names; JSON has base units only.
//! * Times named `t_seconds` or `started_seconds` are on the pilot's clock, where 0 is the moment
//!   that the migrate command was accepted. Negative times belong to the warm-up.
//! * Within a major version fields are only added, never renamed, retyped or removed.
//!
//! Nothing is rendered here: see the `render` crate.

#![forbid(unsafe_code)]

pub mod comparison;
pub mod dirty;
pub mod doctor;
mod document;
mod file;
mod fleet;
pub mod foresight;
mod hops;
mod identity;
pub mod instrument;
mod integrity;
mod lines;
mod probe;
pub mod probing;
pub mod readers;
mod report;
mod schema;
mod series;
pub mod statistics;
pub mod stream;
mod summary;
mod threshold;
mod verdict;

pub use document::Document;
pub use file::{ReadError, WriteError, write_atomically};
pub use fleet::{Fleet, FleetGuest, Spread};
pub use hops::Hop;
pub use identity::{Control, Engine, Host, PeerVersions, Tool, Tracker};
pub use integrity::{
    CorruptPage, DiskDefect, DiskIntegrity, FirstWriteCheck, Integrity, IntegrityDetail, Word,
};
pub use probe::{Direction, Outage, Probe, RoundTrip};
pub use report::{Report, SCHEMA_NAME, SCHEMA_VERSION};
pub use schema::{schema, schema_of};
pub use series::{
    Advice, Clock, CpuSample, Event, EventSide, GuestSample, Latency, LatencyHistogram, Pass,
    PassKind, Poll, Side, Warning,
};
pub use summary::{
    BlackoutPhase, ClassCpu, CpuBySide, LostCause, ResidentPeak, Resumption, Summary, WriteLatency,
};
pub use threshold::{Threshold, ThresholdOutcome};
pub use verdict::{Circumstances, FailedIn, Verdict};

/// The page in which every count of pages is given, whatever the tracker's own page is.
pub const PAGE_BYTES: u64 = 4096;
