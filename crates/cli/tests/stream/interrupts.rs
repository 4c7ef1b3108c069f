//! Signals, and the death of either program.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, Server, number, stream, wait_until};

#[test]
fn a_signal_ends_the_trial_and_what_was_seen_is_told() {
    let server = Server::start();
    for mode in ["precopy", "postcopy", "both"] {
        let client = Client::start(&[&server.address, "--mode", mode, "--duration", "60s", "-J"]);
        server.wait_for("a trial begins");
        std::thread::sleep(Duration::from_millis(100));
        client.signal(Signal::INT);
        let outcome = client.outcome();
        assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
        let report = outcome.json();
        assert_eq!(report["summary"]["ended_by"], "interrupted");
        assert!(number(&report, "/summary/server/duration_seconds") < 30.0);
        server.assert_serves();
    }
    // Without an end of its own it ends well.
    let client = Client::start(&[&server.address, "--duration", "unlimited", "--interval", "50ms"]);
    std::thread::sleep(Duration::from_millis(500));
    client.signal(Signal::TERM);
    let outcome = client.outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("once through the memory"), "{}", outcome.stdout);
}

#[test]
fn a_limit_that_is_waited_for_does_not_hold_a_signal_up() {
    let server = Server::start();
    let flags = [&*server.address, "--bandwidth", "1000B/s", "--duration", "60s"];
    let client = Client::start(&flags);
    server.wait_for("a trial begins");
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    client.signal(Signal::INT);
    assert_eq!(client.outcome().code, Some(130));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_dies_leaves_the_server_to_others() {
    let server = Server::start();
    for mode in ["precopy", "both"] {
        let client =
            Client::start(&[&server.address, "--mode", mode, "-P", "2", "--duration", "60s"]);
        server.wait_for("a trial begins");
        client.signal(Signal::KILL);
        drop(client);
        wait_until("the server does not notice", || {
            stream(&[&server.address, "-n", "1MiB"]).code == Some(0)
        });
    }
    server.wait_for("the trial has ended");
    server.stop();
}

#[test]
fn a_server_that_dies_is_told_and_so_is_what_was_seen() {
    let server = Server::start();
    let client = Client::start(&[&server.address, "--duration", "60s", "-J", "--interval", "50ms"]);
    server.wait_for("a trial begins");
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::KILL);
    let outcome = client.outcome();
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("The server is gone"), "{}", outcome.stderr);
    let report = outcome.json();
    assert_eq!(report["summary"]["ended_by"], "failed");
    assert_eq!(report["summary"]["server"], serde_json::Value::Null);
    assert!(number(&report, "/summary/client/sent_bytes") > 0.0);
    assert!(report["intervals"].as_array().unwrap().len() > 1);
}

#[test]
fn a_server_that_is_told_to_end_ends_and_says_so() {
    let server = Server::start();
    let client = Client::start(&[&server.address, "--duration", "60s"]);
    server.wait_for("a trial begins");
    server.stop();
    let outcome = client.outcome();
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("The server was asked to end"), "{}", outcome.stderr);
}

#[test]
fn a_server_may_end_after_one_trial() {
    let server = Server::with(&["--once"]);
    server.assert_serves();
    wait_until("it goes on", || stream(&[&server.address, "-n", "1MiB"]).code == Some(1));
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let server = Server::start();
    for format in [&["--format", "text"][..], &["--format", "json"], &["--json-stream"]] {
        let flags = [&server.address, "--duration", "60s", "--interval", "50ms"];
        let start = Instant::now();
        let outcome = Client::start(&[&flags, format].concat()).outcome_unread();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{format:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{format:?}: {:?}", start.elapsed());
        server.assert_serves();
    }
}
