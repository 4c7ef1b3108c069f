//! What is left when a run of real QEMUs is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::harness::{below, sweep};
use super::{Bench, NEVER_ENDING};

/// Keys and images are files without a name, so of regular files there is only the one with the lock. QEMU itself
/// writes none but these.
fn assert_only_locks(tmp: &Path) {
    for path in below(tmp) {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
        assert!(!is_file || path.ends_with("lock"), "{}", path.display());
    }
}

#[track_caller]
fn check(arguments: &[&str], delay_ms: u64, leaves_nothing: bool) {
    let Some(bench) = Bench::new() else { return };
    let run = bench.run(&[arguments, &NEVER_ENDING[..]].concat()).start();
    let tmp = run.directory().join("tmp");
    let end = Instant::now() + Duration::from_millis(delay_ms);
    while Instant::now() < end {
        assert_only_locks(&tmp);
        std::thread::sleep(Duration::from_millis(2));
    }
    let directory = run.killed();
    assert_only_locks(&directory.path().join("tmp"));
    if !leaves_nothing {
        sweep(&tmp);
    }
    assert_eq!(below(&tmp), Vec::<PathBuf>::new());
}

#[test]
fn a_run_that_is_killed_leaves_nothing_on_any_disk() {
    check(&[], 300, true);
    check(&[], 2000, true);
}

#[test]
fn an_encrypted_run_that_is_killed_leaves_no_key_and_the_next_command_removes_the_rest() {
    check(&["--tls-mode", "x509"], 200, false);
    check(&["--tls-mode", "x509"], 2500, false);
    check(&["--tls-mode", "psk"], 2500, false);
}
