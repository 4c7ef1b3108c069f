//! A responder that is stopped, or begins anew, and what is told of it.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Responder, Running, assert_lasted, long_outages, number, probe, sterna};

const STOPPED: Duration = Duration::from_millis(600);

#[test]
fn every_stop_is_one_outage_of_its_length() {
    let responder = Responder::start();
    let mut running = Running::start(&["udp", &responder.address, "--interval", "1ms"]);
    for _ in 0..3 {
        responder.stop_for(STOPPED);
        assert_lasted(&running.wait_for_outage(STOPPED), STOPPED);
    }
    let (code, report) = running.end();
    assert_eq!((code, &report["ended_by"]), (Some(0), &Value::from("signal")));
    let seen = &report["probes"][0];
    let outages = long_outages(seen, STOPPED);
    assert_eq!(outages.len(), 3, "{outages:#?}");
    for outage in &outages {
        // What waited for it is answered; what its socket had no room for never reached it.
        let expected = if outage["lost"] == 0 { "unknown" } else { "to-responder" };
        assert_eq!(outage["direction"], expected, "{outage:#}");
    }
    assert_eq!(seen["lost_from_responder"], 0, "{seen:#}");
    assert_eq!(seen["lost"], seen["lost_to_responder"], "{seen:#}");
    // The schedule has waited for nobody: nothing is left out, and what waited was late.
    let due = number(&report, "/duration_seconds") * 1000.0;
    let sent = number(seen, "/sent");
    assert!(sent > due * 0.9 && sent < due * 1.1 + 10.0, "{sent} of {due}");
    assert!(number(seen, "/round_trip/max_ns") > 0.5 * STOPPED.as_nanos() as f64, "{seen:#}");
}

#[test]
fn a_responder_that_ends_is_away_until_another_has_its_place() {
    let responder = Responder::start();
    let mut udp = Running::start(&["udp", &responder.address, "--interval", "5ms"]);
    let mut tcp = Running::start(&["tcp", &responder.address, "--interval", "5ms"]);
    let address = responder.address.clone();
    drop(responder);
    std::thread::sleep(STOPPED);
    let _responder = Responder::of(sterna(), &address, &[]);
    for running in [&mut udp, &mut tcp] {
        assert_lasted(&running.wait_for_outage(STOPPED), STOPPED);
    }
    let (_, report) = udp.end();
    let seen = &report["probes"][0];
    assert_eq!(seen["responder_restarts"], 1, "{seen:#}");
    assert!(number(seen, "/lost") > 0.0, "{seen:#}");
    let (_, report) = tcp.end();
    let detail = &report["probes"][0]["tcp"];
    assert_eq!(detail["established"], 2, "{detail:#}");
    let again = &detail["reconnections"][0];
    assert!(number(again, "/reestablish_seconds") > 0.7 * STOPPED.as_secs_f64(), "{detail:#}");
    assert!(number(again, "/attempts") > 0.0 && again["reason"] != "", "{detail:#}");
    let notes = report["timeline"].to_string();
    assert!(notes.contains("silence begins") && notes.contains("silence ends"), "{notes}");
}

#[test]
fn a_long_outage_is_told_once_while_it_lasts_and_again_when_it_is_over() {
    let responder = Responder::start();
    for kind in ["udp", "playout"] {
        let mut running = Running::start(&[kind, &responder.address]);
        let told = running.told();
        let long = Duration::from_millis(2500);
        responder.stop_for(long);
        let outage = running.wait_for_outage(long);
        let told = told.lock().unwrap().clone();
        let silences: Vec<&Value> = told.iter().filter(|it| it["event"] == "silence").collect();
        let [silence] = &silences[..] else { panic!("{told:#?}") };
        let silence = &silence["data"];
        assert_eq!((&silence["has_ended"], &outage["has_ended"]), (&false.into(), &true.into()));
        assert_eq!(
            (&silence["start_seconds"], &silence["probe"]),
            (&outage["start_seconds"], &outage["probe"])
        );
        let length = number(silence, "/length_seconds");
        assert!(length >= 1.0 && length < number(&outage, "/length_seconds"), "{silence:#}");
    }
}

#[test]
fn an_outage_that_lasts_at_the_end_is_told_so() {
    let responder = Responder::start();
    let running = Running::start(&["udp", &responder.address, "--duration", "1500ms"]);
    responder.signal(Signal::STOP);
    let (code, report) = running.finish();
    assert_eq!((code, &report["ended_by"]), (Some(0), &Value::from("duration")));
    let outages = report["probes"][0]["outages"].as_array().unwrap();
    let last = outages.last().unwrap();
    assert_eq!(last["has_ended"], false, "{last:#}");
    assert!(number(last, "/length_seconds") > 0.5, "{last:#}");
}

