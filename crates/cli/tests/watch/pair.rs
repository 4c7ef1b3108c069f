//! Two QEMUs that belong to the test, and a monitor of its own to each of them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A boot sector that writes to each of 128 pages (0x10000 to 0x8ffff), waits for the next tick of the timer (18.2 Hz), and so on. It needs no kernel, and next to no processor.
const DIRTIER: [u8; 37] = [
    0x31, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, 0xba, 0x00, 0x10, 0x8e, 0xc2, 0x31, 0xff, 0x26,
    0xfe, 0x05, 0x81, 0xc7, 0x00, 0x10, 0x73, 0xf7, 0x81, 0xc2, 0x00, 0x10, 0x81, 0xfa, 0x00, 0x90,
    0x72, 0xe9, 0xf4, 0xeb, 0xe3,
];

/// Nothing that these tests wait for takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// Emulated guests share few processors badly, so one test runs at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Until it is dropped, no other test of this process has a guest.
pub fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk that boots the guest which writes.
pub fn boot_disk() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[..DIRTIER.len()].copy_from_slice(&DIRTIER);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// A source with a guest, and a destination that waits for it.
pub struct Pair {
    pub directory: TempDir,
    source: Child,
    destination: Child,
    /// Not the monitor that is watched.
    pub at_source: Monitor,
    pub at_destination: Monitor,
    _turn: MutexGuard<'static, ()>,
}

impl Pair {
    /// `None` when something is missing, which has been printed.
    pub fn new() -> Option<Pair> {
        let turn = take_turn();
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("disk"), boot_disk()).unwrap();
        let start = |side: &str, more: &[&str]| {
            let stderr = std::fs::File::create(directory.path().join(format!("{side}.log")));
            Command::new(&program)
                .current_dir(directory.path())
                // QEMU 7.2 and 8 lose writes of emulated guests whose memory is of an even size.
                .args(["-name", "tern", "-machine", "pc,accel=tcg", "-m", "131080K"])
                .args(["-display", "none", "-nodefaults"])
                .args(["-drive", "file=disk,format=raw,if=virtio,readonly=on"])
                .args(["-qmp", &format!("unix:{side}.qmp,server=on,wait=off")])
                .args(["-qmp", &format!("unix:{side}.ours,server=on,wait=off")])
                .args(more)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr.unwrap())
                .spawn()
                .unwrap()
        };
        let source = start("source", &[]);
        let destination = start("destination", &["-incoming", "defer"]);
        let at_source = Monitor::open(&directory.path().join("source.ours"));
        let at_destination = Monitor::open(&directory.path().join("destination.ours"));
        // Its firmware has to come so far that the guest writes.
        std::thread::sleep(Duration::from_millis(1200));
        Some(Pair { directory, source, destination, at_source, at_destination, _turn: turn })
    }

    /// The sockets that are watched.
    pub fn socket(&self, side: &str) -> PathBuf {
        self.directory.path().join(format!("{side}.qmp"))
    }

    /// Begins a migration of a guest that writes more than 4 MB/s carry into a downtime of 50 ms, so that it goes on until it is let go.
    pub fn begin(&mut self, capabilities: &[&str]) {
        let list: Vec<Value> =
            capabilities.iter().map(|it| json!({"capability": it, "state": true})).collect();
        if !list.is_empty() {
            let wanted = json!({ "capabilities": list });
            self.at_source.ask("migrate-set-capabilities", wanted.clone());
            self.at_destination.ask("migrate-set-capabilities", wanted);
        }
        let limits = json!({"max-bandwidth": 4_000_000, "downtime-limit": 50});
        self.at_source.ask("migrate-set-parameters", limits);
        self.at_destination.ask("migrate-incoming", json!({"uri": "unix:stream"}));
        self.at_source.ask("migrate", json!({"uri": "unix:stream"}));
    }

    pub fn await_syncs(&mut self, count: u64) {
        self.at_source.await_answer("query-migrate", |it| {
            it["ram"]["dirty-sync-count"].as_u64().is_some_and(|it| it >= count)
        });
    }

    /// Lets the migration finish.
    pub fn let_go(&mut self) {
        self.at_source.ask("migrate-set-parameters", json!({"downtime-limit": 2000}));
    }

    pub fn await_status(&mut self, status: &str) -> Value {
        self.at_source.await_answer("query-migrate", |it| it["status"] == status)
    }

    pub fn kill_source(&mut self) {
        self.source.kill().unwrap();
        self.source.wait().unwrap();
    }

    pub fn kill_destination(&mut self) {
        self.destination.kill().unwrap();
        self.destination.wait().unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in [&mut self.source, &mut self.destination] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The test's own way to speak to a QEMU.
pub struct Monitor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// Events with QEMU's stamp in seconds.
    pub events: Vec<(String, Value, f64)>,
}

impl Monitor {
    /// Waits until the socket is there and greets.
    pub fn open(path: &Path) -> Monitor {
        let began = Instant::now();
        let writer = loop {
            match UnixStream::connect(path) {
                Ok(socket) => break socket,
                Err(error) => assert!(began.elapsed() < LIMIT, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        writer.set_read_timeout(Some(LIMIT)).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let mut monitor = Monitor { reader, writer, events: Vec::new() };
        assert!(monitor.line().get("QMP").is_some());
        monitor.ask("qmp_capabilities", Value::Null);
        monitor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not QMP: {line:?}"))
    }

    /// A command that has to succeed.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let mut order = json!({ "execute": command });
        if !arguments.is_null() {
            order["arguments"] = arguments;
        }
        writeln!(self.writer, "{order}").unwrap();
        loop {
            let line = self.line();
            if let Some(name) = line["event"].as_str() {
                let stamp = &line["timestamp"];
                let seconds = stamp["seconds"].as_f64().unwrap();
                let at = seconds + stamp["microseconds"].as_f64().unwrap() / 1e6;
                self.events.push((name.to_owned(), line["data"].clone(), at));
                continue;
            }
            assert!(line.get("error").is_none(), "{command}: {line}");
            return line["return"].clone();
        }
    }

    pub fn await_answer(&mut self, command: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.ask(command, Value::Null);
            if is_it(&answer) {
                return answer;
            }
            assert!(began.elapsed() < LIMIT, "{command} stays at {answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// QEMU's stamp of the first event of this name.
    pub fn stamp(&self, name: &str) -> Option<f64> {
        self.events.iter().find(|it| it.0 == name).map(|it| it.2)
    }
}

fn program() -> Option<PathBuf> {
    let asked = std::env::var_os("STERNA_TEST_QEMU").map(PathBuf::from);
    let program = asked.unwrap_or_else(|| PathBuf::from("qemu-system-x86_64"));
    let works =
        Command::new(&program).arg("--version").output().is_ok_and(|it| it.status.success());
    if !works {
        eprintln!(
            "skipped: there is no QEMU to watch; install qemu-system-x86, or name one in STERNA_TEST_QEMU"
        );
    }
    works.then_some(program)
}
