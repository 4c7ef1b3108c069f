//! From what was seen to the report.

mod guest;
mod passes;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sterna_report::statistics::{self, Throughput};
use sterna_report::{
    Clock, CpuSample, Direction, Engine, Event, Fleet, FleetGuest, GuestSample, Hop, Host, Outage,
    Pass, Poll, Probe, Report, RoundTrip, Tool, Warning,
};

use crate::{ClockOffset, CpuPoint, ProbeSeen, Record, Status, warnings};

/// What a report says besides what was seen.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The program.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The resolved scenario.
    pub scenario: Map<String, Value>,
    /// Size of guest memory.
    pub guest_bytes: u64,
}

/// Makes the report; every number's definition is in the `report` crate.
pub fn assemble(identity: Identity, record: &Record) -> Report {
    let Identity { tool, host, started_at, scenario, guest_bytes } = identity;
    let time = Time { zero_ns: record.accepted_ns.unwrap_or(record.began_ns) };
    let guest = guest::samples(record, time);
    let throughput = Throughput::new(&guest);
    let baseline = baseline(record, time, &guest).filter(|_| record.accepted_ns.is_some());
    let passes = passes::passes(record, time, &guest, baseline);
    let mut report = Report::new(tool, host, record.engine.clone(), started_at, scenario);
    report.timeline = record.polls.iter().map(|it| poll(it, time)).collect();
    report.cpu = record.cpu.iter().map(|it| cpu_sample(it, time)).collect();
    let seen = Seen {
        record,
        time,
        guest: &guest,
        throughput: &throughput,
        baseline,
        passes: &passes,
        timeline: &report.timeline,
        cpu: &report.cpu,
        guest_bytes,
    };
    report.summary = summary::summary(&seen);
    report.passes = passes;
    report.guest = guest;
    report.events = events(record, time);
    report.probes = record.probes.iter().map(|it| probe(it, time)).collect();
    report.clocks = record.clocks.iter().map(clock).collect();
    report.warnings = record.warnings.clone();
    let ours = warnings::warnings(record, &report);
    report.warnings.extend(ours);
    report
}

/// In a fleet a guest also works before all others do, and while it waits for its turn beside their migrations; neither is a baseline.
fn baseline(record: &Record, time: Time, guest: &[GuestSample]) -> Option<f64> {
    let Some((from_ns, to_ns)) = record.warmup_ns else { return statistics::baseline(guest) };
    let (from, to) = (time.seconds(from_ns), time.seconds(to_ns));
    let is_within =
        |it: &&GuestSample| it.t_seconds - it.interval_seconds >= from && it.t_seconds <= to;
    let warmup: Vec<GuestSample> = guest.iter().filter(is_within).cloned().collect();
    statistics::baseline(&warmup)
}

/// Makes the report of a fleet from what was seen of each guest.
pub fn assemble_fleet(identity: &Identity, parallel: u32, records: &[Record]) -> Report {
    let began_ns = records.iter().filter_map(|it| it.accepted_ns).min();
    let guests = (0..).zip(records).map(|(number, record)| {
        let started_ns = record.accepted_ns.zip(began_ns);
        let report = assemble(identity.clone(), record);
        FleetGuest {
            guest: number,
            started_seconds: started_ns.map(|(at_ns, zero_ns)| Time { zero_ns }.seconds(at_ns)),
            engine: report.engine,
            summary: report.summary,
            passes: report.passes,
            timeline: report.timeline,
            samples: report.guest,
            cpu: report.cpu,
            events: report.events,
            clocks: report.clocks,
            probes: report.probes,
            warnings: report.warnings,
        }
    });
    let fleet = Fleet::new(u64::from(parallel), guests.collect());
    let Identity { tool, host, started_at, scenario, guest_bytes } = identity.clone();
    let engine = fleet.guests.first().map(|it| it.engine.clone()).unwrap_or_default();
    // What it counted is told of each guest.
    let engine = Engine { details: BTreeMap::new(), ..engine };
    let mut report = Report::new(tool, host, engine, started_at, scenario);
    let all_bytes = guest_bytes.saturating_mul(fleet.guests.len() as u64);
    report.summary = fleet.summary();
    report.summary.amplification =
        report.summary.wire_bytes.map(|it| it as f64 / all_bytes.max(1) as f64);
    report.warnings = common_warnings(&fleet.guests);
    report.fleet = Some(fleet);
    report
}

