//! One QEMU, here or on another machine: its monitor, what it says on stderr, and its end.

mod local;

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;

pub(crate) use local::{LocalProcess, Order, StartError};

use crate::keeper::Keeper;
use crate::place::Place;
use crate::programs;
use crate::qmp::{Client, Event, Greeting, QmpError, Stamps};

/// How long QEMU may take until it greets; on a loaded machine it loads 100 libraries first.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of memory that any machine allocates in a second, also for two guests at once; slow virtual machines have been seen at three times that.
const ALLOCATED_PER_SECOND: u64 = 64 << 20;

/// How long QEMU may take to end itself before it is killed.
const GOODBYE: Duration = Duration::from_millis(1000);

/// A running QEMU with its monitor; it dies with us, however we die.
pub(crate) struct QemuProcess {
    side: Side,
    process: Process,
    qmp: Client,
    command_line: Vec<String>,
}

enum Process {
    Here(LocalProcess),
    There { keeper: Arc<Keeper>, pid: u32 },
}

/// A QEMU that has not greeted yet; it allocates its memory before.
pub(crate) struct Starting {
    side: Side,
    process: Process,
    socket: UnixStream,
    stamps: Stamps,
    command_line: Vec<String>,
}

impl Starting {
    /// Starts a QEMU.
    pub fn new(side: Side, place: &Place, order: &Order) -> Result<Starting, EngineError> {
        let ((process, socket, stamps), program) = match place {
            Place::Here(_) => (start_here(side, order)?, programs::to_start(order.program)),
            Place::There(keeper) => (start_there(keeper, order)?, order.program.to_owned()),
        };
        let shown = std::iter::once(program.as_os_str())
            .chain(order.arguments.iter().map(std::ffi::OsString::as_os_str));
        let command_line = shown.map(|it| it.to_string_lossy().into_owned()).collect();
        Ok(Starting { side, process, socket, stamps, command_line })
    }

    /// Waits for the greeting; memory that is allocated before it takes its time.
    pub fn greeted(self, memory_bytes: u64) -> Result<QemuProcess, EngineError> {
        let Starting { side, mut process, socket, stamps, command_line } = self;
        let timeout = GREETING_TIMEOUT + Duration::from_secs(memory_bytes / ALLOCATED_PER_SECOND);
        match Client::connect_with(socket, timeout, stamps) {
            Ok(qmp) => Ok(QemuProcess { side, process, qmp, command_line }),
            Err(error) => {
                let reason = process.expect_gone().unwrap_or_else(|| error.to_string());
                process.kill();
                Err(EngineError::SideGone { side: side_name(side), reason })
            }
        }
    }
}

impl QemuProcess {
    /// Starts a QEMU and waits for its greeting.
    pub fn start(side: Side, place: &Place, order: &Order) -> Result<QemuProcess, EngineError> {
        Starting::new(side, place, order)?.greeted(0)
    }

    /// The process's number, where it is one of this machine.
    pub fn local_pid(&self) -> Option<u32> {
        match &self.process {
            Process::Here(process) => Some(process.pid()),
            Process::There { .. } => None,
        }
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

    /// Gives a command past QEMU's main thread, which may be busy or wait for memory.
    pub fn execute_out_of_band(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, EngineError> {
        let outcome = self.qmp.execute_out_of_band(command, arguments);
        outcome.map_err(|error| self.explain(error))
    }

    /// Whether QEMU has hung up, as far as that is known by now; nothing is asked for it.
    pub fn has_hung_up(&self) -> bool {
        self.qmp.has_ended()
    }

    /// Hands QEMU an open file, which it then knows by this name; that works on this machine only.
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
        self.process.is_gone()
    }

    /// What QEMU has complained about so far.
    pub fn complaints(&self) -> Vec<String> {
        match &self.process {
            Process::Here(process) => process.complaints(),
            Process::There { keeper, .. } => keeper.state().stderr,
        }
    }

    /// What an error of the monitor means, with the reason for a closed one.
    pub fn explain(&mut self, error: QmpError) -> EngineError {
        let reason = match error {
            QmpError::Refused { .. } => return EngineError::Failed(error.to_string()),
            QmpError::Closed => self.process.expect_gone().unwrap_or_else(|| error.to_string()),
            other => other.to_string(),
        };
        EngineError::SideGone { side: side_name(self.side), reason }
    }

    /// The side that it is from now on, for messages.
    pub fn set_side(&mut self, side: Side) {
        self.side = side;
    }

    /// Ends a QEMU: asks it to, and kills it if it does not.
    pub fn end(&mut self) {
        if !self.ask_to_end() || !self.process.wait(GOODBYE) {
            self.kill();
        }
    }

    /// Ends two QEMUs at once: asks them to, and kills who does not. Their answers are not waited for, since a QEMU that
    /// lacks pages in post-copy gives none.
    pub fn end_both(one: &mut QemuProcess, other: &mut QemuProcess) {
        let is_willing = [&mut *one, &mut *other].map(QemuProcess::ask_to_end);
        for (qemu, is_willing) in [one, other].into_iter().zip(is_willing) {
            if !is_willing || !qemu.process.wait(GOODBYE) {
                qemu.kill();
            }
        }
    }

    fn ask_to_end(&mut self) -> bool {
        self.is_gone().is_none() && self.qmp.tell("quit").is_ok()
    }

    /// Kills QEMU and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

impl Process {
    fn is_gone(&mut self) -> Option<String> {
        match self {
            Process::Here(process) => process.is_gone(),
            Process::There { keeper, .. } => keeper.state().end,
        }
    }

    /// As [`Self::is_gone`], with a moment of patience.
    fn expect_gone(&mut self) -> Option<String> {
        match self {
            Process::Here(process) => process.expect_gone(),
            Process::There { .. } => {
                self.wait(Duration::from_millis(200));
                self.is_gone()
            }
        }
    }

    fn wait(&mut self, limit: Duration) -> bool {
        match self {
            Process::Here(process) => process.wait(limit),
            Process::There { keeper, .. } => keeper.wait(limit),
        }
    }

    fn kill(&mut self) {
        match self {
            Process::Here(process) => process.kill(),
            // The next one has been started in its place, or will be.
            Process::There { keeper, pid } => keeper.kill(*pid),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_gone().is_none() {
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

type Started = (Process, UnixStream, Stamps);

fn start_here(side: Side, order: &Order) -> Result<Started, EngineError> {
    let started = LocalProcess::start(order).map_err(|error| match error {
        StartError::Program { .. } => EngineError::Unsupported(error.to_string()),
        StartError::Lack(..) => {
            EngineError::SideGone { side: side_name(side), reason: error.to_string() }
        }
    });
    started.map(|(process, socket)| (Process::Here(process), socket, Stamps::default()))
}

fn start_there(keeper: &Arc<Keeper>, order: &Order) -> Result<Started, EngineError> {
    let (pid, socket) = keeper.launch(order)?;
    let theirs = Arc::clone(keeper);
    let stamps = Stamps::Mapped(Arc::new(move |realtime_ns| theirs.realtime_to_ours(realtime_ns)));
    Ok((Process::There { keeper: Arc::clone(keeper), pid }, socket, stamps))
}
