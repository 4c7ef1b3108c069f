//! What only one kind of probe sees.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stream of pictures as a viewer saw it. Its freezes are the probe's `outages`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlayoutDetail {
    /// Pictures a second that the source was asked for.
    pub frames_per_second: f64,
    /// What the player holds back before it shows the first picture, in seconds.
    pub buffer_seconds: f64,
    /// How often the picture stood still for more than one picture too long.
    pub freezes: u64,
    /// How long it stood still, in all, in seconds.
    pub frozen_seconds: f64,
    /// The longest freeze, in seconds; 0 when there was none.
    pub longest_freeze_seconds: f64,
    /// Pictures that were shown later than they should have been.
    pub late_frames: u64,
    /// Pictures that came after a newer one was shown, and were thrown away.
    pub dropped_frames: u64,
}

/// One long connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TcpDetail {
    /// Connections that came about.
    pub established: u64,
    /// How long it took to establish the first, in seconds; null when none was.
    pub first_connect_seconds: Option<f64>,
    /// Those that broke.
    pub reconnections: Vec<Reconnection>,
}

/// A connection that broke, and the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reconnection {
    /// When it was seen to be broken.
    pub broken_seconds: f64,
    /// What the system said.
    pub reason: String,
    /// From there until there was a new one, in seconds; null while there is none.
    pub reestablish_seconds: Option<f64>,
    /// Attempts that failed in between.
    pub attempts: u64,
}

/// Answers on the link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArpDetail {
    /// The Ethernet address that answers came from last; null when none came.
    pub mac: Option<String>,
    /// How often that address changed.
    pub mac_changes: u64,
    /// How often the owner said unasked where it is, as after a move.
    pub announcements: u64,
}

/// Answers to requests for a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpDetail {
    /// How many answers had each status. One of 500 and more does not count as an answer elsewhere.
    pub statuses: BTreeMap<String, u64>,
    /// How many requests ended in each error.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of all pages together.
    pub body_bytes: u64,
}

/// Records on a disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskDetail {
    /// Records of which the disk has said that they are safe.
    pub acknowledged: u64,
    /// The number of the last of them; null when there is none.
    pub last_acknowledged: Option<u64>,
    /// From when a record was due until it was safe: the longest, in seconds; null when none was.
    pub longest_stall_seconds: Option<f64>,
    /// The files, here or on the responder's machine.
    pub files: Vec<String>,
}

/// The responder's clocks against ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClockDetail {
    /// Its CLOCK_MONOTONIC against our CLOCK_MONOTONIC; it may stand still while its machine is stopped.
    pub monotonic: ClockRun,
    /// Its CLOCK_REALTIME against our CLOCK_MONOTONIC: the time of day, which is set and slewed.
    pub realtime: ClockRun,
    /// Its time of day less ours, in seconds, at the end; null when unknown.
    pub realtime_ahead_seconds: Option<f64>,
    /// By how much that may be wrong, in seconds.
    pub realtime_ahead_uncertainty_seconds: Option<f64>,
}

/// How one clock ran against ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClockRun {
    /// How much faster it ran since its last jump, in millionths; null when that is not known.
    pub drift_per_million: Option<f64>,
    /// By how much that may be wrong, in millionths.
    pub drift_uncertainty_per_million: Option<f64>,
    /// How often a stamp was smaller than one that the responder had given before.
    pub backwards: u64,
    /// Half of the fastest round trip: no single difference of the clocks is known better, in nanoseconds; null before the first.
    pub uncertainty_ns: Option<u64>,
    /// Every step that cannot be drift of up to 500 millionths.
    pub jumps: Vec<ClockJump>,
}

/// One step of a clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClockJump {
    /// When it was first seen.
    pub t_seconds: f64,
    /// How far, in seconds; positive is forward.
    pub by_seconds: f64,
    /// By how much that may be wrong, in seconds.
    pub uncertainty_seconds: f64,
}

/// Scrapes of a page of metrics. Lists end after 1,000 entries; counts do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsDetail {
    /// Pages that could be read.
    pub scrapes: u64,
    /// Series on the last of them.
    pub series: u64,
    /// Series that stood more than once on a page, or came again with a time stamp that they had before.
    pub duplicate_samples: u64,
    /// Lines that are no samples.
    pub unreadable_lines: u64,
    /// How often a counter was smaller than before.
    pub reset_count: u64,
    /// The counters.
    pub resets: Vec<ResetDetail>,
    /// How often a series was missing that had been there.
    pub gap_count: u64,
    /// The series.
    pub gaps: Vec<GapDetail>,
    /// How often a series was gone and one of the same name with other labels had come.
    pub label_change_count: u64,
    /// The series.
    pub label_changes: Vec<LabelChangeDetail>,
    /// How many scrapes ended in each error.
    pub errors: BTreeMap<String, u64>,
}

/// A counter that fell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResetDetail {
    /// When the lower value was scraped.
    pub t_seconds: f64,
    /// Name and labels.
    pub series: String,
    /// The value before; null if it is no finite number.
    pub from: Option<f64>,
    /// The value after; null if it is no finite number.
    pub to: Option<f64>,
}

/// A series that was missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GapDetail {
    /// When the first page without it was scraped.
    pub t_seconds: f64,
    /// Name and labels.
    pub series: String,
    /// When it was back; null if it was not.
    pub back_seconds: Option<f64>,
}

/// A series that came with other labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelChangeDetail {
    /// When the page with the new one was scraped.
    pub t_seconds: f64,
    /// The metric's name.
    pub name: String,
    /// Name and labels of one that is gone.
    pub before: String,
    /// Name and labels of one that has come.
    pub after: String,
}
