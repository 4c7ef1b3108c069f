//! The headline numbers.

use std::collections::BTreeMap;

use sterna_report::statistics;
use sterna_report::{
    BlackoutPhase, CpuBySide, Integrity, ResidentPeak, Resumption, Side, Summary, Verdict,
    WriteLatency,
};
use sterna_scenario::{Downtime, Verify};

use super::{Seen, Time, pages_to_bytes, resumed_ns};
use crate::{GapSpan, LatencyPair, Record, State, Status, WriteTimes};

pub(super) fn summary(seen: &Seen) -> Summary {
    let Seen { record, baseline, .. } = *seen;
    let mut summary = Summary {
        verdict: record.verdict,
        verdict_reason: record.reason.clone(),
        failed_in: record.failed_in.filter(|_| record.verdict == Verdict::Failed),
        lost_cause: record.lost_cause.filter(|_| record.verdict == Verdict::Lost),
        integrity: integrity(record),
        integrity_detail: record.verified.clone(),
        passes: record.completed_passes(),
        baseline_pages_per_second: baseline,
        baseline_bytes_per_second: baseline.map(pages_to_bytes),
        resident_peak_bytes: resident_peak(seen),
        write_latency: write_latency(&record.latency),
        ..Summary::default()
    };
    if record.accepted_ns.is_some() {
        add_times(seen, &mut summary);
        add_guest(seen, &mut summary);
        add_transfer(seen, &mut summary);
        add_cpu(seen, &mut summary);
    }
    if record.scenario.verify == Verify::AllMemory && record.moments.resumed_ns.is_some() {
        forget_times(&mut summary);
    }
    if record.paused_ns.is_some() {
        forget_guest(&mut summary);
    }
    summary
}

/// While all memory was compared the guest stood still, for as long as the comparison took; a warning says so.
fn forget_times(summary: &mut Summary) {
    *summary = Summary {
        total_time_seconds: None,
        downtime_seconds: None,
        downtime_uncertainty_seconds: None,
        downtime_claimed_seconds: None,
        resume_seconds: None,
        blackout_seconds: None,
        resumption: Resumption::default(),
        lost_work_seconds: None,
        lost_work_lower_bound: None,
        ..std::mem::take(summary)
    };
}

/// A guest that stood still on purpose has no downtime, and nothing of its progress was lost by the migration.
fn forget_guest(summary: &mut Summary) {
    *summary = Summary {
        downtime_seconds: None,
        downtime_uncertainty_seconds: None,
        downtime_claimed_seconds: None,
        downtime_limit_seconds: None,
        final_sync_seconds: None,
        resume_seconds: None,
        blackout_seconds: None,
        blackout_start_seconds: None,
        blackout_phase: None,
        blackout_at_switchover_seconds: None,
        convergence_pass: None,
        convergence_seconds: None,
        resumption: Resumption::default(),
        lost_work_seconds: None,
        lost_work_lower_bound: None,
        touch_rate_pages_per_second: None,
        touch_rate_bytes_per_second: None,
        ..std::mem::take(summary)
    };
}

fn add_times(seen: &Seen, summary: &mut Summary) {
    let Seen { record, time, passes, timeline, .. } = *seen;
    let moments = &record.moments;
    let resumed_ns = resumed_ns(record);
    let at = |ns: Option<u64>| ns.map(|it| time.seconds(it));
    let between = |from: Option<u64>, to: Option<u64>| Some((to? as f64 - from? as f64) / 1e9);
    summary.total_time_seconds = at(moments.ended_ns);
    summary.setup_seconds = at(moments.setup_done_ns);
    summary.downtime_seconds = between(moments.stopped_ns, resumed_ns);
    summary.downtime_uncertainty_seconds = summary.downtime_seconds.and(uncertainty(record));
    // A watcher may have only the source's word that the guest has moved.
    let has_moved =
        resumed_ns.is_some() || (record.is_observed() && record.verdict == Verdict::Completed);
    summary.downtime_claimed_seconds =
        moments.claimed_downtime_ns.filter(|_| has_moved).map(|it| it as f64 / 1e9);
    summary.downtime_limit_seconds =
        downtime_limit(record).filter(|_| summary.downtime_seconds.is_some() || has_moved);
    summary.final_sync_seconds = between(moments.stopped_ns, moments.final_sync_done_ns);
    summary.final_transfer_seconds = between(moments.final_sync_done_ns, moments.ready_ns);
    summary.resume_seconds = between(moments.ready_ns, resumed_ns);

    let by_itself = at(moments.stopped_ns).filter(|_| !record.was_forced() && resumed_ns.is_some());
    let convergence = by_itself.and_then(|it| statistics::convergence(passes, timeline, it));
    summary.convergence_pass = convergence.map(|it| it.pass);
    summary.convergence_seconds = convergence.map(|it| it.seconds);
}

