//! The numbers, from records written down by hand.
//!
//! The guest has two workers that write a page each millisecond. It boots at 5 s, the migrate command is accepted at 10 s, the stop is at 11.000 s and the resumption at 11.060 s.
//! Samples are taken each 100 ms, at 50 ms past each tenth, so that both edges of the switchover lie within an interval.

use sterna_report::{Integrity, IntegrityDetail, Latency, PassKind, Side, Verdict};

use super::*;
use crate::{GapSpan, GuestPoint, LatencyPair, Moments, PassRow, State, WriteTimes};

const MS: u64 = 1_000_000;
const ACCEPTED: u64 = 10_000;
const STOPPED: u64 = 11_000;
const RESUMED: u64 = 11_060;

fn report(record: &Record) -> Report {
    let identity = Identity {
        tool: Tool::default(),
        host: Host::default(),
        started_at: "2026-03-01T12:00:00Z".to_owned(),
        scenario: Map::new(),
        guest_bytes: 1 << 20,
    };
    assemble(identity, record)
}

/// A completed migration; all times are given in milliseconds.
fn completed() -> Record {
    Record {
        verdict: Verdict::Completed,
        booted_ns: Some(5000 * MS),
        accepted_ns: Some(ACCEPTED * MS),
        moments: Moments {
            setup_done_ns: Some((ACCEPTED + 20) * MS),
            stopped_ns: Some(STOPPED * MS),
            final_sync_done_ns: Some((STOPPED + 2) * MS),
            ready_ns: Some((STOPPED + 50) * MS),
            resumed_ns: Some(RESUMED * MS),
            ended_ns: Some((RESUMED + 1) * MS),
            restored_ns: None,
            claimed_downtime_ns: Some(61 * MS),
        },
        guest: points(13_050, |at| at.min(STOPPED), |at| STOPPED + at.saturating_sub(RESUMED)),
        gap_resolution_ns: Some(2 * MS),
        clocks: [Side::Source, Side::Destination]
            .map(|side| ClockOffset { side, offset_ns: 7, uncertainty_ns: 20_000 })
            .to_vec(),
        ..Record::default()
    }
}

/// Points of both sides until `end`; the functions say until when a side has counted at a time.
fn points(end: u64, source: fn(u64) -> u64, destination: fn(u64) -> u64) -> Vec<GuestPoint> {
    let times = (4_550..=end).step_by(100);
    let point = |side, at: u64, counted: u64| GuestPoint {
        side,
        at_ns: at * MS,
        counts: vec![counted.saturating_sub(5000); 2],
        checking_ns: 0,
        latency: None,
        latency_half_octaves: Vec::new(),
    };
    times
        .flat_map(|at| {
            [point(Side::Source, at, source(at)), point(Side::Destination, at, destination(at))]
        })
        .collect()
}

fn pages(report: &Report) -> u64 {
    report.guest.iter().flat_map(|it| &it.counts_per_worker).sum()
}

#[track_caller]
fn assert_near(found: Option<f64>, expected: Option<f64>) {
    match found.zip(expected) {
        Some((a, b)) => assert!((a - b).abs() < 1e-9, "{a} in place of {b}"),
        None => assert_eq!(found, expected),
    }
}

#[test]
fn the_guests_samples_end_at_the_stop_and_begin_at_the_resumption() {
    let report = report(&completed());
    let last = report.guest.iter().rfind(|it| it.side == Side::Source).unwrap();
    assert_near(Some(last.t_seconds), Some(1.0));
    assert_near(Some(last.interval_seconds), Some(0.05));
    assert_eq!(last.counts_per_worker, [50, 50]);
    let first = report.guest.iter().find(|it| it.side == Side::Destination).unwrap();
    assert_near(Some(first.t_seconds - first.interval_seconds), Some(1.06));
    assert_eq!(first.counts_per_worker, [90, 90]);
    for sample in &report.guest {
        assert_near(Some(sample.writes_per_second), Some(2000.0));
    }
    // From the first sample after the boot, at 5.05 s, to the end at 13.05 s, less the standstill of 60 ms.
    assert_eq!(pages(&report), 2 * (8000 - 60));
    assert_near(report.summary.lost_work_seconds, Some(0.06));
    assert_near(report.summary.touch_rate_pages_per_second, Some(2000.0));
    assert_near(report.summary.resumption.at_95_percent_seconds, Some(0.0));
    assert_near(report.summary.resumption.first_sample_seconds, Some(0.09));
}

