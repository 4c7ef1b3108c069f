//! The control connection: the pilot asks, a host answers, one question at a time.
//!
//! ```text
//!  pilot                                   host
//!    │  Request                              │
//!    │ ────────────────────────────────────► │
//!    │            Progress (none or several) │
//!    │ ◄──────────────────────────────────── │
//!    │                      Reply or Refused │
//!    │ ◄──────────────────────────────────── │
//! ```
//!
//! A frame is a little-endian 32-bit length, at most [`MAX_FRAME_BYTES`], and that many bytes of JSON.
//! JSON, since a control message is small and rare, and since a field added by a newer version is ignored by an older one.
//! The first request on a connection is [`Request::Hello`]; a host answers nothing else before it.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The control version this build speaks.
pub const VERSION: u16 = 1;

/// Longest control frame; samples of an hour at 10 Hz with 64 workers stay far below.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Which end of a migration a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where the guest runs first.
    Source,
    /// Where it shall run.
    Destination,
}

/// What the pilot wants of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Opens the connection; refused when the token or the version does not fit.
    Hello {
        /// Control version of the pilot.
        version: u16,
        /// The secret that the host was started with.
        token: String,
    },
    /// Reads the host's monotonic clock.
    Clock,
    /// Builds the guest: memory, content, workers (not yet running).
    Prepare(Box<HostConfig>),
    /// Starts the workers (source only).
    Start,
    /// Opens the migration socket (destination only).
    Listen {
        /// Where, and how.
        endpoint: Endpoint,
        /// The migration that may connect.
        session: [u8; 16],
    },
    /// Starts migrating to an address (source only).
    Migrate {
        /// Where the destination listens.
        endpoint: Endpoint,
        /// Names this migration to the destination.
        session: [u8; 16],
    },
    /// Changes something about a running migration (source only).
    Act(Act),
    /// Reads the state of the migration, with what is new since `passes_seen`.
    Status {
        /// Pass records that the pilot already has.
        passes_seen: usize,
    },
    /// Takes the samples gathered since the last time.
    Samples,
    /// Stops the workers and compares every page with what it must hold.
    Verify,
    /// Ends the host process.
    Shutdown,
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// Answer to `Hello`.
    Welcome {
        /// Control version of the host.
        version: u16,
        /// Process id on its machine.
        pid: u32,
    },
    /// Answer to `Clock`.
    Clock {
        /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
        now_ns: u64,
    },
    /// A long request is under way; the answer follows.
    Progress {
        /// What is being done.
        what: String,
        /// Units done so far.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Answer to `Prepare`.
    Prepared(Prepared),
    /// Answer to `Listen`.
    Listening {
        /// Where the source may connect.
        endpoint: Endpoint,
    },
    /// Answer to `Start`, `Migrate`, `Act`, `Shutdown`: done, at this moment of the host's clock.
    Done {
        /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
        at_ns: u64,
    },
    /// Answer to `Status`.
    Status(Box<HostStatus>),
    /// Answer to `Samples`.
    Samples(HostSamples),
    /// Answer to `Verify`.
    Verified(Verified),
    /// The request cannot be met; the text says why.
    Refused {
        /// Why, for people.
        error: String,
        /// Whether this machine lacks something, so that the scenario is unsupported here rather than wrong.
        unsupported: bool,
    },
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "transport", content = "address")]
pub enum Endpoint {
    /// `host:port`; port 0 lets the destination choose.
    Tcp(String),
    /// A path; empty lets the destination choose.
    Unix(String),
}

/// What a host is to build and how it shall migrate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostConfig {
    /// Which end this is.
    pub side: Side,
    /// Guest RAM.
    pub memory_bytes: u64,
    /// Idle, non-zero memory behind the workload's.
    pub ballast_bytes: u64,
    /// The workload in its compact text form.
    pub workload: String,
    /// Page size behind the memory: none, thp, 2MiB, 1GiB.
    pub huge_pages: String,
    /// Touch all memory before the start.
    pub prealloc: bool,
    /// Lock the memory.
    pub locked: bool,
    /// CPUs the workers are bound to; empty for all.
    pub cpus: Vec<usize>,
    /// NUMA nodes the memory comes from; empty for all.
    pub numa_nodes: Vec<usize>,
    /// Which dirty tracker: auto, wp-async, cooperative.
    pub tracker: String,
    /// Time between guest samples.
    pub sample_interval_ns: u64,
    /// Most bytes per second while the guest runs; `None` for no limit.
    pub max_bandwidth_bytes_per_second: Option<u64>,
    /// Whether the limit holds during the switchover too.
    pub limit_in_switchover: bool,
    /// Longest acceptable downtime, for the switchover decision.
    pub downtime_limit_ns: u64,
    /// Whether zero pages are found and sent as a mark.
    pub zero_page: bool,
    /// Bytes of stand-in device state.
    pub device_state_bytes: u64,
    /// Emulated wire: one-way delay.
    pub link_latency_ns: u64,
    /// Emulated wire: bytes per second; `None` for none.
    pub link_bytes_per_second: Option<u64>,
    /// A defect to commit on purpose, so that a test sees the claim fail.
    pub breakage: Option<String>,
}

