//! `sterna probe all`: many probes with one timeline.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Responder, Running, assert_lasted, long_outages, number, probe};

const STOPPED: Duration = Duration::from_millis(600);

/// The file, with the place of the other end.
fn config(responder: &Responder, records: &str) -> String {
    let port = responder.port();
    format!(
        r#"
        [[probe]]
        kind = "udp"
        name = "datagrams"
        port = {port}
        interval = "2ms"

        [[probe]]
        kind = "tcp"
        port = {port}

        [[probe]]
        kind = "clock"
        port = {port}
        interval = "20ms"

        [[probe]]
        kind = "playout"
        target = "{address}"
        frames-per-second = 50
        buffer = "40ms"

        [[probe]]
        kind = "disk"
        name = "theirs"
        port = {port}

        [[probe]]
        kind = "disk"
        name = "ours"
        file = "{records}"
        record-bytes = 512
        "#,
        address = responder.address
    )
}

#[test]
fn one_stop_is_seen_by_all_of_them_on_one_timeline() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let responder = Responder::with(&["--disk", directory.path().to_str().unwrap()]);
    let file = path("probes.toml");
    std::fs::write(&file, config(&responder, &path("records"))).unwrap();
    let mut running = Running::start(&["all", "127.0.0.1", "--config", &file]);
    responder.stop_for(STOPPED);
    for _ in 0..5 {
        assert_lasted(&running.wait_for_outage(STOPPED), STOPPED);
    }
    sleep(Duration::from_millis(100));
    let (code, report) = running.end();
    assert_eq!(code, Some(0));

    let probes = report["probes"].as_array().unwrap();
    let names: Vec<&str> = probes.iter().map(|it| it["name"].as_str().unwrap()).collect();
    let address = &responder.address;
    let expected = [
        "datagrams",
        &format!("tcp {address}"),
        &format!("clock {address}"),
        &format!("playout {address}"),
        "theirs",
        "ours",
    ];
    assert_eq!(names, expected);
    for seen in probes {
        let outages = long_outages(seen, STOPPED).len();
        // A disk that others use as well may stall by itself, and ours has nothing to do with the stop.
        let is_told = match seen["name"].as_str() {
            Some("ours") => true,
            Some("theirs") => outages >= 1,
            _ => outages == 1,
        };
        assert!(is_told, "{seen:#}");
        assert!(number(seen, "/received") > 0.0, "{seen:#}");
    }
    let timeline = report["timeline"].as_array().unwrap();
    let times: Vec<f64> = timeline.iter().map(|it| number(it, "/t_seconds")).collect();
    assert!(times.is_sorted(), "{timeline:#?}");
    // One clock for all: their silences began and ended together.
    let long = |it: &&Value| number(it, "/length_seconds") > 0.5 * STOPPED.as_secs_f64();
    let outages: Vec<&Value> =
        probes.iter().flat_map(|it| it["outages"].as_array().unwrap()).filter(long).collect();
    let begins = outages.iter().map(|it| number(it, "/start_seconds"));
    let (first, last) = (begins.clone().reduce(f64::min), begins.reduce(f64::max));
    assert!(last.unwrap() - first.unwrap() < 0.5 * STOPPED.as_secs_f64(), "{outages:#?}");
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.contains("records") {
            let proof = probe(&["disk", file.to_str().unwrap(), "--verify"]);
            assert_eq!(proof.code, Some(0), "{name}: {}", proof.stdout);
        }
    }
}

#[test]
fn one_that_cannot_go_on_does_not_keep_the_others_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("probes.toml");
    let responder = Responder::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[[probe]]\nkind = \"udp\"\nport = {}\n[[probe]]\nkind = \"tcp\"\nname = \"nobody\"\nport = {}\n",
        responder.port(),
        closed.port()
    );
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let flags = ["--patience", "400ms", "--duration", "1500ms", "--format", "json"];
    let outcome = probe(&[&["all", "127.0.0.1", "--config", file], &flags[..]].concat());
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let said = &outcome.stderr;
    assert!(said.contains("nobody: No answer from") && said.contains("refused"), "{said}");
    let report = outcome.json();
    assert!(number(&report, "/probes/0/received") > 50.0, "{report:#}");
    assert_eq!(report["probes"][0]["failure"], Value::Null);
    assert_eq!(report["probes"][1]["longest_outage_seconds"], Value::Null);
    assert!(report["probes"][1]["failure"].as_str().unwrap().contains("No answer from"));
}
