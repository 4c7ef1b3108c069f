//! Certificates: made, shown, believed and not believed.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemon, certificates};
use crate::harness::{Run, sterna};

#[test]
fn connections_within_a_machine_are_encrypted_without_any_preparation() {
    for more in [&[][..], &["--transport", "unix"], &["--link-latency", "5ms"]] {
        let outcome = Run::small(&[&["--tls-mode", "x509"], more].concat()).outcome();
        outcome.assert_ended(0, "completed", "verified");
    }
    // The check of every page holds there, too.
    let lossy = ["--tls-mode", "x509", "--x-break", "source:lose-page"];
    Run::small(&lossy).outcome().assert_ended(4, "completed", "corrupt");
}

#[test]
fn both_ends_show_certificates_of_one_authority() {
    let directory = tempfile::tempdir().unwrap();
    let ours = certificates(&directory.path().join("ours"));
    let others = certificates(&directory.path().join("others"));
    let daemon = Daemon::with(&["--listen", "0", "--tls-dir", &ours], None);
    let run =
        |more: &[&str]| Run::small(&[&["--destination", &daemon.address], more].concat()).outcome();
    for mode in ["off", "x509"] {
        run(&["--tls-dir", &ours, "--tls-mode", mode]).assert_ended(0, "completed", "verified");
    }
    let outcome = run(&["--tls-dir", &others]);
    outcome.assert_ended(1, "failed", "unchecked");
    outcome.assert_reason_has("signed by another authority");
    let outcome = run(&[]);
    outcome.assert_ended(1, "failed", "unchecked");
    outcome.assert_reason_has("This host speaks TLS only");
    run(&["--tls-mode", "x509"]).assert_reason_has("give --tls-dir DIR");

    // A client that the host cannot believe hears it, too.
    let mixed = directory.path().join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    for (from, file) in
        [(&ours, "ca-cert.pem"), (&others, "client-cert.pem"), (&others, "client-key.pem")]
    {
        std::fs::copy(Path::new(from).join(file), mixed.join(file)).unwrap();
    }
    let outcome = run(&["--tls-dir", mixed.to_str().unwrap()]);
    outcome.assert_reason_has("our certificate is signed by another authority");
    outcome.assert_ended(1, "failed", "unchecked");
    // The source shows its certificate on every connection of its own.
    run(&["--tls-dir", &ours]).assert_ended(0, "completed", "verified");
    let said = daemon.stop(Signal::TERM);
    assert!(said.contains("refused: The peer's certificate is signed by another"), "{said}");
}

#[test]
fn certificates_have_their_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old");
    sterna_wire::tls::issue(&path, &[], Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let path = path.to_str().unwrap();
    let daemon = Daemon::with(&["--listen", "0", "--tls-dir", path], None);
    let outcome = Run::small(&["--destination", &daemon.address, "--tls-dir", path]).outcome();
    outcome.assert_reason_has("The peer's certificate has expired; make new ones");
}

#[test]
fn a_host_without_certificates_says_so_in_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = certificates(&directory.path().join("it"));
    let daemon = Daemon::start();
    let outcome = Run::small(&["--destination", &daemon.address, "--tls-dir", &path]).outcome();
    outcome.assert_reason_has("The peer does not take TLS connections; start it with --tls-dir");
    daemon.wait_for("it speaks TLS, for which this host has no certificates");
}

#[test]
fn certificates_are_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = certificates(&directory.path().join("it"));
    let again = sterna(&["certs", &path]);
    assert_eq!(again.status.code(), Some(2));
    let words = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(words.contains("ca-cert.pem exists already and is not overwritten"), "{words}");
    let wrong = sterna(&["certs", &format!("{path}2"), "--host", "a b"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(!Path::new(&format!("{path}2")).exists());
}
