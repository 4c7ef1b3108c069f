//! A host process as the pilot holds it.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::process;
use sterna_wire::clock::{Exchange, Offset};
use sterna_wire::control::{self, ControlError, Reply, Request, Side, VERSION};

/// Longest wait for an answer that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for memory to be built or compared; an interrupt ends it earlier.
const WORK_TIMEOUT: Duration = Duration::from_secs(3600);

/// Slices in which a long wait looks for an interrupt.
const SLICE: Duration = Duration::from_millis(50);

/// Round trips from which the clock offset is taken.
const CLOCK_EXCHANGES: usize = 16;

/// How long a host may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(1);

/// One running host and the control connection to it.
#[derive(Debug)]
pub struct HostProcess {
    side: Side,
    child: Child,
    control: UnixStream,
    offset: Offset,
    /// Set after an answer failed to come, so that nobody waits for another one.
    is_lost: bool,
}

impl HostProcess {
    /// Starts a host and opens the control connection; it dies with the calling thread.
    ///
    /// `command` is a program and its arguments that serve a control connection on standard input; the token is in its environment, where other users cannot read it.
    pub fn start(
        command: &[OsString],
        side: Side,
        tls_directory: Option<&Path>,
    ) -> Result<HostProcess, EngineError> {
        let name = side_name(side);
        let failed = |text: String| EngineError::SideGone { side: name, reason: text };
        let [program, arguments @ ..] = command else {
            return Err(failed("No host program is known".to_owned()));
        };
        let token = token().map_err(|error| failed(format!("No randomness: {error}")))?;
        let mut command = Command::new(program);
        command.args(arguments).env("STERNA_HOST_TOKEN", &token).stdout(Stdio::null());
        if let Some(directory) = tls_directory {
            command.env("STERNA_TLS_DIR", directory);
        }
        // A Ctrl-C at the terminal is for the pilot alone, which then ends its hosts in good order.
        command.process_group(0);
        process::die_with_parent(&mut command);
        let control = process::socket_as_stdin(&mut command);
        let control =
            control.map_err(|error| failed(format!("No socket pair can be had: {error}")))?;
        let child = command
            .spawn()
            .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
        // The command holds the child's end of the socket pair.
        drop(command);
        let offset = Offset { offset_ns: 0, uncertainty_ns: 0 };
        let mut host = HostProcess { side, child, control, offset, is_lost: false };
        host.greet(token)?;
        Ok(host)
    }

    /// How the host's clock relates to ours.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// A stamp of the host's clock on ours.
    pub fn to_ours(&self, theirs_ns: u64) -> u64 {
        self.offset.to_ours(theirs_ns)
    }

    /// Asks something that is answered at once.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, EngineError> {
        self.send(request)?;
        self.answer(ANSWER_TIMEOUT, None, &mut |_| {})
    }

    /// Asks for something that takes its time; `progress` hears how far it is.
    pub fn order(
        &mut self,
        request: &Request,
        interrupt: Option<&Interrupt>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, EngineError> {
        self.send(request)?;
        self.answer(WORK_TIMEOUT, interrupt, progress)
    }

    /// Sends a request whose answer [`Self::finish_order`] takes.
    pub fn send(&mut self, request: &Request) -> Result<(), EngineError> {
        if self.is_lost {
            return Err(self.gone(ControlError::Closed));
        }
        control::send(&mut self.control, request).map_err(|error| self.gone(error))
    }

    /// Takes the answer to a request that was sent.
    pub fn finish_order(
        &mut self,
        interrupt: Option<&Interrupt>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, EngineError> {
        self.answer(WORK_TIMEOUT, interrupt, progress)
    }

    /// Ends the host: asks it to, and kills it when it does not.
    pub fn end(mut self) {
        if !self.is_lost && control::send(&mut self.control, &Request::Shutdown).is_ok() {
            let deadline = Instant::now() + GOODBYE;
            while Instant::now() < deadline {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.kill();
    }

    /// Kills the host and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.is_lost = true;
    }

    fn greet(&mut self, token: String) -> Result<(), EngineError> {
        match self.ask(&Request::Hello { version: VERSION, token })? {
            Reply::Welcome { .. } => self.align_clocks(),
            other => Err(self.unexpected(&other)),
        }
    }

    fn align_clocks(&mut self) -> Result<(), EngineError> {
        let mut exchanges = Vec::with_capacity(CLOCK_EXCHANGES);
        for _ in 0..CLOCK_EXCHANGES {
            let asked_ns = monotonic_ns();
            match self.ask(&Request::Clock)? {
                Reply::Clock { now_ns } => exchanges.push(Exchange {
                    asked_ns,
                    answered_ns: now_ns,
                    received_ns: monotonic_ns(),
                }),
                other => return Err(self.unexpected(&other)),
            }
        }
        if let Some(offset) = Offset::from_exchanges(&exchanges) {
            self.offset = offset;
        }
        Ok(())
    }

    /// Waits for the answer, past any progress; a refusal becomes an error.
    fn answer(
        &mut self,
        limit: Duration,
        interrupt: Option<&Interrupt>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, EngineError> {
        loop {
            self.wait_readable(limit, interrupt)?;
            match control::receive(&mut self.control).map_err(|error| self.gone(error))? {
                Reply::Progress { what, done, total } => {
                    let what = format!("{} {what}", side_name(self.side));
                    progress(Progress { what, done, total });
                }
                Reply::Refused { error, unsupported: true } => {
                    return Err(EngineError::Unsupported(format!(
                        "{} host: {error}",
                        side_name(self.side)
                    )));
                }
                Reply::Refused { error, unsupported: false } => {
                    return Err(EngineError::Failed(error));
                }
                reply => return Ok(reply),
            }
        }
    }

    fn wait_readable(
        &mut self,
        limit: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<(), EngineError> {
        let deadline = Instant::now() + limit;
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.as_nanos() as _ };
        loop {
            let control = self.control.as_fd();
            let mut fds = [PollFd::from_borrowed_fd(control, PollFlags::IN)];
            match poll(&mut fds, Some(&slice)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // An error is met again, with its cause, by the read.
                Ok(_) | Err(_) => return Ok(()),
            }
            if interrupt.is_some_and(Interrupt::requested) {
                return Err(EngineError::Interrupted);
            }
            if Instant::now() >= deadline {
                self.is_lost = true;
                return Err(EngineError::SideGone {
                    side: side_name(self.side),
                    reason: format!("No answer within {} s", limit.as_secs()),
                });
            }
        }
    }

    fn gone(&mut self, error: ControlError) -> EngineError {
        self.is_lost = true;
        let reason = match error {
            ControlError::Closed => self.obituary(),
            other => other.to_string(),
        };
        EngineError::SideGone { side: side_name(self.side), reason }
    }

    /// How the process ended; it may take a moment until the kernel tells.
    fn obituary(&mut self) -> String {
        for _ in 0..50 {
            match self.child.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => break,
            }
        }
        "The control connection was closed".to_owned()
    }

    /// An answer that does not belong to the question.
    pub fn unexpected(&self, reply: &Reply) -> EngineError {
        EngineError::SideGone {
            side: side_name(self.side),
            reason: format!("It gave an answer that does not belong to the question: {reply:?}"),
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// The side's name in messages.
pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("The process was killed by signal {signal}"),
        (None, Some(code)) => format!("The process ended with exit code {code}"),
        (None, None) => "The process ended".to_owned(),
    }
}

fn token() -> rustix::io::Result<String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
