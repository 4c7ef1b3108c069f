//! Over a wire with a known rate.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, certificates};
use crate::harness::{Outcome, Run};
use crate::namespaces::{RATE_BITS, TwoMachines};

const TOKEN: &str = "a token of sufficient length";

/// A guest for which the wire takes some seconds, and that is not idle meanwhile.
const GUEST: [&str; 12] = [
    "--memory",
    "68MiB",
    "--workload-memory",
    "4MiB",
    "--rate",
    "1MiB/s",
    "--ballast",
    "56MiB",
    "--max-bandwidth",
    "unlimited",
    "--cooldown",
    "200ms",
];

struct Network {
    machines: TwoMachines,
    directory: tempfile::TempDir,
}

impl Network {
    fn new() -> Option<Network> {
        let machines = TwoMachines::new()?;
        Some(Network { machines, directory: tempfile::tempdir().unwrap() })
    }

    fn listen(&self, address: &str) -> (Daemon, String) {
        let certificates = certificates(&self.directory.path().join("certificates"));
        let mut command = self.machines.there();
        command.arg(env!("CARGO_BIN_EXE_sterna"));
        let arguments = ["--listen", address, "--tls-dir", &certificates];
        (Daemon::of(command, &arguments, Some(TOKEN)), certificates)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.prepared(arguments).outcome()
    }

    fn prepared(&self, arguments: &[&str]) -> Run {
        let mut command = self.machines.here();
        command.arg(env!("CARGO_BIN_EXE_sterna"));
        let arguments = [&GUEST[..], arguments].concat();
        Run::of(command, &arguments).env("STERNA_HOST_TOKEN", TOKEN)
    }
}

/// The mean over the whole migration, in parts of what the wire carries; headers take a hundredth.
fn share(outcome: &Outcome) -> f64 {
    let found = outcome.summary("bandwidth_mean_bytes_per_second").as_f64().unwrap() * 8.0;
    let share = found / RATE_BITS;
    eprintln!("{:.2} Mbit/s, {:.2} % of the wire's", found / 1e6, share * 100.0);
    share
}

fn has_warning(outcome: &Outcome, code: &str) -> bool {
    let warnings = outcome.report()["warnings"].as_array().unwrap();
    warnings.iter().any(|it| it["code"] == code)
}

