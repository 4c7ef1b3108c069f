//! Clients that mean no good, or know no better: the server stays up, and serves the next.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Server, number, report, stream};

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn frame(value: &serde_json::Value) -> Vec<u8> {
    let body = value.to_string().into_bytes();
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn answer(stream: &mut TcpStream) -> serde_json::Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A client that has been let in; the one before may not have left yet.
fn greeted(server: &Server) -> TcpStream {
    let hello = frame(&json!({"request": "hello", "version": 1, "token": ""}));
    for _ in 0..1000 {
        let mut stream = connect(server);
        stream.write_all(&hello).unwrap();
        let found = answer(&mut stream);
        if found["reply"] == "welcome" {
            return stream;
        }
        assert!(found["error"].as_str().unwrap().contains("busy"), "{found}");
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it stays busy: {}", server.said());
}

fn test() -> serde_json::Value {
    json!({"ask": "test", "version": 1, "bulk": true, "up": true, "channels": 1,
        "block-bytes": 4096, "interval-ns": 1_000_000_000u64, "vcpus": 1, "compression": "none"})
}

/// A data connection of a session, as the client makes it.
fn lane(session: &[u8], version: u8) -> Vec<u8> {
    [b"STRl", &[version, 0, 0, 0][..], session, &[1, 1, 0, 0]].concat()
}

#[test]
fn garbage_is_hung_up_on() {
    let server = Server::start();
    let texts: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
        b"\0",
        &[0xff; 4096],
        &[0; 64],
        b"STRl",
        &lane(&[7; 16], 1),
        &lane(&[7; 16], 2),
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
    ];
    for text in texts {
        let mut stream = connect(&server);
        // It may hang up while we still speak.
        let _ = stream.write_all(text);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    // Lengths that nobody would believe.
    for length in [u32::MAX, 16 << 20, 5000] {
        let mut stream = connect(&server);
        let _ = stream.write_all(&length.to_le_bytes());
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    server.assert_serves();
    assert!(server.said().contains("speaks version 2 of a trial"), "{}", server.said());
}

#[test]
fn other_versions_and_other_questions_are_answered_in_words() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.write_all(&frame(&json!({"request": "hello", "version": 99, "token": ""}))).unwrap();
    assert!(answer(&mut stream)["error"].as_str().unwrap().contains("use the same release"));

    #[track_caller]
    fn refused(server: &Server, ask: serde_json::Value, expected: &str) {
        let mut stream = greeted(server);
        stream.write_all(&frame(&ask)).unwrap();
        let found = answer(&mut stream);
        assert_eq!(found["tell"], "refused");
        assert!(found["error"].as_str().unwrap().contains(expected), "{found}");
    }
    refused(&server, json!({"request": "configure"}), "`sterna run` needs `sterna host`");
    refused(&server, json!({"ask": "begin"}), "came where a test was due");
    let with = |name: &str, value: serde_json::Value| {
        let mut test = test();
        test[name] = value;
        test
    };
    refused(&server, with("version", json!(7)), "version 7");
    refused(&server, with("channels", json!(60_000)), "channels 60000");
    refused(&server, with("block-bytes", json!(u64::MAX)), "block ");
    refused(&server, with("memory-bytes", json!(1u64 << 60)), "this machine allows");
    refused(&server, with("interval-ns", json!(0)), "10ms to 1h");
    refused(&server, with("congestion", json!("no-such")), "no-such cannot be used here");
    refused(&server, with("compression", json!("rot13")), "compression rot13");
    server.assert_serves();
}

#[test]
fn a_trial_that_never_begins_or_lies_ends_alone() {
    let server = Server::start();
    let prepared = |server: &Server| {
        let mut control = greeted(server);
        control.write_all(&frame(&test())).unwrap();
        let found = answer(&mut control);
        let session: Vec<u8> = serde_json::from_value(found["session"].clone()).unwrap();
        (control, session)
    };
    // It leaves before its connections are there.
    drop(prepared(&server));
    // The same connection twice, and one that was not announced.
    let (mut control, session) = prepared(&server);
    let mut wrong = lane(&session, 1);
    wrong[6] = 9;
    let mut stream = connect(&server);
    stream.write_all(&wrong).unwrap();
    assert!(answer(&mut control)["error"].as_str().unwrap().contains("is not expected"));
    drop(control);
    // What comes on a connection is no head, claims too much, or is not due.
    let heads: [(&[u8], &str); 4] = [
        (&[0; 16], "Unknown kind 0"),
        (&[1, 0, 2, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], "as length"),
        (&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "is not due"),
        (&[1, 0, 1, 0, 0, 0x10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0], "sends page 9 of 1"),
    ];
    for (head, expected) in heads {
        let (mut control, session) = prepared(&server);
        let mut stream = connect(&server);
        stream.write_all(&lane(&session, 1)).unwrap();
        let mut yes = [0];
        stream.read_exact(&mut yes).unwrap();
        control.write_all(&frame(&json!({"ask": "begin"}))).unwrap();
        assert_eq!(answer(&mut control)["tell"], "begun");
        // As long as a block, for which the server waits; it may hang up while we still speak.
        let _ = stream.write_all(&[head, &[0; 4096]].concat());
        let done = loop {
            let found = answer(&mut control);
            if found["tell"] == "done" {
                break found;
            }
        };
        assert!(done["error"].as_str().unwrap().contains(expected), "{done}");
    }
    server.assert_serves();
}

#[test]
fn requests_for_pages_that_are_not_there_end_the_trial() {
    let server = Server::start();
    let mut control = greeted(&server);
    let mut test = test();
    (test["bulk"], test["requests"]) = (json!(false), json!(true));
    (test["up"], test["down"]) = (json!(false), json!(true));
    control.write_all(&frame(&test)).unwrap();
    let session: Vec<u8> = serde_json::from_value(answer(&mut control)["session"].clone()).unwrap();
    let mut stream = connect(&server);
    let mut down = lane(&session, 1);
    down[24] = 2;
    stream.write_all(&down).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    control.write_all(&frame(&json!({"ask": "begin"}))).unwrap();
    let mut request = [0; 16];
    (request[0], request[8]) = (3, 1);
    stream.write_all(&request).unwrap();
    assert_eq!(answer(&mut control)["tell"], "begun");
    let done = answer(&mut control);
    let done = if done["tell"] == "interval" { answer(&mut control) } else { done };
    assert!(done["error"].as_str().unwrap().contains("asks for page 1 of 1"), "{done}");
    server.assert_serves();
}

#[test]
fn two_hundred_silent_visitors_neither_stop_a_trial_nor_the_server() {
    let server = Server::start();
    let client = Client::start(&[&server.address, "--duration", "2s", "-J"]);
    server.wait_for("a trial begins");
    let visitors: Vec<_> = (0..200).map(|_| connect(&server)).collect();
    // The oldest are closed for the later ones.
    server.wait_for("it said nothing and hung up");
    let report = client.outcome().report();
    assert!(number(&report, "/summary/server/received_bytes") > 1e6);
    drop(visitors);
    crate::harness::wait_until("it does not serve any more", || {
        stream(&[&server.address, "-n", "1MiB"]).code == Some(0)
    });
    server.stop();
}

#[test]
fn who_comes_during_a_trial_is_told_who_is_there() {
    let server = Server::start();
    let client = Client::start(&[&server.address, "--duration", "1s", "-J"]);
    server.wait_for("a trial begins");
    let outcome = stream(&[&server.address, "-n", "1MiB"]);
    outcome.assert_refused(1, "busy with 127.0.0.1:");
    client.outcome().report();
    report(&[&server.address, "-n", "1MiB"]);
}
