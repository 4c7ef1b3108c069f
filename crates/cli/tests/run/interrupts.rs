//! Ctrl-C, once and twice, and death of the pilot.

use rustix::process::Signal;

use crate::harness::Run;

/// A migration that would take long.
const LONG: [&str; 6] = ["--rate", "unlimited", "--max-bandwidth", "5MB/s", "--progress", "plain"];

#[test]
fn one_interrupt_ends_in_good_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = Run::small(&LONG).start();
        run.wait_for("active");
        run.signal(signal);
        let outcome = run.outcome();
        outcome.assert_ended(130, "interrupted", "verified");
        assert_eq!(outcome.summary("integrity_detail")["side"], "source");
    }
}

#[test]
fn an_interrupt_in_warm_up_ends_before_anything_moved() {
    let mut run = Run::small(&[&LONG[..], &["--warmup", "60s"]].concat()).start();
    run.wait_for("warm-up");
    run.signal(Signal::INT);
    let outcome = run.outcome();
    outcome.assert_ended(130, "interrupted", "unchecked");
    assert!(outcome.summary("wire_bytes").is_null());
}

#[test]
fn two_interrupts_end_at_once() {
    let mut run = Run::small(&LONG).start();
    run.wait_for("active");
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    let outcome = run.outcome();
    assert_eq!(outcome.code, Some(130));
    assert_eq!(outcome.summary("verdict"), "interrupted");
}

#[test]
fn hosts_die_with_a_pilot_that_is_killed() {
    let mut run = Run::small(&LONG).start();
    let hosts = run.wait_for_hosts();
    assert_eq!(hosts.len(), 2);
    run.wait_for("active");
    run.signal(Signal::KILL);
    // Nothing can write a report any more; the harness sees that no process stays.
    assert_eq!(run.outcome().code, None);
}

#[test]
fn a_host_that_is_killed_is_told() {
    let mut run = Run::small(&LONG).start();
    let hosts = run.wait_for_hosts();
    run.wait_for("active");
    for pid in hosts {
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    let outcome = run.outcome();
    outcome.assert_ended(3, "lost", "unchecked");
}
