//! From what was seen to the report.

use serde_json::{Map, Value};
use sterna_report::statistics::{self, Throughput};
use sterna_report::{
    Clock, CpuBySide, CpuSample, Direction, Engine, Event, GuestSample, Host, Integrity, Outage,
    Pass, PassKind, Poll, Probe, Report, ResidentPeak, Side, Summary, Tool, Warning, WriteLatency,
};

use crate::{ClockOffset, CpuPoint, GapSpan, GuestPoint, PassRow, ProbeSeen, Record, Status};

/// What a report says besides what was seen.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The program.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// The engine's facts.
    pub engine: Engine,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The resolved scenario.
    pub scenario: Map<String, Value>,
    /// Size of guest memory.
    pub guest_bytes: u64,
    /// How the clocks were mapped.
    pub clocks: Vec<ClockOffset>,
    /// What the engine wants the user to know.
    pub warnings: Vec<Warning>,
}

/// Makes the report; every number's definition is in the `report` crate.
pub fn assemble(identity: Identity, record: &Record) -> Report {
    let Identity { tool, host, engine, started_at, scenario, guest_bytes, clocks, warnings } =
        identity;
    let zero_ns = record.accepted_ns.unwrap_or(record.began_ns);
    let time = Time { zero_ns };
    let guest = guest_samples(&record.guest, time);
    let throughput = Throughput::new(&guest);
    let baseline = statistics::baseline(&guest).filter(|_| record.accepted_ns.is_some());
    let rows = with_final_end(record);
    let passes = passes(&rows, time, &throughput, baseline);
    let timeline: Vec<Poll> = record.polls.iter().map(|it| poll(it, time)).collect();
    let cpu: Vec<CpuSample> = record.cpu.iter().map(|it| cpu_sample(it, time)).collect();
    let seen = Seen { record, time, guest: &guest, throughput: &throughput, baseline };
    let summary = summary(&seen, &passes, &timeline, &cpu, &clocks, guest_bytes);
    let mut report = Report::new(tool, host, engine, started_at, scenario);
    report.summary = summary;
    report.passes = passes;
    report.timeline = timeline;
    report.guest = guest;
    report.cpu = cpu;
    report.events = events(record, time);
    report.probes = record.probes.iter().map(|it| probe(it, time)).collect();
    report.clocks = clocks.iter().map(clock).collect();
    report.warnings = warnings;
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

struct Seen<'a> {
    record: &'a Record,
    time: Time,
    guest: &'a [GuestSample],
    throughput: &'a Throughput,
    baseline: Option<f64>,
}