#[test]
fn without_the_counts_at_the_stop_one_interval_stays_undivided() {
    let mut record = completed();
    record.guest.retain(|it| it.side == Side::Destination || it.at_ns < STOPPED * MS);
    let report = report(&record);
    let last = report.guest.iter().rfind(|it| it.side == Side::Source).unwrap();
    assert_near(Some(last.t_seconds), Some(0.95));
    let first = report.guest.iter().find(|it| it.side == Side::Destination).unwrap();
    assert_near(Some(first.interval_seconds), Some(0.2));
    assert_eq!(first.counts_per_worker, [140, 140]);
    assert_eq!(pages(&report), 2 * (8000 - 60));
}

#[test]
fn a_lost_guest_has_no_samples_after_the_stop() {
    let mut record = completed();
    record.verdict = Verdict::Lost;
    record.moments.resumed_ns = None;
    let report = report(&record);
    assert!(report.guest.iter().all(|it| it.side == Side::Source && it.t_seconds <= 1.0));
    assert_eq!(pages(&report), 2 * (STOPPED - 5050));
    assert_near(report.summary.downtime_seconds, None);
    assert_near(report.summary.blackout_seconds, None);
    assert_eq!(report.summary.lost_work_lower_bound, Some(true));
}

/// A migration that was cancelled in the switchover: the guest went on at the source after 30 ms.
fn restored() -> Record {
    let mut record = completed();
    record.verdict = Verdict::Cancelled;
    record.moments = Moments {
        restored_ns: Some((STOPPED + 30) * MS),
        ended_ns: Some((STOPPED + 30) * MS),
        ready_ns: None,
        resumed_ns: None,
        ..record.moments
    };
    let source = |at: u64| at.min(STOPPED) + at.saturating_sub(STOPPED + 30);
    record.guest = points(13_050, source, |_| STOPPED);
    record
}

#[test]
fn a_guest_that_came_back_to_the_source_was_never_elsewhere() {
    let report = report(&restored());
    assert!(report.guest.iter().all(|it| it.side == Side::Source));
    assert_eq!(pages(&report), 2 * (8000 - 30));
    let summary = &report.summary;
    assert_near(summary.total_time_seconds, Some(1.03));
    assert_near(summary.downtime_seconds, None);
    assert_near(summary.downtime_claimed_seconds, None);
    assert_near(summary.downtime_uncertainty_seconds, None);
    assert_near(summary.resume_seconds, None);
    assert_near(summary.blackout_seconds, Some(0.03));
    assert_eq!(summary.convergence_pass, None);
    assert_eq!(summary.resumption, sterna_report::Resumption::default());
    assert!(report.events.iter().any(|it| it.kind == "restored"));
}

#[test]
fn a_migration_that_never_began_has_no_numbers_of_one() {
    let mut record = completed();
    record.accepted_ns = None;
    record.began_ns = 4000 * MS;
    record.moments = Moments::default();
    let report = report(&record);
    let summary = &report.summary;
    for number in [
        summary.total_time_seconds,
        summary.baseline_pages_per_second,
        summary.touch_rate_pages_per_second,
        summary.blackout_seconds,
        summary.lost_work_seconds,
    ] {
        assert_near(number, None);
    }
    assert_eq!(report.warnings, []);
    // Time zero is then the beginning of the run, and what was seen is kept.
    assert_near(Some(report.guest[0].t_seconds), Some(1.15));
}

