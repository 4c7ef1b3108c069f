//! The raw series of a report: everything that the summary was computed from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two sides of a migration.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where the guest ran first.
    Source,
    /// Where the guest goes.
    Destination,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Side::Source => "source",
            Side::Destination => "destination",
        })
    }
}

/// Who reports an event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventSide {
    /// The pilot, which decides.
    Pilot,
    /// The source.
    Source,
    /// The destination.
    Destination,
}

impl From<Side> for EventSide {
    fn from(side: Side) -> EventSide {
        match side {
            Side::Source => EventSide::Source,
            Side::Destination => EventSide::Destination,
        }
    }
}

/// What a row of `passes` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PassKind {
    /// Pages are sent while the guest runs.
    Pass,
    /// The rest is sent while the guest stands still. This is not counted as a pass.
    Final,
}

/// One pass: from the beginning of one synchronisation of the dirty bitmap to the beginning of the
/// next, while the guest runs. The synchronisation at the stop begins the row of kind `final`,
/// which ends when the destination has loaded everything. The last row may be one within which the
/// migration ended; it has no length, and of the rest what is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pass {
    /// Number of the pass, from 1. The row of kind `final` carries the next number.
    pub number: u64,
    /// Whether the guest ran (`pass`) or stood still (`final`).
    pub kind: PassKind,
    /// When the synchronisation that opens it began, in seconds on the pilot's clock
    /// (0 = migrate command accepted).
    pub started_seconds: f64,
    /// From there to the beginning of the next synchronisation, in seconds, the opening
    /// synchronisation included; for `final`, to the moment that the destination has loaded
    /// everything. Null when the run ended within it.
    pub length_seconds: Option<f64>,
    /// Length of the synchronisation that opens it, in seconds: from the request to read the
    /// tracker to the bitmap being complete and the tracker armed again. The guest runs meanwhile,
    /// except in `final`.
    pub sync_seconds: Option<f64>,
    /// Distinct 4 KiB pages that the opening synchronisation found written since the one before;
    /// all of guest memory in pass 1. Pages left over from the pass before and not written again
    /// are not in it. A coarser tracker counts every 4 KiB page of each unit that it found.
    pub dirty_pages_at_sync: Option<u64>,
    /// Pages of 4 KiB sent with their contents (also if compressed). Excludes zero pages.
    pub pages_sent: Option<u64>,
    /// Pages of 4 KiB that held only zeros and were sent as a mark.
    pub zero_pages: Option<u64>,
    /// Of the pages sent and the zero pages: those that this migration had already sent before.
    pub pages_resent: Option<u64>,
    /// Bytes given to the network within it, on all connections, headers included; excludes what
    /// the kernel adds (TCP, IP, retransmissions).
    pub wire_bytes: Option<u64>,
    /// `wire_bytes` / `length_seconds`. Null when either is unknown.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// Guest memory that still had to be sent when it ended, before the next synchronisation
    /// added to it, in bytes of whole pages.
    pub remaining_bytes_at_end: Option<u64>,
    /// Dirty rate over this pass: distinct pages that the synchronisation at its end found written,
    /// x 4 KiB / `length_seconds`. It saturates at the working set / length, therefore short passes
    /// show higher values than long ones. Null for `final`, where the guest stands still, and when
    /// the run ended within the pass.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// Touch rate over this pass: page writes by the guest, repeats included, x 4 KiB / second.
    /// Never below the dirty rate of a 4 KiB tracker except for sampling error. Null for `final`
    /// and without guest samples.
    pub touch_rate_bytes_per_second: Option<f64>,
    /// How far the guest's throughput fell from the beginning of the opening synchronisation until
    /// 100 ms after its end (or until the vCPUs were stopped on the source, if that came first), in
    /// percent of the baseline: 0 = not at all, 100 = it stood still, negative = faster. Null
    /// without a baseline or without guest samples.
    pub guest_dip_percent: Option<f64>,
}

/// One answer of the engine to a status poll. Every poll is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Poll {
    /// When the engine took the values, in seconds on the pilot's clock (0 = migrate command accepted).
    pub t_seconds: f64,
    /// State of the migration in the engine's own word, for example `active`.
    pub state: String,
    /// Number of the pass that is under way; null before the first.
    pub pass: Option<u64>,
    /// Guest memory still to be sent, in bytes of whole pages. Pages written since the last
    /// synchronisation are not in it.
    pub remaining_bytes: Option<u64>,
    /// Bytes given to the network since the migrate command, on all connections, headers included.
    pub transferred_bytes: Option<u64>,
    /// The engine's own estimate of its bandwidth, by which it decides when to switch over, in
    /// bytes per second. Not the mean over the time between two polls.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// The engine's own estimate of the dirty rate: distinct pages at its last synchronisation
    /// x 4 KiB / time since the one before, in bytes per second.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// When less than this remains, the engine synchronises and, if it is still so, switches over;
    /// in bytes.
    pub threshold_bytes: Option<u64>,
    /// What the engine expects the downtime to be if it switched over now, in seconds.
    pub expected_downtime_seconds: Option<f64>,
    /// How much of their time the guest's CPUs are held back by the engine, in percent; 0 means that
    /// it could throttle and does not.
    pub throttle_percent: Option<f64>,
}

