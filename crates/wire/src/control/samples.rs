//! What a host saw of its guest and of itself.

use serde::{Deserialize, Serialize};

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
    /// What happened to the migration by intent or by accident, since the last time.
    pub events: Vec<HostEvent>,
    /// Most memory the process had resident.
    pub resident_peak_bytes: Option<u64>,
    /// Write latencies before the migration began.
    pub latency_before: Option<LatencySummary>,
    /// Write latencies from then on.
    pub latency_since: Option<LatencySummary>,
    /// Times from when a page was due to its write, before the migration; `None` without a rate, and from a host of
    /// before there were any.
    pub since_due_before: Option<LatencySummary>,
    /// The same from then on.
    pub since_due_since: Option<LatencySummary>,
}

/// Something that happened at a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostEvent {
    /// The host's clock.
    pub at_ns: u64,
    /// One stable word.
    pub kind: String,
    /// One sentence.
    pub text: String,
}

/// One look at a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostSample {
    /// The host's clock.
    pub at_ns: u64,
    /// Writes of each worker so far.
    pub counts: Vec<u64>,
    /// Time that the workers together have spent so far on checking pages before their first write.
    pub checking_ns: u64,
    /// CPU time so far, by thread class.
    pub cpu_ns: Vec<(String, u64)>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Write latencies since the sample before.
    pub latency: Option<LatencySummary>,
    /// The same as counts in half octaves: the shortest time of each in nanoseconds, and its count. Empty from a host
    /// of before there were any.
    pub latency_half_octaves: Vec<(u64, u64)>,
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
    /// Pages of the guest's memory; 0 from a host of before it was said.
    pub memory_pages: u64,
    /// What workers found on pages before they wrote them for the first time after a resume; `None` where the method
    /// makes nothing right that was wrong, and from a host of before there was such a check.
    pub first_writes: Option<FirstWrites>,
}

/// What workers found on pages before they wrote them for the first time after a resume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FirstWrites {
    /// Pages compared.
    pub pages_checked: u64,
    /// Pages that differed; they are among the corrupt ones.
    pub corrupt_pages: u64,
    /// Time that all workers together spent on it.
    pub checking_ns: u64,
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