#[test]
fn the_downtime_and_its_parts_follow_from_the_moments() {
    #[track_caller]
    fn check(change: fn(&mut Moments), expected: [Option<f64>; 5]) {
        let mut record = completed();
        change(&mut record.moments);
        let summary = report(&record).summary;
        assert_near(summary.total_time_seconds, expected[0]);
        assert_near(summary.downtime_seconds, expected[1]);
        assert_near(summary.final_sync_seconds, expected[2]);
        assert_near(summary.final_transfer_seconds, expected[3]);
        assert_near(summary.resume_seconds, expected[4]);
    }
    let all = [Some(1.061), Some(0.06), Some(0.002), Some(0.048), Some(0.01)];
    check(|_| {}, all);
    check(|it| it.ended_ns = None, [None, all[1], all[2], all[3], all[4]]);
    check(|it| it.resumed_ns = None, [all[0], None, all[2], all[3], None]);
    check(|it| it.stopped_ns = None, [all[0], None, None, all[3], all[4]]);
    check(|it| it.ready_ns = None, [all[0], all[1], all[2], None, None]);
    // A clock that was mapped a little wrong shows, and is not hidden by a zero.
    check(
        |it| it.ready_ns = Some((RESUMED + 1) * MS),
        [all[0], all[1], all[2], Some(0.059), Some(-0.001)],
    );
}

#[test]
fn the_downtime_is_as_uncertain_as_both_clocks_together() {
    let mut record = completed();
    assert_near(report(&record).summary.downtime_uncertainty_seconds, Some(40e-6));
    record.clocks.pop();
    assert_near(report(&record).summary.downtime_uncertainty_seconds, None);
}

#[test]
fn the_blackout_is_what_all_workers_share_and_never_below_the_downtime() {
    #[track_caller]
    fn check(gaps: &[(u32, u64, u64)], expected: f64) {
        let mut record = completed();
        let gap = |&(worker, start, end): &(u32, u64, u64)| GapSpan {
            side: Side::Destination,
            worker,
            start_ns: start * MS,
            end_ns: end * MS,
        };
        record.gaps = gaps.iter().map(gap).collect();
        assert_near(report(&record).summary.blackout_seconds, Some(expected));
    }
    let (stop, go_on) = (STOPPED, RESUMED);
    check(&[], 0.06);
    check(&[(0, stop - 1, go_on + 5), (1, stop, go_on + 2)], 0.062);
    // One worker that goes on is enough.
    check(&[(0, 12_000, 12_500)], 0.06);
    check(&[(0, 12_000, 12_500), (1, 12_300, 12_700)], 0.2);
    // What was before the migrate command does not count, and what reaches into it only from there on.
    check(&[(0, 9_000, 9_900), (1, 9_000, 9_900)], 0.06);
    check(&[(0, 9_000, 10_100), (1, 9_000, 10_200)], 0.1);
    // Clocks that disagree make no negative gaps, and workers nobody knows no gaps at all.
    check(&[(0, 12_500, 12_000), (1, 12_500, 12_000), (9, 0, 13_000)], 0.06);
}

#[test]
fn a_blackout_says_when_it_was_and_how_long_the_one_of_the_switchover_is() {
    use sterna_report::BlackoutPhase::{CoolDown, Passes, Postcopy, Setup, Switchover};
    #[track_caller]
    fn check(start: u64, end: u64, phase: sterna_report::BlackoutPhase, switchover: f64) {
        let mut record = completed();
        // A post-copy that ends 900 ms after the resumption.
        record.moments.ended_ns = Some((RESUMED + 900) * MS);
        let gap =
            |worker| GapSpan { side: Side::Source, worker, start_ns: start * MS, end_ns: end * MS };
        record.gaps = vec![gap(0), gap(1)];
        let summary = report(&record).summary;
        assert_eq!(summary.blackout_phase, Some(phase));
        let begin = if phase == Switchover { start.min(STOPPED) } else { start };
        assert_near(summary.blackout_start_seconds, Some((begin - ACCEPTED) as f64 / 1e3));
        assert_near(summary.blackout_at_switchover_seconds, Some(switchover));
    }
    check(ACCEPTED + 5, ACCEPTED + 105, Setup, 0.06);
    check(ACCEPTED + 30, ACCEPTED + 130, Passes, 0.06);
    check(STOPPED - 10, RESUMED + 5, Switchover, 0.075);
    check(RESUMED - 10, RESUMED + 100, Switchover, 0.16);
    check(RESUMED + 100, RESUMED + 300, Postcopy, 0.06);
    check(RESUMED + 1000, RESUMED + 1100, CoolDown, 0.06);
}

