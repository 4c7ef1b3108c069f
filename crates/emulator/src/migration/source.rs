//! The source's half of a migration.
//!
//! ```text
//!            ┌────────────── any error or cancel ──────────────┐
//!            │                                                 ▼
//!  connect ─ greet ─ arm ─ iterate ─ stop ─ send rest ─ await READY ─ GO ─ await RUNNING ─ completed
//!                                                     commit point ─┘            │
//!            restore: Abort to the peer, tracker off, workers on                 └─ error: undecided
//! ```
//!
//! Before GO every error leads to one place, [`Source::run`], which puts the world back: the workers run on with their memory as it was.
//! After GO nothing leads back.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_sys::socket;
use sterna_wire::control::{HostConfig, Phase};
use sterna_wire::stream::{
    Hello, HelloAck, Message, MessageWriter, OLDEST_VERSION, PAGE_BYTES, ReadError, State, VERSION,
    negotiate,
};
use sterna_workload::Crew;

use super::breakage::{Defect, Moment, strike};
use super::bucket::TokenBucket;
use super::decision::Decision;
use super::gate::Gate;
use super::pass::{Opening, PassMeter};
use super::progress::Progress;
use super::ram::RamSender;
use super::replies::Replies;
use crate::host::guest::Guest;
use crate::link::Inbound;
use crate::transport::{Socket, Target};

/// Longest wait for a greeting or for RUNNING: long for any network, short for a person.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time in which the destination may accept not a single byte.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sleeps are cut into slices of this length, so that a cancel is noticed.
const SLICE: Duration = Duration::from_millis(10);

/// Shortest time between two synchronisations while pages are pending (QEMU sends for up to 50 ms, `MAX_WAIT`, before it looks again).
const SYNC_SPACING_NS: u64 = 50_000_000;

/// Time worth of data that the send buffer may hold on a slow link; more would make "sent" mean "queued".
const SEND_BUFFER_SECONDS: f64 = 0.05;

/// The send buffer's bounds when it is set at all.
const SEND_BUFFER_BYTES: (u64, u64) = (64 << 10, 4 << 20);

/// Everything the source needs for one migration.
pub struct Source {
    /// The guest to move.
    pub guest: Arc<Guest>,
    /// Where to tell how far it is.
    pub progress: Arc<Progress>,
    /// Orders and the commit point.
    pub gate: Arc<Gate>,
    /// The host's configuration.
    pub config: Arc<HostConfig>,
    /// The destination, and how to connect to it.
    pub target: Target,
    /// Names the migration.
    pub session: [u8; 16],
    /// What goes wrong on purpose.
    pub defects: Vec<Defect>,
    /// Receives a handle on the connection, so that a stuck write can be ended from outside.
    pub on_connect: Box<dyn FnOnce(Socket) + Send>,
}

/// Why a migration ended before the commit point, or was left undecided after it.
#[derive(Debug)]
enum Stop {
    Cancelled,
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failed(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("The destination has accepted no data for {} s", STALL_TIMEOUT.as_secs())
            }
            _ => format!("The connection to the destination failed: {error}"),
        })
    }
}

impl Source {
    /// Migrates, and leaves the outcome in the progress.
    pub fn run(self) {
        let Source { guest, progress, gate, config, target, session, defects, on_connect } = self;
        let Some(crew) = guest.crew() else {
            progress
                .update(|it| fail(it, Phase::Failed, "There is no guest to migrate".to_owned()));
            return;
        };
        let connection = Connection::open(&target, &config, on_connect);
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(error) => return restore(&guest, crew, &progress, None, error),
        };
        let mut run = Run {
            ram: RamSender::new(Arc::clone(&guest.region), config.zero_page),
            limit: TokenBucket::new(gate.max_bytes_per_second()),
            wire: TokenBucket::new(config.link_bytes_per_second),
            decision: Decision::new(gate.downtime_limit_ns(), monotonic_ns()),
            sent_bytes: 0,
            connection: &mut connection,
            guest: &guest,
            crew,
            progress: &progress,
            gate: &gate,
            config: &config,
            session,
            defects,
        };
        match run.phases() {
            Ok(()) => progress.update(|it| it.phase = Phase::Completed),
            Err(stop) if gate.is_committed() => {
                progress.update(|it| fail(it, Phase::Undecided, stop.text()));
            }
            // A cancel ends a stuck write by cutting the connection; the error it then meets is not the reason.
            Err(_) if gate.is_cancelled() => {
                restore(&guest, crew, &progress, Some(&mut connection), Stop::Cancelled);
            }
            Err(stop) => restore(&guest, crew, &progress, Some(&mut connection), stop),
        }
        progress.stamp(|it, now_ns| it.ended_ns = it.ended_ns.or(Some(now_ns)));
        connection.close();
    }
}

