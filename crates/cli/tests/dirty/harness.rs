//! Starts `sterna dirty` and gathers what it says.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What a run left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs to the end.
pub fn dirty(arguments: &[&str]) -> Outcome {
    start(arguments).outcome()
}

/// The report of a run that must succeed.
pub fn report(arguments: &[&str]) -> Value {
    let outcome = dirty(&[arguments, &["--format", "json"]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
}

/// Starts and does not wait.
pub fn start(arguments: &[&str]) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .arg("dirty")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running { child: Some(child) }
}

/// A run under way; it does not outlive its test.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    pub fn outcome(mut self) -> Outcome {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Outcome {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}\n{}", self.stdout, self.stderr);
        })
    }
}

/// A number of the report, by the path to it.
#[track_caller]
pub fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).unwrap_or_else(|| panic!("no {path} in {report:#}"));
    value.as_f64().unwrap_or_else(|| panic!("{path} is {value}"))
}
