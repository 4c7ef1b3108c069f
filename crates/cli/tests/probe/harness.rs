//! Starts `sterna probe` and gathers what it says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// What a run left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stderr: String,
}

/// Runs to the end.
pub fn probe(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    let output = command.arg("probe").args(arguments).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Outcome { code: output.status.code(), stderr }
}

/// A responder and its address; it does not outlive its test.
pub struct Responder {
    child: Child,
    pub address: String,
}

impl Responder {
    pub fn start() -> Responder {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.args(["probe", "serve", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no address");
        Responder { child, address: line.trim().to_owned() }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