fn summary(
    seen: &Seen,
    passes: &[Pass],
    timeline: &[Poll],
    cpu: &[CpuSample],
    clocks: &[ClockOffset],
    guest_bytes: u64,
) -> Summary {
    let Seen { record, time, guest, throughput, baseline } = *seen;
    let moments = &record.moments;
    let mut summary = Summary {
        verdict: record.verdict,
        verdict_reason: record.reason.clone(),
        integrity: integrity(record),
        integrity_detail: record.verified.clone(),
        passes: record.completed_passes(),
        baseline_pages_per_second: baseline,
        baseline_bytes_per_second: baseline.map(pages_to_bytes),
        resident_peak_bytes: resident_peak(record, cpu),
        write_latency: write_latency(record),
        ..Summary::default()
    };
    if record.accepted_ns.is_none() {
        return summary;
    }
    let at = |ns: Option<u64>| ns.map(|it| time.seconds(it));
    let between = |from: Option<u64>, to: Option<u64>| Some(at(to)? - at(from)?);
    let ended = at(moments.ended_ns);
    summary.total_time_seconds = ended;
    summary.setup_seconds = at(moments.setup_done_ns);
    // A stop that was taken back is no downtime: the guest went on where it was.
    let resumed = moments.resumed_ns.filter(|_| moments.restored_ns.is_none());
    summary.downtime_seconds = between(moments.stopped_ns, resumed);
    summary.downtime_uncertainty_seconds = summary
        .downtime_seconds
        .map(|_| clocks.iter().map(|it| it.uncertainty_ns).sum::<u64>() as f64 / 1e9);
    summary.downtime_claimed_seconds = moments.claimed_downtime_ns.map(|it| it as f64 / 1e9);
    summary.final_sync_seconds = between(moments.stopped_ns, moments.final_sync_done_ns);
    summary.final_transfer_seconds = between(moments.final_sync_done_ns, moments.ready_ns);
    summary.resume_seconds = between(moments.ready_ns, resumed);
    summary.blackout_seconds = blackout(record, time);
    summary.blackout_resolution_seconds = record.gap_resolution_ns.map(|it| it as f64 / 1e9);

    let stopped = at(moments.stopped_ns).filter(|_| !record.was_forced && resumed.is_some());
    let convergence = stopped.and_then(|it| statistics::convergence(passes, timeline, it));
    summary.convergence_pass = convergence.map(|it| it.pass);
    summary.convergence_seconds = convergence.map(|it| it.seconds);

    let settled = at(resumed).or(ended);
    if let Some(running) = at(resumed) {
        summary.resumption = statistics::resumption(guest, baseline, running);
    }
    if let Some(lost) = settled.and_then(|it| statistics::lost_work(throughput, baseline, it)) {
        summary.lost_work_seconds = Some(lost.seconds);
        summary.lost_work_lower_bound = Some(lost.lower_bound);
    }
    let live_end = at(moments.stopped_ns).or(ended).or(timeline.last().map(|it| it.t_seconds));
    let touch = live_end.and_then(|end| throughput.mean(0.0, end));
    summary.touch_rate_pages_per_second = touch;
    summary.touch_rate_bytes_per_second = touch.map(pages_to_bytes);
    summary.dirty_rate_bytes_per_second = statistics::mean_dirty_rate(passes);

    let last = record.polls.last();
    let best = |value: fn(&Status) -> Option<u64>| record.polls.iter().rev().find_map(value);
    summary.pages_sent = best(|it| it.pages_sent);
    summary.zero_pages = best(|it| it.zero_pages);
    summary.pages_resent = best(|it| it.pages_resent);
    summary.wire_bytes = best(|it| it.transferred_bytes);
    summary.amplification = summary
        .wire_bytes
        .filter(|_| guest_bytes > 0)
        .map(|bytes| bytes as f64 / guest_bytes as f64);
    let transfer_end = at(moments.ready_ns).or(last.map(|it| time.seconds(it.at_ns)));
    if let Some((from, to)) = at(moments.setup_done_ns).zip(transfer_end)
        && let Some(bandwidth) = statistics::bandwidth(timeline, from, to)
    {
        summary.bandwidth_min_bytes_per_second = bandwidth.min;
        summary.bandwidth_mean_bytes_per_second = Some(bandwidth.mean);
        summary.bandwidth_max_bytes_per_second = bandwidth.max;
    }
    let end = ended.or(timeline.last().map(|it| it.t_seconds));
    if let Some(end) = end {
        let of = |side| statistics::cpu_by_class(cpu, side, 0.0, end);
        summary.cpu = CpuBySide { source: of(Side::Source), destination: of(Side::Destination) };
    }
    summary
}

fn integrity(record: &Record) -> Integrity {
    match &record.verified {
        None => Integrity::Unchecked,
        Some(detail) if detail.corrupt_pages == 0 => Integrity::Verified,
        Some(_) => Integrity::Corrupt,
    }
}

fn write_latency(record: &Record) -> WriteLatency {
    let of = |side| record.latency.get(&side).copied().unwrap_or_default();
    let source = of(Side::Source);
    WriteLatency { baseline: source.before, during: source.since }
}

fn resident_peak(record: &Record, cpu: &[CpuSample]) -> ResidentPeak {
    let sampled = statistics::resident_peak(cpu);
    let told = |side| record.resident_peak_bytes.get(&side).copied();
    ResidentPeak {
        source: sampled.source.max(told(Side::Source)),
        destination: sampled.destination.max(told(Side::Destination)),
    }
}

fn blackout(record: &Record, time: Time) -> Option<f64> {
    record.gap_resolution_ns?;
    let accepted_ns = record.accepted_ns?;
    let workers = record.guest.iter().map(|it| it.counts.len()).max()?;
    let mut by_worker = vec![Vec::new(); workers];
    let counts = |gap: &&GapSpan| gap.end_ns > accepted_ns && (gap.worker as usize) < workers;
    for gap in record.gaps.iter().filter(counts) {
        let start_seconds = time.seconds(gap.start_ns).max(0.0);
        let length_seconds = time.seconds(gap.end_ns) - start_seconds;
        by_worker[gap.worker as usize].push(statistics::Gap { start_seconds, length_seconds });
    }
    statistics::blackout_seconds(&by_worker)
}

