//! A listening host, ended with the value.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::sterna;

const PATIENCE: Duration = Duration::from_secs(30);

/// A `sterna host --listen`.
pub struct Daemon {
    child: Child,
    /// What `--destination` takes.
    pub address: String,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Listens on loopback, for everybody.
    pub fn start() -> Daemon {
        Daemon::of(Command::new(env!("CARGO_BIN_EXE_sterna")), &["--listen", "0"], None)
    }

    /// Listens as the arguments say.
    pub fn with(arguments: &[&str], token: Option<&str>) -> Daemon {
        Daemon::of(Command::new(env!("CARGO_BIN_EXE_sterna")), arguments, token)
    }

    /// Listens by a command that ends in the program's name.
    pub fn of(mut command: Command, arguments: &[&str], token: Option<&str>) -> Daemon {
        command.env_remove("STERNA_HOST_TOKEN").arg("host").args(arguments);
        if let Some(token) = token {
            command.env("STERNA_HOST_TOKEN", token);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, to) = (child.stderr.take().unwrap(), Arc::clone(&said));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = to.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let reader = Some(reader);
        assert!(address.starts_with("sterna://"), "{address}: {}", said.lock().unwrap());
        Daemon { child, address, said, reader }
    }

    /// The address without its scheme.
    pub fn socket(&self) -> &str {
        self.address.strip_prefix("sterna://").unwrap()
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "it never said `{text}`: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The processes that serve a run.
    pub fn sessions(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// Ends it as an operator would; it leaves in good order.
    pub fn stop(mut self, signal: Signal) -> String {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it does not end: {}", self.said()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.reader.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing follows the address on standard output");
        self.said()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes certificates in `directory`.
pub fn certificates(directory: &Path) -> String {
    let path = directory.to_str().unwrap();
    let output = sterna(&["certs", path, "--host", "10.77.0.2", "--host", "fd77::2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path.to_owned()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
    lists
        .flat_map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect()
}