#[test]
fn a_blackout_below_the_resolution_has_no_moment() {
    let mut record = completed();
    record.verdict = Verdict::Cancelled;
    record.moments = Moments { ended_ns: record.moments.ended_ns, ..Moments::default() };
    record.guest = points(13_050, |at| at, |_| 5000);
    let summary = report(&record).summary;
    assert_near(summary.blackout_seconds, Some(0.0));
    assert_near(summary.blackout_start_seconds, None);
    assert_eq!((summary.blackout_phase, summary.blackout_at_switchover_seconds), (None, None));
}

#[test]
fn the_bandwidth_is_all_bytes_over_the_time_from_the_first_pass_to_the_last_byte() {
    let poll = |at_ms: u64, bytes: u64| Status {
        at_ns: at_ms * MS,
        transferred_bytes: Some(bytes),
        ..Status::default()
    };
    let mut record = completed();
    // The destination was ready at 11.050 s, and the next poll came long after it.
    record.polls =
        vec![poll(ACCEPTED + 10, 0), poll(STOPPED, 90_000_000), poll(RESUMED + 200, 103_000_000)];
    let summary = report(&record).summary;
    assert_near(summary.bandwidth_mean_bytes_per_second, Some(1e8));
    assert_eq!(summary.wire_bytes, Some(103_000_000));
    // A destination that died after 1.25 MB, all of which the first poll saw.
    record.moments = Moments {
        setup_done_ns: Some((ACCEPTED + 20) * MS),
        ended_ns: Some((ACCEPTED + 120) * MS),
        ..Moments::default()
    };
    record.verdict = Verdict::Failed;
    record.polls = vec![poll(ACCEPTED + 50, 1_250_000), poll(ACCEPTED + 130, 1_250_000)];
    let mean = report(&record).summary.bandwidth_mean_bytes_per_second;
    assert_near(mean.map(f64::round), Some(1.25e7));
    // Of one that died before anything was counted nothing is known.
    record.polls = vec![poll(ACCEPTED + 10, 0)];
    assert_near(report(&record).summary.bandwidth_mean_bytes_per_second, None);
}

#[test]
fn the_downtime_limit_is_the_one_in_force_at_the_stop() {
    let mut record = completed();
    assert_near(report(&record).summary.downtime_limit_seconds, Some(0.3));
    record.downtime_limit_ns = Some(50 * MS);
    let report = report(&record);
    assert_near(report.summary.downtime_limit_seconds, Some(0.05));
    let warning = report.warnings.iter().find(|it| it.code == "downtime-over-limit").unwrap();
    let text = "The guest was frozen for 60 ms, longer than the downtime limit of 50 ms";
    assert_eq!(warning.text, text);
    record.moments.resumed_ns = None;
    assert_near(self::report(&record).summary.downtime_limit_seconds, None);
}

#[test]
fn a_blackout_is_unknown_without_gaps_and_without_an_end() {
    let mut record = completed();
    record.gap_resolution_ns = None;
    assert_near(report(&record).summary.blackout_seconds, None);
    let mut record = completed();
    record.moments.resumed_ns = None;
    assert_near(report(&record).summary.blackout_seconds, None);
}

