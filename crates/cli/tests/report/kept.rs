//! Reports that cannot be written when a run is over: the result is printed, and the report is kept elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::words;

/// Runs a command whose report goes to a directory that is removed meanwhile; returns exit code, stdout and stderr.
fn run(arguments: &[&str], temporary: &Path) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(arguments).arg("-o").arg(&report).env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    directory.close().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), words(&output.stdout), words(&output.stderr))
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_after_the_result() {
    let table: [(&[&str], &str); 3] = [
        (&["dirty", "--memory", "16MiB", "--rate", "10MB/s", "--duration", "1500ms"], "MiB/s"),
        (&["probe", "tcp", "127.0.0.1:9", "--duration", "1500ms"], ""),
        (
            &[
                "run",
                "--memory",
                "32MiB",
                "--max-bandwidth",
                "400Mbit/s",
                "--warmup",
                "1s",
                "--cooldown",
                "500ms",
            ],
            "Completed",
        ),
    ];
    for (arguments, result) in table {
        let temporary = tempfile::tempdir().unwrap();
        let (code, out, err) = run(arguments, temporary.path());
        assert!(out.contains(result), "{arguments:?}: {out}\n{err}");
        assert!(err.contains("error: Cannot write"), "{arguments:?}: {err}");
        assert_ne!(code, Some(0), "{arguments:?}: {err}");
        let path = err.split("it is in ").nth(1).unwrap_or_else(|| panic!("{err}"));
        let path = path.split(" instead").next().unwrap();
        assert!(path.starts_with(temporary.path().to_str().unwrap()), "{path}");
        let kept = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let _: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    }
}
