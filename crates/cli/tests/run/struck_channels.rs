//! Faults that name the connection they hit.

use serde_json::Value;

use crate::harness::{Outcome, Run};

/// Slow enough for the fault to find its moment, over two parallel connections.
const PARALLEL: [&str; 8] = [
    "--multifd-channels",
    "2",
    "--max-bandwidth",
    "160Mbit/s",
    "--rate",
    "8MiB/s",
    "--downtime-limit",
    "20ms",
];

/// In post-copy for seconds, with faults that have a connection of their own.
const POSTCOPY: [&str; 12] = [
    // Slow enough to find a missing page now and then for a second and more.
    "--rate",
    "8MiB/s",
    "--max-bandwidth",
    "40MB/s",
    "--downtime-limit",
    "1ms",
    "--ballast",
    "20MiB",
    "--postcopy-after-passes",
    "0",
    "--postcopy-max-bandwidth",
    "12MB/s",
];

fn with(base: &[&str], faults: &str) -> Outcome {
    Run::small(&[base, &["--faults", faults]].concat()).outcome()
}

#[track_caller]
fn struck(outcome: &Outcome) {
    let events = outcome.report()["events"].as_array().unwrap().iter();
    let faults: Vec<&Value> = events.filter(|it| it["kind"] == "fault").collect();
    let [fault] = faults[..] else { panic!("{faults:?}") };
    assert!(fault["text"].as_str().unwrap().contains("channel="), "{fault}");
}

#[test]
fn a_parallel_connection_that_breaks_fails_the_migration() {
    #[track_caller]
    fn check(fault: &str, reason: &str) {
        let outcome = with(&PARALLEL, fault);
        outcome.assert_ended(3, "failed", "verified");
        outcome.assert_reason_has(reason);
        struck(&outcome);
    }
    check("at-pass=1,channel=multifd-1,action=drop", "hannel 1");
    check("at-bytes=2MiB,side=destination,channel=multifd-0,action=drop", "hannel 0");
    check("at-pass=1,channel=multifd-0,action=corrupt", "Channel 0: ");
}

#[test]
fn one_that_stalls_keeps_the_others_waiting() {
    for side in ["source", "destination"] {
        let fault = format!("at-bytes=2MiB,side={side},channel=multifd-1,action=stall,for=2s");
        let outcome = with(&PARALLEL, &fault);
        outcome.assert_ended(0, "completed", "verified");
        assert!(outcome.summary("total_time_seconds").as_f64().unwrap() > 2.0);
        struck(&outcome);
    }
}

#[test]
fn one_that_stalls_for_ever_is_left_by_a_limit() {
    for side in ["source", "destination"] {
        let fault = format!("at-pass=1,side={side},channel=multifd-0,action=stall");
        let limit = ["--max-time", "1s", "--ballast", "20MiB"];
        let outcome = with(&[&PARALLEL[..], &limit].concat(), &fault);
        outcome.assert_ended(3, "cancelled", "verified");
        struck(&outcome);
    }
}

#[test]
fn a_delay_on_the_connection_for_asked_pages_is_felt_by_the_guest() {
    let median = |outcome: &Outcome| {
        let path = "/engine/details/destination_counters/postcopy_latency_ns/p50";
        outcome.report().pointer(path).and_then(Value::as_f64).unwrap()
    };
    let fault = "at-postcopy=0s,channel=preempt,action=delay,for=30ms";
    let delayed = with(&POSTCOPY, fault);
    delayed.assert_ended(0, "completed", "verified");
    struck(&delayed);
    assert!(median(&delayed) >= 25e6, "{}", median(&delayed));
}

#[test]
fn the_guest_is_lost_with_the_connection_for_asked_pages() {
    for action in ["drop", "corrupt"] {
        for side in ["source", "destination"] {
            let fault = format!("at-postcopy=100ms,side={side},channel=preempt,action={action}");
            let outcome = with(&POSTCOPY, &fault);
            outcome.assert_ended(3, "lost", "unchecked");
            struck(&outcome);
        }
    }
}

#[test]
fn a_channel_that_is_not_there_is_refused_by_its_field() {
    #[track_caller]
    fn check(base: &[&str], channel: &str, expected: &str) {
        let outcome = with(base, &format!("at-pass=1,channel={channel},action=drop"));
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
    check(&PARALLEL, "multifd-2", "channel multifd-2, which this migration does not have");
    check(&[], "multifd-0", "migration.multifd.channels");
    check(&PARALLEL, "preempt", "migration.postcopy.preempt");
    check(&[], "third", "`third` is no channel; they are main, multifd-0");
}
