//! The numbers of a summary, as thresholds name them.

use std::sync::LazyLock;

/// A number of a report's summary that a threshold can look at.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name: that of the field without its unit, or that which comparisons use.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: MeasureUnit,
    /// Where it is found.
    pub source: MeasureSource,
}

/// What a number is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureUnit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Pages or passes.
    Count,
    /// A ratio.
    Ratio,
}

/// Where a number is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureSource {
    /// In the field of the summary with this JSON pointer.
    Field(&'static str),
    /// In the field with this JSON pointer, in nanoseconds.
    Nanoseconds(&'static str),
    /// By the metric of comparisons of the same name, since it is made of a list.
    Comparison,
}

impl MeasureUnit {
    /// As units are named in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            MeasureUnit::Seconds => "seconds",
            MeasureUnit::Bytes => "bytes",
            MeasureUnit::BytesPerSecond => "bytes_per_second",
            MeasureUnit::Count => "count",
            MeasureUnit::Ratio => "ratio",
        }
    }
}

impl Measure {
    /// Every number, in the order of the summary.
    pub const ALL: &[Measure] = &[
        seconds("total-time", "/total_time_seconds"),
        seconds("setup", "/setup_seconds"),
        seconds("downtime", "/downtime_seconds"),
        seconds("downtime-uncertainty", "/downtime_uncertainty_seconds"),
        seconds("claimed-downtime", "/downtime_claimed_seconds"),
        seconds("final-sync", "/final_sync_seconds"),
        seconds("final-transfer", "/final_transfer_seconds"),
        seconds("resume", "/resume_seconds"),
        seconds("blackout", "/blackout_seconds"),
        seconds("switchover-blackout", "/blackout_at_switchover_seconds"),
        field("convergence-pass", MeasureUnit::Count, "/convergence_pass"),
        seconds("convergence", "/convergence_seconds"),
        seconds("first-sample", "/resumption/first_sample_seconds"),
        seconds("back", "/resumption/at_95_percent_seconds"),
        seconds("lost-work", "/lost_work_seconds"),
        rate("baseline", "/baseline_bytes_per_second"),
        rate("guest-throughput", "/touch_rate_bytes_per_second"),
        rate("dirty-rate", "/dirty_rate_bytes_per_second"),
        latency("baseline-write-latency-p50", "/write_latency/baseline/p50_ns"),
        latency("baseline-write-latency-p99", "/write_latency/baseline/p99_ns"),
        latency("baseline-write-latency-p99.9", "/write_latency/baseline/p999_ns"),
        latency("baseline-write-latency-max", "/write_latency/baseline/max_ns"),
        latency("write-latency-p50", "/write_latency/during/p50_ns"),
        latency("write-latency-p99", "/write_latency/during/p99_ns"),
        latency("write-latency-p99.9", "/write_latency/during/p999_ns"),
        latency("write-latency-max", "/write_latency/during/max_ns"),
        latency("baseline-since-due-p50", "/write_latency/baseline_since_due/p50_ns"),
        latency("baseline-since-due-p99", "/write_latency/baseline_since_due/p99_ns"),
        latency("baseline-since-due-p99.9", "/write_latency/baseline_since_due/p999_ns"),
        latency("baseline-since-due-max", "/write_latency/baseline_since_due/max_ns"),
        latency("since-due-p50", "/write_latency/during_since_due/p50_ns"),
        latency("since-due-p99", "/write_latency/during_since_due/p99_ns"),
        latency("since-due-p99.9", "/write_latency/during_since_due/p999_ns"),
        latency("since-due-max", "/write_latency/during_since_due/max_ns"),
        field("passes", MeasureUnit::Count, "/passes"),
        field("pages-sent", MeasureUnit::Count, "/pages_sent"),
        field("zero-pages", MeasureUnit::Count, "/zero_pages"),
        field("pages-resent", MeasureUnit::Count, "/pages_resent"),
        field("wire-bytes", MeasureUnit::Bytes, "/wire_bytes"),
        field("amplification", MeasureUnit::Ratio, "/amplification"),
        rate("bandwidth-min", "/bandwidth_min_bytes_per_second"),
        rate("bandwidth-mean", "/bandwidth_mean_bytes_per_second"),
        rate("bandwidth-max", "/bandwidth_max_bytes_per_second"),
        field("source-resident-peak", MeasureUnit::Bytes, "/resident_peak_bytes/source"),
        field("destination-resident-peak", MeasureUnit::Bytes, "/resident_peak_bytes/destination"),
        listed("outage"),
        listed("migration-cpu"),
    ];

    /// The number of this name.
    pub fn named(name: &str) -> Option<&'static Measure> {
        Measure::ALL.iter().find(|it| it.name == name)
    }

    /// All names, in the order of [`Measure::ALL`].
    pub fn names() -> &'static [&'static str] {
        static NAMES: LazyLock<Vec<&'static str>> =
            LazyLock::new(|| Measure::ALL.iter().map(|it| it.name).collect());
        &NAMES
    }
}

const fn field(name: &'static str, unit: MeasureUnit, pointer: &'static str) -> Measure {
    Measure { name, unit, source: MeasureSource::Field(pointer) }
}

const fn seconds(name: &'static str, pointer: &'static str) -> Measure {
    field(name, MeasureUnit::Seconds, pointer)
}

const fn rate(name: &'static str, pointer: &'static str) -> Measure {
    field(name, MeasureUnit::BytesPerSecond, pointer)
}

const fn latency(name: &'static str, pointer: &'static str) -> Measure {
    Measure { name, unit: MeasureUnit::Seconds, source: MeasureSource::Nanoseconds(pointer) }
}

/// Both lists hold times.
const fn listed(name: &'static str) -> Measure {
    Measure { name, unit: MeasureUnit::Seconds, source: MeasureSource::Comparison }
}
