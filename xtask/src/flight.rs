//! Running the real release binary and reading its report, as a user's script would.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use sterna_report::Report;
use sterna_sys::process;

/// Starts flights of one binary, and keeps their reports apart.
pub struct Flights {
    sterna: PathBuf,
    folder: tempfile::TempDir,
}

/// How a flight ended.
pub struct Landed {
    /// The program's exit code, when it ended by itself.
    pub exit_code: Option<i32>,
    /// What it reported.
    pub report: Report,
}

impl Flights {
    /// Flights of the program `sterna`.
    pub fn of(sterna: PathBuf) -> Result<Flights> {
        let folder = tempfile::Builder::new().prefix("xtask-").tempdir();
        Ok(Flights { sterna, folder: folder.context("Cannot create a temporary folder")? })
    }

    /// `sterna run` with these flags, to its end.
    pub fn fly(&self, flags: &[String]) -> Result<Landed> {
        let path = self.folder.path().join("report.json");
        let _ = std::fs::remove_file(&path);
        let mut command = Command::new(&self.sterna);
        command.arg("run").args(flags).arg("--output").arg(&path);
        // The caller's own settings must not change what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STERNA_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        process::die_with_parent(&mut command);
        let output =
            command.output().with_context(|| format!("Cannot start {}", self.sterna.display()))?;
        let said = || format!("sterna run said: {}", String::from_utf8_lossy(&output.stderr));
        let text =
            std::fs::read_to_string(&path).context("There is no report").with_context(said)?;
        let report = Report::read(&text).context("The report cannot be read")?;
        Ok(Landed { exit_code: output.status.code(), report })
    }
}

/// Flags from pairs, such as ("memory", "1GiB").
pub fn flags<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<String> {
    pairs.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
