//! Runs of `sterna stream`, and what they say.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sterna_report::stream::{StreamReport, StreamTimes};
use sterna_sys::process;

/// Both programs, each started by a command that may put it elsewhere.
pub struct Pair {
    server: Child,
    address: String,
    sterna: PathBuf,
}

impl Pair {
    /// A server on loopback.
    pub fn start(sterna: &Path) -> Result<Pair> {
        Pair::of(Command::new(sterna), &["--listen", "0"], sterna)
    }

    /// A server by a command that ends in the program's name.
    pub fn of(mut command: Command, flags: &[&str], sterna: &Path) -> Result<Pair> {
        command.args(["stream", "serve"]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        process::die_with_parent(&mut command);
        let mut server = command.spawn().context("Cannot start sterna stream serve")?;
        let output = server.stdout.take().context("The server has no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        let address = address.trim().to_owned();
        ensure!(!address.is_empty(), "sterna stream serve does not listen");
        Ok(Pair { server, address, sterna: sterna.to_owned() })
    }

    /// A client here, to its end.
    pub fn run(&self, flags: &[&str], seconds: f64) -> Result<StreamReport> {
        self.run_by(Command::new(&self.sterna), flags, seconds)
    }

    /// A client by a command that ends in the program's name.
    pub fn run_by(
        &self,
        mut command: Command,
        flags: &[&str],
        seconds: f64,
    ) -> Result<StreamReport> {
        let duration = format!("{}ms", (seconds * 1e3) as u64);
        command.args(["stream", &self.address, "--duration", &duration, "--format", "json"]);
        process::die_with_parent(&mut command);
        let output = command.args(flags).stdin(Stdio::null()).output();
        let output = output.context("Cannot start sterna stream")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sterna stream ended with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).context("The report cannot be read")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Bytes of pages per second, as they arrived at the server.
pub fn received(report: &StreamReport) -> Result<f64> {
    let server = report.summary.server.as_ref().context("The server's numbers are missing")?;
    server.received_bytes_per_second.context("Nothing arrived")
}

/// How long the server's requests took.
pub fn awaited(report: &StreamReport) -> Result<StreamTimes> {
    let server = report.summary.server.as_ref().context("The server's numbers are missing")?;
    let requests = server.requests.as_ref().context("The server has asked for nothing")?;
    requests.awaited.context("No page came")
}
