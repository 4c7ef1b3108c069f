//! Bad input: the exit code, what is named, and the way out.

use std::net::{TcpListener, UdpSocket};

use crate::harness::{Responder, probe};

#[track_caller]
fn check(arguments: &[&str], code: i32, expected: &[&str]) {
    let outcome = probe(arguments);
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    for part in expected {
        assert!(outcome.stderr.contains(part), "no `{part}` in: {}", outcome.stderr);
    }
}

#[test]
fn usage_errors_name_the_value_and_the_way_out() {
    check(&["udp", "127.0.0.1", "--interval", "0s"], 2, &["--interval 0s", "100µs to 1h"]);
    check(&["tcp", "127.0.0.1", "--interval", "10us"], 2, &["10µs", "1ms"]);
    check(&["udp", "127.0.0.1", "--interval", "10"], 2, &["--interval", "no unit"]);
    check(&["udp", "127.0.0.1:99999"], 2, &["99999"]);
    check(&["udp", "127.0.0.1", "--duration", "0s"], 2, &["10s"]);
    check(&["udp", "127.0.0.1", "--max-outage", "20ms"], 2, &["--max-outage 20ms", "30ms"]);
    check(&["icmp", "127.0.0.1", "--max-outage", "1s"], 2, &["--interval 1s", "3s"]);
    check(&["udp", "127.0.0.1", "--size", "7"], 2, &["--size", "48"]);
    check(&["icmp", "127.0.0.1:7"], 2, &["no ports here"]);
    check(&["http", "https://127.0.0.1/"], 2, &["TLS", "http://"]);
    check(&["http", "127.0.0.1"], 2, &["no address of a page"]);
    check(&["playout", "127.0.0.1", "--frames-per-second", "0"], 2, &["1..=1000"]);
    check(&["disk"], 2, &["FILE"]);
    check(&["disk", "x", "--record-bytes", "100"], 2, &["multiple of 64"]);
    check(&["udp", "127.0.0.1", "--spikes", "/nonexistent/spikes"], 2, &["/nonexistent/spikes"]);
    check(&["udp", "127.0.0.1", "-o", "/nonexistent/report"], 2, &["/nonexistent/report"]);
    check(&["all", "127.0.0.1", "--config", "/nonexistent"], 2, &["--config /nonexistent"]);
    check(&["serve", "--listen", "nonsense:port"], 2, &["--listen", "nonsense:port"]);
    check(
        &["serve", "--listen", "0", "--disk", "/nonexistent"],
        2,
        &["/nonexistent", "no directory"],
    );
}

#[test]
fn names_and_ports_that_lead_nowhere_are_told() {
    let patience = ["--patience", "400ms", "--duration", "5s"];
    let told = |arguments: &[&str], expected: &[&str]| {
        check(&[arguments, &patience].concat(), 1, expected);
    };
    told(&["udp", "no-such-host.invalid"], &["no-such-host.invalid", "does not resolve"]);
    // Ports that were free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for kind in ["udp", "tcp", "clock", "playout"] {
        told(&[kind, &closed], &[&closed, "refused", "nothing listens", "sterna probe serve"]);
    }
    told(&["http", &format!("http://{closed}/")], &[&closed, "refused"]);
    told(&["metrics", &format!("http://{closed}/")], &[&closed, "refused"]);
    told(&["disk", "--remote", &closed], &[&closed, "--disk DIRECTORY"]);
    // Somebody is there and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _silent = UdpSocket::bind(silent).unwrap();
    told(&["udp", &silent.to_string()], &["No answer from", "firewall"]);
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    check(&["serve", "--listen", &taken.to_string()], 1, &[&taken.to_string(), "--listen"]);
}

/// Answers datagrams as `answer` says, until the test is over.
fn impostor(answer: fn(&[u8]) -> Vec<u8>) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&buffer[..count]), from);
        }
    });
    address
}

#[test]
fn a_responder_of_another_version_is_named_and_a_plain_echo_is_told() {
    let other = impostor(|_| b"StrnPrb!\0\0\0\0\0\0\0\x09".to_vec());
    for kind in ["udp", "clock", "playout"] {
        let duration = ["--duration", "2s"];
        check(
            &[&[kind, &other][..], &duration].concat(),
            1,
            &["version 9", "version 2", "both sides"],
        );
    }
    let echo = impostor(<[u8]>::to_vec);
    check(&["udp", &echo, "--duration", "300ms"], 0, &["plain echo"]);
    check(&["playout", &echo, "--duration", "300ms"], 1, &["plain echo", "sterna probe serve"]);
    // Garbage for an answer is no answer.
    let garbage = impostor(|_| b"garbage".to_vec());
    check(&["udp", &garbage, "--patience", "300ms", "--duration", "2s"], 1, &["No answer from"]);
}

/// Whether bytes that are no question come back from a responder with these flags.
fn is_echoed(flags: &[&str], bytes: &[u8]) -> bool {
    let responder = Responder::with(flags);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The answer to a question that is sent behind them shows that they had none.
    let question = sterna_probe::Message::new(1, 2).to_bytes();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    for datagram in [bytes, &question] {
        socket.send_to(datagram, &responder.address).unwrap();
    }
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    &answer[..length] == bytes
}

#[test]
fn unknown_datagrams_are_echoed_with_echo_only() {
    assert!(!is_echoed(&[], b"mig_mon's client_rr"));
    assert!(is_echoed(&["--echo"], b"mig_mon's client_rr"));
    let answer = sterna_probe::Message { heard: 1, ..sterna_probe::Message::new(1, 2) };
    assert!(!is_echoed(&["--echo"], &answer.to_bytes()));
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_a_server_without_a_disk_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("there").to_str().unwrap().to_owned();
    std::fs::write(&file, "precious").unwrap();
    check(&["disk", &file, "--duration", "1s"], 1, &[&file, "--verify"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    check(&["disk", &file, "--verify"], 1, &["holds no record"]);
    let responder = Responder::start();
    check(
        &["disk", "--remote", &responder.address, "--duration", "2s"],
        1,
        &["without --disk DIRECTORY"],
    );
}
