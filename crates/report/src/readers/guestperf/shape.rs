//! The JSON of guestperf, of all its generations: what one of them lacks is optional.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::super::lenient::{list, maybe, or_default};

/// Fields that no generation known here has.
type Rest = BTreeMap<String, IgnoredAny>;

#[derive(Deserialize)]
pub(super) struct File {
    pub hardware: Hardware,
    pub scenario: Scenario,
    #[serde(default, deserialize_with = "list")]
    pub progress_history: Vec<Progress>,
    #[serde(default, deserialize_with = "list")]
    pub guest_timings: Vec<Timing>,
    #[serde(default, deserialize_with = "list")]
    pub qemu_timings: Vec<Timing>,
    #[serde(default, deserialize_with = "list")]
    pub vcpu_timings: Vec<Timing>,
    /// Since 10.0.
    #[serde(default, deserialize_with = "maybe")]
    pub result: Option<Outcome>,
    #[serde(default, deserialize_with = "maybe")]
    pub binary: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub dst_host: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub kernel: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub initrd: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub transport: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub sleep: Option<f64>,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Deserialize)]
pub(super) struct Hardware {
    #[serde(default, deserialize_with = "maybe")]
    pub cpus: Option<u64>,
    /// In GiB.
    #[serde(default, deserialize_with = "maybe")]
    pub mem: Option<u64>,
    #[serde(default)]
    pub src_cpu_bind: Option<Vec<Value>>,
    #[serde(default)]
    pub src_mem_bind: Option<Vec<Value>>,
    #[serde(default)]
    pub dst_cpu_bind: Option<Vec<Value>>,
    #[serde(default)]
    pub dst_mem_bind: Option<Vec<Value>>,
    /// Any text that is not empty is true, as its command line has it.
    pub prealloc_pages: Option<Value>,
    pub huge_pages: Option<Value>,
    pub locked_pages: Option<Value>,
    /// Since 10.0.
    #[serde(default, deserialize_with = "maybe")]
    pub dirty_ring_size: Option<u64>,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Deserialize)]
pub(super) struct Scenario {
    #[serde(default, deserialize_with = "maybe")]
    pub name: Option<String>,
    /// In milliseconds.
    #[serde(default, deserialize_with = "maybe")]
    pub downtime: Option<u64>,
    /// In MiB/s.
    #[serde(default, deserialize_with = "maybe")]
    pub bandwidth: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub max_iters: Option<u64>,
    /// In seconds.
    #[serde(default, deserialize_with = "maybe")]
    pub max_time: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub pause: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub pause_iters: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub post_copy: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub post_copy_iters: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub auto_converge: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub auto_converge_step: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub compression_mt: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub compression_mt_threads: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub compression_xbzrle: bool,
    /// In percent of the guest's memory.
    #[serde(default, deserialize_with = "maybe")]
    pub compression_xbzrle_cache: Option<u64>,
    /// Since about 2022.
    #[serde(default, deserialize_with = "or_default")]
    pub multifd: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub multifd_channels: Option<u64>,
    /// Since 10.0.
    #[serde(default)]
    pub multifd_compression: Option<Value>,
    /// Since about 2023.
    #[serde(default, deserialize_with = "or_default")]
    pub dirty_limit: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub x_vcpu_dirty_limit_period: Option<u64>,
    /// In MB/s.
    #[serde(default, deserialize_with = "maybe")]
    pub vcpu_dirty_limit: Option<u64>,
    #[serde(flatten)]
    pub rest: Rest,
}

/// An answer to `query-migrate`, kept where the count of synchronisations had grown, and the last.
#[derive(Deserialize)]
pub(super) struct Progress {
    pub status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub ram: Ram,
    /// Seconds since 1970.
    pub now: f64,
    /// In milliseconds; 0 while there is none.
    #[serde(default, deserialize_with = "maybe")]
    pub duration: Option<f64>,
    #[serde(default, deserialize_with = "maybe")]
    pub downtime: Option<f64>,
    #[serde(default, deserialize_with = "maybe")]
    pub downtime_expected: Option<f64>,
    #[serde(default, deserialize_with = "maybe")]
    pub setup_time: Option<f64>,
    #[serde(default, deserialize_with = "maybe")]
    pub throttle_pcent: Option<f64>,
    /// In microseconds.
    #[serde(default, deserialize_with = "maybe")]
    pub dirty_limit_throttle_time_per_round: Option<f64>,
    #[serde(default, deserialize_with = "maybe")]
    pub dirty_limit_ring_full_time: Option<f64>,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Default, Deserialize)]
pub(super) struct Ram {
    #[serde(default, deserialize_with = "maybe")]
    pub transferred_bytes: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub remaining_bytes: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub total_bytes: Option<u64>,
    /// Zero pages.
    #[serde(default, deserialize_with = "maybe")]
    pub duplicate_pages: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub skipped_pages: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub normal_pages: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub normal_bytes: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub dirty_rate_pps: Option<f64>,
    /// Millions of bits per second, whatever its name says.
    #[serde(default, deserialize_with = "maybe")]
    pub transfer_rate_mbs: Option<f64>,
    /// The count of synchronisations.
    #[serde(default, deserialize_with = "maybe")]
    pub iterations: Option<u64>,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Timing {
    pub tid: i64,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// Milliseconds: for a GiB, or of CPU time.
    pub value: f64,
}

#[derive(Deserialize)]
pub(super) struct Outcome {
    #[serde(default, deserialize_with = "maybe")]
    pub success: Option<bool>,
    #[serde(flatten)]
    pub rest: Rest,
}

impl File {
    /// The fields that nobody here knows, with where they stand.
    pub(super) fn unknown_fields(&self) -> Vec<String> {
        let name = |place: &'static str| move |field: &String| format!("{place}{field}");
        let mut found: Vec<String> = self.rest.keys().map(name("")).collect();
        found.extend(self.hardware.rest.keys().map(name("hardware.")));
        found.extend(self.scenario.rest.keys().map(name("scenario.")));
        found.extend(self.result.iter().flat_map(|it| it.rest.keys().map(name("result."))));
        for progress in &self.progress_history {
            found.extend(progress.rest.keys().map(name("progress_history.")));
            found.extend(progress.ram.rest.keys().map(name("progress_history.ram.")));
        }
        found
    }
}

/// Whether one of its flags is set: any text that is not empty is true there.
pub(super) fn is_true(value: &Option<Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(truth)) => *truth,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    }
}
