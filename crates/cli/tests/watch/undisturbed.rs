//! The guest, its migration and other clients do not notice a watch.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::pair::{Monitor, Pair};
use super::watcher::Watcher;

/// A client that comes each 100 ms, asks, and leaves; how long each call took.
fn come_and_go(pair: &Pair, calls: u32) -> Vec<Duration> {
    let path = pair.socket("source");
    let call = |_| {
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        Monitor::open(&path).ask("query-status", Value::Null);
        began.elapsed()
    };
    (0..calls).map(call).collect()
}

/// The longest wait is one look of the watch, or two; 20 ms are what a second client may lose.
#[test]
fn a_second_client_of_a_shared_socket_does_not_wait() {
    let Some(pair) = Pair::new() else { return };
    let alone = come_and_go(&pair, 60);
    let mut watcher = Watcher::of(&pair, &["--shared"]);
    let beside = come_and_go(&pair, 100);
    watcher.kill();
    let longest = |of: &[Duration]| of.iter().max().copied().unwrap();
    let bound = longest(&alone) + Duration::from_millis(20);
    // A machine that is busy with other tests delays a call now and then, with and without a watch.
    let late = beside.iter().filter(|it| **it > bound).count();
    assert!(late <= 2, "{late} of 100 calls took longer than {bound:?}: {beside:?}");
}

#[test]
fn a_watch_that_is_killed_changes_nothing() {
    for (more, syncs) in [(&["--may-change"][..], 2), (&["--shared"], 3), (&[], 4)] {
        let Some(mut pair) = Pair::new() else { return };
        let mut watcher = Watcher::of(&pair, more);
        pair.begin(&[]);
        pair.await_syncs(syncs);
        watcher.kill();
        pair.await_syncs(syncs + 2);
        pair.let_go();
        pair.await_status("completed");
        let is_there = |it: &Value| it["running"] == true;
        pair.at_destination.await_answer("query-status", is_there);
    }
}

#[test]
fn a_watch_takes_next_to_no_processor() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = Watcher::of(&pair, &["--may-change"]);
    pair.begin(&[]);
    let before = cpu_ticks(watcher.id());
    std::thread::sleep(Duration::from_secs(4));
    let used = cpu_ticks(watcher.id()) - before;
    pair.let_go();
    watcher.outcome().assert_verdict("completed");
    // 400 ticks passed. An unoptimised build may take more than a release, which is held to 1 %.
    assert!(used <= 20, "{used} ticks of 400");
}

fn cpu_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