fn add_guest(seen: &Seen, summary: &mut Summary) {
    let Seen { record, time, guest, throughput, baseline, passes, .. } = *seen;
    let at = |ns: Option<u64>| ns.map(|it| time.seconds(it));
    let (stopped, ended) = (at(record.moments.stopped_ns), at(record.moments.ended_ns));
    let resumed = at(resumed_ns(record));
    if let Some(blackout) = blackout(record, time) {
        summary.blackout_seconds = Some(blackout.longest.map_or(0.0, |it| it.length_seconds));
        summary.blackout_start_seconds = blackout.longest.map(|it| it.start_seconds);
        summary.blackout_phase = blackout.longest.map(|it| phase(it, record, time));
        summary.blackout_at_switchover_seconds = blackout.at_switchover;
    }
    summary.blackout_resolution_seconds = record.gap_resolution_ns.map(|it| it as f64 / 1e9);
    if let Some(running) = resumed {
        summary.resumption = statistics::resumption(guest, baseline, running);
    }
    let settled = resumed.or(ended);
    if let Some(lost) = settled.and_then(|it| statistics::lost_work(throughput, baseline, it)) {
        summary.lost_work_seconds = Some(lost.seconds);
        summary.lost_work_lower_bound = Some(lost.lower_bound);
    }
    let live_end = stopped.or(ended).or(seen.last_poll_seconds());
    let touch = live_end.and_then(|end| throughput.mean(0.0, end));
    summary.touch_rate_pages_per_second = touch;
    summary.touch_rate_bytes_per_second = touch.map(pages_to_bytes);
    summary.dirty_rate_bytes_per_second = statistics::mean_dirty_rate(passes);
    let written = record.scenario.workload_bytes().0 / sterna_report::PAGE_BYTES;
    // What the guest of others writes is not known.
    let is_known = summary.dirty_rate_bytes_per_second.is_some() && !record.is_observed();
    summary.dirty_rate_lower_bound =
        is_known.then(|| statistics::all_was_written_again(passes, written)).flatten();
}

fn add_transfer(seen: &Seen, summary: &mut Summary) {
    let Seen { record, time, timeline, guest_bytes, .. } = *seen;
    // The last good value: what a poll no longer knows was true when one knew it.
    let last = |value: fn(&Status) -> Option<u64>| record.polls.iter().rev().find_map(value);
    summary.pages_sent = last(|it| it.pages_sent);
    summary.zero_pages = last(|it| it.zero_pages);
    summary.pages_resent = last(|it| it.pages_resent);
    summary.wire_bytes = last(|it| it.transferred_bytes);
    summary.amplification = summary
        .wire_bytes
        .filter(|_| guest_bytes > 0)
        .map(|bytes| bytes as f64 / guest_bytes as f64);
    let at = |ns: Option<u64>| ns.map(|it| time.seconds(it));
    let from = at(record.moments.setup_done_ns);
    // After a switch to post-copy most of the memory is still to come when the guest resumes.
    let is_postcopy = record.polls.iter().any(|it| it.state == State::Postcopy);
    let transferred = if is_postcopy { record.moments.ended_ns } else { record.moments.ready_ns };
    let to = at(transferred).or(at(record.moments.ended_ns)).or(seen.last_poll_seconds());
    if let Some((from, to)) = from.zip(to)
        && let Some(bandwidth) = statistics::bandwidth(timeline, from, to)
    {
        summary.bandwidth_min_bytes_per_second = bandwidth.min;
        summary.bandwidth_mean_bytes_per_second = Some(bandwidth.mean);
        summary.bandwidth_max_bytes_per_second = bandwidth.max;
    }
}

fn add_cpu(seen: &Seen, summary: &mut Summary) {
    let ended = seen.record.moments.ended_ns.map(|it| seen.time.seconds(it));
    let Some(end) = ended.or(seen.last_poll_seconds()) else { return };
    let of = |side| statistics::cpu_by_class(seen.cpu, side, 0.0, end);
    summary.cpu = CpuBySide { source: of(Side::Source), destination: of(Side::Destination) };
}

impl Seen<'_> {
    fn last_poll_seconds(&self) -> Option<f64> {
        self.timeline.last().map(|it| it.t_seconds)
    }
}

fn integrity(record: &Record) -> Integrity {
    match &record.verified {
        None => Integrity::Unchecked,
        Some(detail) if detail.is_sound() => Integrity::Verified,
        Some(_) => Integrity::Corrupt,
    }
}

/// The limit in force at the stop. The pilot gives none while the guest is stopped, so the last one is it.
fn downtime_limit(record: &Record) -> Option<f64> {
    let set = record.downtime_limit_ns.map(|it| it as f64 / 1e9);
    if record.is_observed() {
        return set;
    }
    set.or_else(|| match &record.scenario.migration.downtime {
        Downtime::Limit(limit) => Some(limit.seconds()),
        Downtime::Steps(steps) => Some(steps.limit(0).seconds()),
    })
}

