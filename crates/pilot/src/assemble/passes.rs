//! The table of passes.

use sterna_report::statistics::{self, Throughput};
use sterna_report::{GuestSample, Pass, PassKind, Side};

use super::{Time, pages_to_bytes};
use crate::{PassRow, Record, State};

pub(super) fn passes(
    record: &Record,
    time: Time,
    guest: &[GuestSample],
    baseline: Option<f64>,
) -> Vec<Pass> {
    let mut rows = record.passes.clone();
    for row in rows.iter_mut().filter(|row| row.is_final) {
        row.ended_ns = record.moments.ready_ns;
    }
    rows.extend(cut_off(record));
    // A dip at a synchronisation ends where the guest was stopped: the standstill after it has another cause and a number of its own.
    let live: Vec<GuestSample> =
        guest.iter().filter(|it| it.side == Side::Source).cloned().collect();
    let live = Throughput::new(&live);
    let mut passes: Vec<Pass> = rows.iter().map(|row| pass(row, time, &live, baseline)).collect();
    for index in 0..passes.len() {
        passes[index].dirty_rate_bytes_per_second = passes
            .get(index + 1)
            .and_then(|next| statistics::pass_dirty_rate(&passes[index], next));
    }
    passes
}

/// The pass, or the final phase, within which the migration ended, where the engine has told no row for it.
///
/// Its amounts are what the counters of the last poll hold beyond the completed passes.
fn cut_off(record: &Record) -> Option<PassRow> {
    let last = record.polls.last().filter(|it| it.state != State::Completed)?;
    let is_told = record.passes.iter().any(|it| it.is_final || it.ended_ns.is_none());
    if is_told || record.moments.resumed_ns.is_some() {
        return None;
    }
    let before = record.passes.last();
    let number = before.map_or(0, |it| it.number) + 1;
    let is_final = record.moments.stopped_ns.is_some();
    let started_ns = match (is_final, before) {
        (true, _) => record.moments.stopped_ns?,
        (false, Some(before)) => before.ended_ns?,
        (false, None) => record.moments.setup_done_ns?,
    };
    let beyond = |total: Option<u64>, of_row: fn(&PassRow) -> Option<u64>| {
        let told: Option<u64> = record.passes.iter().map(of_row).sum();
        Some(total?.saturating_sub(told?))
    };
    Some(PassRow {
        number,
        is_final,
        started_ns,
        pages_sent: beyond(last.pages_sent, |it| it.pages_sent),
        zero_pages: beyond(last.zero_pages, |it| it.zero_pages),
        // The counter leaves the final phase out.
        pages_resent: beyond(last.pages_resent, |it| it.pages_resent).filter(|_| !is_final),
        wire_bytes: beyond(last.transferred_bytes, |it| it.wire_bytes),
        remaining_bytes: last.remaining_bytes,
        ..PassRow::default()
    })
}

fn pass(row: &PassRow, time: Time, live: &Throughput, baseline: Option<f64>) -> Pass {
    let length = row.ended_ns.map(|it| it.saturating_sub(row.started_ns) as f64 / 1e9);
    let per_second = |amount: Option<f64>| Some(amount? / length.filter(|it| *it > 0.0)?);
    let started_seconds = time.seconds(row.started_ns);
    let sync_seconds = row.sync_ns.map(|it| it as f64 / 1e9);
    let while_running = |value: Option<f64>| value.filter(|_| !row.is_final);
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
        touch_rate_bytes_per_second: while_running(per_second(
            row.guest_writes.map(|it| pages_to_bytes(it as f64)),
        )),
        guest_dip_percent: while_running(
            sync_seconds
                .and_then(|sync| statistics::dip_percent(live, baseline, started_seconds, sync)),
        ),
    }
}