#[test]
fn the_report_tells_the_rate_of_the_wire() {
    let Some(network) = Network::new() else { return };
    let (daemon, certificates) = network.listen("10.77.0.2:0");
    for mode in ["off", "x509"] {
        let arguments = ["--destination", &daemon.address, "--tls-dir", &certificates];
        // 3 % is what a quiet machine shows; one that is busy with other tests may need another try.
        let run = || network.run(&[&arguments[..], &["--tls-mode", mode]].concat());
        let mut tries = (0..4).map(|_| run());
        let outcome = tries.find(|it| (0.95..=1.05).contains(&share(it)));
        let outcome = outcome.expect("the report and the wire do not agree");
        outcome.assert_ended(0, "completed", "verified");
        assert_eq!(has_warning(&outcome, "memory-in-clear"), mode == "off", "{}", outcome.stdout);
        let clocks = outcome.report()["clocks"].as_array().unwrap();
        let far = clocks.iter().find(|it| it["side"] == "destination").unwrap();
        // One machine has one clock, so the truth is known here.
        let (offset, bound) = (&far["offset_ns"], &far["uncertainty_ns"]);
        assert!(offset.as_i64().unwrap().unsigned_abs() <= bound.as_u64().unwrap(), "{far}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn either_family_of_addresses_and_either_direction_will_do() {
    let Some(network) = Network::new() else { return };
    let (daemon, certificates) = network.listen("[fd77::2]:0");
    let small = ["--memory", "16MiB", "--workload-memory", "2MiB", "--ballast", "0B"];
    for place in [
        &["--destination"][..],
        &["--source"],
        &["--migration-address", "10.77.0.2", "--destination"],
        &["--migration-address", "wire", "--destination"],
    ] {
        let place = [place, &[&*daemon.address, "--tls-dir", &certificates], &small].concat();
        let outcome = network.run(&place);
        outcome.assert_ended(0, "completed", "verified");
        assert!(has_warning(&outcome, "memory-in-clear"));
    }
    let elsewhere = ["--migration-address", "10.99.0.9", "--destination", &daemon.address];
    let outcome = network.run(&[&elsewhere, &["--tls-dir", &certificates][..], &small].concat());
    outcome.assert_reason_has("this machine has no such address");
    // Without certificates, nothing goes to another machine.
    let outcome = network.run(&[&["--destination", &*daemon.address], &small[..]].concat());
    outcome.assert_reason_has("is another machine, and the way there is always encrypted");
    let unix = ["--transport", "unix", "--destination", &*daemon.address];
    let outcome = network.run(&[&unix, &["--tls-dir", &certificates][..], &small].concat());
    assert_eq!(outcome.summary("verdict"), &Value::from("unsupported"));
    daemon.stop(Signal::TERM);
}

#[test]
fn a_link_between_two_machines_is_made_anew_in_post_copy() {
    let Some(network) = Network::new() else { return };
    let (daemon, certificates) = network.listen("10.77.0.2:0");
    let postcopy = ["--postcopy-after-passes", "0", "--postcopy-recover", "--tls-mode", "x509"];
    let faults = "at-postcopy=300ms,action=drop;at-postcopy=2s,side=destination,action=drop";
    let place = ["--destination", &daemon.address, "--tls-dir", &certificates];
    let outcome = network.run(&[&postcopy[..], &place, &["--faults", faults]].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["engine"]["details"]["postcopy_recoveries"], 2);
    daemon.stop(Signal::TERM);
}

/// A migration that is cut off from the other machine after a second; its outcome, and the host.
fn cut_off(place: &str) -> Option<(Outcome, Daemon)> {
    let network = Network::new()?;
    let (daemon, certificates) = network.listen("10.77.0.2:0");
    let place = [place, &daemon.address, "--tls-dir", &certificates];
    let limits = ["--max-time", "3s", "--progress", "plain", "--rate", "unlimited"];
    let mut run = network.prepared(&[&place[..], &limits].concat()).start();
    run.wait_for("active");
    std::thread::sleep(Duration::from_secs(1));
    network.machines.cut();
    Some((run.outcome(), daemon))
}

/// When an event was, in seconds since the migration began.
fn event_seconds(outcome: &Outcome, kind: &str, text: &str) -> f64 {
    let events = outcome.report()["events"].as_array().unwrap();
    let is_it = |it: &&Value| it["kind"] == kind && it["text"].as_str().unwrap().contains(text);
    let event = events.iter().find(is_it).unwrap_or_else(|| panic!("no {kind}: {events:#?}"));
    event["t_seconds"].as_f64().unwrap()
}

#[test]
fn a_limit_is_held_when_the_destination_falls_silent_and_the_network_is_named() {
    let Some((outcome, daemon)) = cut_off("--destination") else { return };
    outcome.assert_ended(3, "cancelled", "verified");
    let at = event_seconds(&outcome, "limit", "limits.max-time");
    assert!((3.0..4.0).contains(&at), "the limit of 3 s was held at {at} s");
    let ended = outcome.summary("total_time_seconds").as_f64().unwrap();
    assert!(ended < 4.0, "the migration ended at {ended} s");
    outcome.assert_reason_has("the destination host has not answered for");
    outcome.assert_reason_has("nothing was sent for the last");
    assert!(outcome.stderr.contains("sending nothing for"), "{}", outcome.stderr);
    assert!(has_warning(&outcome, "side-silent"), "{}", outcome.stdout);
    assert!(!has_warning(&outcome, "polls-late"), "{}", outcome.stdout);
    daemon.wait_for("the pilot was lost");
}

#[test]
fn a_limit_is_held_when_the_source_falls_silent() {
    let Some((outcome, _daemon)) = cut_off("--source") else { return };
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("the source host has not answered for");
    assert!(outcome.stderr.contains("the source host has not answered for"), "{}", outcome.stderr);
}
