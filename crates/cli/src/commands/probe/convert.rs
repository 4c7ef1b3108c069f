//! From what the probes have seen to the document of the `report` crate.

use sterna_probe::noise::{NOISE_INTERVAL_NS, Noise};
use sterna_probe::watch::{Extra, Failure, Look, Plan, Task, Watch};
use sterna_probe::{Delay, Delays, Direction, RoundTrip, Seen};
use sterna_report::probing::{
    NoiseReport, NoiseStall, OneWayTimes, ProbeDirection, ProbeEnding, ProbeOutage, ProbeReport,
    ProbeResult, ProbeStart, ProbeTimes, ThreadPriority, TimelineEvent, TimelineKind, WayTimes,
};
use sterna_sys::cpu::Priority;

use super::details;

/// A probe at work, and how much of it was told.
pub struct Witness {
    pub name: String,
    pub plan: Plan,
    pub watch: Watch,
    /// Outages that were told.
    pub told: usize,
    /// When the last silence began that was told while it lasted.
    pub told_silence_ns: Option<u64>,
}

/// From stamps to seconds of the run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The beginning of the run, CLOCK_MONOTONIC.
    pub begin_ns: u64,
}

impl Scale {
    /// A moment, in seconds from the beginning.
    pub fn at(self, at_ns: u64) -> f64 {
        // Whole nanoseconds first: a double of all of them would lose some.
        i128::from(at_ns).saturating_sub(i128::from(self.begin_ns)) as f64 / 1e9
    }
}

/// All that is known.
pub fn report(
    start: ProbeStart,
    ended_by: ProbeEnding,
    watches: &[Witness],
    failures: &[Option<Failure>],
    noise: &Noise,
    scale: Scale,
    end_ns: u64,
) -> ProbeReport {
    let looks: Vec<Look> = watches.iter().map(|it| it.watch.look()).collect();
    let mut probes = Vec::new();
    let mut timeline = Vec::new();
    let mut warnings = Vec::new();
    for ((witness, look), failure) in watches.iter().zip(&looks).zip(failures) {
        let result = result(witness, look, failure.as_ref(), noise, scale);
        events(&result, look, scale, &mut timeline);
        warn(&result, look, &mut warnings);
        probes.push(result);
    }
    timeline.sort_by(|a: &TimelineEvent, b| a.t_seconds.total_cmp(&b.t_seconds));
    let longest = probes.iter().filter_map(|it| it.longest_outage_seconds);
    let longest = longest.reduce(f64::max);
    // The worst of those that answered is not the worst of all.
    let is_known = probes.iter().all(|it| it.longest_outage_seconds.is_some());
    let is_within_limit =
        start.max_outage_seconds.map(|limit| is_known && longest.is_some_and(|it| it <= limit));
    let longest_outage_seconds = longest.filter(|_| is_known);
    ProbeReport {
        start,
        ended_by,
        duration_seconds: scale.at(end_ns),
        longest_outage_seconds,
        is_within_limit,
        noise: noise_report(noise, scale),
        probes,
        timeline,
        warnings,
    }
}

fn result(
    witness: &Witness,
    look: &Look,
    failure: Option<&Failure>,
    noise: &Noise,
    scale: Scale,
) -> ProbeResult {
    let Plan { task, interval, .. } = &witness.plan;
    let outages = outages(look, noise, scale);
    let longest = outages.iter().map(|it| it.length_seconds).fold(0.0, f64::max);
    let was_heard = look.seen.as_ref().is_some_and(|it| it.received > 0)
        || look.playout.as_ref().is_some_and(|it| it.frames > 0);
    let counts = Counts::of(look);
    let losses = look.seen.as_ref().and_then(|it| it.losses);
    ProbeResult {
        name: witness.name.clone(),
        kind: task.kind().to_owned(),
        target: task.target(),
        interval_seconds: interval.as_secs_f64(),
        sent: counts.sent,
        received: counts.received,
        lost: counts.sent.saturating_sub(counts.received),
        duplicates: counts.duplicates,
        reordered: look.seen.as_ref().map_or(0, |it| it.reordered),
        lost_to_responder: losses.map(|it| it.to_responder),
        lost_from_responder: losses.map(|it| it.from_responder),
        responder_restarts: look.seen.as_ref().and_then(|it| it.restarts),
        late_seconds: look.latest_ns as f64 / 1e9,
        round_trip: look.seen.as_ref().and_then(|it| it.round_trip).map(times),
        one_way: look.delays.filter(|_| matches!(task, Task::Udp { .. })).map(one_way),
        longest_outage_seconds: was_heard.then_some(longest),
        resolution_seconds: look.resolution_ns as f64 / 1e9,
        playout: details::playout(task, interval, look, &outages),
        outages,
        tcp: details::tcp(look, scale),
        arp: details::arp(look),
        http: details::http(look),
        disk: details::disk(look),
        clock: details::clock(task, look, scale),
        metrics: details::metrics(look, scale),
        failure: failure.map(Failure::to_string),
    }
}

struct Counts {
    sent: u64,
    received: u64,
    duplicates: u64,
}

impl Counts {
    fn of(look: &Look) -> Counts {
        match (&look.playout, &look.seen) {
            (Some(it), _) => Counts {
                sent: it.frames + it.skipped,
                received: it.frames,
                duplicates: it.duplicates,
            },
            (None, Some(Seen { sent, received, duplicates, .. })) => {
                Counts { sent: *sent, received: *received, duplicates: *duplicates }
            }
            (None, None) => Counts { sent: look.sent, received: 0, duplicates: 0 },
        }
    }
}

