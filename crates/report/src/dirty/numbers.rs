//! The numbers of an interval and of a whole run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Integrity;

/// What was seen in one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyInterval {
    /// When it began.
    pub start_seconds: f64,
    /// When it ended.
    pub end_seconds: f64,
    /// Pages written, repeats included.
    pub touched_pages: u64,
    /// The same per second.
    pub touch_rate_pages_per_second: Option<f64>,
    /// The same in bytes, where each page counts as 4096.
    pub touch_rate_bytes_per_second: Option<f64>,
    /// Different pages written, computed from the order of pages: exact up to four million writes of
    /// a worker, above that on average where pages are drawn.
    pub distinct_pages: u64,
    /// The same per second: what a migration would have to send again.
    pub dirty_rate_pages_per_second: Option<f64>,
    /// The same in bytes.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// The share of the time in which a worker had a processor, from 0 to 1, as the mean of all
    /// workers.
    pub load: Option<f64>,
    /// How many times without progress, of 2 ms or more, ended in it.
    pub gaps: u64,
    /// The longest of them, in nanoseconds; null when there was none.
    pub longest_gap_ns: Option<u64>,
    /// How long its writes took; null when they are not timed, or there were none.
    pub latency: Option<DirtyTimes>,
    /// Time since due, as in the summary.
    #[serde(default)]
    pub since_due: Option<DirtyTimes>,
}

/// The numbers of a run, or of what has passed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtySummary {
    /// Why it ended; null while it goes on.
    pub ended_by: Option<DirtyEnding>,
    /// From the release of the workers until the last of them had stopped.
    pub duration_seconds: f64,
    /// Pages written, repeats included.
    pub touched_pages: u64,
    /// The same in bytes, where each page counts as 4096.
    pub touched_bytes: u64,
    /// Pages written per second, repeats included: what the rate asks for.
    pub touch_rate_pages_per_second: Option<f64>,
    /// The same in bytes, where each page counts as 4096.
    pub touch_rate_bytes_per_second: Option<f64>,
    /// The touch rate that was asked for; null when there was no limit, or when it changes.
    pub asked_rate_pages_per_second: Option<f64>,
    /// Whether at least 99 % of it was reached; null when there was none.
    pub rate_reached: Option<bool>,
    /// What was reached without a limit in the first tenth of a second, where a share of it was asked
    /// for; null otherwise.
    pub full_speed_pages_per_second: Option<u64>,
    /// Different pages written.
    pub distinct_pages: u64,
    /// Different pages written within an interval, per second, as the mean of all whole intervals.
    pub dirty_rate_pages_per_second: Option<f64>,
    /// The same in bytes.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// The share of the time in which a worker had a processor, from 0 to 1, as the mean of all
    /// workers.
    pub load: Option<f64>,
    /// Processor time of all workers.
    pub cpu_seconds: Option<f64>,
    /// How many times without progress, of 2 ms or more, there were.
    pub gaps: u64,
    /// The longest of them, in nanoseconds; null when there was none.
    pub longest_gap_ns: Option<u64>,
    /// Single long writes that stand in the stall log; null when there is none.
    pub stalls_noted: Option<u64>,
    /// Those that came too fast to be noted; null when there is no stall log.
    pub stalls_lost: Option<u64>,
    /// How many times smaller zstd made a sample of the memory, page by page; null when it was not
    /// asked for.
    pub compressibility: Option<f64>,
    /// Whether the memory was found as it must be.
    pub integrity: Integrity,
    /// Looks at pages, each of them whole; null when nothing was checked.
    pub pages_checked: Option<u64>,
    /// Pages that were found wrong; null when nothing was checked.
    pub corrupt_pages: Option<u64>,
    /// Service time: how long the writes took; null when they are not timed, or there were none.
    pub latency: Option<DirtyTimes>,
    /// Time since due: for each page that the rate made due, from the moment when it was due to the end of its write.
    /// A page that was due in a stall counts with what was left of it, also if the stall made its worker give it up
    /// (corrected for coordinated omission). That pages due within 0.9 ms are written together is no delay. Null
    /// without a rate, and when writes are not timed.
    #[serde(default)]
    pub since_due: Option<DirtyTimes>,
    /// What reading the clock costs for each write, in nanoseconds; null when they are not timed.
    pub timing_clock_ns: Option<f64>,
    /// What recording adds to that, in nanoseconds; null when they are not timed.
    pub timing_record_ns: Option<f64>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyEnding {
    /// Its time was over.
    Duration,
    /// A signal came, as was expected without a duration.
    Signal,
    /// A signal came before its time was over.
    Interrupted,
    /// Nobody read its output any more.
    Unread,
}

/// Times of single writes: service time, from the end of one write to the end of the next, or time since due.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyTimes {
    /// How many there were.
    pub count: u64,
    /// Their mean, in nanoseconds.
    pub mean_ns: Option<f64>,
    /// Half of the writes took no longer.
    pub p50_ns: Option<u64>,
    /// 90 % of the writes took no longer.
    pub p90_ns: Option<u64>,
    /// 99 % of the writes took no longer.
    pub p99_ns: Option<u64>,
    /// 99.9 % of the writes took no longer.
    pub p99_9_ns: Option<u64>,
    /// 99.99 % of the writes took no longer.
    pub p99_99_ns: Option<u64>,
    /// 99.999 % of the writes took no longer.
    pub p99_999_ns: Option<u64>,
    /// The longest, in nanoseconds.
    pub max_ns: Option<u64>,
}
