//! From a flight of the model to what the pilot hears.

use sterna_model::{Flight, Pass, Stage};
use sterna_pilot::{Moments, PassRow, State, Status};

/// Where a flight is at `now_ns`, when `reported` of its passes were reported before.
pub(crate) fn status(flight: &Flight, accepted_ns: u64, now_ns: u64, reported: usize) -> Status {
    let outcome = flight.outcome();
    let sum = |part: fn(&Pass) -> f64| outcome.passes.iter().map(part).sum::<f64>() as u64;
    let last = outcome.passes.last();
    let dirty_rate = last
        .filter(|it| !it.is_final && it.ended_ns > it.started_ns)
        .map(|it| it.dirty_pages * 4096.0 / ((it.ended_ns - it.started_ns) as f64 / 1e9));
    let rows = outcome.passes.iter().skip(reported);
    Status {
        at_ns: now_ns,
        state: state(flight.stage()),
        reason: None,
        pass: Some(u64::from(flight.pass())),
        remaining_bytes: Some(flight.remaining_bytes()),
        transferred_bytes: Some(flight.sent_bytes()),
        bandwidth_bytes_per_second: flight.bandwidth_bytes_per_second().map(|it| it as f64),
        dirty_rate_bytes_per_second: dirty_rate,
        threshold_bytes: flight.threshold_bytes(),
        expected_downtime_seconds: flight.expected_downtime_ns().map(|it| it as f64 / 1e9),
        throttle_percent: flight.throttle_percent(),
        pages_sent: Some(sum(|it| it.pages_sent)),
        zero_pages: Some(sum(|it| it.zero_pages)),
        pages_resent: Some(sum(|it| if it.is_final { 0.0 } else { it.pages_resent })),
        new_passes: rows.map(|it| row(it, accepted_ns)).collect(),
        moments: moments(flight, accepted_ns),
    }
}

/// The moments known by now, on the pilot's clock.
pub(crate) fn moments(flight: &Flight, accepted_ns: u64) -> Moments {
    let at = |it: Option<u64>| it.map(|it| accepted_ns.saturating_add(it));
    let outcome = flight.outcome();
    let last = outcome.passes.last().filter(|it| it.is_final);
    let is_back = flight.stage() == Stage::Cancelled && flight.stopped_ns().is_some();
    Moments {
        setup_done_ns: at(flight.began_ns()),
        stopped_ns: at(flight.stopped_ns()),
        final_sync_done_ns: at(last.map(|it| it.started_ns + it.sync_ns)),
        ready_ns: at(last.map(|it| it.ended_ns)),
        resumed_ns: at(flight.resumed_ns()),
        ended_ns: at(flight.is_over().then_some(outcome.total_ns)),
        restored_ns: at(is_back.then_some(outcome.total_ns)),
        claimed_downtime_ns: outcome.downtime_ns,
    }
}

fn row(pass: &Pass, accepted_ns: u64) -> PassRow {
    let whole = |it: f64| Some(it.round() as u64);
    PassRow {
        number: u64::from(pass.number),
        is_final: pass.is_final,
        started_ns: accepted_ns.saturating_add(pass.started_ns),
        ended_ns: Some(accepted_ns.saturating_add(pass.ended_ns)),
        sync_ns: Some(pass.sync_ns),
        dirty_pages: whole(pass.dirty_pages),
        pages_sent: whole(pass.pages_sent),
        zero_pages: whole(pass.zero_pages),
        pages_resent: whole(pass.pages_resent),
        wire_bytes: whole(pass.wire_bytes),
        remaining_bytes: Some(pass.remaining_bytes),
        guest_writes: whole(pass.guest_writes),
    }
}

fn state(stage: Stage) -> State {
    match stage {
        Stage::Setup => State::Setup,
        Stage::Active => State::Active,
        Stage::Switchover => State::Switchover,
        Stage::Postcopy => State::Postcopy,
        Stage::Completed => State::Completed,
        Stage::Cancelled => State::Cancelled,
    }
}
