//! The guest's network: probes of every kind, on the switch inside Sterna and on a bridge.

use std::process::Command;

use serde_json::Value;

use super::harness::Run;
use super::{Bench, SMALL, detail};

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Each kind was answered, and lost no more than what the switchover explains.
#[track_caller]
fn assert_answered(report: &Value, kinds: &[&str]) {
    let probes = report["probes"].as_array().unwrap();
    let found: Vec<&Value> = probes.iter().map(|it| &it["kind"]).collect();
    assert_eq!(found, kinds, "{}", report["warnings"]);
    for probe in probes {
        let (sent, received) = (number(&probe["sent"]), number(&probe["received"]));
        assert!(received > 20.0 && received <= sent, "{probe}");
        assert!(number(&probe["round_trip"]["p50_ns"]) > 0.0, "{probe}");
        for outage in probe["outages"].as_array().unwrap() {
            // A busy machine may be in the middle of a hiccup when the run ends.
            let is_hiccup = number(&outage["length_seconds"]) < 0.2;
            assert!(outage["has_ended"] == true || is_hiccup, "it answers to the end: {probe}");
        }
    }
}

#[test]
fn udp_tcp_and_icmp_reach_the_guest_before_and_after_the_move() {
    let Some(bench) = Bench::new() else { return };
    let probes = "kind=udp,interval=1ms;kind=tcp,interval=20ms;kind=icmp,interval=20ms";
    let outcome = bench.outcome(&["--probes", probes]);
    outcome.assert_ended(0, "completed", "verified");
    let report = outcome.report();
    assert_answered(report, &["udp", "tcp", "icmp"]);
    // A message each millisecond for at least a second and a half.
    assert!(number(&report["probes"][0]["sent"]) > 1500.0, "{}", report["probes"][0]);
    let columns = &detail(&outcome, "/polls_source/columns");
    for column in ["t_seconds", "status", "ram.transferred", "ram.dirty-pages-rate"] {
        assert!(columns.as_array().unwrap().contains(&column.into()), "{column} in {columns}");
    }
    // Whoever differs by more than 50 ms is explained.
    let switchover = detail(&outcome, "/switchover");
    let explained = ["network-outage", "blackout-longer", "downtime-disagreement"];
    let warnings = report["warnings"].as_array().unwrap();
    let is_explained = warnings.iter().any(|it| explained.iter().any(|code| it["code"] == *code));
    assert_eq!(switchover["do_agree"] == false, is_explained, "{switchover} {warnings:?}");
}

#[test]
fn without_a_network_nothing_is_probed_and_asking_for_it_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--network", "none"]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["probes"].as_array().unwrap().len(), 0);
    let refused = bench.outcome(&["--network", "none", "--probes", "kind=icmp"]);
    refused.assert_ended(5, "unsupported", "unchecked");
    refused.assert_reason_has("probe");
    let quiet = bench.outcome(&["--probes", "none", "--network", "tap=no-such-bridge"]);
    quiet.assert_ended(5, "unsupported", "unchecked");
    quiet.assert_reason_has("There is no bridge `no-such-bridge`");
}

/// A network of its own, as root or in a user namespace where that is allowed, with a bridge in it.
fn own_network(script: &str) -> Option<Command> {
    for flags in ["-n", "-rn"] {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c"]);
        let made = "ip link set lo up && ip link add br0 type bridge && ip link set br0 up";
        let mut trial = Command::new("unshare");
        trial.args([flags, "sh", "-c", &format!("{made} && ip tuntap add t0 mode tap")]);
        if trial.output().is_ok_and(|it| it.status.success()) {
            command.args([&format!("{made} && {script}"), "sh", env!("CARGO_BIN_EXE_sterna")]);
            return Some(command);
        }
    }
    eprintln!(
        "skipped: no bridge can be made in a network namespace; it takes root or user namespaces, iproute2 and /dev/net/tun"
    );
    None
}

#[test]
fn a_real_bridge_learns_where_the_guest_went() {
    let Some(bench) = Bench::new() else { return };
    // Afterwards no port of ours may be left in the bridge.
    let script = "\"$@\"; code=$?; ip link show master br0 | grep . && exit 99; exit $code";
    let Some(command) = own_network(script) else { return };
    let program = bench.program.to_str().unwrap();
    let arguments = [
        "--qemu-source",
        program,
        "--network",
        "tap=br0",
        "--probes",
        "kind=udp;kind=icmp;kind=tcp",
    ];
    let outcome = Run::of(command, &[&SMALL[..], &arguments].concat()).outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert_answered(outcome.report(), &["udp", "icmp", "tcp"]);
}
