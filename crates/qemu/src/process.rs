//! One QEMU process: its monitor, what it says on stderr, and its end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;
use sterna_sys::{cpu, process};

use crate::qmp::{Client, Event, Greeting, QmpError};

/// How long QEMU may take until it greets; on a loaded machine it loads 100 libraries first.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

/// How long QEMU may take to end itself before it is killed.
const GOODBYE: Duration = Duration::from_millis(1000);

/// Lines of stderr that are kept.
const STDERR_LINES: usize = 60;

/// A running QEMU, whose monitor is its standard input: no path, no port, and no moment in which it is not there yet.
///
/// It dies with us, however we die.
pub(crate) struct QemuProcess {
    side: Side,
    child: Child,
    qmp: Client,
    stderr: Arc<Mutex<VecDeque<String>>>,
    command_line: Vec<String>,
    end: Option<String>,
}

impl QemuProcess {
    /// Starts a QEMU on these processors of the machine (all for an empty list) and waits for its greeting.
    pub fn start(
        side: Side,
        program: &Path,
        arguments: &[OsString],
        cpus: &[usize],
    ) -> Result<QemuProcess, EngineError> {
        let name = side_name(side);
        let gone = |reason: String| EngineError::SideGone { side: name, reason };
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for the pilot alone, which then ends its QEMUs in good order.
        command.process_group(0);
        process::die_with_parent(&mut command);
        let socket = process::socket_as_stdin(&mut command)
            .map_err(|error| gone(format!("No socket pair can be had: {error}")))?;
        let mut child =
            spawn_on(&mut command, cpus).map_err(|error| not_started(program, &error))?;
        // The command holds the child's end of the socket pair.
        drop(command);
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(pipe) = child.stderr.take() {
            let lines = Arc::clone(&stderr);
            let reader = std::thread::Builder::new().name("qemu stderr".to_owned());
            reader
                .spawn(move || keep_last_lines(pipe, &lines))
                .map_err(|error| gone(format!("No thread can be had: {error}")))?;
        }
        let shown =
            std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
        let command_line = shown.map(|it| it.to_string_lossy().into_owned()).collect();
        match Client::connect(socket, GREETING_TIMEOUT) {
            Ok(qmp) => Ok(QemuProcess { side, child, qmp, stderr, command_line, end: None }),
            Err(error) => {
                let end = obituary(&mut child, &stderr).unwrap_or_else(|| error.to_string());
                let _ = child.kill();
                let _ = child.wait();
                Err(gone(end))
            }
        }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How QEMU introduced itself.
    pub fn greeting(&self) -> &Greeting {
        self.qmp.greeting()
    }

    /// The whole command line, as it was.
    pub fn command_line(&self) -> &[String] {
        &self.command_line
    }

    /// Gives a command; a refusal is [`EngineError::Failed`] in QEMU's words.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, EngineError> {
        self.try_execute(command, arguments).map_err(|error| self.explain(error))
    }

    /// Gives a command.
    pub fn try_execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.qmp.execute(command, arguments)
    }

    /// Hands QEMU an open file, which it then knows by this name.
    pub fn give_descriptor(
        &mut self,
        name: &str,
        descriptor: BorrowedFd,
    ) -> Result<(), EngineError> {
        let given = self.qmp.execute_with(descriptor, "getfd", json!({ "fdname": name }));
        given.map(|_| ()).map_err(|error| self.explain(error))
    }

    /// What has happened since the last time.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.qmp.take_events()
    }

    /// How the process ended, if it has.
    pub fn is_gone(&mut self) -> Option<String> {
        if self.end.is_none() && matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end = obituary(&mut self.child, &self.stderr);
        }
        self.end.clone()
    }

    /// What QEMU has complained about so far.
    pub fn complaints(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What an error of the monitor means, with the reason for a closed one.
    pub fn explain(&mut self, error: QmpError) -> EngineError {
        match error {
            QmpError::Refused { .. } => EngineError::Failed(error.to_string()),
            QmpError::Closed => {
                self.end = self.end.take().or_else(|| obituary(&mut self.child, &self.stderr));
                let reason = self.end.clone().unwrap_or_else(|| error.to_string());
                EngineError::SideGone { side: side_name(self.side), reason }
            }
            other => {
                EngineError::SideGone { side: side_name(self.side), reason: other.to_string() }
            }
        }
    }

    /// Ends QEMU: asks it to, and kills it when it does not.
    pub fn end(&mut self) {
        if self.is_gone().is_none() && self.qmp.execute("quit", Value::Null).is_ok() {
            let deadline = Instant::now() + GOODBYE;
            while Instant::now() < deadline {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
    }

    /// Kills QEMU and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for QemuProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// The side's name in messages.
pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

/// A child inherits the processors of the thread that spawns it.
fn spawn_on(command: &mut Command, cpus: &[usize]) -> std::io::Result<Child> {
    if cpus.is_empty() {
        return command.spawn();
    }
    let before = cpu::allowed()?;
    cpu::pin_current_thread(cpus)?;
    let child = command.spawn();
    cpu::pin_current_thread(&before)?;
    child
}

fn not_started(program: &Path, error: &std::io::Error) -> EngineError {
    EngineError::Unsupported(format!(
        "QEMU cannot be started as {}: {error}; install it (Debian: qemu-system-x86), or name another by --qemu-source and --qemu-destination",
        program.display()
    ))
}

/// How the process ended, with its last words; it may take a moment until the kernel tells.
fn obituary(child: &mut Child, stderr: &Mutex<VecDeque<String>>) -> Option<String> {
    let mut status = None;
    for _ in 0..100 {
        status = child.try_wait().ok()?;
        if status.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = describe(status?);
    // The reader of stderr may be some lines behind.
    std::thread::sleep(Duration::from_millis(5));
    let lines = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    let words: Vec<&str> = lines.iter().rev().take(5).rev().map(String::as_str).collect();
    Some(if words.is_empty() { status } else { format!("{status}: {}", words.join(" | ")) })
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("QEMU was killed by signal {signal}"),
        (None, Some(code)) => format!("QEMU ended with exit code {code}"),
        (None, None) => "QEMU ended".to_owned(),
    }
}

fn keep_last_lines(pipe: impl Read, lines: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(4096).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}
