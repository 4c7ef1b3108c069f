//! The numbers by which runs are compared.

use crate::{ClassCpu, Report};

/// What a metric is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, or guest-seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
}

impl Unit {
    /// The name as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "bytes_per_second",
        }
    }
}

/// A number of a report that can become better or worse.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name on the command line and in JSON.
    pub name: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// A difference below this matters to nobody, however certain it is.
    pub least: f64,
    value: fn(&Report) -> Option<f64>,
}

/// The share of the reference's median below which a difference is noise, unless told otherwise.
pub const NOISE_SHARE: f64 = 0.05;

impl Metric {
    /// All that are compared. Each of them is a chance for a false alarm, for which the others pay
    /// with a stricter test; so there are few, and none that another one implies.
    pub const ALL: &[Metric] = &[
        Metric {
            name: "total-time",
            title: "total time",
            about: "From the accepted migrate command to the terminal state",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.01,
            value: |it| it.summary.total_time_seconds,
        },
        Metric {
            name: "downtime",
            title: "downtime",
            about: "From the vCPUs stopped on the source to the vCPUs running on the destination",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.001,
            value: |it| it.summary.downtime_seconds,
        },
        Metric {
            name: "claimed-downtime",
            title: "claimed downtime",
            about: "The downtime that the engine claims; compared only where none was measured",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            value: |it| match it.summary.downtime_seconds {
                Some(_) => None,
                None => it.summary.downtime_claimed_seconds,
            },
        },
        Metric {
            name: "blackout",
            title: "blackout",
            about: "The longest gap in the guest's own progress, seen from inside",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            value: |it| it.summary.blackout_seconds,
        },
        Metric {
            name: "outage",
            title: "longest outage",
            about: "The longest time that an observer outside heard nothing; 0 when there was none",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            value: longest_outage,
        },
        Metric {
            name: "lost-work",
            title: "lost work",
            about: "Work that the guest did not get done, in guest-seconds; left out where only a lower bound is known",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.01,
            value: |it| match it.summary.lost_work_lower_bound {
                Some(true) => None,
                _ => it.summary.lost_work_seconds,
            },
        },
        Metric {
            name: "guest-throughput",
            title: "guest throughput",
            about: "The touch rate of the guest while it was migrated, the downtime left out",
            unit: Unit::BytesPerSecond,
            more_is_better: true,
            least: 4096.0,
            value: |it| it.summary.touch_rate_bytes_per_second,
        },
        Metric {
            name: "wire-bytes",
            title: "on the wire",
            about: "Bytes given to the network, headers included",
            unit: Unit::Bytes,
            more_is_better: false,
            least: 65_536.0,
            value: |it| it.summary.wire_bytes.map(|bytes| bytes as f64),
        },
        Metric {
            name: "migration-cpu",
            title: "migration CPU",
            about: "CPU time of the threads that migrate, on both sides",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.01,
            value: migration_cpu,
        },
    ];

    /// The metric of this name.
    pub fn named(name: &str) -> Option<&'static Metric> {
        Metric::ALL.iter().find(|it| it.name == name)
    }

    /// Its value in a report; `None` where that does not know it.
    pub fn value(&self, report: &Report) -> Option<f64> {
        (self.value)(report).filter(|it| it.is_finite())
    }
}

fn longest_outage(report: &Report) -> Option<f64> {
    let outages =
        |probe: &crate::Probe| probe.outages.iter().map(|it| it.length_seconds).fold(0.0, f64::max);
    report.probes.iter().filter(|it| it.is_of_network()).map(outages).max_by(f64::total_cmp)
}

fn migration_cpu(report: &Report) -> Option<f64> {
    let of = |classes: &[ClassCpu]| {
        classes.iter().find(|it| it.class == "migration").map(|it| it.cpu_seconds)
    };
    let cpu = &report.summary.cpu;
    match (of(&cpu.source), of(&cpu.destination)) {
        (None, None) => None,
        (source, destination) => Some(source.unwrap_or(0.0) + destination.unwrap_or(0.0)),
    }
}
