//! A host process as the pilot holds it.

mod incoming;
mod life;
mod owed;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_remote::Session;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::clock::{Alignment, Exchange, Offset};
use sterna_wire::control::{
    self, ControlError, HostSamples, OLDEST_VERSION, Reply, Request, Side, VERSION, Welcome,
};

use crate::transport::Socket;
use incoming::Incoming;
use life::Life;

pub use life::{Meeting, describe, spawn, token};

/// Longest wait for an answer that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for memory to be built or compared; an interrupt ends it earlier.
const WORK_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long answers are waited for in all once the user has asked twice to end.
const URGENT_TIMEOUT: Duration = Duration::from_millis(200);

/// Slices in which every wait looks for an interrupt.
const SLICE: Duration = Duration::from_millis(50);

/// Round trips from which the clock offset is taken.
const CLOCK_EXCHANGES: usize = 16;

/// The same at the end, where somebody waits for the result.
const CLOSING_EXCHANGES: usize = 8;

/// One running host and the control connection to it.
#[derive(Debug)]
pub struct HostProcess {
    side: Side,
    life: Life,
    control: Socket,
    incoming: Incoming,
    interrupt: Interrupt,
    /// When it was first noticed that the user had asked twice to end.
    urgent_since: Option<Instant>,
    welcome: Welcome,
    alignment: Alignment,
    /// Set after an answer failed to come, so that no other one is waited for.
    is_lost: bool,
    /// Since when the answer to a request is owed that was not waited for to the end. No other request is sent before it
    /// has come.
    owed_since: Option<Instant>,
    /// The passes that the last request for the state named as seen.
    asked_passes: usize,
    /// Samples in answers that came late; the host does not give them again.
    late_samples: Vec<HostSamples>,
}

