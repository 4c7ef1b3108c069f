//! What both sides tell of a post-copy.

use serde::{Deserialize, Serialize};

/// What the source has sent since a switch to post-copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Served {
    /// Pages that the destination has asked for, each time it did.
    pub requests: u64,
    /// Pages sent because they were asked for.
    pub pages_by_request: u64,
    /// Pages sent because they were next.
    pub pages_by_background: u64,
    /// Bytes sent since the switch, headers included.
    pub wire_bytes: u64,
    /// Connections that were lost and made anew.
    pub recoveries: u64,
    /// Pages sent again, because they were under way when a connection was lost.
    pub pages_sent_again: u64,
    /// How long there was no connection.
    pub paused_ns: u64,
}

/// What the destination has met since a switch to post-copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PageFaults {
    /// Pages that the source was to send after the switch.
    pub discarded_pages: u64,
    /// How long it took to forget what was there of them.
    pub discard_ns: u64,
    /// The part of it that lay in the downtime.
    pub discard_stopped_ns: u64,
    /// Pages that have not come yet.
    pub missing_pages: u64,
    /// Waits for pages: a page that two workers wait for counts twice.
    pub faults: u64,
    /// Pages that came although they were there: normal when a request crosses the background stream.
    pub duplicates: u64,
    /// From a fault that was read to its page in place; `None` without any.
    pub latency: Option<FaultLatency>,
    /// How many of them took from 2^N to 2^(N+1) µs, by N; what took less counts for the first.
    pub latency_buckets: Vec<u64>,
    /// How long each worker has waited for pages.
    pub blocked_ns: Vec<u64>,
    /// How long all workers have waited at the same time.
    pub all_blocked_ns: u64,
}

/// A distribution of times to get a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FaultLatency {
    /// PageFaults timed.
    pub count: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// Longest.
    pub max_ns: u64,
}
