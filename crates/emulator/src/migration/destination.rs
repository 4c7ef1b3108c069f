//! The destination's half of a migration.
//!
//! ```text
//!  accept ─ greet ─ load … load ─ State ─ Finished ─ READY ─ await GO ─ run ─ RUNNING ─ completed
//!     └────────────── any error: tell the source, never run the guest ──┘
//! ```
//!
//! At a switch to post-copy `Listen` stands in the place of `Finished`, and between RUNNING and completed the rest is fetched; see `postcopy`.
//!
//! Before GO nothing here may run the guest, whatever else happens; after GO nothing may keep it from running.

mod attend;
mod damage;
mod doorman;
mod fetch;
mod greet;
mod line;
mod pages;
mod postcopy;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sterna_scenario::{FaultAction, FaultChannel, FaultError};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::tracking::TrackingError;
use sterna_wire::control::{HostConfig, Phase, Side};
use sterna_wire::stream::{
    FrameError, HEADER_BYTES, Hello, Kind, Message, MessageReader, MessageWriter, PAGE_BYTES,
    PageRun, ReadError, capability,
};
use sterna_workload::{CrewError, CrewState};

use greet::await_source;
use postcopy::Lacking;

use super::breakage::{Defect, Moment, strike};
use super::callers::{Caller, Strangers};
use super::channels::{ChannelError, Further};
use super::device;
use super::faults::{Damaging, FaultPlan, Reached};
use super::multifd::Receivers;
use super::progress::Progress;
use super::trouble::Troubles;
use super::xbzrle::Deltas;
use crate::host::guest::Guest;
use crate::link::Inbound;
use crate::transport::{Listener, Socket, TransportError};

/// Longest silence of the source: pilots cancel far earlier, so this only frees a forgotten host.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often a destination with parallel connections looks whether one of them has failed.
const CHANNELS_LOOK: Duration = Duration::from_millis(20);

/// How long a failed destination goes on swallowing data, so that its error reaches the source before a reset does.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Everything the destination needs for one migration.
pub struct Destination {
    /// The guest to load.
    pub guest: Arc<Guest>,
    /// Where to tell how far it is.
    pub progress: Arc<Progress>,
    /// The host's configuration.
    pub config: Arc<HostConfig>,
    /// Where the source comes in.
    pub listener: Listener,
    /// The migration that may come in.
    pub session: [u8; 16],
    /// Set when the host shall not wait any longer.
    pub closing: Arc<AtomicBool>,
    /// What goes wrong on purpose.
    pub defects: Vec<Defect>,
    /// Receives a handle on each connection, so that a stuck read can be ended from outside.
    pub on_connect: Box<dyn Fn(Socket) + Send>,
}

