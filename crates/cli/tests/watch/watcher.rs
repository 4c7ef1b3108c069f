//! The real binary, watching.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::pair::Pair;

const LIMIT: Duration = Duration::from_secs(60);

/// One `sterna watch` in the background.
pub struct Watcher {
    child: Child,
    report: PathBuf,
}

/// What it left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub report: Option<Value>,
}

impl Watcher {
    /// Watches the pair's source in this way, and waits a moment so that it looks.
    pub fn of(pair: &Pair, arguments: &[&str]) -> Watcher {
        let watcher = Watcher::start(pair, arguments);
        std::thread::sleep(Duration::from_millis(900));
        watcher
    }

    pub fn start(pair: &Pair, arguments: &[&str]) -> Watcher {
        let report = pair.directory.path().join("report.json");
        let child = Command::new(env!("CARGO_BIN_EXE_sterna"))
            .args(["watch", "qmp"])
            .arg(pair.socket("source"))
            .args(arguments)
            .args(["--timeout", "30s", "--progress", "plain", "-o"])
            .arg(&report)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Watcher { child, report }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    pub fn outcome(mut self) -> Outcome {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if began.elapsed() > LIMIT {
                self.kill();
                panic!("the watch does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let report = std::fs::read_to_string(&self.report).ok();
        Outcome {
            code: self.child.wait().unwrap().code(),
            stdout,
            stderr,
            report: report.map(|it| serde_json::from_str(&it).unwrap()),
        }
    }
}

impl Outcome {
    #[track_caller]
    pub fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report: {}", self.stderr))
    }

    #[track_caller]
    pub fn summary(&self, field: &str) -> &Value {
        &self.report()["summary"][field]
    }

    #[track_caller]
    pub fn seconds(&self, field: &str) -> f64 {
        let value = self.summary(field);
        value.as_f64().unwrap_or_else(|| panic!("{field} is {value}: {}", self.stdout))
    }

    #[track_caller]
    pub fn assert_verdict(&self, verdict: &str) {
        assert_eq!(self.summary("verdict"), verdict, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.report()["engine"]["control"], "observed");
    }

    pub fn warns(&self, code: &str) -> bool {
        self.report()["warnings"].as_array().unwrap().iter().any(|it| it["code"] == code)
    }
}
