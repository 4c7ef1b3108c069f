//! The agent in a real guest: booted by QEMU, spoken to over each kind of port, and made to fail.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "tests say why they are skipped, also in their helpers")]

mod image;
mod machine;
mod migration;
mod stops;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{GuestCommand, GuestMessage, VERSION};

use machine::{Machine, Port, boots};

const WORKLOAD: &str = "memory=16MiB workers=2 rate=4MiB/s seed=5";

fn config() -> GuestConfig {
    GuestConfig { ballast_bytes: 8 << 20, nonce: 4711, ..GuestConfig::of(WORKLOAD) }
}

/// From the first greeting to the power button, as an engine would.
fn tour(machine: &mut Machine) {
    let hello = machine.wait(|it| matches!(it, GuestMessage::Hello { .. }));
    let GuestMessage::Hello { version, workers, memory_bytes, marker_gpa, pid1 } = hello else {
        unreachable!("the wait is for this kind");
    };
    assert_eq!((version, workers, memory_bytes, pid1), (VERSION, 2, 24 << 20, true));
    let gpa = marker_gpa.expect("a first process may know physical addresses");
    assert!(gpa % 4096 == 0 && gpa < 256 << 20, "{gpa:#x}");

    machine.say(GuestCommand::Ping { ns: 99 });
    let pong = machine.wait(|it| matches!(it, GuestMessage::Pong { .. }));
    assert!(matches!(pong, GuestMessage::Pong { asked_ns: 99, now_ns } if now_ns > 0));

    machine.say(GuestCommand::Start);
    let started = machine.wait(|it| matches!(it, GuestMessage::State { .. }));
    assert!(matches!(started, GuestMessage::State { running: true, .. }));
    // Two seconds at 1024 pages a second are 2048 writes; a busy machine may get less done.
    machine.wait(|it| match it {
        GuestMessage::Sample { counts, latency, .. } => {
            counts.len() == 2 && counts.iter().sum::<u64>() > 1000 && latency.is_some()
        }
        _ => false,
    });
    machine.say(GuestCommand::Verify);
    let verified = machine.wait(|it| matches!(it, GuestMessage::Verified { .. }));
    let GuestMessage::Verified { pages_checked, corrupt_pages, .. } = verified else {
        unreachable!("the wait is for this kind");
    };
    assert_eq!((pages_checked, corrupt_pages), (6144, 0));

    machine.say(GuestCommand::Pause);
    let paused = machine.wait(|it| matches!(it, GuestMessage::State { running: false, .. }));
    let GuestMessage::State { counts: paused, .. } = paused else {
        unreachable!("the wait is for this kind");
    };
    let later = machine.wait(|it| matches!(it, GuestMessage::Sample { .. }));
    assert!(matches!(later, GuestMessage::Sample { counts, .. } if counts == paused));

    machine.say(GuestCommand::Stop);
    machine.wait(|it| *it == GuestMessage::Bye);
    assert!(machine.has_ended_within(Duration::from_secs(20)), "the guest is still on");
    assert_eq!(machine.missed(), 0);
}

#[test]
fn a_guest_works_over_a_virtio_port() {
    if !boots() {
        return;
    }
    let began = Instant::now();
    let mut machine = Machine::boot(&config(), Port::Virtio, None);
    machine.wait(|it| matches!(it, GuestMessage::Hello { .. }));
    eprintln!("ready after {:.1} s", began.elapsed().as_secs_f64());
    machine.say(GuestCommand::Hello);
    tour(&mut machine);
}

#[test]
fn a_guest_works_over_a_serial_port() {
    if !boots() {
        return;
    }
    let config = GuestConfig { port_wait_ns: 0, ..config() };
    let mut machine = Machine::boot(&config, Port::Serial("ttyS1"), None);
    tour(&mut machine);
}

#[test]
fn a_guest_works_on_the_port_that_the_kernel_talks_on() {
    if !boots() {
        return;
    }
    let config = GuestConfig { port_wait_ns: 0, serial: Some("/dev/ttyS0".to_owned()), ..config() };
    let mut machine = Machine::boot(&config, Port::Serial("ttyS0"), None);
    tour(&mut machine);
}

#[test]
fn a_guest_answers_probes() {
    if !boots() {
        return;
    }
    let config = GuestConfig {
        address: Some((Ipv4Addr::new(10, 0, 2, 15), 24)),
        echo_port: Some(7),
        ..config()
    };
    let mut machine = Machine::boot(&config, Port::Virtio, Some(7));
    machine.wait(|it| matches!(it, GuestMessage::Hello { .. }));
    let mut stream = machine.connect();
    stream.write_all(b"anybody home?").unwrap();
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"anybody home?");
}

#[test]
fn a_guest_that_cannot_work_says_why_and_powers_off() {
    if !boots() {
        return;
    }
    let config = GuestConfig::of("memory=16GiB");
    let mut machine = Machine::boot(&config, Port::Virtio, None);
    let fatal = machine.wait(|it| matches!(it, GuestMessage::Fatal(_)));
    let GuestMessage::Fatal(reason) = fatal else { unreachable!("the wait is for this kind") };
    assert!(reason.contains("do not fit") && reason.contains("17179869184"), "{reason}");
    assert!(machine.has_ended_within(Duration::from_secs(20)), "the guest is still on");
    assert!(machine.console().contains(&reason), "{}", machine.console());
}

#[test]
fn a_guest_without_a_port_says_why_on_its_console() {
    if !boots() {
        return;
    }
    let config = GuestConfig { port_wait_ns: 0, serial: None, ..config() };
    let mut machine = Machine::boot(&config, Port::None, None);
    assert!(machine.has_ended_within(Duration::from_secs(60)), "the guest is still on");
    let console = machine.console();
    assert!(console.contains("no virtio-serial port named org.sterna.guest"), "{console}");
}
