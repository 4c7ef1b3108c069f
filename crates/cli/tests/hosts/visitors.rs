//! Who comes to a listening host, and who is let in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::harness::{Run, public_copy, sterna};

/// A run that ends only when somebody ends it.
const NEVER_ENDING: [&str; 10] = [
    "--rate",
    "unlimited",
    "--workload-memory",
    "16MiB",
    "--max-bandwidth",
    "2MB/s",
    "--downtime-limit",
    "1ms",
    "--progress",
    "plain",
];

#[test]
fn one_run_after_another_is_served_on_either_side() {
    let (here, there) = (Daemon::start(), Daemon::start());
    for sides in [
        vec!["--destination", &here.address],
        vec!["--source", &here.address],
        vec!["--source", &here.address, "--destination", &there.address],
        vec!["--destination", &here.address, "--link-latency", "5ms"],
    ] {
        let outcome = Run::small(&sides).outcome();
        outcome.assert_ended(0, "completed", "verified");
        let facts = &outcome.report()["engine"]["peer_versions"];
        assert_eq!(facts["destination"], env!("CARGO_PKG_VERSION"));
        assert_eq!(here.sessions(), [0; 0], "a session's process has outlived it");
    }
    let said = here.stop(Signal::TERM);
    assert_eq!(said.matches("the session has ended: in good order").count(), 4, "{said}");
    assert!(!said.contains("token"), "{said}");
    there.stop(Signal::INT);
}

#[test]
fn a_second_pilot_is_told_who_is_served() {
    let daemon = Daemon::start();
    let mut first =
        Run::small(&[&NEVER_ENDING[..], &["--destination", &daemon.address]].concat()).start();
    first.wait_for("active");
    let second = Run::small(&["--source", &daemon.address]).outcome();
    assert_ne!(second.code, Some(0));
    second.assert_reason_has("source host: This host serves another pilot, 127.0.0.1:");
    first.signal(Signal::INT);
    first.outcome().assert_ended(130, "interrupted", "verified");
    Run::small(&["--source", &daemon.address]).outcome().assert_ended(0, "completed", "verified");
}

#[test]
fn strangers_do_no_harm() {
    let daemon = Daemon::start();
    let connect = || TcpStream::connect(daemon.socket()).unwrap();
    // Few enough for the log to have a line for each.
    let silent: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    drop(silent);
    daemon.wait_for("it said nothing and hung up");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 5000], &[8, 0, 0, 0, 1, 2], &[0; 64]] {
        let mut stranger = connect();
        stranger.write_all(bytes).unwrap();
        let _ = stranger.shutdown(std::net::Shutdown::Write);
        // Sent away, whether it is told so or not.
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    // Half a request, and then nothing.
    let mut half = connect();
    half.write_all(&[200, 0, 0, 0, b'{']).unwrap();
    let destination = ["--destination", &daemon.address];
    Run::small(&destination).outcome().assert_ended(0, "completed", "verified");
    daemon.wait_for("took too long to say who it is");
    let _ = half.read_to_end(&mut Vec::new());
    daemon.stop(Signal::TERM);
}

#[test]
fn the_token_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let file = file.to_str().unwrap();
    let daemon = Daemon::with(&["--listen", "0", "--token-file", file], None);
    let run = |token: &str, more: &[&str]| {
        let arguments = [&["--destination", &daemon.address], more].concat();
        Run::small(&arguments).env("STERNA_HOST_TOKEN", token).outcome()
    };
    // No migration was tried, so none has failed.
    for (token, reason) in [
        ("", "destination host: This host asks for its token"),
        ("0123456789abcdeX", "The token is wrong"),
    ] {
        let outcome = run(token, &[]);
        outcome.assert_ended(1, "failed", "unchecked");
        outcome.assert_reason_has(reason);
        assert_eq!(outcome.summary("failed_in"), "connect");
    }
    run("0123456789abcdef", &[]).assert_ended(0, "completed", "verified");
    run("", &["--token-file", file]).assert_ended(0, "completed", "verified");
    let said = daemon.stop(Signal::TERM);
    assert!(!said.contains("0123456789"), "the secret is told: {said}");
}

#[test]
fn a_pilot_of_another_version_is_told_so() {
    let daemon = Daemon::start();
    let mut pilot = TcpStream::connect(daemon.socket()).unwrap();
    let hello = br#"{"request":"hello","version":99,"oldest_version":98,"token":""}"#;
    pilot.write_all(&(hello.len() as u32).to_le_bytes()).unwrap();
    pilot.write_all(hello).unwrap();
    let mut answer = Vec::new();
    pilot.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    pilot.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("speaks control versions 98 to 99, this host 1 to 1"), "{answer}");
}

#[test]
fn a_unix_socket_is_as_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.sock");
    let path = path.to_str().unwrap();
    let daemon = Daemon::with(&["--listen", path], None);
    assert_eq!(daemon.address, format!("sterna://{path}"));
    for transport in ["tcp", "unix"] {
        let arguments = ["--destination", &daemon.address, "--transport", transport];
        Run::small(&arguments).outcome().assert_ended(0, "completed", "verified");
    }
    let taken = sterna(&["host", "--listen", path]);
    let words = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(words.contains("a file of that name exists"), "{words}");
    daemon.stop(Signal::TERM);
    assert!(!std::path::Path::new(path).exists(), "the socket is left");
}

#[test]
fn an_unprivileged_user_can_do_all_of_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "skipped: only root can become somebody else; the other tests run unprivileged here"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = public_copy(&directory);
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
        command.arg(&program);
        command
    };
    let daemon = Daemon::of(nobody(), &["--listen", "0"], None);
    let arguments = ["--memory", "32MiB", "--warmup", "100ms", "--cooldown", "100ms"];
    let run = Run::of(nobody(), &[&arguments[..], &["--destination", &daemon.address]].concat());
    for path in [run.directory(), run.directory().join("tmp")] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    run.outcome().assert_ended(0, "completed", "verified");
    daemon.stop(Signal::TERM);
}

#[test]
fn what_cannot_be_reached_is_named() {
    #[track_caller]
    fn refused(arguments: &[&str], expected: &str) {
        let output = sterna(arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(expected), "{words}");
    }
    refused(&["run", "--destination", "box"], "ssh://box");
    refused(&["run", "--destination", "box"], "sterna://box");
    refused(&["host", "--listen", "0.0.0.0:0"], "needs certificates: give --tls-dir");
    refused(&["host", "--listen", "nonsense"], "write HOST:PORT");
    refused(&["host"], "give it an address by --listen");
    let vanished = Daemon::start();
    let address = vanished.address.clone();
    drop(vanished);
    let outcome = Run::small(&["--destination", &address]).outcome();
    outcome.assert_ended(1, "failed", "unchecked");
    assert_eq!(outcome.report()["summary"]["failed_in"], "connect");
    outcome.assert_reason_has("Connection refused");
    outcome.assert_reason_has("destination host: Cannot connect to 127.0.0.1:");
}