/// The one error path: tell the peer, stop tracking, let the guest run on.
fn restore(
    guest: &Guest,
    crew: &Crew,
    progress: &Progress,
    connection: Option<&mut Connection>,
    stop: Stop,
) {
    let restored_ns = crew.resume();
    progress.stamp(|it, now_ns| {
        it.restored_ns = it.stopped_ns.map(|_| restored_ns);
        it.ended_ns = Some(now_ns);
    });
    if let Some(connection) = connection {
        connection.abort(&stop.text());
    }
    let untracked = guest.tracker().disarm(crew);
    progress.update(|it| {
        let phase = match stop {
            Stop::Cancelled => Phase::Cancelled,
            Stop::Failed(_) => Phase::Failed,
        };
        let mut text = stop.text();
        if let Err(error) = untracked {
            text = format!("{text}; and tracking could not be ended: {error}");
        }
        fail(it, phase, text);
    });
}

fn fail(status: &mut sterna_wire::control::HostStatus, phase: Phase, text: String) {
    status.error = Some(text);
    status.phase = phase;
}

impl Stop {
    fn text(&self) -> String {
        match self {
            Stop::Cancelled => "Cancelled on request".to_owned(),
            Stop::Failed(text) => text.clone(),
        }
    }
}

/// The connection to the destination: one thread writes, one listens.
struct Connection {
    socket: Socket,
    writer: MessageWriter,
    replies: Option<Replies>,
}

impl Connection {
    fn open(
        target: &Target,
        config: &HostConfig,
        on_connect: Box<dyn FnOnce(Socket) + Send>,
    ) -> Result<Connection, Stop> {
        let socket = target.connect(ANSWER_TIMEOUT)
            .map_err(|error| Stop::Failed(error.to_string()))?;
        socket.set_write_timeout(Some(STALL_TIMEOUT))?;
        size_send_buffer(&socket, config)?;
        on_connect(socket.try_clone()?);
        let latency = Duration::from_nanos(config.link_latency_ns);
        let replies = Replies::listen(Inbound::new(socket.try_clone()?, latency)?)?;
        Ok(Connection { socket, writer: MessageWriter::default(), replies: Some(replies) })
    }

    fn send(&mut self, message: &Message) -> io::Result<u64> {
        self.writer.send(&mut self.socket, message)
    }

    /// An error the destination has sent by now.
    fn check(&self) -> Result<(), Stop> {
        match self.replies.as_ref().and_then(Replies::poll) {
            None => Ok(()),
            Some(Ok(Message::Error(text))) => Err(Stop::Failed(format!("Destination: {text}"))),
            Some(Ok(other)) => Err(unexpected(&other, "nothing yet")),
            Some(Err(error)) => Err(lost(error)),
        }
    }

    /// Waits for an answer; `keep_waiting` is asked every few milliseconds.
    fn wait(
        &self,
        limit: Duration,
        what: &str,
        keep_waiting: &dyn Fn() -> Result<(), Stop>,
    ) -> Result<Message, Stop> {
        let deadline = Instant::now() + limit;
        let Some(replies) = &self.replies else { return Err(lost(ReadError::Closed)) };
        loop {
            match replies.wait(SLICE) {
                Some(Ok(Message::Error(text))) => {
                    return Err(Stop::Failed(format!("Destination: {text}")));
                }
                Some(Ok(message)) => return Ok(message),
                Some(Err(error)) => return Err(lost(error)),
                None => keep_waiting()?,
            }
            if Instant::now() >= deadline {
                return Err(Stop::Failed(format!(
                    "The destination has not sent {what} within {} s",
                    limit.as_secs()
                )));
            }
        }
    }

    /// Prefers the destination's own words over "broken pipe": after a failed write its error may still be on the way.
    fn explain(&self, stop: Stop) -> Stop {
        match self.replies.as_ref().and_then(|it| it.wait(Duration::from_millis(100))) {
            Some(Ok(Message::Error(text))) => Stop::Failed(format!("Destination: {text}")),
            _ => stop,
        }
    }

    fn abort(&mut self, text: &str) {
        let _ = self.socket.set_write_timeout(Some(Duration::from_millis(200)));
        let _ = self.send(&Message::Abort(text.to_owned()));
    }

