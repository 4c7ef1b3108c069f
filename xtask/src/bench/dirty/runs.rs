//! Runs of `sterna dirty`, and what they say.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sterna_report::dirty::DirtyReport;
use sterna_sys::process;

/// The program that is measured.
pub struct Sterna {
    path: PathBuf,
}

/// How fast pages were written.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Pages per second.
    pub pages_per_second: f64,
    /// Pages per second of processor time: what the rate would be if nobody else used the machine's
    /// processors. NaN where the kernel does not tell.
    pub pages_per_cpu_second: f64,
}

impl Sterna {
    /// The release build at this path.
    pub fn of(path: PathBuf) -> Sterna {
        Sterna { path }
    }

    /// `sterna dirty` with these flags, not started.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("dirty").args(flags).stdin(Stdio::null());
        process::die_with_parent(&mut command);
        command
    }

    /// Runs it for so many seconds, to its end.
    pub fn run(&self, flags: &[&str], seconds: f64) -> Result<DirtyReport> {
        let duration = format!("{}ms", (seconds * 1e3) as u64);
        let more = ["--duration", &duration, "--format", "json", "--progress", "none"];
        let mut command = self.command(&[flags, &more].concat());
        let output =
            command.output().with_context(|| format!("Cannot start {}", self.path.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sterna dirty ended with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).context("The report cannot be read")
    }

    /// How fast it writes.
    pub fn speed(&self, flags: &[&str], seconds: f64) -> Result<Speed> {
        Ok(Speed::of(&self.run(flags, seconds)?))
    }

    /// The program's file, for other programs that start it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Speed {
    /// What a report says.
    pub fn of(report: &DirtyReport) -> Speed {
        let summary = &report.summary;
        Speed {
            pages_per_second: summary.touch_rate_pages_per_second.unwrap_or(f64::NAN),
            pages_per_cpu_second: summary
                .cpu_seconds
                .map_or(f64::NAN, |seconds| summary.touched_pages as f64 / seconds),
        }
    }
}
