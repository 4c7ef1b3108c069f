//! A monitor of Sterna's own: every event, to the millisecond.

use super::pair::Pair;
use super::watcher::{Outcome, Watcher};

/// What QEMU's own stamps say of the same migration.
#[track_caller]
fn assert_agrees_with_qemu(pair: &mut Pair, outcome: &Outcome) {
    let last = pair.await_status("completed");
    let total = last["total-time"].as_f64().unwrap() / 1e3;
    let ours = outcome.seconds("total_time_seconds");
    assert!((ours - total).abs() < 0.03, "{ours} s in all, by QEMU {total} s");
    pair.at_destination.ask("query-status", serde_json::Value::Null);
    let stopped = pair.at_source.stamp("STOP").unwrap();
    let resumed = pair.at_destination.stamp("RESUME").unwrap();
    let downtime = outcome.seconds("downtime_seconds");
    let by_stamps = resumed - stopped;
    assert!((downtime - by_stamps).abs() < 0.002, "{downtime} s, by the stamps {by_stamps} s");
    let syncs = last["ram"]["dirty-sync-count"].as_u64().unwrap();
    assert_eq!(outcome.summary("passes").as_u64(), Some(syncs - 1));
}

#[test]
fn a_migration_of_others_has_the_report_of_a_run() {
    let Some(mut pair) = Pair::new() else { return };
    let destination = pair.socket("destination");
    let destination = destination.to_str().unwrap();
    let watcher = Watcher::of(&pair, &["--destination-qmp", destination, "--may-change"]);
    pair.begin(&[]);
    pair.await_syncs(5);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_agrees_with_qemu(&mut pair, &outcome);
    let passes = outcome.report()["passes"].as_array().unwrap();
    let complete =
        passes.iter().filter(|it| it["kind"] == "pass" && !it["length_seconds"].is_null());
    assert_eq!(Some(complete.count() as u64), outcome.summary("passes").as_u64());
    assert!(passes.iter().any(|it| it["dirty_pages_at_sync"].as_u64() >= Some(128)), "{passes:?}");
    assert!(outcome.stdout.contains("qemu, observed"), "{}", outcome.stdout);
    // What the guest and its machine did may be worth a warning; the watch missed nothing.
    let missed = ["began-before", "downtime-not-seen", "passes-lower-bound", "end-noticed-late"];
    assert!(!missed.iter().any(|it| outcome.warns(it)), "{}", outcome.stdout);
    // What was set for the watch was taken back.
    let capabilities =
        pair.at_source.ask("query-migrate-capabilities", serde_json::Value::Null).to_string();
    assert!(
        capabilities.contains(r#"{"state":false,"capability":"events"}"#)
            || capabilities.contains(r#"{"capability":"events","state":false}"#),
        "{capabilities}"
    );
}

#[test]
fn without_may_change_nothing_is_set_and_answers_tell_passes_apart() {
    let Some(mut pair) = Pair::new() else { return };
    let destination = pair.socket("destination");
    let watcher = Watcher::of(&pair, &["--destination-qmp", destination.to_str().unwrap()]);
    pair.begin(&[]);
    pair.await_syncs(4);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    assert_agrees_with_qemu(&mut pair, &outcome);
    assert!(outcome.warns("passes-lower-bound"));
    assert_eq!(outcome.report()["engine"]["details"]["watch"]["has_pass_events"], false);
}

#[test]
fn without_the_destination_the_downtime_is_a_claim_and_a_warning_says_so() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = Watcher::of(&pair, &[]);
    pair.begin(&["events"]);
    pair.await_syncs(3);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    assert!(outcome.summary("downtime_seconds").is_null());
    outcome.seconds("downtime_claimed_seconds");
    assert!(outcome.warns("downtime-not-seen") && outcome.warns("destination-not-seen"));
}

#[test]
fn one_that_is_under_way_is_watched_from_there_on() {
    let Some(mut pair) = Pair::new() else { return };
    pair.begin(&["events"]);
    pair.await_syncs(3);
    let destination = pair.socket("destination");
    let watcher = Watcher::of(&pair, &["--destination-qmp", destination.to_str().unwrap()]);
    pair.await_syncs(8);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    assert_agrees_with_qemu(&mut pair, &outcome);
    assert!(outcome.warns("began-before"));
    let first = &outcome.report()["passes"][0];
    assert!(first["number"].as_u64() >= Some(4), "{first}");
}

#[test]
fn one_that_is_over_has_what_qemu_remembers() {
    let Some(mut pair) = Pair::new() else { return };
    pair.begin(&[]);
    pair.await_syncs(3);
    pair.let_go();
    pair.await_status("completed");
    let outcome = Watcher::of(&pair, &[]).outcome();
    outcome.assert_verdict("completed");
    assert!(outcome.warns("began-before"));
    let theirs = pair.await_status("completed")["total-time"].as_f64().unwrap() / 1e3;
    assert!((outcome.seconds("total_time_seconds") - theirs).abs() < 0.01);
    assert!(outcome.summary("downtime_seconds").is_null());
}
