//! Each warning with what brings it about, and the run that has none.

use serde_json::Map;
use sterna_report::{Engine, Host, Poll, Side, Tool};
use sterna_scenario::Scenario;

use super::*;
use crate::Moments;

/// A record and a report in which nothing is wrong: 8192 pages/s, a switchover from 1.0 to 1.06 s, 2 s of cool-down.
fn flawless() -> (Record, Report) {
    let record = Record {
        scenario: Scenario::default(),
        accepted_ns: Some(0),
        moments: Moments { resumed_ns: Some(1_060_000_000), ..Moments::default() },
        ..Record::default()
    };
    let mut report = Report::new(
        Tool::default(),
        Host::default(),
        Engine::default(),
        "2026-03-01T12:00:00Z".to_owned(),
        Map::new(),
    );
    report.guest = (-20..=30).map(|tenth| sample(f64::from(tenth) / 10.0, 0.1, 819)).collect();
    report.timeline = (0..=40).map(|it| poll(f64::from(it) * 0.025)).collect();
    let summary = &mut report.summary;
    summary.verdict = Verdict::Completed;
    summary.integrity = Integrity::Verified;
    summary.pages_resent = Some(5);
    summary.baseline_pages_per_second = Some(8190.0);
    summary.baseline_bytes_per_second = Some(8190.0 * 4096.0);
    summary.resumption.at_95_percent_seconds = Some(0.0);
    summary.downtime_seconds = Some(0.06);
    summary.downtime_uncertainty_seconds = Some(50e-6);
    summary.downtime_claimed_seconds = Some(0.061);
    (record, report)
}

fn sample(t_seconds: f64, interval_seconds: f64, pages: u64) -> GuestSample {
    GuestSample {
        t_seconds,
        side: Side::Source,
        interval_seconds,
        counts_per_worker: vec![pages],
        writes_per_second: pages as f64 / interval_seconds,
        checking_seconds: None,
        latency: None,
        latency_histogram: None,
    }
}

fn poll(t_seconds: f64) -> Poll {
    Poll {
        t_seconds,
        state: "active".to_owned(),
        pass: None,
        remaining_bytes: None,
        transferred_bytes: None,
        bandwidth_bytes_per_second: None,
        dirty_rate_bytes_per_second: None,
        threshold_bytes: None,
        expected_downtime_seconds: None,
        throttle_percent: None,
    }
}