    fn close(mut self) {
        self.socket.shut_down();
        if let Some(replies) = self.replies.take() {
            replies.join();
        }
    }
}

fn size_send_buffer(socket: &Socket, config: &HostConfig) -> io::Result<()> {
    let rates = [config.link_bytes_per_second, config.max_bandwidth_bytes_per_second];
    let Some(rate) = rates.into_iter().flatten().min() else { return Ok(()) };
    let (least, most) = SEND_BUFFER_BYTES;
    let bytes = (rate as f64 * SEND_BUFFER_SECONDS) as u64;
    if bytes < most {
        socket::set_send_buffer_bytes(socket, bytes.max(least) as usize)?;
    }
    Ok(())
}

fn lost(error: ReadError) -> Stop {
    Stop::Failed(match error {
        ReadError::Closed => "The destination closed the connection".to_owned(),
        ReadError::Frame(error) => format!("The destination's answer is damaged: {error}"),
        ReadError::Io(error) => format!("The connection to the destination failed: {error}"),
    })
}

fn unexpected(message: &Message, expected: &str) -> Stop {
    Stop::Failed(format!("The destination sent {:?} where {expected} was due", message.kind()))
}

/// One migration under way.
struct Run<'a> {
    ram: RamSender,
    /// The limit of the scenario.
    limit: TokenBucket,
    /// The emulated wire.
    wire: TokenBucket,
    decision: Decision,
    sent_bytes: u64,
    connection: &'a mut Connection,
    guest: &'a Guest,
    crew: &'a Crew,
    progress: &'a Progress,
    gate: &'a Gate,
    config: &'a HostConfig,
    session: [u8; 16],
    defects: Vec<Defect>,
}

