//! The numbers by which runs are compared.

use crate::{ClassCpu, Probe, Report};

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
    span: fn(&Report) -> Option<Span>,
}

/// The share of the reference's median below which a difference is noise, unless another is given.
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
            span: |it| exact(it.summary.total_time_seconds),
        },
        Metric {
            name: "downtime",
            title: "downtime",
            about: "From the vCPUs stopped on the source to the vCPUs running on the destination",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.001,
            span: |it| exact(it.summary.downtime_seconds),
        },
        Metric {
            name: "claimed-downtime",
            title: "claimed downtime",
            about: "The downtime that the engine claims; compared only where none was measured",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            span: |it| match it.summary.downtime_seconds {
                Some(_) => None,
                None => exact(it.summary.downtime_claimed_seconds),
            },
        },
        Metric {
            name: "blackout",
            title: "blackout",
            about: "The longest gap in the guest's own progress, seen from inside",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            span: |it| exact(it.summary.blackout_seconds),
        },
        Metric {
            name: "outage",
            title: "longest outage",
            about: "The longest time that an observer outside heard nothing; 0 when it would have seen one and there was none",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.002,
            span: longest_outage,
        },
        Metric {
            name: "lost-work",
            title: "lost work",
            about: "Work that the guest did not get done, in guest-seconds; a lower bound counts as the least that it says",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.01,
            span: |it| match it.summary.lost_work_lower_bound {
                Some(true) => it.summary.lost_work_seconds.map(Span::at_least),
                _ => exact(it.summary.lost_work_seconds),
            },
        },
        Metric {
            name: "guest-throughput",
            title: "guest throughput",
            about: "The touch rate of the guest while it was migrated, the downtime left out",
            unit: Unit::BytesPerSecond,
            more_is_better: true,
            least: 4096.0,
            span: |it| exact(it.summary.touch_rate_bytes_per_second),
        },
        Metric {
            name: "wire-bytes",
            title: "on the wire",
            about: "Bytes given to the network, headers included",
            unit: Unit::Bytes,
            more_is_better: false,
            least: 65_536.0,
            span: |it| exact(it.summary.wire_bytes.map(|bytes| bytes as f64)),
        },
        Metric {
            name: "migration-cpu",
            title: "migration CPU",
            about: "CPU time of the threads that migrate, on both sides",
            unit: Unit::Seconds,
            more_is_better: false,
            least: 0.01,
            span: |it| exact(migration_cpu(it)),
        },
    ];

    /// The metric of this name.
    pub fn named(name: &str) -> Option<&'static Metric> {
        Metric::ALL.iter().find(|it| it.name == name)
    }

    /// Its value in a report, of a bound the least that it says; `None` where that does not know it.
    pub fn value(&self, report: &Report) -> Option<f64> {
        self.span(report).map(|it| it.least)
    }

    /// What a report knows of its value.
    pub fn span(&self, report: &Report) -> Option<Span> {
        (self.span)(report).filter(|it| it.least.is_finite())
    }
}

/// What is known of a number: it lies between two ends, which are the same where it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// It is at least this.
    pub least: f64,
    /// It is at most this; infinite where only a lower bound is known.
    pub most: f64,
}

impl Span {
    /// A value that was measured.
    pub fn exact(value: f64) -> Span {
        Span { least: value, most: value }
    }

    /// A lower bound.
    pub fn at_least(least: f64) -> Span {
        Span { least, most: f64::INFINITY }
    }

    /// Whether only a lower bound is known.
    pub fn is_lower_bound(self) -> bool {
        self.most.is_infinite()
    }
}

fn exact(value: Option<f64>) -> Option<Span> {
    value.map(Span::exact)
}

/// The longest outage that any observer of the network saw. One that could not have seen any makes
/// a lower bound of what the others saw, and hides that they saw none.
fn longest_outage(report: &Report) -> Option<Span> {
    let probes = report.probes.iter().filter(|it| it.is_of_network());
    let spans: Vec<Option<Span>> = probes.map(of_probe).collect();
    let known = || spans.iter().flatten();
    let least = known().map(|it| it.least).max_by(f64::total_cmp)?;
    if known().count() < spans.len() {
        return (least > 0.0).then(|| Span::at_least(least));
    }
    let most = known().map(|it| it.most).max_by(f64::total_cmp)?;
    Some(Span { least, most })
}

fn of_probe(probe: &Probe) -> Option<Span> {
    let longest = probe.outages.iter().max_by(|a, b| a.length_seconds.total_cmp(&b.length_seconds));
    match longest {
        Some(it) if !it.has_ended => Some(Span::at_least(it.length_seconds)),
        Some(it) => Some(Span {
            least: it.length_seconds,
            most: it.length_seconds + it.resolution_seconds.unwrap_or(0.0),
        }),
        None => probe.unseen_seconds().map(|most| Span { least: 0.0, most }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Engine, Host, Outage, Tool};

    fn probe(outages: &[(f64, bool)], resolution: Option<f64>, received: Option<u64>) -> Probe {
        let outage = |(length_seconds, has_ended): &(f64, bool)| Outage {
            start_seconds: 0.5,
            length_seconds: *length_seconds,
            has_ended: *has_ended,
            lost: None,
            direction: Direction::RoundTrip,
            resolution_seconds: Some(0.25),
        };
        Probe {
            kind: "udp".to_owned(),
            interval_seconds: None,
            sent: Some(100),
            received,
            duplicates: None,
            round_trip: None,
            late_seconds: None,
            outages: outages.iter().map(outage).collect(),
            outage_resolution_seconds: resolution,
        }
    }

    #[test]
    fn absence_of_evidence_is_no_outage_of_zero() {
        let none = || probe(&[], Some(0.01), Some(100));
        let deaf = || probe(&[], None, None);
        let one = || probe(&[(0.25, true)], Some(0.01), Some(90));
        let open = || probe(&[(2.0, false), (0.1, true)], Some(0.01), Some(90));
        let span = |least, most| Some(Span { least, most });
        let table = [
            (vec![], None),
            (vec![deaf()], None),
            (vec![probe(&[], Some(0.01), Some(0))], None),
            (vec![none()], span(0.0, 0.01)),
            (vec![one()], span(0.25, 0.5)),
            (vec![open()], span(2.0, f64::INFINITY)),
            (vec![none(), one()], span(0.25, 0.5)),
            (vec![none(), deaf()], None),
            (vec![one(), deaf()], span(0.25, f64::INFINITY)),
        ];
        let metric = Metric::named("outage").unwrap();
        for (probes, expected) in table {
            let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
            let empty = Report::new(tool, host, engine, String::new(), serde_json::Map::new());
            let report = Report { probes, ..empty };
            assert_eq!(metric.span(&report), expected, "{:?}", report.probes);
        }
    }
}
