//! Starts `sterna probe` and gathers what it says.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long for a probe, short for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A probe that has begun was answered by then.
const SETTLED: Duration = Duration::from_millis(500);

/// What a run left.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn sterna() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sterna"))
}

/// Runs to the end.
pub fn probe(arguments: &[&str]) -> Outcome {
    probe_by(sterna(), arguments)
}

/// Runs to the end, by a command that ends in the program's name.
pub fn probe_by(mut command: Command, arguments: &[&str]) -> Outcome {
    let output = command.arg("probe").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Outcome {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

/// A responder and its address; it does not outlive its test.
pub struct Responder {
    child: Child,
    pub address: String,
}

impl Responder {
    pub fn start() -> Responder {
        Responder::with(&[])
    }

    /// On loopback, with more flags.
    pub fn with(flags: &[&str]) -> Responder {
        Responder::of(sterna(), "127.0.0.1:0", flags)
    }

    /// By a command that ends in the program's name.
    pub fn of(mut command: Command, listen: &str, flags: &[&str]) -> Responder {
        command.args(["probe", "serve", "--listen", listen]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no address");
        Responder { child, address: line.trim().to_owned() }
    }

    /// Kills it, and begins anew at the same address after so long.
    pub fn begin_anew(self, command: Command, after: Duration) -> Responder {
        let address = self.address.clone();
        drop(self);
        sleep(after);
        // What held the port may end a little after its parent.
        wait_until("the port is not free", || UdpSocket::bind(&address).is_ok());
        Responder::of(command, &address, &[])
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.address.parse::<SocketAddr>().unwrap().port()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Nothing of it runs for at least so long.
    pub fn stop_for(&self, length: Duration) {
        self.signal(Signal::STOP);
        sleep(length);
        self.signal(Signal::CONT);
    }

    /// Shows that it still serves, and is still the one that was started.
    #[track_caller]
    pub fn assert_serves(&mut self) {
        for kind in ["udp", "tcp", "clock", "playout"] {
            let outcome = probe(&[kind, &self.address, "--duration", "400ms", "--format", "json"]);
            assert_eq!(outcome.code, Some(0), "{kind}: {}", outcome.stderr);
            assert!(number(&outcome.json(), "/probes/0/received") > 0.0, "{kind}");
        }
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A probe under way, which tells its events; it does not outlive its test.
pub struct Running {
    child: Child,
    events: Receiver<Value>,
    told: Told,
}

/// Every event that was read, as it was told.
pub type Told = Arc<Mutex<Vec<Value>>>;

impl Running {
    /// Begins, and returns when the probes have begun and were most likely answered.
    pub fn start(arguments: &[&str]) -> Running {
        Running::of(sterna(), arguments)
    }

    /// By a command that ends in the program's name.
    pub fn of(mut command: Command, arguments: &[&str]) -> Running {
        command.arg("probe").args(arguments).args(["--format", "ndjson"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, events) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut running = Running { child, events, told: Told::default() };
        let first =
            running.next().unwrap_or_else(|| panic!("it did not begin: {}", running.said()));
        assert_eq!(first["event"], "start", "{first}");
        sleep(SETTLED);
        running
    }

    /// Waits until an outage is told that lasted for at least half of `length`.
    #[track_caller]
    pub fn wait_for_outage(&mut self, length: Duration) -> Value {
        while let Some(event) = self.next() {
            if event["event"] == "silence" {
                continue;
            }
            assert_eq!(event["event"], "outage", "{event:#}");
            let outage = event["data"].clone();
            if number(&outage, "/length_seconds") >= length.as_secs_f64() / 2.0 {
                return outage;
            }
        }
        let said = self.said();
        panic!("no such outage: {:#?}\n{said}", self.told);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it, as Ctrl-C does.
    #[track_caller]
    pub fn end(self) -> (Option<i32>, Value) {
        self.signal(Signal::INT);
        self.finish()
    }

    /// Waits for its end: the exit code and the report.
    #[track_caller]
    pub fn finish(mut self) -> (Option<i32>, Value) {
        while let Some(mut event) = self.next() {
            if event["event"] == "report" {
                let status = self.child.wait().unwrap();
                return (status.code(), event["data"].take());
            }
        }
        panic!("there is no report: {}", self.said());
    }

    /// What was and will be told.
    pub fn told(&self) -> Told {
        Arc::clone(&self.told)
    }

    fn next(&mut self) -> Option<Value> {
        let event = self.events.recv_timeout(PATIENCE).ok()?;
        self.told.lock().unwrap().push(event.clone());
        Some(event)
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        let _ = self.child.kill();
        let _ = self.child.stderr.take().map(|mut it| it.read_to_string(&mut said));
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of a report, by the path to it.
#[track_caller]
pub fn number(report: &Value, path: &str) -> f64 {
    let found = report.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} is no number: {report:#}"))
}

/// What a user would call about so long. A probe that is held up itself sees a little less; a machine that is busy answers later.
#[track_caller]
pub fn assert_lasted(outage: &Value, length: Duration) {
    let told = number(outage, "/length_seconds");
    let length = length.as_secs_f64();
    assert!(told > length * 0.7 && told < length + 3.0, "{length} s: {outage:#}");
    assert_eq!(outage["has_ended"], true, "{outage:#}");
}

/// Outages of a probe that lasted for at least half of `length`; shorter ones may be those of a busy machine.
#[track_caller]
pub fn long_outages(probe: &Value, length: Duration) -> Vec<Value> {
    let all = probe["outages"].as_array().unwrap();
    let is_long = |it: &&Value| number(it, "/length_seconds") >= length.as_secs_f64() / 2.0;
    all.iter().filter(is_long).cloned().collect()
}

#[track_caller]
pub fn wait_until(complaint: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{complaint}");
        sleep(Duration::from_millis(5));
    }
}