impl Run<'_> {
    fn phases(&mut self) -> Result<(), Stop> {
        let rest = self.send_live().map_err(|stop| self.connection.explain(stop))?;
        self.send_rest(rest).map_err(|stop| self.connection.explain(stop))?;
        self.await_ready()?;
        self.commit()?;
        self.await_running()
    }

    /// Everything before the stop; returns the pass that the stop will end.
    fn send_live(&mut self) -> Result<PassMeter, Stop> {
        self.greet()?;
        let first = self.arm()?;
        self.iterate(first)
    }

    fn greet(&mut self) -> Result<(), Stop> {
        self.connection.send(&Message::Hello(Hello {
            oldest_version: OLDEST_VERSION,
            version: VERSION,
            capabilities: 0,
            session: self.session,
            page_bytes: PAGE_BYTES as u32,
            ram_bytes: self.guest.region.bytes(),
        }))?;
        let ours = (OLDEST_VERSION, VERSION);
        match self.connection.wait(ANSWER_TIMEOUT, "its greeting", &|| self.check_cancel())? {
            Message::HelloAck(HelloAck { version, capabilities: 0 })
                if negotiate(ours, (version, version)).is_some() =>
            {
                Ok(())
            }
            Message::HelloAck(ack) => Err(Stop::Failed(format!(
                "The destination chose version {} with capabilities {:#x}; this source speaks {} to {}",
                ack.version, ack.capabilities, ours.0, ours.1
            ))),
            other => Err(unexpected(&other, "a greeting")),
        }
    }

    /// Turns tracking on; from here on no write is missed, and pass 1 begins.
    fn arm(&mut self) -> Result<PassMeter, Stop> {
        let opening = self.open_pass(|run| {
            run.guest.tracker().arm(run.crew).map_err(|error| Stop::Failed(error.to_string()))?;
            Ok(run.guest.region.pages() as u64)
        })?;
        self.decision = Decision::new(self.gate.downtime_limit_ns(), monotonic_ns());
        self.progress.stamp(|it, now_ns| it.setup_done_ns = Some(now_ns));
        self.progress.update(|it| {
            it.phase = Phase::Active;
            it.pass = 1;
        });
        Ok(PassMeter::begin(1, false, opening))
    }

    /// Passes, until so little is pending that the guest may be stopped, or a pause is ordered.
    fn iterate(&mut self, first: PassMeter) -> Result<PassMeter, Stop> {
        let mut pass = first;
        let mut next_sync_ns = 0;
        loop {
            self.check_cancel()?;
            self.connection.check()?;
            self.strike(Moment::Pass(pass.number()));
            if self.gate.wants_pause() {
                return Ok(pass);
            }
            self.decision.set_downtime_limit_ns(self.gate.downtime_limit_ns());
            let pending = self.ram.pending_bytes();
            let is_due = pending == 0 || monotonic_ns() >= next_sync_ns;
            if is_due && self.decision.may_stop(pending) {
                pass = self.next_pass(pass)?;
                if self.decision.may_stop(self.ram.pending_bytes()) {
                    // The exact amount fits: the pass that has just begun ends with the stop, before anything is sent in it.
                    return Ok(pass);
                }
                next_sync_ns = monotonic_ns() + SYNC_SPACING_NS;
            }
            if self.ram.pending_bytes() > 0 {
                self.send_batch(&mut pass, true)?;
            }
            self.tell();
        }
    }

    /// Ends a pass by a synchronisation and begins the next.
    fn next_pass(&mut self, pass: PassMeter) -> Result<PassMeter, Stop> {
        let opening = self.open_pass(Run::sync)?;
        let number = pass.number();
        let length_ns = self.finish_pass(pass, opening).max(1);
        let dirty_bytes = u128::from(opening.dirty_pages) * PAGE_BYTES as u128;
        let dirty_rate = (dirty_bytes * 1_000_000_000 / u128::from(length_ns)) as u64;
        self.progress.update(|it| {
            it.pass = number + 1;
            it.dirty_rate_bytes_per_second = Some(dirty_rate);
        });
        self.connection.send(&Message::PassEnd(number))?;
        Ok(PassMeter::begin(number + 1, false, opening))
    }

    /// Notes a pass that ended with the synchronisation which opened the next one; returns its length.
    fn finish_pass(&self, pass: PassMeter, next: Opening) -> u64 {
        let record = pass.finish(next.started_ns, next.pending_bytes, next.writes);
        let length_ns = record.ended_ns.saturating_sub(record.started_ns);
        self.progress.finish_pass(record);
        length_ns
    }

    /// Stops the guest and sends all that is left.
    fn send_rest(&mut self, last: PassMeter) -> Result<(), Stop> {
        if self.defects.contains(&Defect::SkipFinalSync) {
            // Long enough for writes that the missing synchronisation would have found.
            std::thread::sleep(Duration::from_millis(20));
        }
        let stopped_ns = self.crew.pause();
        let edges = self.crew.last_write_ns();
        self.progress.stamp(|it, _| {
            it.stopped_ns = Some(stopped_ns);
            it.worker_edge_ns = edges;
        });
        self.progress.update(|it| it.phase = Phase::Switchover);
        let opening = self.open_pass(|run| match run.defects.contains(&Defect::SkipFinalSync) {
            true => Ok(0),
            false => run.sync(),
        })?;
        self.progress.stamp(|it, now_ns| it.final_sync_done_ns = Some(now_ns));
        let number = last.number() + 1;
        self.finish_pass(last, opening);
        if self.defects.contains(&Defect::LosePage) {
            self.ram.lose_one_page();
        }
        let mut pass = PassMeter::begin(number, true, opening);
        while self.ram.pending_bytes() > 0 {
            self.check_cancel()?;
            self.connection.check()?;
            self.send_batch(&mut pass, self.config.limit_in_switchover)?;
            self.tell();
        }
        self.send_state(&mut pass)?;
        self.progress.stamp(|it, now_ns| it.final_sent_ns = Some(now_ns));
        self.final_pass_done(pass);
        Ok(())
    }

    fn send_state(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        let device = vec![0xd5; self.config.device_state_bytes as usize];
        let state = State { counts: self.crew.state().counts, device };
        let bytes = self.connection.send(&Message::State(state))?
            + self.connection.send(&Message::Finished)?;
        pass.count_bytes(bytes);
        self.sent_bytes += bytes;
        self.wire.take(bytes, monotonic_ns());
        self.tell();
        Ok(())
    }

    fn final_pass_done(&self, pass: PassMeter) {
        // Its end is READY, which the pilot takes from the stamps; until then, the last byte sent.
        self.progress.finish_pass(pass.finish(monotonic_ns(), 0, self.writes()));
    }

    fn await_ready(&mut self) -> Result<(), Stop> {
        match self.connection.wait(STALL_TIMEOUT, "READY", &|| self.check_cancel())? {
            Message::Ready => {
                self.progress.stamp(|it, now_ns| it.ready_ns = Some(now_ns));
                self.strike(Moment::Ready);
                Ok(())
            }
            other => Err(unexpected(&other, "READY")),
        }
    }

    /// GO. See [`Gate`].
    fn commit(&mut self) -> Result<(), Stop> {
        for defect in &self.defects {
            if let Defect::LateGo(delay) = defect {
                std::thread::sleep(*delay);
            }
        }
        // A destination that died after READY is noticed here rather than after the point of no return.
        self.connection.check()?;
        let sent = self.gate.commit(|| self.connection.send(&Message::Go).map(|_| ()));
        sent.ok_or(Stop::Cancelled)??;
        self.progress.update(|it| it.phase = Phase::Committed);
        self.progress.stamp(|it, now_ns| it.go_ns = Some(now_ns));
        Ok(())
    }

    fn await_running(&mut self) -> Result<(), Stop> {
        match self.connection.wait(ANSWER_TIMEOUT, "RUNNING", &|| Ok(()))? {
            Message::Running { .. } => Ok(()),
            other => Err(unexpected(&other, "RUNNING")),
        }
    }

    fn open_pass(
        &mut self,
        sync: impl FnOnce(&mut Self) -> Result<u64, Stop>,
    ) -> Result<Opening, Stop> {
        let (started_ns, writes) = (monotonic_ns(), self.writes());
        let pending_bytes = self.ram.pending_bytes();
        let dirty_pages = sync(self)?;
        let sync_ns = monotonic_ns() - started_ns;
        Ok(Opening { started_ns, sync_ns, dirty_pages, pending_bytes, writes })
    }

    fn sync(&mut self) -> Result<u64, Stop> {
        let ram = &mut self.ram;
        let mut tracker = self.guest.tracker();
        let synced = tracker.sync(&mut |first, count| ram.add(first, count));
        synced.map_err(|error| Stop::Failed(error.to_string()))
    }

    fn send_batch(&mut self, pass: &mut PassMeter, is_limited: bool) -> Result<(), Stop> {
        self.limit.set_rate(self.gate.max_bytes_per_second().filter(|_| is_limited));
        self.wait_for_tokens()?;
        let most = (sterna_wire::stream::MAX_PAGES * PAGE_BYTES) as u64;
        let quantum = |bucket: &TokenBucket| bucket.quantum_bytes(PAGE_BYTES as u64, most);
        let max_bytes = quantum(&self.limit).min(quantum(&self.wire));
        let Connection { socket, writer, .. } = self.connection;
        let batch = self.ram.send_batch(max_bytes, writer, socket)?;
        let now_ns = monotonic_ns();
        self.limit.take(batch.wire_bytes, now_ns);
        self.wire.take(batch.wire_bytes, now_ns);
        self.sent_bytes += batch.wire_bytes;
        pass.count(batch);
        let is_live = self.progress.phase() == Phase::Active;
        self.progress.update(|it| {
            it.pages_sent += batch.pages;
            it.zero_pages += batch.zero_pages;
            it.pages_resent += if is_live { batch.resent } else { 0 };
        });
        Ok(())
    }

    fn wait_for_tokens(&self) -> Result<(), Stop> {
        loop {
            let now_ns = monotonic_ns();
            let wait_ns = self.limit.wait_ns(now_ns).max(self.wire.wait_ns(now_ns));
            if wait_ns == 0 {
                return Ok(());
            }
            self.check_cancel()?;
            std::thread::sleep(Duration::from_nanos(wait_ns).min(SLICE));
        }
    }

    fn tell(&mut self) {
        let remaining = self.ram.pending_bytes();
        self.decision.observe(self.sent_bytes, remaining == 0, monotonic_ns());
        self.progress.update(|it| {
            it.remaining_bytes = remaining;
            it.transferred_bytes = self.sent_bytes;
            it.bandwidth_bytes_per_second = self.decision.bytes_per_second();
            it.threshold_bytes = self.decision.threshold_bytes();
        });
    }

    fn check_cancel(&self) -> Result<(), Stop> {
        if self.gate.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    fn strike(&mut self, moment: Moment) {
        let Connection { socket, writer, .. } = self.connection;
        strike(&self.defects, moment, || socket.shut_down());
        if self.defects.contains(&Defect::CorruptFrame) && moment == Moment::Pass(1) {
            self.defects.clear();
            // A header whose checksum does not fit its body.
            let header = writer.header(sterna_wire::stream::Kind::Ready, 0, 0);
            let _ = io::Write::write_all(socket, &header.encode());
        }
    }

    fn writes(&self) -> u64 {
        self.crew.counts().iter().sum()
    }
}