impl HostProcess {
    /// Starts a host here and opens the control connection; it dies with the calling thread.
    ///
    /// `command` is a program and its arguments that serve a control connection on standard input; the token is in its environment, where other users cannot read it.
    pub fn start(
        command: &[OsString],
        side: Side,
        tls_directory: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<HostProcess, EngineError> {
        let fail = |reason| EngineError::SideGone { side: side_name(side), reason };
        let token = life::token().map_err(fail)?;
        let begun = Life::begin(command, &token, tls_directory).map_err(fail)?;
        HostProcess::greet(side, begun, token, interrupt)
    }

    /// Connects to a host that listens.
    pub fn meet(
        meeting: &Meeting,
        side: Side,
        token: String,
        interrupt: &Interrupt,
    ) -> Result<HostProcess, EngineError> {
        let met = Life::meet(meeting)
            .map_err(|text| EngineError::Failed(format!("{} host: {text}", side_name(side))))?;
        HostProcess::greet(side, met, token, interrupt)
    }

    /// Takes over a host that ssh has started.
    pub fn begun(
        session: Session,
        side: Side,
        interrupt: &Interrupt,
    ) -> Result<HostProcess, EngineError> {
        let begun = Life::session(session)
            .map_err(|reason| EngineError::SideGone { side: side_name(side), reason })?;
        HostProcess::greet(side, begun, String::new(), interrupt)
    }

    /// Who the host is.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The side that it is from now on, for messages; its counters begin again with the next migration.
    pub fn set_side(&mut self, side: Side) {
        self.side = side;
        self.asked_passes = 0;
        self.late_samples.clear();
    }

    /// How the host's clock relates to ours.
    pub fn offset(&self) -> Offset {
        self.alignment.offset()
    }

    /// A stamp of the host's clock on ours.
    pub fn to_ours(&self, theirs_ns: u64) -> u64 {
        self.alignment.to_ours(theirs_ns)
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
        if let Some(since) = self.owed_since {
            self.catch_up(ANSWER_TIMEOUT.saturating_sub(since.elapsed()))?;
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

    /// Ends the host: asks it to, and kills it when it does not. One that owes an answer is not asked.
    pub fn end(mut self) {
        let can_be_asked = !self.is_lost && self.owed_since.is_none();
        let asked = can_be_asked && control::send(&mut self.control, &Request::Shutdown).is_ok();
        if !asked || self.interrupt.urgent() || !self.life.wait(&mut self.control) {
            self.kill();
        }
    }

    /// Kills the host and waits until it is gone.
    pub fn kill(&mut self) {
        self.life.kill(&self.control);
        self.is_lost = true;
    }

    /// Measures the clock once more, to know how far stamps may be off; a host that is gone or silent leaves it at what
    /// is known.
    pub fn close_clock(&mut self) {
        if self.owed_since.is_none()
            && let Ok(last) = self.measure_clock(CLOSING_EXCHANGES)
        {
            self.alignment.close(last);
        }
    }

    fn greet(
        side: Side,
        (life, control): (Life, Socket),
        token: String,
        interrupt: &Interrupt,
    ) -> Result<HostProcess, EngineError> {
        let unknown = Offset { offset_ns: 0, uncertainty_ns: 0 };
        let welcome = Welcome::default();
        let alignment = Alignment::new(unknown);
        let mut host = HostProcess {
            side,
            life,
            control,
            incoming: Incoming::default(),
            interrupt: interrupt.clone(),
            urgent_since: None,
            welcome,
            alignment,
            is_lost: false,
            owed_since: None,
            asked_passes: 0,
            late_samples: Vec::new(),
        };
        let in_slices = host.control.set_read_timeout(Some(SLICE));
        let limited = in_slices.and_then(|()| host.control.set_write_timeout(Some(ANSWER_TIMEOUT)));
        limited.map_err(|error| host.gone(ControlError::Io(error)))?;
        let hello = Request::Hello { version: VERSION, oldest_version: OLDEST_VERSION, token };
        let reply = host.send(&hello);
        let reply = reply.and_then(|()| host.answer(ANSWER_TIMEOUT, Some(interrupt), &mut |_| {}));
        let reply = reply.map_err(|error| match error {
            EngineError::Failed(text) => {
                EngineError::Failed(format!("{} host: {text}", side_name(side)))
            }
            other => other,
        });
        host.welcome = match reply? {
            Reply::Welcome(welcome) => welcome,
            other => return Err(host.unexpected(&other)),
        };
        host.alignment = Alignment::new(host.measure_clock(CLOCK_EXCHANGES)?);
        Ok(host)
    }

    fn measure_clock(&mut self, count: usize) -> Result<Offset, EngineError> {
        let mut exchanges = Vec::with_capacity(count);
        for _ in 0..count {
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
        let offset = Offset::from_exchanges(&exchanges);
        Ok(offset.unwrap_or(Offset { offset_ns: 0, uncertainty_ns: u64::MAX }))
    }

    /// Waits for the answer, past any progress; a refusal becomes an error.
    fn answer(
        &mut self,
        limit: Duration,
        interrupt: Option<&Interrupt>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, EngineError> {
        // Of the whole answer: a host that only says how far it is, or sends a byte at a time, does not extend it.
        let deadline = Instant::now() + limit;
        loop {
            match self.next_reply(deadline, limit, interrupt)? {
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
                Reply::Gone { reason } => {
                    self.is_lost = true;
                    return Err(EngineError::SideGone { side: side_name(self.side), reason });
                }
                reply => return Ok(reply),
            }
        }
    }

    /// One frame, in slices, so that signals are heard while it or a part of it is missing.
    fn next_reply(
        &mut self,
        deadline: Instant,
        limit: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<Reply, EngineError> {
        loop {
            if let Some(reply) = self.incoming.next_reply().map_err(|error| self.gone(error))? {
                return Ok(reply);
            }
            if interrupt.is_some_and(Interrupt::requested) || self.is_overdue() {
                return Err(EngineError::Interrupted);
            }
            if Instant::now() >= deadline {
                self.is_lost = true;
                return Err(EngineError::SideGone {
                    side: side_name(self.side),
                    reason: format!("No answer within {} s", limit.as_secs()),
                });
            }
            self.incoming.take_from(&mut self.control).map_err(|error| self.gone(error))?;
        }
    }

    /// Whether the user has asked twice to end, and this host has had its time to answer since; nothing more is then
    /// expected of it.
    fn is_overdue(&mut self) -> bool {
        if !self.interrupt.urgent() {
            return false;
        }
        let since = *self.urgent_since.get_or_insert_with(Instant::now);
        self.is_lost |= since.elapsed() >= URGENT_TIMEOUT;
        self.is_lost
    }

    fn gone(&mut self, error: ControlError) -> EngineError {
        self.is_lost = true;
        let reason = match error {
            ControlError::Closed => self.life.obituary(),
            ControlError::Io(error) => format!("The control connection failed: {error}"),
            other => other.to_string(),
        };
        EngineError::SideGone { side: side_name(self.side), reason }
    }

    /// An answer that does not belong to the question.
    pub fn unexpected(&self, reply: &Reply) -> EngineError {
        EngineError::SideGone {
            side: side_name(self.side),
            reason: format!("It gave an answer that does not belong to the question: {reply:?}"),
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