#[test]
fn the_write_latency_is_that_of_the_side_with_more_writes() {
    fn latency(samples: u64) -> Option<Latency> {
        Some(Latency { samples, p50_ns: 1, p99_ns: 2, p999_ns: 3, max_ns: 4 })
    }
    #[track_caller]
    fn check(source: Option<u64>, destination: Option<u64>, expected: Option<u64>) {
        let mut record = completed();
        let times = |samples: Option<u64>| WriteTimes {
            service: samples.and_then(latency),
            since_due: samples.and_then(|it| latency(100 + it)),
        };
        let pair = |since: Option<u64>| LatencyPair { before: times(Some(7)), since: times(since) };
        record.latency.insert(Side::Source, pair(source));
        record.latency.insert(Side::Destination, pair(destination));
        let found = report(&record).summary.write_latency;
        assert_eq!(found.during.map(|it| it.samples), expected);
        assert_eq!(found.during_since_due.map(|it| it.samples), expected.map(|it| 100 + it));
        assert_eq!((found.baseline, found.baseline_since_due), (latency(7), latency(107)));
    }
    check(None, None, None);
    check(Some(5), None, Some(5));
    check(Some(5), Some(4), Some(5));
    check(Some(5), Some(6), Some(6));
    check(None, Some(6), Some(6));
}

fn row(number: u64, started: u64, ended: u64) -> PassRow {
    PassRow {
        number,
        started_ns: started * MS,
        ended_ns: Some(ended * MS),
        sync_ns: Some(MS),
        dirty_pages: Some(100),
        pages_sent: Some(1000),
        zero_pages: Some(10),
        pages_resent: Some(0),
        wire_bytes: Some(4_000_000),
        remaining_bytes: Some(0),
        guest_writes: Some(2 * (ended - started)),
        ..PassRow::default()
    }
}

fn status(at: u64, state: State, factor: u64) -> Status {
    Status {
        at_ns: at * MS,
        state,
        pages_sent: Some(1000 * factor),
        zero_pages: Some(10 * factor),
        pages_resent: Some(0),
        transferred_bytes: Some(4_000_000 * factor),
        remaining_bytes: Some(4096),
        threshold_bytes: Some(8192),
        ..Status::default()
    }
}

#[test]
fn the_bandwidth_of_a_postcopy_is_that_of_the_whole_transfer() {
    let mut record = completed();
    record.moments.ended_ns = Some(20_020 * MS);
    record.polls = vec![
        status(10_020, State::Active, 0),
        status(11_040, State::Postcopy, 2),
        status(20_020, State::Completed, 11),
    ];
    assert_near(report(&record).summary.bandwidth_mean_bytes_per_second, Some(4.4e6));
}

#[test]
fn the_final_phase_ends_when_the_destination_has_loaded_everything() {
    let mut record = completed();
    let last = row(2, STOPPED, STOPPED + 40);
    record.passes = vec![row(1, 10_020, STOPPED), PassRow { is_final: true, ..last }];
    let found = report(&record);
    assert_near(found.passes[1].length_seconds, Some(0.05));
    assert_eq!(found.passes[1].kind, PassKind::Final);
    assert_near(found.passes[1].touch_rate_bytes_per_second, None);
    assert_eq!(found.summary.passes, 1);
    // It never had.
    record.moments.ready_ns = None;
    assert_near(report(&record).passes[1].length_seconds, None);
}

#[test]
fn the_rates_of_a_pass_follow_from_its_row() {
    let mut record = completed();
    record.passes = vec![row(1, 10_020, 10_520), row(2, 10_520, STOPPED)];
    let found = report(&record);
    let first = &found.passes[0];
    assert_near(first.bandwidth_bytes_per_second, Some(8e6));
    assert_near(first.touch_rate_bytes_per_second, Some(2000.0 * 4096.0));
    assert_near(first.dirty_rate_bytes_per_second, Some(100.0 * 4096.0 / 0.5));
    // The synchronisation that closes it was not told.
    assert_near(found.passes[1].dirty_rate_bytes_per_second, None);
}

