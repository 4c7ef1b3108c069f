//! Running the real release binary and reading its report, as a user's script would.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sterna_report::Report;
use sterna_sys::process;

/// No run of a bench or a soak takes longer, unless it hangs.
const LONGEST: Duration = Duration::from_secs(180);

const TEMPORARY: &str = "tmp";

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
        let folder = folder.context("Cannot create a temporary folder")?;
        std::fs::create_dir(folder.path().join(TEMPORARY))?;
        Ok(Flights { sterna, folder })
    }

    /// Where flights make their temporary files, and nobody else does.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join(TEMPORARY)
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
        command.env("TMPDIR", self.temporary());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        process::die_with_parent(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("Cannot start {}", self.sterna.display()))?;
        let status = wait(&mut child)?;
        let mut words = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut words);
        }
        let said = || format!("sterna run said: {words}");
        let text =
            std::fs::read_to_string(&path).context("There is no report").with_context(said)?;
        let report = Report::read(&text).context("The report cannot be read")?;
        Ok(Landed { exit_code: status.code(), report })
    }
}

/// Waits for the end; a run that hangs is a failure, not a reason to wait.
fn wait(child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + LONGEST;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            bail!("The run hangs: it has not ended within {} s", LONGEST.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Flags from pairs, such as ("memory", "1GiB").
pub fn flags<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<String> {
    pairs.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
