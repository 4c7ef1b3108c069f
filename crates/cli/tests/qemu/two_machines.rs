//! One of the QEMUs, or both, on another machine. Whatever happens, nothing is left there.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Running, marked};
use super::sshd::Machine;
use super::{Bench, NEVER_ENDING, Outcome, detail};

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn to(bench: &Bench, machine: &Machine, more: &[&str]) -> Outcome {
    bench.outcome(&[&words(&machine.destination())[..], more].concat())
}

/// A migration there that goes on until somebody does something.
fn under_way(bench: &Bench, machine: &Machine) -> Running {
    let there = machine.destination();
    let arguments = [&words(&there)[..], &NEVER_ENDING, &["--progress", "plain"]].concat();
    let mut running = bench.run(&arguments).start();
    running.wait_for("active");
    running
}

/// A process of the run whose command line has these words.
fn find(running: &Running, all: &[&str]) -> Pid {
    let found = marked(&running.mark()).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        all.iter().all(|it| line.contains(it))
            && !line.starts_with("sh ")
            && !line.starts_with("ssh ")
    });
    Pid::from_raw(found.unwrap_or_else(|| panic!("no process {all:?}")).cast_signed()).unwrap()
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_guest_goes_to_another_machine() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let outcome = to(&bench, &machine, &["--hold", "--tls"]);
    outcome.assert_ended(0, "completed", "verified");
    let address = detail(&outcome, "/machine_destination/address").as_str().unwrap();
    assert!(machine.address().ends_with(address), "{address}");
    // The marker was read over there.
    assert_eq!(detail(&outcome, "/hold/proven"), true);
    let cpu = outcome.report()["summary"]["cpu"]["destination"].to_string();
    assert!(cpu.contains("vcpu"), "{cpu}");
    let downtime = outcome.summary("downtime_seconds").as_f64().unwrap();
    // On a busy machine the guest answers too late for its clock to be known well enough.
    let details = &outcome.report()["engine"]["details"];
    if let Some(freeze) = details["guest_clock_standstill_seconds"].as_f64() {
        assert!(
            (downtime - freeze).abs() < 0.05,
            "{downtime} s by events, {freeze} s by the guest"
        );
    }
    assert!(outcome.report()["probes"][0]["received"].as_u64().unwrap() > 50);
    let clocks = outcome.report()["clocks"].to_string();
    assert!(clocks.contains("destination"), "{clocks}");
}

/// The certificates are made here, and each machine gets its own.
#[test]
fn certificates_go_along_to_another_machine() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let outcome = to(&bench, &machine, &["--tls-mode", "x509"]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/tls/handshakes_source"), 1);
    assert_eq!(detail(&outcome, "/tls/handshakes_destination"), 1);
}

#[test]
fn a_guest_comes_from_another_machine_and_goes_between_two() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let (address, config) = (machine.address(), machine.config());
    let from = ["--source", &address, "--ssh-config", &config];
    bench.outcome(&from).assert_ended(0, "completed", "verified");
    let both =
        [&from[..], &["--destination", &address], &NEVER_ENDING, &["--postcopy-after-passes", "1"]];
    bench.outcome(&both.concat()).assert_ended(0, "completed", "verified");
}

#[test]
fn a_machine_that_does_not_let_us_in_is_told_in_sshs_words() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let qemu = ["--qemu-destination", "/nonexistent/qemu"];
    let outcome = to(&bench, &machine, &qemu);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("QEMU cannot be started as /nonexistent/qemu");
    outcome.assert_reason_has(machine.address().strip_prefix("ssh://").unwrap());
    machine.lock_out();
    let outcome = to(&bench, &machine, &[]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("Permission denied (");
    machine.forget();
    let outcome = to(&bench, &machine, &[]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("Host key verification failed");
    let outcome = to(&bench, &machine, &["--transport", "unix"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.transport");
}

#[test]
fn whoever_dies_over_there_leaves_the_guest_here() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    for victim in [&["sterna-destination,"][..], &["keep-qemu"]] {
        let running = under_way(&bench, &machine);
        kill(find(&running, victim));
        let outcome = running.outcome();
        outcome.assert_ended(3, "failed", "verified");
        outcome.assert_reason_has(if victim.len() == 1 && victim[0] == "keep-qemu" {
            "the Sterna there ended with exit code 137"
        } else {
            "killed by signal 9"
        });
    }
}

#[test]
fn an_interrupt_leaves_nothing_there() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let running = under_way(&bench, &machine);
    running.signal(Signal::INT);
    running.outcome().assert_ended(130, "interrupted", "verified");
}

#[test]
fn our_own_death_leaves_nothing_there() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let running = under_way(&bench, &machine);
    let (mark, directory) = (running.mark(), running.directory());
    running.signal(Signal::KILL);
    let remote_files = || {
        let entries = std::fs::read_dir(directory.join("tmp")).unwrap().flatten();
        // Our own directory is left, for nobody can clean up after his own death; theirs must not be.
        entries.filter(|it| it.path().join("sterna").exists()).count()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while (!marked(&mark).is_empty() || remote_files() > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(marked(&mark).is_empty(), "processes are left");
    assert_eq!(remote_files(), 0, "files are left");
}

#[test]
fn a_cable_that_is_cut_ends_both_ends() {
    let (Some(bench), Some(machine)) = (Bench::new(), Machine::new()) else { return };
    let there = machine.destination();
    let quick = ["--ssh-option", "ServerAliveInterval=2", "--progress", "plain"];
    let mut running = bench.run(&[&words(&there)[..], &NEVER_ENDING, &quick].concat()).start();
    running.wait_for("active");
    machine.cut();
    // The keeper over there hears nothing more, not even an end.
    let outcome = running.outcome_within(Duration::from_secs(60));
    outcome.assert_ended(3, "failed", "verified");
}
