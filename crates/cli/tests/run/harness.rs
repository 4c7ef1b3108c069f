//! Runs the real binary and looks at everything it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No run of these tests takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(150);

/// A guest that is small and quick.
const SMALL: [&str; 6] = ["--memory", "32MiB", "--warmup", "200ms", "--cooldown", "200ms"];

/// One run of `sterna run` in an environment of its own.
pub struct Run {
    command: Command,
    directory: TempDir,
    mark: String,
}

/// What a run left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub report: Option<Value>,
}

impl Run {
    /// A run of a small guest.
    pub fn small(arguments: &[&str]) -> Run {
        Run::new(&[&SMALL, arguments].concat())
    }

    /// A run of what the arguments say.
    pub fn new(arguments: &[&str]) -> Run {
        Run::of(Command::new(env!("CARGO_BIN_EXE_sterna")), arguments)
    }

    /// A run of a command that ends in the program's name.
    pub fn of(mut command: Command, arguments: &[&str]) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let mark = format!("{}-{}", std::process::id(), directory.path().display());
        fs::create_dir(directory.path().join("tmp")).unwrap();
        command
            .arg("run")
            .args(arguments)
            .arg("--output")
            .arg(directory.path().join("report.json"))
            .env("RUN_MARK", &mark)
            .env("TMPDIR", directory.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Run { command, directory, mark }
    }

    pub fn env(mut self, name: &str, value: &str) -> Run {
        self.command.env(name, value);
        self
    }

    /// The directory that holds the report and the run's temporary files.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Runs to the end; nothing may be left behind.
    pub fn outcome(self) -> Outcome {
        self.start().outcome()
    }

    pub fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, directory: self.directory, mark: self.mark }
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    directory: TempDir,
    mark: String,
}

impl Running {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// What marks the processes of this run.
    #[allow(dead_code, reason = "not every test binary looks for processes")]
    pub fn mark(&self) -> String {
        self.mark.clone()
    }

    /// The directory that holds the report and the run's temporary files.
    #[allow(dead_code, reason = "not every test binary looks for files")]
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// The host processes, once there are two.
    pub fn wait_for_hosts(&self) -> Vec<u32> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let mut pids = marked(&self.mark);
            pids.remove(&self.child.id());
            if pids.len() == 2 {
                return pids.into_iter().collect();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no hosts were started");
    }

    /// Reads standard error until it holds `text`.
    pub fn wait_for(&mut self, text: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        while stderr.read(&mut byte).unwrap() == 1 {
            seen.push(byte[0]);
            if String::from_utf8_lossy(&seen).contains(text) {
                return;
            }
        }
        panic!("standard error ended without `{text}`: {}", String::from_utf8_lossy(&seen));
    }

    pub fn outcome(self) -> Outcome {
        self.outcome_within(Duration::from_secs(5))
    }

    /// As `outcome`, with more patience for what may be left behind for a while.
    pub fn outcome_within(mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + LIMIT;
        let reader = std::thread::spawn({
            let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
            move || (read_all(stdout), read_all(stderr))
        });
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("the run hangs");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = reader.join().unwrap();
        self.assert_nothing_is_left(patience);
        let report = fs::read_to_string(self.directory.path().join("report.json")).ok();
        let report = report.map(|text| serde_json::from_str(&text).unwrap());
        Outcome { code: status.code(), stdout, stderr, report }
    }

    /// Kills the run, waits until all its processes are gone, and gives the directory that held its files.
    #[allow(dead_code, reason = "not every test binary kills runs")]
    pub fn killed(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !marked(&self.mark).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(marked(&self.mark), BTreeSet::new(), "processes are left");
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    fn assert_nothing_is_left(&self, patience: Duration) {
        // A killed host needs a moment until the kernel has taken it away.
        let deadline = Instant::now() + patience;
        let files = || fs::read_dir(self.directory.path().join("tmp")).unwrap().collect::<Vec<_>>();
        while (!marked(&self.mark).is_empty() || !files().is_empty()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(marked(&self.mark), BTreeSet::new(), "processes are left");
        let files = files();
        assert!(files.is_empty(), "files are left: {files:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    #[track_caller]
    pub fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report was written: {}", self.stderr))
    }

    #[track_caller]
    pub fn summary(&self, field: &str) -> &Value {
        let summary = &self.report()["summary"];
        summary.get(field).unwrap_or_else(|| panic!("no field {field}"))
    }

    /// Exit code, verdict and integrity at once.
    #[track_caller]
    pub fn assert_ended(&self, code: i32, verdict: &str, integrity: &str) {
        let found = (self.code, self.summary("verdict"), self.summary("integrity"));
        let expected = (Some(code), &Value::from(verdict), &Value::from(integrity));
        assert_eq!(found, expected, "{}\n{}", self.stdout, self.stderr);
    }

    #[track_caller]
    pub fn assert_reason_has(&self, text: &str) {
        let reason = self.summary("verdict_reason").as_str().unwrap_or_default();
        assert!(reason.contains(text), "the reason is: {reason}");
    }
}

/// The binary under test in a place where any user can start it.
pub fn public_copy(directory: &TempDir) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("sterna");
    fs::copy(env!("CARGO_BIN_EXE_sterna"), &copy).unwrap();
    copy
}

/// A run by a user without any privilege; `None`, with a printed reason, where nobody can become one.
pub fn unprivileged(arguments: &[&str]) -> Option<Outcome> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user; the other tests ran unprivileged");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    nobody.arg(public_copy(&directory));
    let run = Run::of(nobody, arguments);
    // The report goes where only root may write, so the user gets a directory of its own.
    open_to_all(&run);
    Some(run.outcome())
}

fn open_to_all(run: &Run) {
    use std::os::unix::fs::PermissionsExt;
    for path in [run.directory(), run.directory().join("tmp")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
}

/// Runs another subcommand.
pub fn sterna(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn read_all(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All that is below a directory.
#[allow(dead_code, reason = "not every test binary looks for files")]
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            found.extend(below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

/// Lets a command run that removes what killed runs have left in this place.
#[allow(dead_code, reason = "not every test binary kills runs")]
pub fn sweep(tmp: &Path) {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_sterna"));
    doctor.arg("doctor").env("TMPDIR", tmp).stdin(Stdio::null()).output().unwrap();
}

/// Living processes that carry the mark in their environment.
pub fn marked(mark: &str) -> BTreeSet<u32> {
    let mark = format!("RUN_MARK={mark}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|it| it == mark.as_bytes())
    })
    .collect()
}
