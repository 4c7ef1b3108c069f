//! A monitor that belongs to others, asked now and then.

use super::pair::Pair;
use super::watcher::Watcher;

#[test]
fn a_socket_that_stays_free_gives_bounds_and_claims() {
    let Some(mut pair) = Pair::new() else { return };
    let destination = pair.socket("destination");
    let destination = destination.to_str().unwrap();
    let watcher = Watcher::of(&pair, &["--shared", "--destination-qmp", destination]);
    pair.begin(&[]);
    pair.await_syncs(12);
    pair.let_go();
    let outcome = watcher.outcome();
    outcome.assert_verdict("completed");
    let last = pair.await_status("completed");
    let total = last["total-time"].as_f64().unwrap() / 1e3;
    assert!((outcome.seconds("total_time_seconds") - total).abs() < 0.01);
    assert_eq!(
        outcome.seconds("downtime_claimed_seconds"),
        last["downtime"].as_f64().unwrap() / 1e3
    );
    assert!(outcome.summary("downtime_seconds").is_null());
    assert!(outcome.warns("downtime-not-seen") && outcome.warns("passes-lower-bound"));
    let syncs = last["ram"]["dirty-sync-count"].as_u64().unwrap();
    assert_eq!(outcome.summary("passes").as_u64(), Some(syncs - 1));
    let rows = outcome.report()["passes"].as_array().unwrap().len() as u64;
    assert!(rows < syncs, "{rows} rows for {syncs} synchronisations");
    let watch = &outcome.report()["engine"]["details"]["watch"];
    assert_eq!(watch["way"], "shared");
}
