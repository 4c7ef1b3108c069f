//! What cannot be is refused, with its name, its value and the way out, before anything is touched.

use sterna_wire::control::{self, Reply, Request};

use crate::harness::{Server, program, stream};

#[test]
fn what_makes_no_sense_is_refused() {
    #[track_caller]
    fn check(flags: &str, expected: &str) {
        let flags: Vec<_> = flags.split_whitespace().collect();
        stream(&[&["127.0.0.1:9"], &flags[..]].concat()).assert_refused(2, expected);
    }
    check("--block 5000", "block 5000B: use a multiple of 4KiB");
    check("--block 1GiB", "up to 16MiB");
    check("--channels 1000", "channels 1000: use 1 to 256");
    check("--preempt", "needs mode both");
    check("--mode postcopy -P 2", "channels 2");
    check("--mode postcopy -n 1MiB", "bytes count bulk");
    check("--mode postcopy --vcpus 0", "vcpus 0");
    check("--dirty 100MB/s", "give --memory, too");
    check("--memory 64KiB", "no less than a block");
    check("--memory 1MiB --dirty speed=9", "dirty");
    check("--compression zstd --zero-copy", "cannot be compressed");
    check("--compression-level 3", "needs a compression");
    check("--bandwidth 1B/s", "at least 1000B/s");
    check("--bandwidth 500M", "--bandwidth");
    check("--interval 0s", "10ms or longer");
    check("--congestion no-such", "Congestion control no-such cannot be used here");
    check("--prefetch 3", "mode precopy has none");
    check("--memory 100TiB", "this machine allows");
}

#[test]
fn what_cannot_be_reached_is_named() {
    let vanished = Server::start();
    let address = vanished.address.clone();
    drop(vanished);
    stream(&[&address]).assert_refused(1, "is `sterna stream serve` running there?");
    stream(&["/no/such.sock"]).assert_refused(1, "Cannot connect to /no/such.sock");
    stream(&["127.0.0.1:9", "--bind", "203.0.113.7"])
        .assert_refused(1, "Cannot connect from 203.0.113.7");
    let open = program().args(["stream", "serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    let words = String::from_utf8_lossy(&open.stderr);
    assert_eq!(open.status.code(), Some(2), "{words}");
    assert!(words.contains("needs certificates: give --tls-dir"), "{words}");
    let taken = Server::start();
    let again = program().args(["stream", "serve", "--listen", &taken.address]).output().unwrap();
    let words = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(1) && words.contains("the address is in use"), "{words}");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before() {
    let outcome = stream(&["127.0.0.1:9", "-o", "/no/such/directory/report.json"]);
    outcome.assert_refused(2, "Cannot write the report");
}

#[test]
fn a_refusal_of_the_server_forges_no_line() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _: Request = control::receive(&mut client).unwrap();
        let error = "no\nerror: all is lost\u{1b}[2J".to_owned();
        control::send(&mut client, &Reply::Refused { error, unsupported: false }).unwrap();
    });
    stream(&[&address]).assert_refused(1, "refuses: no\\u000aerror: all is lost\\u001b[2J\n");
    server.join().unwrap();
}
