//! From what a host says to what the pilot hears: other names, and stamps on the pilot's clock.

use sterna_pilot::{
    CpuPoint, GapSpan, GuestPoint, LatencyPair, Moments, PassRow, RecordedEvent, Samples, State,
    Status, WriteTimes,
};
use sterna_report::{CorruptPage, FirstWriteCheck, IntegrityDetail, Latency, Side, Word};
use sterna_wire::control::{HostSamples, HostStatus, LatencySummary, PassRecord, Phase, Verified};

use crate::host_process::HostProcess;

/// What the source knows of the moments, on the pilot's clock.
pub fn source_moments(status: &HostStatus, source: &HostProcess) -> Moments {
    let stamps = &status.stamps;
    let map = |ns: Option<u64>| ns.map(|it| source.to_ours(it));
    let claimed = stamps.stopped_ns.zip(stamps.running_ns);
    Moments {
        setup_done_ns: map(stamps.setup_done_ns),
        stopped_ns: map(stamps.stopped_ns),
        final_sync_done_ns: map(stamps.final_sync_done_ns),
        ready_ns: map(stamps.ready_ns),
        resumed_ns: None,
        ended_ns: map(stamps.ended_ns),
        restored_ns: map(stamps.restored_ns),
        // As a source sees it: from the stop to hearing RUNNING.
        claimed_downtime_ns: claimed.map(|(stopped, running)| running.saturating_sub(stopped)),
    }
}

/// What only the destination knows.
pub fn add_destination(moments: &mut Moments, theirs: &HostStatus, destination: &HostProcess) {
    moments.resumed_ns = theirs.stamps.resumed_ns.map(|it| destination.to_ours(it));
    moments.ended_ns = moments.ended_ns.max(moments.resumed_ns);
}

/// A poll in the pilot's words.
pub fn to_status(status: &HostStatus, moments: Moments, source: &HostProcess) -> Status {
    let rate = status.bandwidth_bytes_per_second;
    let techniques = &status.techniques;
    let expected = techniques.switchover.expected_downtime_ns.map(|it| it as f64 / 1e9);
    Status {
        at_ns: source.to_ours(status.at_ns),
        state: state(status.phase),
        reason: status.error.clone(),
        pass: Some(u64::from(status.pass)).filter(|it| *it > 0),
        remaining_bytes: Some(status.remaining_bytes),
        transferred_bytes: Some(status.transferred_bytes),
        bandwidth_bytes_per_second: rate.map(|it| it as f64),
        dirty_rate_bytes_per_second: status.dirty_rate_bytes_per_second.map(|it| it as f64),
        threshold_bytes: status.threshold_bytes,
        expected_downtime_seconds: expected,
        throttle_percent: techniques.throttle_percent,
        pages_sent: Some(status.pages_sent),
        zero_pages: Some(status.zero_pages),
        pages_resent: Some(status.pages_resent),
        new_passes: status.passes.iter().map(|it| pass_row(it, source)).collect(),
        moments,
    }
}

fn pass_row(pass: &PassRecord, source: &HostProcess) -> PassRow {
    PassRow {
        number: u64::from(pass.number),
        is_final: pass.is_final,
        started_ns: source.to_ours(pass.started_ns),
        ended_ns: Some(source.to_ours(pass.ended_ns)),
        sync_ns: Some(pass.sync_ns),
        dirty_pages: Some(pass.dirty_pages),
        pages_sent: Some(pass.pages_sent),
        zero_pages: Some(pass.zero_pages),
        pages_resent: Some(pass.pages_resent),
        wire_bytes: Some(pass.wire_bytes),
        remaining_bytes: Some(pass.remaining_bytes),
        guest_writes: Some(pass.writes_at_end.saturating_sub(pass.writes_at_start)),
    }
}

fn state(phase: Phase) -> State {
    match phase {
        Phase::Idle | Phase::Setup => State::Setup,
        Phase::Active => State::Active,
        Phase::Switchover => State::Switchover,
        Phase::Committed => State::Committed,
        Phase::Postcopy => State::Postcopy,
        Phase::PostcopyPaused => State::PostcopyPaused,
        Phase::Completed => State::Completed,
        Phase::Cancelled => State::Cancelled,
        Phase::Failed => State::Failed,
        Phase::Undecided | Phase::Incomplete => State::Undecided,
    }
}

/// Samples in the pilot's words and on its clock.
pub fn add_samples(to: &mut Samples, side: Side, theirs: HostSamples, host: &HostProcess) {
    for sample in theirs.samples {
        let at_ns = host.to_ours(sample.at_ns);
        to.cpu.push(CpuPoint {
            side,
            at_ns,
            classes: sample.cpu_ns.into_iter().collect(),
            resident_bytes: sample.resident_bytes,
        });
        to.guest.push(GuestPoint {
            side,
            at_ns,
            counts: sample.counts,
            checking_ns: sample.checking_ns,
            latency: sample.latency.map(latency),
            latency_half_octaves: sample.latency_half_octaves,
        });
    }
    to.gaps.extend(theirs.gaps.iter().map(|gap| GapSpan {
        side,
        worker: gap.worker,
        start_ns: host.to_ours(gap.start_ns),
        end_ns: host.to_ours(gap.end_ns),
    }));
    to.events.extend(theirs.events.into_iter().map(|event| RecordedEvent {
        at_ns: host.to_ours(event.at_ns),
        side: side.into(),
        kind: event.kind,
        text: event.text,
    }));
    let pair = LatencyPair {
        before: WriteTimes {
            service: theirs.latency_before.map(latency),
            since_due: theirs.since_due_before.map(latency),
        },
        since: WriteTimes {
            service: theirs.latency_since.map(latency),
            since_due: theirs.since_due_since.map(latency),
        },
    };
    to.latency.push((side, pair));
    to.resident_peak_bytes.extend(theirs.resident_peak_bytes.map(|bytes| (side, bytes)));
}

fn latency(summary: LatencySummary) -> Latency {
    let LatencySummary { count, p50_ns, p99_ns, p999_ns, max_ns } = summary;
    Latency { samples: count, p50_ns, p99_ns, p999_ns, max_ns }
}

/// A verification in the report's words.
pub fn integrity_detail(side: Side, found: &Verified) -> IntegrityDetail {
    IntegrityDetail {
        side,
        pages_checked: found.pages_checked,
        corrupt_pages: found.corrupt_pages,
        memory_pages: Some(found.memory_pages).filter(|it| *it > 0),
        first_writes: found.first_writes.map(|it| FirstWriteCheck {
            pages_checked: it.pages_checked,
            corrupt_pages: it.corrupt_pages,
            checking_seconds: it.checking_ns as f64 / 1e9,
            began_seconds: Some(0.0),
        }),
        writes_after_go: None,
        first: found
            .first
            .iter()
            .map(|it| CorruptPage {
                page: it.page,
                offset_bytes: it.offset_bytes,
                expected: Word(it.expected),
                found: Word(it.found),
            })
            .collect(),
    }
}