/// What a change of the flawless run warns of.
#[track_caller]
fn check(change: impl Fn(&mut Record, &mut Report), expected: &[&str]) {
    let (mut record, mut report) = flawless();
    change(&mut record, &mut report);
    let found = warnings(&record, &report);
    let codes: Vec<&str> = found.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, expected);
    for it in found {
        let advice = it.advice.unwrap();
        for text in [&it.text, &advice] {
            assert!(
                !text.ends_with('.') && !text.contains("inf") && !text.contains("NaN"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_flawless_run_and_one_that_never_began_have_no_warnings() {
    check(|_, _| {}, &[]);
    check(
        |record, report| {
            record.accepted_ns = None;
            report.summary = sterna_report::Summary::default();
        },
        &[],
    );
}

#[test]
fn unverified_memory() {
    let unchecked = |verdict| {
        move |_: &mut Record, report: &mut Report| {
            report.summary.verdict = verdict;
            report.summary.integrity = Integrity::Unchecked;
        }
    };
    check(unchecked(Verdict::Completed), &["unverified"]);
    check(unchecked(Verdict::Failed), &["unverified"]);
    check(unchecked(Verdict::Interrupted), &[]);
    check(unchecked(Verdict::Lost), &[]);
}

#[test]
fn a_migration_that_was_too_easy() {
    check(|_, report| report.summary.pages_resent = Some(0), &["nothing-sent-again"]);
    check(|_, report| report.summary.pages_resent = None, &[]);
    check(
        |_, report| {
            report.summary.pages_resent = Some(0);
            report.summary.verdict = Verdict::Cancelled;
        },
        &[],
    );
}

#[test]
fn polls_that_come_too_rarely() {
    let every = |seconds: f64, count: i32| {
        move |_: &mut Record, report: &mut Report| {
            report.timeline = (0..count).map(|it| poll(f64::from(it) * seconds)).collect();
        }
    };
    check(every(0.049, 40), &[]);
    check(every(0.06, 40), &["polls-late"]);
    check(every(0.06, 3), &[]);
    check(every(0.6, 2), &["polls-late"]);
    check(every(0.0, 1), &[]);
    check(every(0.0, 0), &[]);
}

#[test]
fn samples_that_come_too_late() {
    let stretch = |count: usize| {
        move |_: &mut Record, report: &mut Report| {
            report.guest[25..25 + count].iter_mut().for_each(|it| it.interval_seconds = 0.25);
        }
    };
    check(stretch(2), &[]);
    check(stretch(3), &["samples-late"]);
    check(
        |record, report| {
            stretch(3)(record, report);
            record.scenario.timing.sample_interval = sterna_units::Span::from_millis(200);
        },
        &[],
    );
}

#[test]
fn a_baseline_that_is_missing_noisy_or_below_the_pace() {
    check(
        |_, report| {
            report.summary.baseline_pages_per_second = None;
            report.summary.baseline_bytes_per_second = None;
            report.summary.resumption.at_95_percent_seconds = None;
        },
        &["no-baseline"],
    );
    let alternate = |pages: [u64; 2]| {
        move |_: &mut Record, report: &mut Report| {
            for (index, it) in report.guest.iter_mut().enumerate() {
                *it = sample(it.t_seconds, 0.1, pages[index % 2]);
            }
        }
    };
    check(alternate([750, 890]), &[]);
    check(alternate([700, 940]), &["baseline-noisy"]);
    // A few writes a sample are coarse by nature.
    check(alternate([0, 9]), &[]);
    check(|_, report| report.summary.baseline_bytes_per_second = Some(20e6), &["pace-missed"]);
    check(
        |record, report| {
            report.summary.baseline_bytes_per_second = Some(20e6);
            record.scenario.workload.rate = Pace::Unlimited;
        },
        &[],
    );
    check(
        |record, _| record.scenario.workload.rate = "10000pages/s".parse().unwrap(),
        &["pace-missed"],
    );
    // With phases the pace changes, and the warm-up may have seen a slow one.
    check(
        |record, report| {
            report.summary.baseline_bytes_per_second = Some(20e6);
            record.scenario.workload.phases = Some(Default::default());
        },
        &[],
    );
}

#[test]
fn a_guest_that_was_not_seen_to_come_back() {
    let until = |end: f64| {
        move |_: &mut Record, report: &mut Report| {
            report.summary.resumption.at_95_percent_seconds = None;
            report.guest.retain(|it| it.t_seconds <= end);
        }
    };
    check(until(2.0), &["cool-down-short"]);
    check(until(0.5), &["cool-down-short"]);
    check(until(3.0), &["not-back"]);
    check(
        |record, report| {
            until(3.0)(record, report);
            report.summary.downtime_seconds = None;
        },
        &[],
    );
}

#[test]
fn a_downtime_that_is_uncertain_or_claimed_otherwise() {
    let uncertainty = |seconds: Option<f64>| {
        move |_: &mut Record, report: &mut Report| {
            report.summary.downtime_uncertainty_seconds = seconds;
        }
    };
    check(uncertainty(Some(5e-3)), &[]);
    check(uncertainty(Some(7e-3)), &["downtime-uncertain"]);
    check(uncertainty(None), &["downtime-uncertain"]);
    let claim = |seconds: f64| {
        move |_: &mut Record, report: &mut Report| {
            report.summary.downtime_claimed_seconds = Some(seconds);
        }
    };
    check(claim(0.071), &[]);
    check(claim(0.073), &["downtime-claimed"]);
    check(claim(0.02), &["downtime-claimed"]);
}