/// Makes the report of several hops from what was seen of each; of one hop it is that hop's.
pub fn assemble_hops(identity: &Identity, records: &[Record]) -> Report {
    let asked = records.first().map_or(1, |it| it.scenario.migration.hops);
    if let ([only], 1) = (records, asked) {
        return assemble(identity.clone(), only);
    }
    let began_ns = records.first().and_then(|it| it.accepted_ns);
    let hops: Vec<Hop> = (1..)
        .zip(records)
        .map(|(hop, record)| Hop {
            hop,
            started_seconds: record
                .accepted_ns
                .zip(began_ns)
                .map(|(at_ns, zero_ns)| Time { zero_ns }.seconds(at_ns)),
            report: assemble(identity.clone(), record),
        })
        .collect();
    let Identity { tool, host, started_at, scenario, .. } = identity.clone();
    let engine = hops.first().map(|it| it.report.engine.clone()).unwrap_or_default();
    // What it counted is in the report of each hop.
    let engine = Engine { details: BTreeMap::new(), ..engine };
    let mut report = Report::new(tool, host, engine, started_at, scenario);
    report.summary = Hop::summary(&hops, asked);
    for hop in &hops {
        for warning in &hop.report.warnings {
            if !report.warnings.iter().any(|it| it.code == warning.code) {
                let text = format!("Hop {}: {}", hop.hop, warning.text);
                report.warnings.push(Warning { text, ..warning.clone() });
            }
        }
    }
    report.hops = hops;
    report
}

/// Each warning once, with the guests that it is about.
fn common_warnings(guests: &[FleetGuest]) -> Vec<Warning> {
    let mut found: Vec<(Warning, Vec<String>)> = Vec::new();
    for guest in guests {
        let number = guest.guest.to_string();
        for warning in &guest.warnings {
            match found.iter_mut().find(|it| it.0.code == warning.code) {
                Some((_, numbers)) => numbers.push(number.clone()),
                None => found.push((warning.clone(), vec![number.clone()])),
            }
        }
    }
    let told = found.into_iter().map(|(warning, numbers)| match numbers.len() {
        1 => Warning { text: format!("Guest {}: {}", numbers[0], warning.text), ..warning },
        count if count == guests.len() => warning,
        _ => {
            Warning { text: format!("Guests {}: {}", numbers.join(", "), warning.text), ..warning }
        }
    });
    told.collect()
}

/// Nanoseconds of the pilot's clock to seconds of the report.
#[derive(Clone, Copy)]
struct Time {
    zero_ns: u64,
}

impl Time {
    fn seconds(self, ns: u64) -> f64 {
        (ns as f64 - self.zero_ns as f64) / 1e9
    }
}

/// Everything that headline numbers are made of.
struct Seen<'a> {
    record: &'a Record,
    time: Time,
    guest: &'a [GuestSample],
    throughput: &'a Throughput,
    baseline: Option<f64>,
    passes: &'a [Pass],
    timeline: &'a [Poll],
    cpu: &'a [CpuSample],
    guest_bytes: u64,
}

fn poll(status: &Status, time: Time) -> Poll {
    Poll {
        t_seconds: time.seconds(status.at_ns),
        state: status.state.as_str().to_owned(),
        pass: status.pass,
        remaining_bytes: status.remaining_bytes,
        transferred_bytes: status.transferred_bytes,
        bandwidth_bytes_per_second: status.bandwidth_bytes_per_second,
        dirty_rate_bytes_per_second: status.dirty_rate_bytes_per_second,
        threshold_bytes: status.threshold_bytes,
        expected_downtime_seconds: status.expected_downtime_seconds,
        throttle_percent: status.throttle_percent,
    }
}

