//! Several migrations of one guest, one after the other.

use std::time::Duration;

use serde_json::{Value, json};

use super::pair::Pair;
use super::watcher::Watcher;

#[test]
fn each_migration_of_a_guest_has_a_report_of_its_own() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = Watcher::of(&pair, &["--repeat", "5"]);
    pair.begin(&["events"]);
    pair.await_syncs(3);
    pair.at_source.ask("migrate_cancel", Value::Null);
    pair.await_status("cancelled");
    std::thread::sleep(Duration::from_millis(700));
    pair.let_go();
    pair.at_source.ask("migrate", json!({"uri": "exec:cat > /dev/null"}));
    pair.await_status("completed");
    // The guest has left this socket, so the watch ends before there are five.
    let directory = pair.directory.path().join("report.json");
    let outcome = watcher.outcome();
    assert!(outcome.stderr.contains("no longer at this socket"), "{}", outcome.stderr);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
    let report = |name: &str| -> Value {
        let text = std::fs::read_to_string(directory.join(name));
        serde_json::from_str(&text.unwrap_or_else(|it| panic!("{name}: {it}"))).unwrap()
    };
    let (first, second) = (report("0001.json"), report("0002.json"));
    assert_eq!(first["summary"]["verdict"], "cancelled");
    assert_eq!(second["summary"]["verdict"], "completed");
    assert_eq!(second["engine"]["details"]["watch"]["seen"], "seen");
    assert!(second["summary"]["total_time_seconds"].as_f64().unwrap() > 0.0);
    assert!(!directory.join("0003.json").exists());
}
