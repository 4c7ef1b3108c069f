//! The agent across a migration: what it says, what its clock does, and that its memory is all there.

use std::time::{Duration, Instant};

use serde_json::json;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::clock::{Exchange, Offset};
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{GuestCommand, GuestMessage, Marker};

use crate::machine::{Machine, Port, boots};

/// The guest's clock against ours, now.
fn offset(machine: &mut Machine) -> Offset {
    let exchanges: Vec<Exchange> = (0..10)
        .map(|_| {
            let asked_ns = monotonic_ns();
            machine.say(GuestCommand::Ping { ns: asked_ns });
            let pong = machine.wait(
                |it| matches!(it, GuestMessage::Pong { asked_ns: it, .. } if *it == asked_ns),
            );
            let GuestMessage::Pong { now_ns, .. } = pong else {
                unreachable!("the wait is for this kind");
            };
            Exchange { asked_ns, answered_ns: now_ns, received_ns: monotonic_ns() }
        })
        .collect();
    Offset::from_exchanges(&exchanges).unwrap()
}

fn marker_gpa(machine: &mut Machine) -> u64 {
    match machine.wait(|it| matches!(it, GuestMessage::Hello { .. })) {
        GuestMessage::Hello { marker_gpa, .. } => marker_gpa.unwrap(),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_guest_goes_on_after_a_migration() {
    if !boots() {
        return;
    }
    let workload = "memory=32MiB workers=2 rate=4MiB/s seed=5";
    let config = GuestConfig { nonce: 4711, ..GuestConfig::of(workload) };
    let mut source = Machine::boot(&config, Port::Virtio, None);
    let gpa = marker_gpa(&mut source);
    source.say(GuestCommand::Start);

    let first = Marker::read(&source.page(gpa)).expect("the marker is where the agent says");
    std::thread::sleep(Duration::from_millis(300));
    let later = Marker::read(&source.page(gpa)).unwrap();
    assert_eq!((first.nonce, later.nonce), (4711, 4711));
    assert!(later.beat > first.beat, "{first:?}, then {later:?}");

    let before = offset(&mut source);
    // While it is stopped on purpose, the time is known by which the guest's clock must be behind.
    source.qmp("stop", json!({}));
    let stopped_ns = monotonic_ns();
    std::thread::sleep(Duration::from_millis(1500));
    let (mut destination, incoming) = source.twin();
    let uri = format!("unix:{}", incoming.display());
    source.qmp("migrate", json!({ "uri": uri }));
    let began = Instant::now();
    while source.qmp("query-migrate", json!({}))["status"] != "completed" {
        assert!(began.elapsed() < Duration::from_secs(60), "the migration does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    source.drain(Duration::from_millis(100));
    destination.take_over(&mut source);
    drop(source);
    // The state arrives a little after it was sent.
    while destination.qmp("query-status", json!({}))["status"] == "inmigrate" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let resumed_ns = monotonic_ns();
    destination.qmp("cont", json!({}));

    let after = offset(&mut destination);
    let behind_ns = before.offset_ns - after.offset_ns;
    let stood_ns = (resumed_ns - stopped_ns) as i64;
    let slack_ns = 50_000_000 + (before.uncertainty_ns + after.uncertainty_ns) as i64;
    eprintln!(
        "stood still for {stood_ns} ns, its clock is behind by {behind_ns} ns, {before:?}, {after:?}"
    );
    assert!((behind_ns - stood_ns).abs() < slack_ns, "{behind_ns} ns, but it stood for {stood_ns}");

    let arrived = Marker::read(&destination.page(gpa)).expect("the marker has come along");
    assert!(arrived.beat > later.beat);
    destination.say(GuestCommand::Verify);
    let verified = destination.wait(|it| matches!(it, GuestMessage::Verified { .. }));
    assert!(
        matches!(verified, GuestMessage::Verified { pages_checked: 8192, corrupt_pages: 0, .. }),
        "{verified:?}"
    );
    assert_eq!(destination.missed(), 0);
    destination.say(GuestCommand::Stop);
    destination.wait(|it| *it == GuestMessage::Bye);
    assert!(destination.has_ended_within(Duration::from_secs(20)), "the guest is still on");
}
