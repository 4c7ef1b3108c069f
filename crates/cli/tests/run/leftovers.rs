//! What a run leaves when it is killed, and who could look into it while it ran.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Run, below, sweep};

/// A migration that would take long, with a path for its stream.
const LONG: [&str; 8] = [
    "--rate",
    "unlimited",
    "--max-bandwidth",
    "5MB/s",
    "--progress",
    "plain",
    "--transport",
    "unix",
];

const SMALL: [&str; 6] = ["--memory", "32MiB", "--warmup", "200ms", "--cooldown", "200ms"];

/// Links are not followed: what they lead to is on no disk.
fn assert_no_key(directory: &Path) {
    for path in below(directory) {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
        let text = if is_file { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("PRIVATE KEY"), "{} holds a key", path.display());
    }
}

#[test]
fn a_run_under_umask_000_has_private_directories_and_sockets() {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sterna")]);
    let mut run = Run::of(command, &[&SMALL[..], &LONG].concat()).start();
    run.wait_for("active");
    let found = below(&run.directory().join("tmp"));
    run.signal(Signal::INT);
    let metadata = found.iter().filter_map(|it| Some((it, fs::symlink_metadata(it).ok()?)));
    let (mut directories, mut sockets) = (0, 0);
    for (path, it) in metadata {
        let mode = it.permissions().mode() & 0o777;
        if it.is_dir() {
            directories += 1;
            assert_eq!(mode, 0o700, "{}", path.display());
        } else {
            sockets += usize::from(it.file_type().is_socket());
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    // The socket of the stream is gone as soon as all connections have come.
    assert_eq!(directories, 1, "{found:?}, of them {sockets} sockets");
    run.outcome().assert_ended(130, "interrupted", "verified");
}

#[test]
fn a_run_that_is_killed_leaves_no_key_and_the_next_command_removes_the_rest() {
    let encrypted = [&LONG[..], &["--tls-mode", "x509"]].concat();
    for delay_ms in [10, 40, 80, 150, 400] {
        let run = Run::small(&encrypted).start();
        let tmp = run.directory().join("tmp");
        let end = Instant::now() + Duration::from_millis(delay_ms);
        while Instant::now() < end {
            assert_no_key(&tmp);
            std::thread::sleep(Duration::from_millis(1));
        }
        let directory = run.killed();
        assert_no_key(directory.path());
        sweep(&tmp);
        assert_eq!(below(&tmp), Vec::<PathBuf>::new(), "after {delay_ms} ms");
    }
}

#[test]
fn a_fleet_that_is_killed_leaves_nothing() {
    let fleet = [
        "--fleet-guests",
        "2",
        "--fleet-parallel",
        "2",
        "--rate",
        "unlimited",
        "--max-bandwidth",
        "5MB/s",
    ];
    let run = Run::small(&[&fleet[..], &["--progress", "plain"]].concat());
    let mut run = run.start();
    run.wait_for("active");
    let directory = run.killed();
    assert_eq!(below(&directory.path().join("tmp")), Vec::<PathBuf>::new());
}

#[test]
fn a_report_beyond_the_limit_of_file_sizes_is_an_error_and_no_silent_death() {
    let mut command = Command::new("sh");
    // Of 512 or 1024 bytes each, as the shell counts.
    command.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sterna")]);
    let outcome = Run::of(command, &[&SMALL[..], &["--max-bandwidth", "unlimited"]].concat());
    let outcome = outcome.outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("File too large"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("report.json"), "{}", outcome.stderr);
}