/// The downtime runs from one clock to the other, so both errors are in it; with a clock that nobody compared it is unknown.
fn uncertainty(record: &Record) -> Option<f64> {
    let of = |side| record.clocks.iter().find(|it| it.side == side).map(|it| it.uncertainty_ns);
    Some((of(Side::Source)? + of(Side::Destination)?) as f64 / 1e9)
}

fn write_latency(latency: &BTreeMap<Side, LatencyPair>) -> WriteLatency {
    let samples = |it: &WriteTimes| it.service.map(|it| it.samples);
    let during = latency.values().map(|it| it.since).max_by_key(samples).unwrap_or_default();
    let baseline = latency.get(&Side::Source).map(|it| it.before).unwrap_or_default();
    WriteLatency {
        baseline: baseline.service,
        during: during.service,
        baseline_since_due: baseline.since_due,
        during_since_due: during.since_due,
    }
}

fn resident_peak(seen: &Seen) -> ResidentPeak {
    let sampled = statistics::resident_peak(seen.cpu);
    let told = |side| seen.record.resident_peak_bytes.get(&side).copied();
    ResidentPeak {
        source: sampled.source.max(told(Side::Source)),
        destination: sampled.destination.max(told(Side::Destination)),
    }
}

/// From the workers' gaps, and from the switchover in any case: an engine may not be able to tell the gap across it, and no blackout is shorter than the downtime.
///
/// A standstill that was not seen to end has no length, and it would be the longest.
fn blackout(record: &Record, time: Time) -> Option<Blackout> {
    let moments = &record.moments;
    let went_on_ns = moments.restored_ns.or(moments.resumed_ns);
    let stands_still = moments.stopped_ns.is_some() && went_on_ns.is_none();
    if stands_still || record.verdict == Verdict::Lost {
        return None;
    }
    record.gap_resolution_ns?;
    let accepted_ns = record.accepted_ns?;
    let workers = record.guest.iter().map(|it| it.counts.len()).max().filter(|it| *it > 0)?;
    let standstill = moments.stopped_ns.zip(went_on_ns).map(|it| gap(it.0, it.1, time));
    let at_switchover = |it: &statistics::Gap| standstill.is_some_and(|stop| overlap(*it, stop));
    let mut by_worker = vec![Vec::from_iter(standstill); workers];
    let counts = |gap: &&GapSpan| gap.end_ns > accepted_ns.max(gap.start_ns);
    for it in record.gaps.iter().filter(counts) {
        if let Some(log) = by_worker.get_mut(it.worker as usize) {
            log.push(gap(it.start_ns.max(accepted_ns), it.end_ns, time));
        }
    }
    let common = statistics::common_gaps(&by_worker);
    let longest = |gaps: &mut dyn Iterator<Item = &statistics::Gap>| {
        gaps.copied().max_by(|a, b| a.length_seconds.total_cmp(&b.length_seconds))
    };
    let switchover = longest(&mut common.iter().filter(|it| at_switchover(it)));
    Some(Blackout {
        longest: longest(&mut common.iter()),
        at_switchover: switchover.map(|it| it.length_seconds),
    })
}

fn overlap(a: statistics::Gap, b: statistics::Gap) -> bool {
    a.start_seconds < b.end_seconds() && b.start_seconds < a.end_seconds()
}

/// The phase in which a gap lay. One that reaches into the standstill belongs to it, wherever it began.
fn phase(gap: statistics::Gap, record: &Record, time: Time) -> BlackoutPhase {
    let moments = &record.moments;
    let at = |ns: Option<u64>| ns.map(|it| time.seconds(it));
    let (stopped, went_on) =
        (at(moments.stopped_ns), at(moments.restored_ns.or(moments.resumed_ns)));
    if let Some((start_seconds, end)) = stopped.zip(went_on) {
        let stop = statistics::Gap { start_seconds, length_seconds: end - start_seconds };
        if overlap(gap, stop) {
            return BlackoutPhase::Switchover;
        }
    }
    let is_before = |moment: Option<f64>| moment.is_some_and(|it| gap.start_seconds < it);
    if at(moments.setup_done_ns).is_none_or(|it| gap.start_seconds < it) {
        return BlackoutPhase::Setup;
    }
    let live_end = stopped.or(at(moments.ended_ns));
    match live_end {
        None => BlackoutPhase::Passes,
        Some(_) if is_before(live_end) => BlackoutPhase::Passes,
        Some(_) if is_before(at(moments.ended_ns)) => BlackoutPhase::Postcopy,
        Some(_) => BlackoutPhase::CoolDown,
    }
}

/// What the workers' gaps say together.
struct Blackout {
    /// The longest; `None` when none was long enough to be recorded.
    longest: Option<statistics::Gap>,
    /// The length of the one that the switchover lies in.
    at_switchover: Option<f64>,
}

fn gap(start_ns: u64, end_ns: u64, time: Time) -> statistics::Gap {
    let length_seconds = end_ns.saturating_sub(start_ns) as f64 / 1e9;
    statistics::Gap { start_seconds: time.seconds(start_ns), length_seconds }
}