fn cpu_sample(point: &CpuPoint, time: Time) -> CpuSample {
    CpuSample {
        t_seconds: time.seconds(point.at_ns),
        side: point.side,
        classes: point.classes.iter().map(|(name, ns)| (name.clone(), *ns as f64 / 1e9)).collect(),
        resident_bytes: point.resident_bytes,
    }
}

fn events(record: &Record, time: Time) -> Vec<Event> {
    let mut events: Vec<Event> = record
        .events
        .iter()
        .map(|it| Event {
            t_seconds: time.seconds(it.at_ns),
            side: it.side,
            kind: it.kind.clone(),
            text: it.text.clone(),
        })
        .collect();
    events.extend(moments(record, time));
    events.sort_by(|a, b| a.t_seconds.total_cmp(&b.t_seconds));
    events
}

fn moments(record: &Record, time: Time) -> impl Iterator<Item = Event> {
    use sterna_report::EventSide::{Destination, Source};
    let it = &record.moments;
    [
        (it.stopped_ns, Source, "stopped", "The last worker stopped on the source"),
        (it.ready_ns, Source, "ready", "The destination has loaded everything"),
        (it.resumed_ns, Destination, "resumed", "The workers were released on the destination"),
        (it.restored_ns, Source, "restored", "The workers were released on the source again"),
    ]
    .into_iter()
    .filter_map(move |(ns, side, kind, text)| {
        let t_seconds = time.seconds(ns?);
        Some(Event { t_seconds, side, kind: kind.to_owned(), text: text.to_owned() })
    })
}

fn probe(probe: &ProbeSeen, time: Time) -> Probe {
    let seen = &probe.seen;
    let outages = seen.outages.iter().map(|it| Outage {
        start_seconds: time.seconds(it.start_ns),
        length_seconds: it.end_ns.saturating_sub(it.start_ns) as f64 / 1e9,
        has_ended: it.has_ended,
        lost: Some(it.lost),
        direction: direction(it.direction),
        resolution_seconds: Some(probe.interval_ns as f64 / 1e9),
    });
    Probe {
        kind: probe.kind.clone(),
        interval_seconds: Some(probe.interval_ns as f64 / 1e9),
        sent: Some(seen.sent),
        received: Some(seen.received),
        duplicates: Some(seen.duplicates),
        round_trip: seen.round_trip.map(|it| RoundTrip {
            p50_ns: it.p50_ns,
            p99_ns: it.p99_ns,
            max_ns: it.max_ns,
        }),
        late_seconds: Some(probe.latest_ns as f64 / 1e9),
        outages: outages.collect(),
        outage_resolution_seconds: Some(seen.resolution_ns as f64 / 1e9),
    }
}

/// The guest is the responder.
fn direction(direction: sterna_probe::Direction) -> Direction {
    use sterna_probe::Direction as Way;
    match direction {
        Way::ToResponder => Direction::ToGuest,
        Way::FromResponder => Direction::FromGuest,
        Way::Both => Direction::Both,
        Way::Unknown => Direction::RoundTrip,
    }
}

fn clock(offset: &ClockOffset) -> Clock {
    let ClockOffset { side, offset_ns, uncertainty_ns } = *offset;
    Clock { side, offset_ns, uncertainty_ns }
}

fn pages_to_bytes(pages: f64) -> f64 {
    pages * sterna_report::PAGE_BYTES as f64
}

/// The resumption on the destination; a stop that was taken back is none, since the guest went on where it was.
fn resumed_ns(record: &Record) -> Option<u64> {
    record.moments.resumed_ns.filter(|_| record.moments.restored_ns.is_none())
}