/// What a host built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prepared {
    /// The dirty tracker in use.
    pub tracker: String,
    /// Why that one.
    pub tracker_reason: String,
    /// Bytes that one tracked write dirties.
    pub tracking_page_bytes: u64,
    /// Things the pilot should tell the user.
    pub warnings: Vec<String>,
}

/// A change to a running migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// Give up; the guest runs on at the source.
    Cancel,
    /// Stop the guest now and finish.
    Pause,
    /// Change the downtime limit.
    SetDowntimeLimit {
        /// The new limit.
        ns: u64,
    },
    /// Change the bandwidth limit.
    SetMaxBandwidth {
        /// The new limit; `None` for no limit.
        bytes_per_second: Option<u64>,
    },
}

/// Where a migration stands, as its host sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No migration yet.
    #[default]
    Idle,
    /// Connecting, greeting, first synchronisation.
    Setup,
    /// Memory moves while the guest runs.
    Active,
    /// The guest is stopped; the rest moves.
    Switchover,
    /// GO was sent, no answer yet: the source will never run the guest again.
    Committed,
    /// The guest runs on the destination.
    Completed,
    /// Given up on request; the guest runs on the source.
    Cancelled,
    /// Broken before the commit point; the guest runs on the source.
    Failed,
    /// GO was sent and the connection broke before an answer: only the destination can tell.
    Undecided,
}

/// The state of a migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostStatus {
    /// The host's clock when this was read.
    pub at_ns: u64,
    /// Where the migration stands.
    pub phase: Phase,
    /// Why it failed, was cancelled or is undecided.
    pub error: Option<String>,
    /// Guest RAM.
    pub total_bytes: u64,
    /// Raw bytes of the pages still to be sent.
    pub remaining_bytes: u64,
    /// Bytes that passed the token bucket so far, headers included.
    pub transferred_bytes: u64,
    /// The bandwidth estimate over the last 100 ms; `None` before the first.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Pending bytes under which the guest may be stopped; `None` before the first estimate.
    pub threshold_bytes: Option<u64>,
    /// Distinct pages found dirty by the last synchronisation over the time since the one before.
    pub dirty_rate_bytes_per_second: Option<u64>,
    /// Running pass, from 1; 0 before the first.
    pub pass: u32,
    /// Pages sent with content.
    pub pages_sent: u64,
    /// Pages sent as a zero mark.
    pub zero_pages: u64,
    /// Pages sent again while the guest ran.
    pub pages_resent: u64,
    /// Passes completed since `passes_seen`, then the final phase.
    pub passes: Vec<PassRecord>,
    /// The stamps of the switchover.
    pub stamps: Stamps,
}

/// One pass, or the final phase after the stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PassRecord {
    /// From 1; the final phase has the number after the last pass.
    pub number: u32,
    /// Whether this is the final phase, which is not a pass.
    pub is_final: bool,
    /// When its synchronisation began.
    pub started_ns: u64,
    /// When the next one began, or when the last byte was sent.
    pub ended_ns: u64,
    /// How long the synchronisation at its start took.
    pub sync_ns: u64,
    /// Distinct pages found dirty by that synchronisation.
    pub dirty_pages: u64,
    /// Pages sent with content.
    pub pages_sent: u64,
    /// Pages sent as a zero mark.
    pub zero_pages: u64,
    /// Pages that had been sent before.
    pub pages_resent: u64,
    /// Bytes sent, headers included.
    pub wire_bytes: u64,
    /// Raw bytes pending at its end, before the next synchronisation.
    pub remaining_bytes: u64,
    /// Writes the workers had made at its start.
    pub writes_at_start: u64,
    /// Writes the workers had made at its end.
    pub writes_at_end: u64,
}

/// Moments of a migration on the clock of the host where they happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Stamps {
    /// The migrate request was accepted.
    pub accepted_ns: Option<u64>,
    /// The first pass began to send.
    pub setup_done_ns: Option<u64>,
    /// The last worker stopped on the source.
    pub stopped_ns: Option<u64>,
    /// The final synchronisation was done.
    pub final_sync_done_ns: Option<u64>,
    /// The last byte of state was sent.
    pub final_sent_ns: Option<u64>,
    /// READY came.
    pub ready_ns: Option<u64>,
    /// GO was sent.
    pub go_ns: Option<u64>,
    /// The workers were released on the destination.
    pub resumed_ns: Option<u64>,
    /// RUNNING came, or the migration ended otherwise.
    pub ended_ns: Option<u64>,
    /// The workers were released on the source again.
    pub restored_ns: Option<u64>,
    /// Each worker's last write before it stopped, or first write after it was released.
    pub worker_edge_ns: Vec<Option<u64>>,
}