#[test]
fn a_dip_at_a_synchronisation_is_not_the_standstill_after_it() {
    let mut record = completed();
    record.passes = vec![row(1, 10_020, STOPPED - 10), row(2, STOPPED - 10, STOPPED)];
    let dip = report(&record).passes[1].guest_dip_percent.unwrap();
    assert!(dip.abs() < 1e-6, "{dip}");
}

#[test]
fn a_pass_that_was_cut_off_has_what_the_counters_hold_beyond_the_others() {
    #[track_caller]
    fn check(record: &Record, expected: Option<(u64, PassKind, f64, Option<u64>)>) {
        let rows = report(record).passes;
        let found = rows.last().filter(|it| it.length_seconds.is_none()).map(|it| {
            let started = (it.started_seconds * 1e3).round() / 1e3;
            (it.number, it.kind, started, it.pages_sent)
        });
        assert_eq!(found, expected);
    }
    let mut record = restored();
    record.polls = vec![status(10_500, State::Active, 3)];
    record.moments = Moments {
        setup_done_ns: Some(10_020 * MS),
        ended_ns: Some(10_500 * MS),
        ..Moments::default()
    };
    check(&record, Some((1, PassKind::Pass, 0.02, Some(3000))));
    record.passes = vec![row(1, 10_020, 10_300)];
    check(&record, Some((2, PassKind::Pass, 0.3, Some(2000))));
    // What one row does not know cannot be taken off.
    record.passes[0].pages_sent = None;
    check(&record, Some((2, PassKind::Pass, 0.3, None)));
    record.moments.stopped_ns = Some(10_400 * MS);
    check(&record, Some((2, PassKind::Final, 0.4, None)));
    // The engine has told it itself.
    record.passes.push(PassRow { ended_ns: None, ..row(2, 10_310, 10_310) });
    check(&record, Some((2, PassKind::Pass, 0.31, Some(1000))));
    record.polls = vec![status(10_500, State::Completed, 3)];
    record.passes.pop();
    check(&record, None);
    // It ended before pass 1.
    let mut record = restored();
    record.moments = Moments::default();
    record.polls = vec![status(10_010, State::Failed, 0)];
    check(&record, None);
}

#[test]
fn a_forced_stop_converged_nowhere() {
    let mut record = completed();
    record.passes = vec![row(1, 10_020, STOPPED)];
    record.polls = vec![status(10_900, State::Active, 1)];
    assert_eq!(report(&record).summary.convergence_pass, Some(1));
    record.forced_ns = Some((STOPPED - 10) * MS);
    assert_eq!(report(&record).summary.convergence_pass, None);
    // The order came when the engine had stopped it already.
    record.forced_ns = Some((STOPPED + 1) * MS);
    assert_eq!(report(&record).summary.convergence_pass, Some(1));
}

#[test]
fn the_last_good_counters_are_kept() {
    let mut record = completed();
    let nothing = Status { at_ns: 11_000 * MS, state: State::Failed, ..Status::default() };
    record.polls = vec![status(10_500, State::Active, 2), nothing];
    let summary = report(&record).summary;
    assert_eq!(summary.pages_sent, Some(2000));
    assert_eq!(summary.wire_bytes, Some(8_000_000));
    assert_near(summary.amplification, Some(8_000_000.0 / 1_048_576.0));
}

#[test]
fn integrity_is_what_was_checked() {
    #[track_caller]
    fn check(corrupt_pages: Option<u64>, expected: Integrity, code: u8) {
        let verified = corrupt_pages.map(|corrupt_pages| IntegrityDetail {
            side: Side::Destination,
            pages_checked: 10,
            corrupt_pages,
            first: Vec::new(),
            memory_pages: None,
            first_writes: None,
            writes_after_go: None,
        });
        let report = report(&Record { verified, ..completed() });
        assert_eq!(report.summary.integrity, expected);
        assert_eq!(report.exit_code(), code);
    }
    check(None, Integrity::Unchecked, 0);
    check(Some(0), Integrity::Verified, 0);
    check(Some(2), Integrity::Corrupt, 4);
}
