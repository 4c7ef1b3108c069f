//! Clocks of a machine that goes on elsewhere.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Responder, Running, number};

/// `sterna` on a machine that runs for longer by so many seconds, to look at its monotonic clock.
fn elsewhere(ahead_seconds: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--time", "--kill-child", "--monotonic"]);
    command.args([ahead_seconds, env!("CARGO_BIN_EXE_sterna")]);
    command
}

/// Whether the kernel has clocks of their own for some processes.
fn can_be_elsewhere() -> bool {
    let mut command = elsewhere("1000");
    let outcome = command.arg("--version").stdin(Stdio::null()).output();
    let is_able = outcome.is_ok_and(|it| it.status.success());
    if !is_able {
        eprintln!("skipped: no namespace with another clock can be had (unshare --user --time)");
    }
    is_able
}

#[track_caller]
fn assert_jumped(jump: &Value, by_seconds: f64) {
    let (by, uncertainty) = (number(jump, "/by_seconds"), number(jump, "/uncertainty_seconds"));
    assert!(uncertainty > 0.0 && (by - by_seconds).abs() <= uncertainty, "{jump:#}");
}

#[test]
fn clocks_are_told_with_how_far_they_may_be_off() {
    let responder = Responder::start();
    let flags = ["clock", &responder.address, "--interval", "10ms", "--duration", "1500ms"];
    let (code, report) = Running::start(&flags).finish();
    assert_eq!(code, Some(0));
    let clock = &report["probes"][0]["clock"];
    for name in ["monotonic", "realtime"] {
        let run = &clock[name];
        assert_eq!((&run["backwards"], &run["jumps"]), (&0.into(), &Value::Array(Vec::new())));
        // It is our own clock, so the truth is known.
        let off = number(run, "/drift_per_million").abs();
        assert!(off <= number(run, "/drift_uncertainty_per_million") + 500.0, "{run:#}");
        assert!(number(run, "/uncertainty_ns") > 0.0, "{run:#}");
    }
    let ahead = number(clock, "/realtime_ahead_seconds").abs();
    let uncertainty = number(clock, "/realtime_ahead_uncertainty_seconds");
    // A nanosecond is lost where a double is made of it.
    assert!(ahead <= uncertainty + 1e-6, "{ahead} s ± {uncertainty} s");
}

#[test]
fn a_clock_that_jumps_is_told_and_the_other_is_not() {
    if !can_be_elsewhere() {
        return;
    }
    let responder = Responder::start();
    let mut running = Running::start(&["clock", &responder.address, "--interval", "10ms"]);
    let away = Duration::from_millis(100);
    let responder = responder.begin_anew(elsewhere("1000"), away);
    running.wait_for_outage(away);
    std::thread::sleep(Duration::from_millis(300));
    let _responder = responder.begin_anew(crate::harness::sterna(), away);
    running.wait_for_outage(away);
    std::thread::sleep(Duration::from_millis(300));
    let (_, report) = running.end();
    let seen = &report["probes"][0];
    let jumps = seen["clock"]["monotonic"]["jumps"].as_array().unwrap();
    assert_eq!(jumps.len(), 2, "{seen:#}");
    assert_jumped(&jumps[0], 1000.0);
    assert_jumped(&jumps[1], -1000.0);
    assert_eq!(seen["clock"]["realtime"]["jumps"], Value::Array(Vec::new()), "{seen:#}");
    assert_eq!(seen["responder_restarts"], 2, "{seen:#}");
    assert!(report["timeline"].to_string().contains("clock"), "{:#}", report["timeline"]);
}