/// What a host saw of its guest and itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostSamples {
    /// In order of time.
    pub samples: Vec<HostSample>,
    /// Times in which a worker with work due made no progress.
    pub gaps: Vec<Gap>,
    /// Gaps that did not fit the log.
    pub gaps_lost: u64,
    /// Most memory the process had resident.
    pub resident_peak_bytes: Option<u64>,
    /// Write latencies before the migration began.
    pub latency_before: Option<LatencySummary>,
    /// Write latencies from then on.
    pub latency_since: Option<LatencySummary>,
}

/// One look at a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostSample {
    /// The host's clock.
    pub at_ns: u64,
    /// Writes of each worker so far.
    pub counts: Vec<u64>,
    /// CPU time so far, by thread class.
    pub cpu_ns: Vec<(String, u64)>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Write latencies since the sample before.
    pub latency: Option<LatencySummary>,
}

/// A worker's standstill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gap {
    /// Which worker.
    pub worker: u32,
    /// Its last progress before.
    pub start_ns: u64,
    /// Its first progress after.
    pub end_ns: u64,
}

/// A distribution of write latencies in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LatencySummary {
    /// Writes timed.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// Longest.
    pub max_ns: u64,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Verified {
    /// Pages compared.
    pub pages_checked: u64,
    /// Pages that differ.
    pub corrupt_pages: u64,
    /// The first of them.
    pub first: Vec<Corruption>,
}

/// A word that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Corruption {
    /// Page index.
    pub page: u64,
    /// Byte offset within the page.
    pub offset_bytes: u64,
    /// What the replay says.
    pub expected: u64,
    /// What memory holds.
    pub found: u64,
}

/// Why a control frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The peer is gone.
    #[error("The control connection was closed")]
    Closed,
    /// The connection failed, or a wait ran out.
    #[error("The control connection failed")]
    Io(#[source] io::Error),
    /// A length beyond the bound.
    #[error("A control frame claims {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLong(u64),
    /// The JSON is not what was expected.
    #[error("A control frame cannot be understood")]
    Malformed(#[source] serde_json::Error),
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => ControlError::Closed,
            _ => ControlError::Io(error),
        }
    }
}

/// Sends one request or reply as one write.
pub fn send<T: Serialize>(to: &mut impl Write, value: &T) -> Result<(), ControlError> {
    let bytes = encode(value)?;
    Ok(to.write_all(&bytes)?)
}

/// Receives one request or reply.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, ControlError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(ControlError::TooLong(length as u64));
    }
    // `take` lets the buffer grow with what really comes, not with what was claimed.
    let mut body = Vec::new();
    if from.take(length as u64).read_to_end(&mut body)? < length {
        return Err(ControlError::Closed);
    }
    decode(&body)
}

/// The bytes of one frame, length included.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ControlError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value).map_err(ControlError::Malformed)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(ControlError::TooLong(length as u64));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Decodes the body of a frame.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(ControlError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_have_golden_bytes() {
        #[track_caller]
        fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
            value: T,
            golden: &str,
        ) {
            let bytes = encode(&value).unwrap();
            assert_eq!(bytes[..4], (golden.len() as u32).to_le_bytes());
            assert_eq!(std::str::from_utf8(&bytes[4..]).unwrap(), golden);
            assert_eq!(receive::<T>(&mut bytes.as_slice()).unwrap(), value);
        }
        check(
            Request::Hello { version: 1, token: "t".to_owned() },
            r#"{"request":"hello","version":1,"token":"t"}"#,
        );
        check(Request::Act(Act::Cancel), r#"{"request":"act","act":"cancel"}"#);
        check(
            Request::Listen { endpoint: Endpoint::Tcp("[::1]:0".to_owned()), session: [1; 16] },
            r#"{"request":"listen","endpoint":{"transport":"tcp","address":"[::1]:0"},"session":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}"#,
        );
        check(Reply::Clock { now_ns: 5 }, r#"{"reply":"clock","now_ns":5}"#);
        check(
            Reply::Refused { error: "No".to_owned(), unsupported: true },
            r#"{"reply":"refused","error":"No","unsupported":true}"#,
        );
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored_and_missing_ones_default() {
        let status: HostStatus = decode(br#"{"phase":"active","novelty":[1]}"#).unwrap();
        assert_eq!(status, HostStatus { phase: Phase::Active, ..HostStatus::default() });
    }

    #[test]
    fn lies_are_refused() {
        #[track_caller]
        fn check(bytes: &[u8], expected: &str) {
            let error = receive::<Request>(&mut &bytes[..]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(&[0xff; 8], "claims 4294967295 bytes");
        check(&[4, 0, 0, 0, b'{'], "closed");
        check(&[2, 0, 0, 0, b'{', b'}'], "cannot be understood");
        check(&[], "closed");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = receive::<Request>(&mut bytes.as_slice());
            let _ = decode::<Reply>(&bytes);
        }
    }
}
