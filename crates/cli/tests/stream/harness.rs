//! Starts both programs and gathers what they say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A `sterna stream serve`, ended with the value.
pub struct Server {
    child: Child,
    /// What `sterna stream` takes.
    pub address: String,
    said: Arc<Mutex<String>>,
}

/// What a client left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A client under way, ended with the value.
pub struct Client(Option<Child>);

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sterna"))
}

impl Server {
    /// On loopback, for everybody.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// On loopback, with more flags.
    pub fn with(flags: &[&str]) -> Server {
        Server::of(program(), &[&["--listen", "0"], flags].concat(), None)
    }

    /// By a command that ends in the program's name.
    pub fn of(mut command: Command, flags: &[&str], token: Option<&str>) -> Server {
        command.env_remove("STERNA_HOST_TOKEN").args(["stream", "serve"]).args(flags);
        if let Some(token) = token {
            command.env("STERNA_HOST_TOKEN", token);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, to) = (child.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = to.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        let server = Server { child, address: address.trim().to_owned(), said };
        assert!(!server.address.is_empty(), "it does not listen: {}", server.said());
        server
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("it never said `{text}`: {}", self.said()), || {
            self.said().contains(text)
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as an operator would; it leaves in good order.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it does not end: {}", self.said()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    /// Shows that it still serves.
    #[track_caller]
    pub fn assert_serves(&self) {
        report(&[&self.address, "-n", "1MiB"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub fn wait_until(complaint: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{complaint}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a client to its end.
pub fn stream(flags: &[&str]) -> Outcome {
    Client::of(program(), flags).outcome()
}

/// The report of a client that must succeed.
#[track_caller]
pub fn report(flags: &[&str]) -> Value {
    stream(&[flags, &["--format", "json"]].concat()).report()
}

impl Client {
    /// Starts, by a command that ends in the program's name, and does not wait.
    pub fn of(mut command: Command, flags: &[&str]) -> Client {
        command.arg("stream").args(flags).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Client(Some(child.unwrap()))
    }

    pub fn start(flags: &[&str]) -> Client {
        Client::of(program(), flags)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), signal).unwrap();
    }

    /// What it leaves when nobody reads what it says.
    pub fn outcome_unread(mut self) -> Outcome {
        drop(self.0.as_mut().unwrap().stdout.take());
        self.outcome()
    }

    pub fn outcome(mut self) -> Outcome {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Outcome {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}\n{}", self.stdout, self.stderr);
        })
    }

    #[track_caller]
    pub fn report(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.json()
    }

    #[track_caller]
    pub fn assert_refused(&self, code: i32, expected: &str) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(expected), "{}", self.stderr);
    }
}

/// A number of a report, by the path to it.
#[track_caller]
pub fn number(report: &Value, path: &str) -> f64 {
    let found = report.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} is no number: {report:#}"))
}

/// Makes certificates in a directory.
pub fn certificates(directory: &Path) -> String {
    let path = directory.to_str().unwrap();
    let names = ["--host", "10.77.0.2", "--host", "fd77::2"];
    let output = program().args(["certs", path]).args(names).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path.to_owned()
}