#[test]
fn an_outage_beyond_the_limit_has_an_exit_code() {
    let responder = Responder::start();
    let run = |limit: &str| {
        let flags = ["udp", &responder.address, "--max-outage", limit];
        let mut running = Running::start(&flags);
        responder.stop_for(STOPPED);
        running.wait_for_outage(STOPPED);
        let (code, report) = running.end();
        (code, report["is_within_limit"].clone(), report["max_outage_seconds"].clone())
    };
    assert_eq!(run("200ms"), (Some(4), false.into(), 0.2.into()));
    assert_eq!(run("1h"), (Some(0), true.into(), 3600.0.into()));
    let quiet = ["udp", &responder.address, "--duration", "300ms", "--max-outage", "1h"];
    let outcome = probe(&quiet);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("none is longer than"), "{}", outcome.stdout);
}

#[test]
fn spikes_are_written_as_mig_mon_does() {
    let responder = Responder::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("spikes");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let began = now();
    let flags = ["udp", &responder.address, "--interval", "2ms", "--spikes"];
    let mut running = Running::start(&[&flags[..], &[file.to_str().unwrap()]].concat());
    responder.stop_for(STOPPED);
    let outage = running.wait_for_outage(STOPPED);
    let told = number(&outage, "/length_seconds") * 1e3;
    running.end();
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<(u64, i64)> = text
        .lines()
        .map(|it| it.split_once(',').unwrap())
        .map(|(seconds, ms)| (seconds.parse().unwrap(), ms.parse().unwrap()))
        .collect();
    assert_eq!(lines[0].1, -1, "{text}");
    let spike = lines.iter().find(|it| (it.1 as f64 - told).abs() < 1.0);
    assert!(spike.is_some(), "no line of {told} ms: {text}");
    assert!(lines.iter().all(|it| (began - 1..=now() + 1).contains(&it.0)), "{text}");
}

#[test]
fn a_target_that_is_dark_at_the_beginning_is_an_outage() {
    let responder = Responder::start();
    responder.signal(Signal::STOP);
    let began = std::time::Instant::now();
    let flags = ["udp", &responder.address, "--duration", "2500ms", "--max-outage", "300ms"];
    let running = Running::start(&flags);
    std::thread::sleep(STOPPED);
    let dark = began.elapsed();
    responder.signal(Signal::CONT);
    let (code, report) = running.finish();
    assert_eq!((code, &report["is_within_limit"]), (Some(4), &false.into()), "{report:#}");
    let first = &report["probes"][0]["outages"][0];
    let (start, length) = (number(first, "/start_seconds"), number(first, "/length_seconds"));
    assert!(start < 0.2 && first["has_ended"] == true, "{first:#}");
    assert!(length > 0.5 * STOPPED.as_secs_f64() && length < dark.as_secs_f64() + 1.0, "{first:#}");
}

#[test]
fn a_target_that_never_answers_is_unknown_and_misses_every_limit() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let flags = ["udp", &address, "--duration", "700ms", "--format", "json"];
    let outcome = probe(&[&flags[..], &["--max-outage", "500ms"]].concat());
    assert_eq!(outcome.code, Some(4), "{}", outcome.stderr);
    let report = outcome.json();
    assert_eq!(report["longest_outage_seconds"], Value::Null);
    let seen = &report["probes"][0];
    for unknown in
        ["longest_outage_seconds", "lost_to_responder", "lost_from_responder", "round_trip"]
    {
        assert_eq!(seen[unknown], Value::Null, "{unknown}: {seen:#}");
    }
    assert!(number(seen, "/lost") > 0.0 && seen["outages"][0]["has_ended"] == false, "{seen:#}");
    // Without a limit it is a failure, as ever.
    assert_eq!(probe(&flags).code, Some(1));
    let text = probe(&["udp", &address, "--duration", "700ms", "--max-outage", "500ms"]);
    assert!(
        text.stdout.contains("nothing shows that none was longer than 500 ms"),
        "{}",
        text.stdout
    );
}

#[test]
fn in_a_silence_that_lasts_the_way_of_the_losses_is_unknown() {
    let responder = Responder::start();
    let running = Running::start(&["udp", &responder.address, "--duration", "1500ms"]);
    responder.signal(Signal::STOP);
    let (_, report) = running.finish();
    let seen = &report["probes"][0];
    assert!(number(seen, "/lost") > 10.0, "{seen:#}");
    assert_eq!(seen["lost_to_responder"], Value::Null, "{seen:#}");
    assert_eq!(seen["lost_from_responder"], Value::Null, "{seen:#}");
    assert_eq!(seen["outages"][0]["resolution_seconds"], 0.03, "{seen:#}");
}
