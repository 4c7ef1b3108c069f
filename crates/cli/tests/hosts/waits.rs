//! Hosts that never come to an answer: every wait for one hears signals.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_wire::control::{self, Reply, Request, VERSION, Welcome};

use crate::harness::Run;

/// When a host begins to say only how far it is, for ever.
#[derive(Clone, Copy, PartialEq)]
enum Stuck {
    AtOnce,
    WhenItPrepares,
    /// In the middle of a frame, without another word.
    InAFrame,
}

fn serve(mut pilot: TcpStream, stuck: Stuck) {
    while let Ok(request) = control::receive::<Request>(&mut pilot) {
        let reply = match request {
            Request::Hello { .. } if stuck != Stuck::AtOnce => {
                Reply::Welcome(Welcome { version: VERSION, ..Welcome::default() })
            }
            Request::Clock => Reply::Clock { now_ns: sterna_sys::clock::monotonic_ns() },
            _ if stuck == Stuck::InAFrame => {
                pilot.write_all(&[200, 0, 0, 0, b'{']).unwrap();
                std::thread::sleep(Duration::from_secs(60));
                return;
            }
            _ => break,
        };
        control::send(&mut pilot, &reply).unwrap();
    }
    let progress = Reply::Progress { what: "builds memory".to_owned(), done: 1, total: 2 };
    while control::send(&mut pilot, &progress).is_ok() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn check(stuck: Stuck, signals: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("sterna://{}", listener.local_addr().unwrap());
    let (connected, is_connected) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (pilot, _) = listener.accept().unwrap();
        connected.send(()).unwrap();
        serve(pilot, stuck);
    });
    let run = Run::small(&["--destination", &address]).start();
    is_connected.recv_timeout(Duration::from_secs(60)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    for _ in 0..signals {
        run.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = run.outcome();
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    // A second and a half is far more than is needed, and far less than any timeout of ours.
    if signals > 1 {
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

#[test]
fn one_interrupt_ends_a_run_whose_host_only_says_how_far_it_is() {
    check(Stuck::WhenItPrepares, 1);
    check(Stuck::AtOnce, 1);
}

#[test]
fn one_interrupt_ends_a_run_whose_host_stops_in_the_middle_of_a_frame() {
    check(Stuck::InAFrame, 1);
}

#[test]
fn two_interrupts_end_a_run_at_once_whatever_its_host_does() {
    check(Stuck::WhenItPrepares, 2);
    check(Stuck::InAFrame, 2);
}
