//! A QEMU on this machine: the process, what it says on stderr, and its end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sterna_sys::{cpu, process};

use crate::programs;

/// Lines of stderr that are kept.
const STDERR_LINES: usize = 60;

/// A running QEMU, whose monitor is its standard input: no path, no port, and no moment in which it is not there yet.
///
/// It dies with us, however we die.
pub(crate) struct LocalProcess {
    child: Child,
    stderr: Arc<Mutex<VecDeque<String>>>,
    end: Option<String>,
}

/// What to start.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub program: &'a Path,
    pub arguments: &'a [OsString],
    /// Processors of the machine that it may use; empty for all.
    pub cpus: &'a [usize],
    /// The descriptors that it inherits, and under which numbers.
    pub inherited: &'a [(BorrowedFd<'a>, i32)],
    /// Whether all of its memory is in pages of 4 KiB, even where the system gives transparent huge pages.
    pub small_pages: bool,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// No such program, or one that cannot be run.
    #[error(
        "QEMU cannot be started as {program}: {source}; install it (Debian: qemu-system-x86), or name another by --qemu-source and --qemu-destination"
    )]
    Program {
        /// What was started.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something that a process is made of.
    #[error("No {0} can be had: {1}")]
    Lack(&'static str, std::io::Error),
}

impl LocalProcess {
    /// Starts a QEMU; the socket is its standard input.
    pub fn start(order: &Order) -> Result<(LocalProcess, UnixStream), StartError> {
        let program = programs::to_start(order.program);
        let mut command = Command::new(&program);
        command.args(order.arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for the pilot alone, which then ends its QEMUs in good order.
        command.process_group(0);
        process::die_with_parent(&mut command);
        for (descriptor, number) in order.inherited {
            process::inherit(&mut command, descriptor, *number)
                .map_err(|error| StartError::Lack("descriptor", error))?;
        }
        if order.small_pages {
            process::without_transparent_huge_pages(&mut command);
        }
        let socket = process::socket_as_stdin(&mut command)
            .map_err(|error| StartError::Lack("socket pair", error))?;
        let program = program.display().to_string();
        let mut child = spawn_on(&mut command, order.cpus)
            .map_err(|source| StartError::Program { program, source })?;
        // The command holds the child's end of the socket pair.
        drop(command);
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let pipe = child.stderr.take();
        let started = LocalProcess { child, stderr: Arc::clone(&stderr), end: None };
        std::thread::Builder::new()
            .name("qemu stderr".to_owned())
            .spawn(move || pipe.map(|it| keep_last_lines(it, &stderr)))
            .map_err(|error| StartError::Lack("thread", error))?;
        Ok((started, socket))
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it has.
    pub fn is_gone(&mut self) -> Option<String> {
        if self.end.is_none() && matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end = self.obituary();
        }
        self.end.clone()
    }

    /// How the process ended; it may take a moment until the kernel tells.
    pub fn expect_gone(&mut self) -> Option<String> {
        self.end = self.end.take().or_else(|| self.obituary());
        self.end.clone()
    }

    /// What QEMU has complained about so far.
    pub fn complaints(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Gives QEMU time to end by itself; whether it did.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(_)) = self.child.try_wait() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills QEMU and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn obituary(&mut self) -> Option<String> {
        self.wait(Duration::from_millis(200));
        let status = describe(self.child.try_wait().ok()??);
        // The reader of stderr may be some lines behind.
        std::thread::sleep(Duration::from_millis(5));
        let lines = self.complaints();
        let words = lines[lines.len().saturating_sub(5)..].join(" | ");
        Some(if words.is_empty() { status } else { format!("{status}: {words}") })
    }
}

impl Drop for LocalProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
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
