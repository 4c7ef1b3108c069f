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

#[test]
fn the_last_migration_is_served_until_a_signal_comes() {
    let Some(mut pair) = Pair::new() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let watcher = Watcher::of(&pair, &["--listen", &address]);
    let page = || {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(&address).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    assert!(!page().contains("total_time_seconds{"), "{}", page());
    pair.begin(&["events"]);
    pair.await_syncs(3);
    pair.let_go();
    pair.await_status("completed");
    let began = std::time::Instant::now();
    while !page().contains("total_time_seconds{") {
        assert!(began.elapsed().as_secs() < 20, "{}", page());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    watcher.interrupt();
    let outcome = watcher.outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}