/// How much the guest's workload got done in a short interval, seen from inside.
///
/// The source's last interval ends when the vCPUs were stopped there, and the destination's first
/// begins when they ran there; between them the guest stood still, and no interval covers that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuestSample {
    /// End of the interval, in seconds on the pilot's clock (0 = migrate command accepted).
    pub t_seconds: f64,
    /// Where the guest ran.
    pub side: Side,
    /// Length of the interval, in seconds.
    pub interval_seconds: f64,
    /// Page writes within the interval, for each worker; one write touches one page, repeats count.
    pub counts_per_worker: Vec<u64>,
    /// All workers' page writes / `interval_seconds`.
    pub writes_per_second: f64,
    /// Time within the interval that a worker on average spent on checking pages before their first write after a
    /// resume, in seconds. Lost work and the return to the baseline leave it out. Absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checking_seconds: Option<f64>,
    /// Time that single writes took within the interval; null when latency was not recorded.
    pub latency: Option<Latency>,
    /// The same writes as a histogram; absent when latency was not recorded, or only in percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_histogram: Option<LatencyHistogram>,
}

/// How many of an interval's writes took how long, in cells of half an octave that are not empty.
///
/// A cell begins at a power of two or in the middle between two of them: at 0, 1, 2, 3, 4, 6, 8, 12,
/// 16, 24 … nanoseconds, and ends where the next of these begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyHistogram {
    /// The shortest time of each cell, in nanoseconds, rising.
    pub from_ns: Vec<u64>,
    /// The number of writes in each cell; as many numbers as `from_ns` has.
    pub writes: Vec<u64>,
}

impl LatencyHistogram {
    /// Of cells by their shortest times; `None` where nothing was counted.
    pub fn of(cells: &[(u64, u64)]) -> Option<LatencyHistogram> {
        let (from_ns, writes) = cells.iter().copied().unzip();
        (!cells.is_empty()).then_some(LatencyHistogram { from_ns, writes })
    }

    /// The shortest time and the end of each cell in nanoseconds, and its number of writes.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let cells = self.from_ns.iter().zip(&self.writes);
        cells.map(|(from, writes)| (*from, LatencyHistogram::end_of(*from), *writes))
    }

    /// Where the cell ends that begins at this time.
    pub fn end_of(from_ns: u64) -> u64 {
        match from_ns {
            0 | 1 => from_ns + 1,
            // Half of its octave: the next power of two, or the middle before it.
            _ => from_ns.saturating_add(1 << (from_ns.ilog2() - 1)),
        }
    }
}

/// Distribution of the time that one page write takes, from just before it to just after it.
/// Waiting for the pace that the scenario asks for is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Writes that were timed.
    pub samples: u64,
    /// Half of the writes took at most this long, in nanoseconds.
    pub p50_ns: u64,
    /// 99 % of the writes took at most this long, in nanoseconds.
    pub p99_ns: u64,
    /// 99.9 % of the writes took at most this long, in nanoseconds.
    pub p999_ns: u64,
    /// The slowest write, in nanoseconds.
    pub max_ns: u64,
}

/// CPU time and memory of one side's process at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuSample {
    /// When it was read, in seconds on the pilot's clock (0 = migrate command accepted).
    pub t_seconds: f64,
    /// Whose process.
    pub side: Side,
    /// For each class of threads (for example `workload`, `migration`): CPU time since the process
    /// began, user and system, in seconds.
    pub classes: BTreeMap<String, f64>,
    /// Memory of the process that is resident, guest memory included, in bytes.
    pub resident_bytes: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When it happened, in seconds on the pilot's clock (0 = migrate command accepted).
    pub t_seconds: f64,
    /// Who says so.
    pub side: EventSide,
    /// What it is, as one stable word, for example `stopped`.
    pub kind: String,
    /// The same for people, in one sentence.
    pub text: String,
}

/// How one side's monotonic clock was mapped to the pilot's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Whose clock.
    pub side: Side,
    /// That side's clock minus the pilot's, in nanoseconds.
    pub offset_ns: i64,
    /// The true offset lies at most this far from `offset_ns`, in nanoseconds.
    pub uncertainty_ns: u64,
}

/// What would change how such a migration goes, as far as this one shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Stable name: `technique` (settings that would end it), `least-bandwidth`, `least-downtime`.
    pub code: String,
    /// What it is, in one sentence.
    pub text: String,
    /// The command to try; null when there is none.
    pub command: Option<String>,
    /// Completed passes on which it rests; null where it rests on none.
    pub passes: Option<u64>,
}

/// A reason to trust a number less, or a mistake in the set-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Stable name of the warning, in kebab-case.
    pub code: String,
    /// What was seen, in one sentence.
    pub text: String,
    /// What to do about it; null when nothing helps.
    pub advice: Option<String>,
}
