//! From what was seen to the report.

mod guest;
mod passes;
mod summary;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use sterna_report::statistics::{self, Throughput};
use sterna_report::{
    Clock, CpuSample, Direction, Event, GuestSample, Host, Outage, Pass, Poll, Probe, Report,
    RoundTrip, Tool,
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
    let baseline = statistics::baseline(&guest).filter(|_| record.accepted_ns.is_some());
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