/// Why the destination does not run the guest.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(
        "No source has connected{0}; choose a port that only the source knows, or have a firewall let in no other machine"
    )]
    NoSource(Strangers),
    #[error("The wait for the source was given up")]
    GivenUp,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("The source gave up: {0}")]
    Aborted(String),
    #[error("The device state is damaged: {0}")]
    Device(String),
    #[error("The workload cannot start: {0}")]
    Crew(#[from] CrewError),
    #[error(transparent)]
    Channels(#[from] ChannelError),
    #[error("{0}")]
    Channel(String),
    #[error(transparent)]
    Faults(#[from] FaultError),
    #[error("Sending failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("Memory cannot be prepared for post-copy: {0}")]
    Discard(#[source] std::io::Error),
    #[error("Missing pages cannot be served: {0}")]
    Register(#[from] TrackingError),
}

impl From<FrameError> for LoadError {
    fn from(error: FrameError) -> LoadError {
        LoadError::Read(error.into())
    }
}

impl Destination {
    /// Waits for the source, loads the guest and runs it; the outcome is in the progress.
    pub fn run(self) {
        let Destination {
            guest,
            progress,
            config,
            listener,
            session,
            closing,
            defects,
            on_connect,
        } = self;
        let latency = Duration::from_nanos(config.link_latency_ns);
        let found = await_source(&listener, session, latency, &progress, &closing);
        let begun = found.and_then(|(source, hello)| {
            let load =
                Load::begin(&guest, &progress, &config, listener, source, &closing, on_connect)?;
            Ok((load, hello))
        });
        let (mut load, hello) = match begun {
            Ok(begun) => begun,
            Err(error) => return give_up(&progress, &error),
        };
        load.session = session;
        load.defects = defects;
        if let Err(error) = load.phases(&hello) {
            give_up(&progress, &error);
            load.tell_and_drain(&error.to_string());
        } else if load.lacking.is_some() {
            load.fetch_rest();
        }
        load.socket.shut_down();
    }
}

fn give_up(progress: &Progress, error: &LoadError) {
    progress.stamp(|it, now_ns| it.ended_ns = Some(now_ns));
    progress.update(|it| {
        it.phase = Phase::Failed;
        it.error = Some(error.to_string());
    });
}

struct Load<'a> {
    guest: &'a Guest,
    progress: &'a Arc<Progress>,
    listener: Arc<Listener>,
    on_connect: Box<dyn Fn(Socket) + Send>,
    latency: Duration,
    /// How long the source's limit for the background lets one page take.
    slowest_page: Duration,
    receivers: Option<Receivers>,
    socket: Socket,
    inbound: Inbound,
    reader: MessageReader,
    writer: MessageWriter,
    session: [u8; 16],
    /// Whether the guest was paused before the migration, and stays so.
    is_paused: bool,
    /// The device state that the guest has.
    device: Vec<u8>,
    defects: Vec<Defect>,
    runs: Vec<PageRun>,
    faults: FaultPlan,
    troubles: Troubles,
    is_damaging: bool,
    closing: &'a AtomicBool,
    pass: u32,
    taken_bytes: u64,
    /// What the source has told to forget, since it comes after a switch to post-copy.
    lacking: Option<Lacking>,
    /// The connection for pages that the guest waits for.
    urgent: Option<Further>,
    capabilities: u32,
    deltas: Deltas,
}

impl<'a> Load<'a> {
    fn begin(
        guest: &'a Guest,
        progress: &'a Arc<Progress>,
        config: &HostConfig,
        listener: Listener,
        source: Caller,
        closing: &'a AtomicBool,
        on_connect: Box<dyn Fn(Socket) + Send>,
    ) -> Result<Load<'a>, LoadError> {
        let Caller { socket, mut inbound, reader, .. } = source;
        on_connect(socket.try_clone()?);
        inbound.set_timeout(Some(SILENCE_TIMEOUT))?;
        Ok(Load {
            guest,
            progress,
            listener: Arc::new(listener),
            on_connect,
            latency: Duration::from_nanos(config.link_latency_ns),
            slowest_page: slowest_page(config),
            receivers: None,
            socket,
            inbound,
            reader,
            writer: MessageWriter::default(),
            session: [0; 16],
            is_paused: config.paused,
            device: device::state(config.device_state_bytes, guest.spec.seed),
            defects: Vec::new(),
            runs: Vec::new(),
            faults: FaultPlan::new(&config.faults, Side::Destination, monotonic_ns())?,
            troubles: Troubles::default(),
            is_damaging: false,
            closing,
            pass: 1,
            taken_bytes: 0,
            lacking: None,
            urgent: None,
            capabilities: 0,
            deltas: Deltas::default(),
        })
    }

    fn phases(&mut self, hello: &Hello) -> Result<(), LoadError> {
        self.greet(hello)?;
        self.load()?;
        self.say_ready()?;
        self.await_go()?;
        self.run_guest();
        Ok(())
    }

    /// Waits for the next frame on the first connection, and hears of a parallel one that fails meanwhile.
    fn await_frame(&mut self) -> Result<(), LoadError> {
        while let Some(receivers) = &self.receivers {
            if let Some(reason) = receivers.failure() {
                return Err(LoadError::Channel(reason));
            }
            if self.inbound.is_readable(CHANNELS_LOOK).map_err(ReadError::from)? {
                return Ok(());
            }
            // The first connection is silent while the others carry a pass.
            self.meet_faults();
        }
        Ok(())
    }

    fn flush(&self, number: u32) -> Result<(), LoadError> {
        let Some(receivers) = &self.receivers else {
            return Err(unexpected(Kind::Flush, "memory"));
        };
        receivers.meet(number).map_err(|broken| LoadError::Channel(broken.to_string()))
    }

    /// Takes pages until the source says that nothing follows, then creates the workers.
    fn load(&mut self) -> Result<(), LoadError> {
        let mut state = None;
        self.strike(Moment::Pass(1));
        loop {
            self.suffer();
            self.await_frame()?;
            let header = self.reader.header(&mut self.inbound)?;
            self.taken_bytes += HEADER_BYTES as u64 + u64::from(header.body_bytes);
            match header.kind {
                Kind::Pages => self.load_pages(&header)?,
                Kind::Zero => self.load_zero_pages(&header)?,
                Kind::Deltas if self.capabilities & capability::XBZRLE != 0 => {
                    self.deltas.load(&mut self.inbound, &header, &self.guest.region)?;
                }
                _ => match self.reader.body(&mut self.inbound, &header)? {
                    Message::PassEnd(pass) => {
                        let next = pass.saturating_add(1);
                        self.pass = next;
                        self.progress.update(|it| it.pass = next);
                        self.strike(Moment::Pass(next));
                    }
                    Message::Flush(number) => self.flush(number)?,
                    Message::State(it) => state = Some(it),
                    Message::Discard(runs) => self.discard(&runs)?,
                    Message::Prepare => self.prepared()?,
                    Message::Finished if self.lacking.is_none() => break,
                    Message::Listen => break self.expect_faults()?,
                    Message::Abort(text) => return Err(LoadError::Aborted(text)),
                    other => return Err(unexpected(other.kind(), "memory")),
                },
            }
        }
        // All pages are there: what becomes of the parallel connections is of no interest any more.
        self.receivers = None;
        let Some(state) = state else {
            return Err(LoadError::Refused("The source sent no state of the workload".to_owned()));
        };
        self.take_device(&state.device)?;
        self.guest.enlist(&CrewState { counts: state.counts })?;
        Ok(())
    }

    /// A device that is not as it was sent must not run, and before GO the guest can still go on at the source.
    fn take_device(&self, device: &[u8]) -> Result<(), LoadError> {
        if let Some(words) = device::difference(device, &self.device) {
            return Err(LoadError::Device(words));
        }
        self.progress.update(|it| it.device_state_bytes = Some(device.len() as u64));
        Ok(())
    }

    /// Strikes with the faults that are due, and waits as they order. A stalled destination ends with its pilot.
    fn suffer(&mut self) {
        self.meet_faults();
        std::thread::sleep(self.faults.delay);
    }

    fn meet_faults(&mut self) {
        let bytes = self.taken_bytes + self.receivers.as_ref().map_or(0, Receivers::taken_bytes);
        let reached = Reached { pass: self.pass, bytes, now_ns: monotonic_ns() };
        let due = self.faults.due(reached);
        if !due.is_empty() {
            self.progress.note_waiting(&self.faults);
        }
        for fault in due {
            self.progress.note("fault", format!("On purpose: {fault}"));
            if fault.channel != FaultChannel::Main {
                self.troubles.strike(fault.channel, fault.action);
                continue;
            }
            match fault.action {
                FaultAction::Drop => self.socket.shut_down(),
                FaultAction::Kill => std::process::abort(),
                FaultAction::Corrupt => self.is_damaging = true,
                FaultAction::Delay(span) => self.faults.delay = span.0,
                FaultAction::Stall(span) => {
                    let until = span.map(|it| Instant::now() + it.0);
                    while until.is_none_or(|it| Instant::now() < it)
                        && !self.closing.load(Ordering::Acquire)
                    {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
        }
    }

    fn say_ready(&mut self) -> Result<(), LoadError> {
        self.send(&Message::Ready)?;
        self.progress.stamp(|it, now_ns| it.ready_ns = Some(now_ns));
        self.progress.update(|it| it.phase = Phase::Switchover);
        self.strike(Moment::Ready);
        self.flip_bits();
        Ok(())
    }

    fn await_go(&mut self) -> Result<(), LoadError> {
        match self.reader.message(&mut self.inbound)? {
            Message::Go => {
                self.progress.stamp(|it, now_ns| it.go_ns = Some(now_ns));
                self.strike(Moment::Go);
                Ok(())
            }
            Message::Abort(text) => Err(LoadError::Aborted(text)),
            other => Err(unexpected(other.kind(), "GO")),
        }
    }

    /// From here on the guest lives here, and nothing is an error any more: a source that does not hear RUNNING asks.
    fn run_guest(&mut self) {
        for defect in &self.defects {
            if let Defect::LateResume(delay) = defect {
                std::thread::sleep(*delay);
            }
        }
        let Some(crew) = self.guest.crew() else { return };
        // A guest that was paused before the migration is released by the pilot, which paused it.
        let is_paused = self.is_paused;
        let resumed_ns = if is_paused { monotonic_ns() } else { crew.resume() };
        let is_whole = self.lacking.is_none();
        self.progress.stamp(|it, now_ns| {
            it.resumed_ns = Some(resumed_ns).filter(|_| !is_paused);
            it.ended_ns = Some(now_ns).filter(|_| is_whole);
        });
        let phase = if is_whole { Phase::Completed } else { Phase::Postcopy };
        self.progress.update(|it| it.phase = phase);
        let _ = self.send(&Message::Running { resumed_ns });
    }

    fn send(&mut self, message: &Message) -> std::io::Result<u64> {
        match std::mem::take(&mut self.is_damaging) {
            true => self.writer.send(&mut Damaging::new(&mut self.socket), message),
            false => self.writer.send(&mut self.socket, message),
        }
    }

    fn tell_and_drain(&mut self, text: &str) {
        if self.send(&Message::Error(text.to_owned())).is_err() {
            return;
        }
        let _ = self.inbound.set_timeout(Some(Duration::from_millis(100)));
        let deadline = Instant::now() + DRAIN_TIME;
        let mut waste = vec![0; 256 << 10];
        while Instant::now() < deadline && self.inbound.read(&mut waste).is_ok_and(|it| it > 0) {}
    }

    fn strike(&self, moment: Moment) {
        strike(&self.defects, moment, || self.socket.shut_down());
    }
}

fn slowest_page(config: &HostConfig) -> Duration {
    let limits = config.postcopy.as_ref().and_then(|it| it.max_bandwidth_bytes_per_second);
    let slowest = limits.into_iter().chain(config.link_bytes_per_second).min();
    slowest.map_or(Duration::ZERO, |rate| {
        Duration::from_secs_f64(PAGE_BYTES as f64 / rate.max(1) as f64)
    })
}

fn unexpected(found: Kind, expected: &'static str) -> LoadError {
    FrameError::Unexpected { found, expected }.into()
}