/// Every outage, or every freeze.
pub fn outages(look: &Look, noise: &Noise, scale: Scale) -> Vec<ProbeOutage> {
    let outage = |start_ns: u64, end_ns: u64, has_ended, lost, direction| ProbeOutage {
        start_seconds: scale.at(start_ns),
        length_seconds: end_ns.saturating_sub(start_ns) as f64 / 1e9,
        has_ended,
        lost,
        direction,
        resolution_seconds: look.resolution_ns as f64 / 1e9,
        noise_seconds: noise.within(start_ns, end_ns) as f64 / 1e9,
    };
    let freezes = look.playout.iter().flat_map(|it| &it.freezes);
    let freezes = freezes
        .map(|it| outage(it.start_ns, it.end_ns, it.has_ended, it.missed, ProbeDirection::Unknown));
    let silences = look.seen.iter().flat_map(|it| &it.outages);
    let silences = silences
        .map(|it| outage(it.start_ns, it.end_ns, it.has_ended, it.lost, direction(it.direction)));
    freezes.chain(silences).collect()
}

/// As mig_mon writes them: the time of day of the first sign of life after it, in whole seconds since 1970, and for how long there was none, in whole milliseconds.
pub fn spike(outage: &ProbeOutage, began_seconds: f64) -> String {
    let end_seconds = began_seconds + outage.start_seconds + outage.length_seconds;
    format!("{end_seconds:.0},{:.0}", outage.length_seconds * 1e3)
}

fn direction(direction: Direction) -> ProbeDirection {
    match direction {
        Direction::ToResponder => ProbeDirection::ToResponder,
        Direction::FromResponder => ProbeDirection::FromResponder,
        Direction::Both => ProbeDirection::Both,
        Direction::Unknown => ProbeDirection::Unknown,
    }
}

fn times(it: RoundTrip) -> ProbeTimes {
    let RoundTrip { min_ns, mean_ns, deviation_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns } = it;
    ProbeTimes { min_ns, mean_ns, deviation_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns }
}

fn one_way(it: Delays) -> OneWayTimes {
    let way = |it: Delay| WayTimes { p50_ns: it.p50_ns, p99_ns: it.p99_ns, max_ns: it.max_ns };
    OneWayTimes {
        to_responder: way(it.to_responder),
        from_responder: way(it.from_responder),
        uncertainty_ns: it.uncertainty_ns,
    }
}

fn noise_report(noise: &Noise, scale: Scale) -> NoiseReport {
    let stall = |it: &sterna_probe::noise::Stall| NoiseStall {
        start_seconds: scale.at(it.start_ns),
        length_seconds: it.end_ns.saturating_sub(it.start_ns) as f64 / 1e9,
    };
    NoiseReport {
        priority: match noise.priority {
            Priority::RealTime => ThreadPriority::RealTime,
            Priority::Raised => ThreadPriority::Raised,
            Priority::Normal => ThreadPriority::Normal,
        },
        interval_seconds: NOISE_INTERVAL_NS as f64 / 1e9,
        late_p50_ns: noise.p50_ns,
        late_p99_ns: noise.p99_ns,
        late_p99_9_ns: noise.p99_9_ns,
        late_max_ns: noise.max_ns,
        stalls: noise.stalls.iter().map(stall).collect(),
    }
}

fn events(result: &ProbeResult, look: &Look, scale: Scale, into: &mut Vec<TimelineEvent>) {
    let probe = &result.name;
    let mut add = |t_seconds: f64, kind, text: String| {
        into.push(TimelineEvent { t_seconds, probe: probe.clone(), kind, text });
    };
    for outage in &result.outages {
        let what = if result.playout.is_some() { "the picture stands still" } else { "silence" };
        add(outage.start_seconds, TimelineKind::OutageStart, format!("{what} begins"));
        if outage.has_ended {
            let length = sterna_render::number::seconds(outage.length_seconds);
            let end = outage.start_seconds + outage.length_seconds;
            add(end, TimelineKind::OutageEnd, format!("{what} ends after {length}"));
        }
    }
    for note in &look.notes {
        add(scale.at(note.at_ns), TimelineKind::Note, note.text.clone());
    }
    details::events(result, &mut add);
}

/// What a reader has to know to read the numbers rightly.
fn warn(result: &ProbeResult, look: &Look, warnings: &mut Vec<String>) {
    let name = &result.name;
    if result.kind == "udp" && look.is_counted == Some(false) {
        warnings.push(format!(
            "{name}: the other end is a plain echo, which does not count; which way messages were lost on is unknown"
        ));
    }
    if result.kind == "clock" && look.is_counted == Some(false) {
        warnings.push(format!("{name}: the other end is a plain echo and tells no clock; run `sterna probe serve` there"));
    }
    let noisy =
        result.outages.iter().filter(|it| it.noise_seconds > it.length_seconds / 2.0).count();
    if noisy > 0 {
        warnings.push(format!(
            "{name}: in {noisy} of its outages this process itself did not run for most of the time; see `noise`"
        ));
    }
    if matches!(look.extra, Extra::Arp(_)) && result.lost > 0 {
        warnings.push(format!(
            "{name}: answers carry no number, so which questions were not answered is a guess"
        ));
    }
}