/// Cumulative counts to writes within the interval since the sample before, for each side apart.
fn guest_samples(points: &[GuestPoint], time: Time) -> Vec<GuestSample> {
    let mut samples = Vec::with_capacity(points.len());
    for side in [Side::Source, Side::Destination] {
        let of_side: Vec<&GuestPoint> =
            points.iter().filter(|it| it.side == side && !it.counts.is_empty()).collect();
        for pair in of_side.windows(2) {
            samples.extend(guest_sample(pair[0], pair[1], time));
        }
    }
    samples.sort_by(|a, b| a.t_seconds.total_cmp(&b.t_seconds));
    samples
}

fn guest_sample(before: &GuestPoint, now: &GuestPoint, time: Time) -> Option<GuestSample> {
    let interval_seconds = (now.at_ns as f64 - before.at_ns as f64) / 1e9;
    if interval_seconds <= 0.0 || before.counts.len() != now.counts.len() {
        return None;
    }
    let counts_per_worker: Vec<u64> = now
        .counts
        .iter()
        .zip(&before.counts)
        .map(|(now, before)| now.saturating_sub(*before))
        .collect();
    let total: u64 = counts_per_worker.iter().sum();
    Some(GuestSample {
        t_seconds: time.seconds(now.at_ns),
        side: now.side,
        interval_seconds,
        counts_per_worker,
        writes_per_second: total as f64 / interval_seconds,
        latency: now.latency,
    })
}

/// The final phase ends when the destination has loaded everything, which an engine may learn after the last byte has left.
fn with_final_end(record: &Record) -> Vec<PassRow> {
    let mut rows = record.passes.clone();
    for row in rows.iter_mut().filter(|row| row.is_final) {
        row.ended_ns = record.moments.ready_ns.or(row.ended_ns);
    }
    rows
}

fn passes(
    rows: &[PassRow],
    time: Time,
    throughput: &Throughput,
    baseline: Option<f64>,
) -> Vec<Pass> {
    let mut passes: Vec<Pass> =
        rows.iter().map(|row| pass(row, time, throughput, baseline)).collect();
    for index in 0..passes.len() {
        passes[index].dirty_rate_bytes_per_second = passes
            .get(index + 1)
            .and_then(|next| statistics::pass_dirty_rate(&passes[index], next));
    }
    passes
}

fn pass(row: &PassRow, time: Time, throughput: &Throughput, baseline: Option<f64>) -> Pass {
    let length = row.ended_ns.map(|it| it.saturating_sub(row.started_ns) as f64 / 1e9);
    let per_second = |amount: Option<f64>| Some(amount? / length.filter(|it| *it > 0.0)?);
    let started_seconds = time.seconds(row.started_ns);
    let sync_seconds = row.sync_ns.map(|it| it as f64 / 1e9);
    let live = |value: Option<f64>| value.filter(|_| !row.is_final);
    Pass {
        number: row.number,
        kind: if row.is_final { PassKind::Final } else { PassKind::Pass },
        started_seconds,
        length_seconds: length,
        sync_seconds,
        dirty_pages_at_sync: row.dirty_pages,
        pages_sent: row.pages_sent,
        zero_pages: row.zero_pages,
        pages_resent: row.pages_resent,
        wire_bytes: row.wire_bytes,
        bandwidth_bytes_per_second: per_second(row.wire_bytes.map(|it| it as f64)),
        remaining_bytes_at_end: row.remaining_bytes,
        dirty_rate_bytes_per_second: None,
        touch_rate_bytes_per_second: live(per_second(
            row.guest_writes.map(|it| pages_to_bytes(it as f64)),
        )),
        guest_dip_percent: live(
            sync_seconds.and_then(|sync| {
                statistics::dip_percent(throughput, baseline, started_seconds, sync)
            }),
        ),
    }
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

fn probe(seen: &ProbeSeen, time: Time) -> Probe {
    let outages = seen.outages.iter().map(|it| Outage {
        start_seconds: time.seconds(it.start_ns),
        length_seconds: it.end_ns.saturating_sub(it.start_ns) as f64 / 1e9,
        lost: Some(it.lost),
        direction: Direction::RoundTrip,
    });
    Probe {
        kind: seen.kind.clone(),
        interval_seconds: Some(seen.interval_ns as f64 / 1e9),
        sent: Some(seen.sent),
        received: Some(seen.received),
        outages: outages.collect(),
    }
}

fn clock(offset: &ClockOffset) -> Clock {
    let ClockOffset { side, offset_ns, uncertainty_ns } = *offset;
    Clock { side, offset_ns, uncertainty_ns }
}

fn pages_to_bytes(pages: f64) -> f64 {
    pages * sterna_report::PAGE_BYTES as f64
}
