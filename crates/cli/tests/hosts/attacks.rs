//! What clients can do to a listening host that do not keep to the protocol, and what mistakes it is started with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, certificates};
use crate::harness::{Run, sterna};

/// One frame of the control connection.
fn frame(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat()
}

/// A client that was let in.
fn admitted(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect(daemon.socket()).unwrap();
    client.write_all(&frame(r#"{"request":"hello","version":1,"token":""}"#)).unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    client.read_exact(&mut vec![0; u32::from_le_bytes(length) as usize]).unwrap();
    client
}

#[test]
fn a_client_that_asks_without_reading_and_hangs_up_leaves_the_host_free() {
    let daemon = Daemon::start();
    let mut client = admitted(&daemon);
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let questions = frame(r#"{"request":"clock"}"#).repeat(2000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.write_all(&questions).is_ok() {
        assert!(Instant::now() < deadline, "the host takes everything");
    }
    drop(client);
    daemon.wait_for("the session has ended");
    let said = daemon.said();
    assert!(!said.contains("exit code"), "the process is not to blame: {said}");
    assert_eq!(daemon.sessions(), [0; 0], "a session has outlived its client");
    let destination = ["--destination", &daemon.address];
    Run::small(&destination).outcome().assert_ended(0, "completed", "verified");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_client_that_stays_and_takes_no_answers_is_named_as_the_cause() {
    let daemon = Daemon::start();
    let mut client = admitted(&daemon);
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let questions = frame(r#"{"request":"clock"}"#).repeat(2000);
    while client.write_all(&questions).is_ok() {}
    daemon.wait_for("the session has ended: the pilot was lost: it takes none of its answers");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_client_that_was_let_in_and_asks_for_nothing_loses_its_session() {
    let daemon = Daemon::start();
    let mut client = admitted(&daemon);
    daemon.wait_for("the session has ended: the pilot asked for nothing for 10 s");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection is closed");
    daemon.stop(Signal::TERM);
}

#[test]
fn forty_silent_connections_do_not_keep_a_run_out_of_a_tls_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = certificates(&directory.path().join("certificates"));
    let daemon = Daemon::with(&["--listen", "0", "--tls-dir", &path], None);
    let silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(daemon.socket()).unwrap()).collect();
    let arguments = ["--destination", &daemon.address, "--tls-dir", &path];
    Run::small(&arguments).outcome().assert_ended(0, "completed", "verified");
    drop(silent);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_socket_that_was_replaced_is_not_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.sock");
    let daemon = Daemon::with(&["--listen", path.to_str().unwrap()], None);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "of another program").unwrap();
    daemon.stop(Signal::TERM);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "of another program");
}

#[test]
fn a_host_does_not_start_with_the_certificate_of_a_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = certificates(&directory.path().join("certificates"));
    let copy = |from: &str, to: &str| {
        std::fs::copy(Path::new(&path).join(from), Path::new(&path).join(to)).unwrap();
    };
    copy("client-cert.pem", "server-cert.pem");
    copy("client-key.pem", "server-key.pem");
    for arguments in [["host", "--listen"], ["stream", "serve"]] {
        let listen: &[&str] = if arguments[1] == "serve" { &["--listen", "0"] } else { &["0"] };
        let output = sterna(&[&arguments[..], listen, &["--tls-dir", &path]].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains("server-cert.pem cannot be used"), "{words}");
        assert!(words.contains("for another purpose"), "{words}");
    }
}

#[test]
fn a_private_key_that_other_users_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = certificates(directory.path());
    for (mode, is_warned_of) in [(0o644, true), (0o600, false)] {
        let key = directory.path().join("server-key.pem");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let flags = ["--listen", "0", "--tls-dir", &certificates];
        let said = Daemon::with(&flags, None).stop(Signal::TERM);
        let warned = said.contains("server-key.pem can be read by other users");
        assert_eq!(warned, is_warned_of, "{said}");
    }
}

#[test]
fn a_token_file_that_other_users_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    for (mode, is_warned_of) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let daemon = Daemon::with(&["--listen", "0", "--token-file", file.to_str().unwrap()], None);
        let said = daemon.stop(Signal::TERM);
        assert_eq!(said.contains("can be read by other users"), is_warned_of, "{said}");
    }
}
