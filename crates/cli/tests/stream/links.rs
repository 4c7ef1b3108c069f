//! Over which connections.

use crate::harness::{Client, Server, certificates, number, program, report, stream};
use crate::namespaces::{RATE_BITS, TwoMachines};

const TOKEN: &str = "a token of sufficient length";

#[test]
fn unix_sockets_and_both_families_of_addresses_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stream.sock");
    let path = path.to_str().unwrap();
    let server = Server::of(program(), &["--listen", path], None);
    assert_eq!(server.address, path);
    for flags in [&["--mode", "both", "--preempt"][..], &["-P", "3", "--direction", "both"]] {
        let found = report(&[&[path, "-n", "8MiB"], flags].concat());
        assert_eq!(found["summary"]["client"]["tcp"], serde_json::Value::Null);
    }
    let outcome = stream(&[path, "--bind", "127.0.0.1"]);
    outcome.assert_refused(2, "is a Unix socket");
    server.stop();
    assert!(!std::path::Path::new(path).exists(), "the socket is left");

    let server = Server::of(program(), &["--listen", "[::1]:0"], None);
    let found = report(&[&server.address, "-n", "4MiB", "--bind", "::1", "--dscp", "ef"]);
    assert_eq!(found["server_address"], server.address.as_str());
    stream(&[&server.address, "-4"]).assert_refused(1, "no address of IPv4");
}

#[test]
fn encryption_is_for_what_is_said_and_where_wanted_for_pages() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = certificates(&directory.path().join("certificates"));
    let server = Server::with(&["--tls-dir", &certificates]);
    let tls = [&*server.address, "--tls-dir", &certificates, "-n", "8MiB"];
    let run = |flags: &[&str]| report(&[&tls[..], flags].concat());
    assert_eq!(run(&[])["spec"]["tls"], false);
    let encrypted = [
        run(&["--tls"]),
        run(&["--tls", "--mode", "both", "--vcpus", "4", "--prefetch", "2"]),
        run(&["--tls", "--mode", "both", "--preempt", "--compression", "zstd", "--place"]),
        run(&["--tls", "--direction", "both", "-P", "2", "--place"]),
    ];
    for found in &encrypted {
        assert_eq!(found["spec"]["tls"], true);
        assert_eq!(number(found, "/summary/server/received_bytes"), 8.0 * 1_048_576.0);
    }
    stream(&[&server.address, "-n", "1MiB"]).assert_refused(1, "speaks TLS only");
    stream(&[&server.address, "--tls"]).assert_refused(2, "--tls needs certificates");
    let both = [&tls[..], &["--tls", "--zero-copy"]].concat();
    stream(&both).assert_refused(2, "leave out one of");
    let clear = Server::start();
    let outcome = stream(&[&clear.address, "--tls-dir", &certificates, "-n", "1MiB"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot be encrypted"), "{}", outcome.stderr);
}

#[test]
fn only_those_come_in_who_know_the_token() {
    let server = Server::of(program(), &["--listen", "0"], Some(TOKEN));
    stream(&[&server.address, "-n", "1MiB"]).assert_refused(1, "asks for its token");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "another one, and a long one").unwrap();
    let file = file.to_str().unwrap();
    let flags = [&*server.address, "-n", "1MiB", "--token-file", file];
    stream(&flags).assert_refused(1, "token is wrong");
    std::fs::write(file, TOKEN).unwrap();
    report(&flags);
    let mut short = program();
    short.args(["stream", "serve", "--listen", "0"]).env("STERNA_HOST_TOKEN", "short");
    let short = short.output().unwrap();
    assert_eq!(short.status.code(), Some(2), "{}", String::from_utf8_lossy(&short.stderr));
}

/// The share of the wire's rate that pages get; frames are counted whole there, and their heads take less than a hundredth.
fn share(found: &serde_json::Value, side: &str) -> f64 {
    let rate = number(found, &format!("/summary/{side}/received_bytes_per_second")) * 8.0;
    eprintln!("{:.2} Mbit/s, {:.2} % of the wire's", rate / 1e6, rate / RATE_BITS * 100.0);
    rate / RATE_BITS
}

#[test]
fn the_throughput_of_a_wire_is_told_as_it_is() {
    let Some(machines) = TwoMachines::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let certificates = certificates(&directory.path().join("certificates"));
    let there = || {
        let mut command = machines.there();
        command.arg(env!("CARGO_BIN_EXE_sterna"));
        command
    };
    let open = there().args(["stream", "serve", "--listen", "10.77.0.2:0"]).output().unwrap();
    let words = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(open.status.code() == Some(2) && words.contains("needs certificates"), "{words}");
    let flags = ["--listen", "10.77.0.2:0", "--tls-dir", &certificates];
    let server = Server::of(there(), &flags, Some(TOKEN));
    let run = |flags: &[&str]| {
        let mut command = machines.here();
        command.arg(env!("CARGO_BIN_EXE_sterna")).env("STERNA_HOST_TOKEN", TOKEN);
        let always = [&*server.address, "--duration", "2s", "--format", "json"];
        Client::of(command, &[&always[..], flags].concat()).outcome()
    };
    run(&[]).assert_refused(2, "is another machine");
    for (flags, side) in [
        (&[][..], "server"),
        (&["--tls", "-P", "2"], "server"),
        (&["--direction", "receive", "--memory", "16MiB", "--bind", "10.77.0.1"], "client"),
    ] {
        let flags = [&["--tls-dir", &certificates], flags].concat();
        // 3 % is what a quiet machine shows; one that is busy with other tests may need another try.
        let mut tries = (0..4).map(|_| run(&flags).report());
        let found = tries.find(|it| (0.97..=1.03).contains(&share(it, side)));
        let found = found.expect("what is told and the wire do not agree");
        assert!(number(&found, "/summary/client/tcp/rtt_max_ns") > 1000.0);
    }
    // A request waits behind bulk on the same connection, and far less on its own.
    let both = ["--tls-dir", &certificates, "--mode", "both"];
    let p50 = |flags: &[&str]| {
        let found = run(&[&both[..], flags].concat()).report();
        number(&found, "/summary/server/requests/awaited/p50_ns")
    };
    let (one, two) = (p50(&[]), p50(&["--preempt"]));
    eprintln!("{one} ns on one connection, {two} ns with preempt");
    assert!(two < one, "{two} ns with preempt, {one} without");
}
