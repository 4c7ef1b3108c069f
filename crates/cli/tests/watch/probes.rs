//! Probes beside a watched migration.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::libvirt::Stage;

/// Sends each datagram back, unless it is deaf; it ends with the process.
fn echo() -> (String, Arc<AtomicBool>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let is_deaf = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&is_deaf);
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            if !theirs.load(Ordering::Relaxed) {
                let _ = socket.send_to(&bytes[..count], from);
            }
        }
    });
    (address, is_deaf)
}

#[test]
fn an_outage_stands_beside_the_migration_in_which_it_was() {
    let stage = Stage::new();
    let (address, is_deaf) = echo();
    let deaf = std::thread::spawn(move || {
        // The migration begins after 1.5 s and takes 2 s.
        std::thread::sleep(Duration::from_millis(2500));
        is_deaf.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(400));
        is_deaf.store(false, Ordering::Relaxed);
    });
    let probes = ["--probe-address", &address, "--probes", "kind=udp,interval=5ms"];
    let (output, report) = stage.watch(&[&["tern"], &probes[..]].concat());
    deaf.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let probe = &report["probes"][0];
    assert_eq!(probe["kind"], "udp");
    assert_eq!(probe["interval_seconds"], 0.005);
    let outages = probe["outages"].as_array().unwrap();
    let outage = outages.iter().find(|it| it["length_seconds"].as_f64().unwrap() > 0.3);
    let outage = outage.unwrap_or_else(|| panic!("{probe}"));
    let start = outage["start_seconds"].as_f64().unwrap();
    assert!((0.0..2.0).contains(&start), "{outage}");
    assert_eq!(outage["has_ended"], true);
    assert!(probe["sent"].as_u64() > probe["received"].as_u64());
}

#[test]
fn a_guest_that_answers_no_probe_is_refused_before_the_watch() {
    let stage = Stage::new();
    let (address, is_deaf) = echo();
    is_deaf.store(true, Ordering::Relaxed);
    let output = stage.command(&["tern", "--probe-address", &address]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--probe-address 127.0.0.1") && stderr.contains("`udp`"), "{stderr}");
    // Probes without an address are a mistake of the command line.
    let output = stage.command(&["tern", "--probes", "kind=icmp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
