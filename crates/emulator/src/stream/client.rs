//! The program that says what is to be tried.
//!
//! ```text
//!  connect ─ greet ─ test ─► prepared ─ lanes ─ begin ─► intervals … ─► both sides' numbers
//!     │        │       │                  │       │         │
//!     └────────┴───────┴──── an error, and nothing was tried │
//!                                                 └─────────┴── what was seen so far, and an error beside it
//! ```

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sterna_pilot::Interrupt;
use sterna_report::stream::{
    LaneWay, StreamEnding, StreamEstimate, StreamInterval, StreamSide, StreamSideSummary,
};
use sterna_wire::control::{self, ControlError, Endpoint, OLDEST_VERSION, Reply, Request, Welcome};
use sterna_wire::tls::{Credentials, TlsError};
use sterna_wire::trial::ask::{Ask, Prepared, Tell, Test};
use sterna_wire::trial::{Lane, Part, Way, YES};

pub use super::connect::{ConnectError, Family};

use crate::host::server::is_local;
use crate::transport::{Protection, Socket};

use super::connect::Found;
use super::estimate::estimate;
use super::lanes::{OptionError, check_congestion, connected};
use super::plan::{Plan, PlanError};
use super::sample::Sampler;
use super::side::{Memory, Side};
use super::store::StoreError;

/// How long an answer may take that needs no work.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a server may take to get its memory ready.
const PREPARATION: Duration = Duration::from_secs(300);

/// In such steps everything is looked after.
const STEP: Duration = Duration::from_millis(5);

/// How long the server's numbers may take after the last page.
const LAST_WORDS: Duration = Duration::from_secs(15);

type Told = Tell<StreamInterval, StreamSideSummary>;

/// What a client is given.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the server listens.
    pub server: Endpoint,
    /// The family of addresses to use; `None` takes what the name has.
    pub family: Option<Family>,
    /// Our own address.
    pub bind: Option<IpAddr>,
    /// The secret that the server asks for.
    pub token: Option<String>,
    /// Certificates; needed for everything but loopback and Unix sockets.
    pub tls_directory: Option<PathBuf>,
    /// Whether pages are encrypted as well.
    pub tls: bool,
    /// What is to be tried.
    pub test: Test,
    /// Most memory that may be taken here.
    pub most_memory_bytes: u64,
}

/// Something that a user may want to see at once.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is about to begin.
    Begin {
        /// Where the server is.
        address: String,
        /// Its release.
        release: Option<String>,
    },
    /// An interval of one side is over.
    Interval(Box<StreamInterval>),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it ended.
    pub ending: StreamEnding,
    /// What broke it.
    pub error: Option<String>,
    /// How long it took.
    pub duration_seconds: f64,
    /// What was seen here.
    pub client: StreamSideSummary,
    /// What was seen there.
    pub server: Option<StreamSideSummary>,
    /// What follows.
    pub estimate: Option<StreamEstimate>,
    /// All intervals.
    pub intervals: Vec<StreamInterval>,
    /// What does not hold for the numbers.
    pub warnings: Vec<String>,
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Beyond this machine, nothing is said in clear.
    #[error(
        "{0} is another machine, and what is said to it is always encrypted: give --tls-dir DIR, which `sterna certs DIR --host NAME` makes"
    )]
    NeedsTls(String),
    /// Pages cannot be encrypted without certificates.
    #[error(
        "--tls needs certificates: give --tls-dir DIR, which `sterna certs DIR --host NAME` makes"
    )]
    NeedsCertificates,
    /// Both exclude each other.
    #[error(
        "--zero-copy sends pages from where they are, so they cannot be encrypted: leave out one of --zero-copy and --tls"
    )]
    ZeroCopyTls,
    /// A path has no address.
    #[error("--bind and a family of addresses are for TCP, and {0} is a Unix socket")]
    NotTcp(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server does not want to.
    #[error("The server at {at} refuses: {reason}")]
    Refused {
        /// Where.
        at: String,
        /// Its reason.
        reason: String,
    },
    /// The server says nothing, or nothing that can be understood.
    #[error("The server at {at} {what}")]
    Server {
        /// Where.
        at: String,
        /// What it does.
        what: String,
    },
    /// An option of a connection.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// This machine.
    #[error("The trial cannot begin: {0}")]
    Start(io::Error),
    /// The user.
    #[error("Interrupted before anything was tried")]
    Interrupted,
}

impl ClientError {
    /// Whether the user has asked for what cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ClientError::Plan(_)
                | ClientError::NeedsTls(_)
                | ClientError::NeedsCertificates
                | ClientError::ZeroCopyTls
                | ClientError::NotTcp(_)
                | ClientError::Options(_)
                | ClientError::Tls(_)
                | ClientError::Connect(ConnectError::Options(_))
        )
    }
}

