//! Hosts and pilots that die: the verdicts are those of a run on one machine, and the listening host goes on.

use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::harness::{Run, Running};

/// Pages are sent again and again until somebody does something.
const LONG: [&str; 8] = [
    "--workload-memory",
    "16MiB",
    "--rate",
    "unlimited",
    "--max-bandwidth",
    "40MB/s",
    "--downtime-limit",
    "1ms",
];

fn long(daemon: &Daemon, side: &str) -> Running {
    let place = [side, &daemon.address, "--progress", "plain"];
    let mut running = Run::small(&[&LONG[..], &place].concat()).start();
    running.wait_for("active");
    running
}

#[test]
fn a_session_that_dies_ends_alone() {
    let daemon = Daemon::start();
    let run = |side: &str, defect: &str| {
        Run::small(&[&LONG[..], &[side, &daemon.address, "--x-break", defect]].concat()).outcome()
    };
    let outcome = run("--destination", "destination:die=pass2");
    outcome.assert_ended(3, "failed", "verified");
    let outcome = run("--source", "source:die=pass2");
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("The process was killed by signal 6");
    let small = ["--destination", &daemon.address, "--x-break", "destination:die=go"];
    Run::small(&small).outcome().assert_ended(3, "lost", "unchecked");
    let small = ["--destination", &daemon.address];
    Run::small(&small).outcome().assert_ended(0, "completed", "verified");
    let said = daemon.stop(Signal::TERM);
    assert_eq!(said.matches("killed by signal 6").count(), 3, "{said}");
}

#[test]
fn a_page_lost_over_there_is_seen() {
    let daemon = Daemon::start();
    let place = ["--source", &daemon.address, "--x-break", "source:lose-page"];
    Run::small(&place).outcome().assert_ended(4, "completed", "corrupt");
}

#[test]
fn a_host_that_vanishes_leaves_the_guest_at_the_source() {
    let daemon = Daemon::start();
    let running = long(&daemon, "--destination");
    daemon.signal(Signal::KILL);
    running.outcome().assert_ended(3, "failed", "verified");
}

#[test]
fn a_source_that_vanishes_takes_its_guest_along() {
    let daemon = Daemon::start();
    let running = long(&daemon, "--source");
    daemon.signal(Signal::KILL);
    running.outcome().assert_ended(3, "lost", "unchecked");
}

#[test]
fn a_pilot_that_vanishes_frees_the_host() {
    let daemon = Daemon::start();
    let running = long(&daemon, "--destination");
    assert_eq!(daemon.sessions().len(), 1);
    running.signal(Signal::KILL);
    daemon.wait_for("the session has ended");
    assert_eq!(daemon.sessions(), [0; 0]);
    drop(running);
    let small = ["--destination", &daemon.address];
    Run::small(&small).outcome().assert_ended(0, "completed", "verified");
}

#[test]
fn a_host_that_is_told_to_end_ends_its_session() {
    let daemon = Daemon::start();
    let running = long(&daemon, "--destination");
    let session = daemon.sessions()[0];
    daemon.stop(Signal::TERM);
    assert!(!std::path::Path::new(&format!("/proc/{session}")).exists());
    running.outcome().assert_ended(3, "failed", "verified");
}
