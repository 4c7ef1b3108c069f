//! Every end that a migration of others can have.

use serde_json::Value;

use super::pair::Pair;
use super::watcher::Watcher;

fn watched(pair: &Pair, more: &[&str]) -> Watcher {
    let destination = pair.socket("destination");
    let all = [&["--destination-qmp", destination.to_str().unwrap()], more].concat();
    Watcher::of(pair, &all)
}

#[test]
fn a_cancelled_migration_is_cancelled_and_the_guest_goes_on() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = watched(&pair, &["--may-change"]);
    pair.begin(&[]);
    pair.await_syncs(3);
    pair.at_source.ask("migrate_cancel", Value::Null);
    let outcome = watcher.outcome();
    outcome.assert_verdict("cancelled");
    assert_eq!(outcome.code, Some(3));
    assert!(outcome.summary("downtime_claimed_seconds").is_null());
    assert_eq!(pair.at_source.ask("query-status", Value::Null)["running"], true);
}

#[test]
fn a_destination_that_dies_fails_the_migration_in_qemus_words() {
    for more in [&["--may-change"][..], &["--shared"]] {
        let Some(mut pair) = Pair::new() else { return };
        let watcher = watched(&pair, more);
        pair.begin(&[]);
        pair.await_syncs(3);
        pair.kill_destination();
        let outcome = watcher.outcome();
        outcome.assert_verdict("failed");
        assert!(outcome.summary("total_time_seconds").is_number());
        assert_eq!(pair.at_source.ask("query-status", Value::Null)["running"], true);
    }
}

#[test]
fn a_source_that_dies_takes_the_guest_with_it() {
    for (more, verdict) in [(&["--may-change"][..], "lost"), (&["--shared"], "lost")] {
        let Some(mut pair) = Pair::new() else { return };
        let watcher = watched(&pair, more);
        pair.begin(&[]);
        pair.await_syncs(3);
        pair.kill_source();
        watcher.outcome().assert_verdict(verdict);
    }
}

#[test]
fn a_source_that_ends_when_it_is_done_has_lost_nothing() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = watched(&pair, &["--may-change"]);
    pair.begin(&[]);
    pair.await_syncs(3);
    pair.let_go();
    pair.await_status("completed");
    pair.kill_source();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    outcome.seconds("downtime_seconds");
}

#[test]
fn post_copy_is_watched_to_its_end() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = watched(&pair, &["--may-change"]);
    pair.begin(&["postcopy-ram"]);
    pair.await_syncs(2);
    pair.at_source.ask("migrate-start-postcopy", Value::Null);
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    let states = outcome.report()["timeline"].to_string();
    assert!(outcome.report()["events"].to_string().contains("postcopy-active"), "{states}");
    outcome.seconds("downtime_seconds");
}

#[test]
fn a_pause_by_the_owner_is_no_switchover() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = watched(&pair, &["--may-change"]);
    pair.begin(&[]);
    pair.await_syncs(2);
    pair.at_source.ask("stop", Value::Null);
    std::thread::sleep(std::time::Duration::from_millis(30));
    pair.at_source.ask("cont", Value::Null);
    pair.await_syncs(4);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    let events = outcome.report()["events"].as_array().unwrap();
    let at = |kind: &str, last: bool| {
        let mut found = events.iter().filter(|it| it["kind"] == kind);
        let event = if last { found.next_back() } else { found.next() };
        event.and_then(|it| it["t_seconds"].as_f64())
    };
    let apart = at("qemu-stop", true).unwrap() - at("qemu-stop", false).unwrap();
    assert!(apart > 0.0, "two stops are in the report: {events:?}");
    assert!(outcome.seconds("downtime_seconds") < apart, "{}", outcome.stdout);
}

#[test]
fn an_interrupted_watch_leaves_the_migration_alone() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = watched(&pair, &[]);
    pair.begin(&["events"]);
    pair.await_syncs(3);
    watcher.interrupt();
    let outcome = watcher.outcome();
    outcome.assert_verdict("interrupted");
    assert_eq!(outcome.code, Some(130));
    pair.let_go();
    pair.await_status("completed");
}
