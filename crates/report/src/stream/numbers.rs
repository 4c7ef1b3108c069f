//! The numbers of an interval and of a whole trial, each as one side saw it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dirty::LatencyCell;

/// One of the two programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamSide {
    /// The one that was told what to do.
    #[default]
    Client,
    /// The one that listens.
    Server,
}

/// Why a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamEnding {
    /// Its time was over.
    Duration,
    /// All bytes were sent.
    Bytes,
    /// A signal came, as was expected without duration and bytes.
    Signal,
    /// A signal came before it was over.
    Interrupted,
    /// It broke; `error` says how.
    Failed,
}

/// What one side saw in one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamInterval {
    /// Which side.
    pub side: StreamSide,
    /// When it began.
    pub start_seconds: f64,
    /// When it ended.
    pub end_seconds: f64,
    /// Bytes of bulk pages that this side handed to its kernel; null where it sends none.
    pub sent_bytes: Option<u64>,
    /// The same per second.
    pub sent_bytes_per_second: Option<f64>,
    /// Bytes of bulk pages that this side took from its kernel; null where it receives none.
    pub received_bytes: Option<u64>,
    /// The same per second.
    pub received_bytes_per_second: Option<f64>,
    /// Requests that this side answered; null where it answers none.
    pub answered_requests: Option<u64>,
    /// How long its own requests took; null where it has none, or none came back.
    pub requests: Option<StreamTimes>,
    /// Segments that this side sent again; null where it does not use TCP.
    pub retransmits: Option<u64>,
    /// Smoothed round-trip time of the kernel, mean of its connections.
    pub rtt_ns: Option<u64>,
    /// Congestion windows of all its connections together.
    pub congestion_window_bytes: Option<u64>,
    /// Processor time of the threads that move pages.
    pub cpu_seconds: Option<f64>,
    /// The same for each GiB of pages that this side sent or received.
    pub cpu_seconds_per_gib: Option<f64>,
    /// Pages that the workload wrote at this side, repeats included, in bytes per second; null
    /// without one.
    pub touch_rate_bytes_per_second: Option<f64>,
}

/// What one side saw in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamSideSummary {
    /// From the beginning until its last thread had ended.
    pub duration_seconds: f64,
    /// Bytes of bulk pages that it handed to its kernel; null where it sends none.
    pub sent_bytes: Option<u64>,
    /// The same per second, until the last was handed over.
    pub sent_bytes_per_second: Option<f64>,
    /// Bytes of bulk pages that it took from its kernel; null where it receives none.
    pub received_bytes: Option<u64>,
    /// The same per second, from the beginning until the last had arrived.
    pub received_bytes_per_second: Option<f64>,
    /// Bytes that it handed to its kernel for all that, heads and requests included, before TLS.
    pub wire_sent_bytes: u64,
    /// Bytes that it took from its kernel for all that.
    pub wire_received_bytes: u64,
    /// Requests that it answered; null where it answers none.
    pub answered_requests: Option<u64>,
    /// How long its own requests took; null where it has none.
    pub requests: Option<RequestTimes>,
    /// What the kernel tells of its connections; null where none is TCP.
    pub tcp: Option<StreamTcp>,
    /// Processor time of the threads that move pages: with that of the kernel in their name, without
    /// that of its interrupts.
    pub cpu_seconds: Option<f64>,
    /// The same for each GiB of pages that it sent or received.
    pub cpu_seconds_per_gib: Option<f64>,
    /// Pages that the workload wrote, repeats included, in bytes per second; null without one.
    pub touch_rate_bytes_per_second: Option<f64>,
    /// Sends of pages from where they are; null where none was asked for.
    pub zero_copy: Option<ZeroCopyUse>,
    /// One for each connection that carried pages.
    pub lanes: Vec<StreamLane>,
    /// What broke this side; null when nothing did.
    pub error: Option<String>,
}

/// How long requests for pages took, from just before one was sent until all of the page was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestTimes {
    /// Those of pages that a virtual processor waits for.
    pub awaited: Option<StreamTimes>,
    /// Those of pages that were asked for ahead; null without any.
    pub ahead: Option<StreamTimes>,
    /// The first as a histogram: cells that are not empty, from short to long.
    pub cells: Vec<LatencyCell>,
    /// Requests that were sent and not answered before the end.
    pub unanswered: u64,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamTimes {
    /// How many there were.
    pub count: u64,
    /// Their mean, in nanoseconds.
    pub mean_ns: Option<f64>,
    /// Half of them were no longer.
    pub p50_ns: Option<u64>,
    /// 90 % of them were no longer.
    pub p90_ns: Option<u64>,
    /// 99 % of them were no longer.
    pub p99_ns: Option<u64>,
    /// 99.9 % of them were no longer.
    pub p99_9_ns: Option<u64>,
    /// The longest, in nanoseconds.
    pub max_ns: Option<u64>,
}

/// What the kernel tells of all TCP connections of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamTcp {
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Smoothed round-trip time, mean over the connections and over the looks at them.
    pub rtt_mean_ns: Option<u64>,
    /// The longest that was seen of it.
    pub rtt_max_ns: Option<u64>,
    /// The shortest round trip that the kernel knows.
    pub rtt_min_ns: Option<u64>,
    /// The largest that the congestion windows were together.
    pub congestion_window_max_bytes: Option<u64>,
}

/// Sends of pages from where they are, as the kernel tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ZeroCopyUse {
    /// How many there were.
    pub sends: u64,
    /// Of these, those that the kernel copied after all, as it does on loopback always.
    pub copied: u64,
    /// Sends that were made with a copy because the kernel had no room for another.
    pub refused: u64,
}

/// Which way pages travel on a connection, seen from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaneWay {
    /// To the server.
    #[default]
    Up,
    /// To the client.
    Down,
}

/// One connection that carries pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamLane {
    /// Which way pages travel on it.
    pub way: LaneWay,
    /// Its number among those of its way and kind, from 0.
    pub index: u16,
    /// Whether it carried requests and their pages alone.
    pub urgent: bool,
    /// Bytes of pages that this side sent or received on it.
    pub bytes: u64,
    /// Segments that this side sent again on it; null where it is not TCP.
    pub retransmits: Option<u64>,
    /// Smoothed round-trip time at the end.
    pub rtt_ns: Option<u64>,
    /// The congestion window at the end.
    pub congestion_window_bytes: Option<u64>,
    /// The largest segment.
    pub segment_bytes: Option<u64>,
    /// The congestion control in use.
    pub congestion: Option<String>,
}