/// Tries a link.
///
/// # Errors
/// Nothing was tried. What breaks later stands in the outcome.
pub fn run(
    options: ClientOptions,
    interrupt: &Interrupt,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome, ClientError> {
    let plan = Arc::new(Plan::of(options.test.clone(), options.most_memory_bytes)?);
    check_congestion(&options.test)?;
    let protection = protection(&options)?;
    let (found, first) = Found::find(&options.server, options.family, options.bind, protection)?;
    let mut server = Server { at: found.address(), socket: found.protect(first)? };
    let welcome = server.greet(options.token.as_deref())?;
    server.say(&Ask::Test(Box::new(plan.test.clone())))?;
    // While the server gets its memory ready, so do we.
    let memory = Memory::new(&plan, StreamSide::Client)?;
    let Prepared { session, mut warnings } = server.prepared(interrupt)?;
    let lanes = lanes(&plan, &found, session, options.tls, &mut server, &mut warnings)?;
    server.say(&Ask::Begin)?;
    server.begun()?;
    on(Event::Begin { address: server.at.clone(), release: welcome.release });
    let side = Side::start(StreamSide::Client, Arc::clone(&plan), memory, lanes)
        .map_err(ClientError::Start)?;
    Flight::new(server, side, warnings)?.fly(interrupt, on)
}

fn protection(options: &ClientOptions) -> Result<Protection, ClientError> {
    let shown = match &options.server {
        Endpoint::Tcp(text) | Endpoint::Unix(text) => text.clone(),
    };
    let is_unix = matches!(options.server, Endpoint::Unix(_));
    if is_unix && (options.bind.is_some() || options.family.is_some()) {
        return Err(ClientError::NotTcp(shown));
    }
    if options.tls && options.test.zero_copy {
        return Err(ClientError::ZeroCopyTls);
    }
    let Some(directory) = &options.tls_directory else {
        return match (options.tls, is_local(&options.server)) {
            (true, _) => Err(ClientError::NeedsCertificates),
            (false, false) => Err(ClientError::NeedsTls(shown)),
            (false, true) => Ok(Protection::Clear),
        };
    };
    let name = match &options.server {
        Endpoint::Unix(_) => "localhost".to_owned(),
        Endpoint::Tcp(text) => {
            let host = text.rsplit_once(':').map_or(text.as_str(), |it| it.0);
            host.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
    };
    Ok(Protection::Tls { credentials: Arc::new(Credentials::load(directory)?), name })
}

/// Makes all connections that carry pages.
fn lanes(
    plan: &Plan,
    found: &Found,
    session: [u8; 16],
    is_encrypted: bool,
    server: &mut Server,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Way, Part, u16, Socket)>, ClientError> {
    let mut lanes = Vec::new();
    for (way, part, index) in plan.lanes() {
        let clear = found.clear(&plan.test)?;
        let mut socket = if is_encrypted { found.protect(clear)? } else { clear };
        socket.set_read_timeout(Some(ANSWER)).map_err(ClientError::Start)?;
        let mut yes = [0];
        let lane = Lane { session, way, part, index }.encode();
        let taken = io::Write::write_all(&mut socket, &lane)
            .and_then(|()| socket.read_exact(&mut yes))
            .is_ok_and(|()| yes == [YES]);
        if !taken {
            return Err(server.why_not());
        }
        for warning in connected(&socket, part, &plan.test)? {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        lanes.push((way, part, index, socket));
    }
    Ok(lanes)
}

/// The control connection.
struct Server {
    at: String,
    socket: Socket,
}

impl Server {
    fn greet(&mut self, token: Option<&str>) -> Result<Welcome, ClientError> {
        let hello = Request::Hello {
            version: control::VERSION,
            oldest_version: OLDEST_VERSION,
            token: token.unwrap_or_default().to_owned(),
        };
        self.set_patience(ANSWER)?;
        if let Err(error) = control::send(&mut self.socket, &hello) {
            return Err(self.failed(error));
        }
        match control::receive(&mut self.socket) {
            Ok(Reply::Welcome(welcome)) => Ok(welcome),
            Ok(Reply::Refused { error, .. }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("answers something else; is it `sterna stream serve`?")),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn say(&mut self, ask: &Ask) -> Result<(), ClientError> {
        control::send(&mut self.socket, ask).map_err(|error| self.failed(error))
    }

    fn prepared(&mut self, interrupt: &Interrupt) -> Result<Prepared, ClientError> {
        let deadline = Instant::now() + PREPARATION;
        while !self.is_readable(Duration::from_millis(50)) {
            if interrupt.requested() {
                return Err(ClientError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(self.server("has not got its memory ready in time"));
            }
        }
        match control::receive::<Told>(&mut self.socket) {
            Ok(Tell::Prepared(prepared)) => Ok(prepared),
            Ok(Tell::Refused { error }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("answers something else; is it `sterna stream serve`?")),
            Err(ControlError::Malformed(_)) => Err(self.server(
                "does not speak of trials; is it `sterna stream serve`, and of this release?",
            )),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn begun(&mut self) -> Result<(), ClientError> {
        self.set_patience(ANSWER)?;
        match control::receive::<Told>(&mut self.socket) {
            Ok(Tell::Begun) => {
                self.set_no_limit()?;
                Ok(())
            }
            Ok(Tell::Refused { error }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("does not begin")),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A lane was not taken; the server may have said why.
    fn why_not(&mut self) -> ClientError {
        let has_words = self.is_readable(Duration::from_secs(1));
        match has_words.then(|| control::receive::<Told>(&mut self.socket)) {
            Some(Ok(Tell::Refused { error })) => {
                ClientError::Refused { at: self.at.clone(), reason: error }
            }
            Some(Err(error)) => self.failed(error),
            _ => self.server(
                "does not take a data connection; it may be overwhelmed by others, so try again",
            ),
        }
    }

    fn is_readable(&self, limit: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.socket.has_received() {
            return true;
        }
        let limit = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&limit)), Ok(ready) if ready > 0)
    }

    fn set_patience(&self, limit: Duration) -> Result<(), ClientError> {
        self.socket.set_write_timeout(Some(limit)).map_err(ClientError::Start)?;
        self.socket.set_read_timeout(Some(limit)).map_err(ClientError::Start)
    }

    fn set_no_limit(&self) -> Result<(), ClientError> {
        self.socket.set_read_timeout(None).map_err(ClientError::Start)
    }

    fn failed(&self, error: ControlError) -> ClientError {
        let what = match error {
            ControlError::Closed => {
                "hung up; is it `sterna stream serve`, of this release, and with the same certificates? It may also be overwhelmed by others".to_owned()
            }
            ControlError::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                format!("has not answered within {} s", ANSWER.as_secs())
            }
            ControlError::Io(error) => format!("cannot be spoken to: {error}"),
            ControlError::TooLong(_) | ControlError::Malformed(_) => {
                "does not speak this protocol; is it `sterna stream serve`?".to_owned()
            }
        };
        self.server(&what)
    }

    fn server(&self, what: &str) -> ClientError {
        ClientError::Server { at: self.at.clone(), what: what.to_owned() }
    }
}

/// A trial that has begun.
struct Flight {
    server: Server,
    told: Receiver<Result<Told, ControlError>>,
    side: Side,
    sampler: Sampler,
    intervals: Vec<StreamInterval>,
    warnings: Vec<String>,
    /// The server's numbers.
    done: Option<StreamSideSummary>,
    /// Why nothing more comes from the server.
    gone: Option<String>,
}

impl Flight {
    fn new(server: Server, side: Side, warnings: Vec<String>) -> Result<Flight, ClientError> {
        let mut socket = server.socket.try_clone().map_err(ClientError::Start)?;
        let (sender, told) = channel();
        let reader = std::thread::Builder::new().name("control".to_owned());
        reader
            .spawn(move || {
                loop {
                    let message = control::receive::<Told>(&mut socket);
                    let is_last = message.is_err();
                    if sender.send(message).is_err() || is_last {
                        return;
                    }
                }
            })
            .map_err(ClientError::Start)?;
        let sampler = Sampler::new(&side);
        let intervals = Vec::new();
        Ok(Flight { server, told, side, sampler, intervals, warnings, done: None, gone: None })
    }

    fn fly(
        mut self,
        interrupt: &Interrupt,
        on: &mut dyn FnMut(Event),
    ) -> Result<Outcome, ClientError> {
        let begun = Instant::now();
        let interval = Duration::from_nanos(self.side.state.plan.test.interval_ns);
        let mut next = begun + interval;
        let mut was_interrupted = false;
        while !self.side.is_finished() {
            self.listen(STEP.min(next.saturating_duration_since(Instant::now())), on);
            if Instant::now() >= next {
                let seen = self.sampler.interval(&self.side);
                self.tell(seen, on);
                next += interval;
            }
            if interrupt.requested() && !was_interrupted {
                was_interrupted = true;
                self.side.stop();
                let _ = control::send(&mut self.server.socket, &Ask::Stop);
            }
            if interrupt.urgent() {
                self.side.abort("Interrupted");
            }
            if let Some(reason) = self.broken()
                && !self.side.state.is_over()
            {
                self.side.abort(&reason);
            }
        }
        self.side.join();
        if let Some(last) = self.sampler.last(&self.side) {
            self.tell(last, on);
        }
        self.wait_for_numbers(interrupt, on);
        let duration_seconds = begun.elapsed().as_secs_f64();
        self.server.socket.shut_down();
        Ok(self.outcome(duration_seconds, was_interrupted))
    }

    /// Why the server neither takes nor sends any more.
    fn broken(&self) -> Option<String> {
        match &self.done {
            None => self.gone.clone(),
            Some(done) => done.error.as_ref().map(|it| format!("At the server: {it}")),
        }
    }

    /// Hears what the server tells, for so long.
    fn listen(&mut self, limit: Duration, on: &mut dyn FnMut(Event)) {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(Ok(Tell::Interval(interval))) => {
                    let interval = StreamInterval { side: StreamSide::Server, ..*interval };
                    self.tell(interval, on);
                }
                Ok(Ok(Tell::Done(summary))) => self.done = Some(*summary),
                Ok(Ok(Tell::Refused { error })) => {
                    self.gone = Some(format!("The server has given up: {error}"));
                }
                Ok(Ok(_)) => {
                    self.gone = Some("The server does not keep to the protocol".to_owned());
                }
                Ok(Err(error)) => {
                    let reason = match error {
                        ControlError::Closed => "The server is gone".to_owned(),
                        other => format!("The server cannot be understood: {other}"),
                    };
                    self.gone.get_or_insert(reason);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(left),
            }
        }
    }

    fn wait_for_numbers(&mut self, interrupt: &Interrupt, on: &mut dyn FnMut(Event)) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.done.is_none()
            && self.gone.is_none()
            && Instant::now() < deadline
            && !interrupt.urgent()
        {
            self.listen(STEP, on);
        }
    }

    fn tell(&mut self, interval: StreamInterval, on: &mut dyn FnMut(Event)) {
        self.intervals.push(interval.clone());
        on(Event::Interval(Box::new(interval)));
    }

    fn outcome(mut self, duration_seconds: f64, was_interrupted: bool) -> Outcome {
        if self.side.was_cut {
            self.warnings.push(
                "What was on its way when the time was over did not all arrive within 10 s: the link, or what queues before it, holds more than it carries in that time".to_owned(),
            );
        }
        let client = self.sampler.summary(&self.side);
        let mut error = client.error.clone();
        let server_error = self.done.as_ref().and_then(|it| it.error.clone());
        if let Some(theirs) = server_error {
            // Whoever was left alone knows less than who left.
            error = Some(format!("At the server: {theirs}"));
        }
        if self.done.is_none() {
            // A lost server explains what broke here.
            let silent = || "The server's numbers did not come".to_owned();
            error = Some(self.gone.or(error).unwrap_or_else(silent));
        }
        let test = &self.side.state.plan.test;
        let ending = match &error {
            _ if was_interrupted && test.duration_ns.is_none() && test.bytes.is_none() => {
                StreamEnding::Signal
            }
            _ if was_interrupted => StreamEnding::Interrupted,
            Some(_) => StreamEnding::Failed,
            None if test.bytes.is_some() && !is_late(&self.side, duration_seconds) => {
                StreamEnding::Bytes
            }
            None => StreamEnding::Duration,
        };
        let estimate = estimate_of(&self.side, &client, self.done.as_ref());
        Outcome {
            ending,
            error,
            duration_seconds,
            client,
            server: self.done,
            estimate,
            intervals: self.intervals,
            warnings: self.warnings,
        }
    }
}

/// Whether the time was over before the bytes were.
fn is_late(side: &Side, seconds: f64) -> bool {
    side.state.plan.test.duration_ns.is_some_and(|it| seconds >= it as f64 / 1e9)
}

/// From bulk as it arrived, in the direction in which less did.
fn estimate_of(
    side: &Side,
    client: &StreamSideSummary,
    server: Option<&StreamSideSummary>,
) -> Option<StreamEstimate> {
    let rate = |way| match way {
        Way::Up => server.map_or(client.sent_bytes_per_second, |it| it.received_bytes_per_second),
        Way::Down => client.received_bytes_per_second,
    };
    let rates = side.state.plan.ways().filter_map(|way| Some((rate(way)?, way)));
    let (throughput, way) = rates.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let way = if way == Way::Up { LaneWay::Up } else { LaneWay::Down };
    estimate(throughput, way)
}
