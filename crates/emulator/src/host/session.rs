//! What a host has built so far, and its answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{
    self as wire, Act, Corruption, Endpoint, Gap, HostConfig, HostSamples, HostStatus, Phase,
    Prepared, Reply, Request, Side, Verified,
};
use sterna_wire::tls::Credentials;

use sterna_workload::{Crew, CrewError, FirstWrites, writes_of_page};

use super::HostOptions;
use super::guest::{Guest, GuestError, WriteTimes};
use super::network::Network;
use super::sampler::{Sampler, latency_summary};
use crate::migration::breakage::{self, Defect};
use crate::migration::bucket::TokenBucket;
use crate::migration::connections::Connections;
use crate::migration::destination::Destination;
use crate::migration::faults::FaultPlan;
use crate::migration::gate::Gate;
use crate::migration::progress::Progress;
use crate::migration::source::Source;
use crate::shared_link::SharedWire;
use crate::tracker::TrackerError;
use crate::transport::{Listener, Protection, Target};

/// The name of threads that move memory, and of their class in CPU figures.
pub const MIGRATION_THREAD: &str = "migration";

/// The name of the thread that reads page faults; the kernel keeps 15 bytes.
pub const FAULT_THREAD: &str = "migration-fault";

/// The name of threads that move pages which the guest waits for; the kernel keeps 15 bytes.
pub const URGENT_THREAD: &str = "migration-urg";

/// The name of the thread that waits for a source to come back; the kernel keeps 15 bytes.
pub const DOOR_THREAD: &str = "migration-door";

/// How long a cancelled migration may take to notice before its connection is cut.
const CANCEL_GRACE: Duration = Duration::from_millis(200);

/// One host's state, in the order in which it comes to be.
pub struct Session {
    /// Where certificates are, if there are any.
    tls_directory: Option<PathBuf>,
    /// Where the wire is that this migration shares with others, if it does.
    shared_link: Option<PathBuf>,
    built: Option<Built>,
    closing: Arc<AtomicBool>,
}

struct Built {
    guest: Arc<Guest>,
    config: Arc<HostConfig>,
    protection: Protection,
    defects: Vec<Defect>,
    sampler: Sampler,
    /// Where it answers probes, if it shall.
    _network: Option<Network>,
    gate: Arc<Gate>,
    progress: Arc<Progress>,
    connections: Connections,
    migration: Option<JoinHandle<()>>,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("There is no guest yet; send `prepare` first")]
    NotPrepared,
    #[error("There is a guest already")]
    AlreadyPrepared,
    #[error("A migration has begun already")]
    AlreadyMigrating,
    #[error("No migration has brought a guest here that could go on")]
    NotArrived,
    #[error("The migration is past its commit point and cannot be cancelled")]
    Committed,
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error("{0}")]
    Other(String),
}

impl Session {
    /// A host with nothing in it.
    pub fn new(options: &HostOptions) -> Session {
        let HostOptions { tls_directory, shared_link, .. } = options.clone();
        Session { tls_directory, shared_link, built: None, closing: Arc::default() }
    }

    /// Answers one request; `progress` sends interim replies.
    pub fn answer(&mut self, request: Request, progress: &mut dyn FnMut(Reply)) -> Reply {
        match self.try_answer(request, progress) {
            Ok(reply) => reply,
            Err(refusal) => {
                let unsupported = refusal.is_unsupported();
                Reply::Refused { error: refusal.to_string(), unsupported }
            }
        }
    }

    fn try_answer(
        &mut self,
        request: Request,
        progress: &mut dyn FnMut(Reply),
    ) -> Result<Reply, Refusal> {
        match request {
            Request::Hello { .. } => {
                Err(Refusal::Other("The connection is open already".to_owned()))
            }
            Request::Clock => Ok(Reply::Clock { now_ns: monotonic_ns() }),
            Request::Prepare(config) => self.prepare(*config, progress),
            Request::Start => self.built()?.start(),
            Request::Pause => self.built()?.pause(),
            Request::Turn => self.built()?.turn(),
            Request::Listen { endpoint, session } => {
                let closing = Arc::clone(&self.closing);
                self.built()?.listen(&endpoint, session, closing)
            }
            Request::Migrate { endpoint, session } => {
                let shared_link = self.shared_link.clone();
                self.built()?.migrate(endpoint, session, shared_link.as_deref())
            }
            Request::Act(act) => self.built()?.act(&act),
            Request::Status { passes_seen } => {
                Ok(Reply::Status(Box::new(self.built()?.status(passes_seen))))
            }
            Request::Samples => Ok(Reply::Samples(self.built()?.samples())),
            Request::PageWrites { page } => Ok(self.built()?.page_writes(page)),
            Request::Verify => self.built()?.verify(),
            Request::Shutdown => Ok(Reply::Done { at_ns: monotonic_ns() }),
        }
    }

    fn built(&mut self) -> Result<&mut Built, Refusal> {
        self.built.as_mut().ok_or(Refusal::NotPrepared)
    }

    fn prepare(
        &mut self,
        config: HostConfig,
        progress: &mut dyn FnMut(Reply),
    ) -> Result<Reply, Refusal> {
        if self.built.is_some() {
            return Err(Refusal::AlreadyPrepared);
        }
        let defects = defects_of(&config)?;
        let protection = self.protection(&config)?;
        let (guest, facts) = Guest::build(&config, &defects, &mut |what, done, total| {
            progress(Reply::Progress { what: what.to_owned(), done, total });
        })?;
        let guest = Arc::new(guest);
        let progress_of_migration = Arc::new(Progress::default());
        let plan = FaultPlan::new(&config.faults, config.side, 0)
            .map_err(|error| Refusal::Other(error.to_string()))?;
        progress_of_migration.note_waiting(&plan);
        let sampler = Sampler::start(Arc::clone(&guest), config.sample_interval_ns)
            .map_err(|error| Refusal::Other(format!("The sampler cannot start: {error}")))?;
        let network = config.answers_probes.then(|| Network::open(Arc::clone(&guest))).transpose();
        let network = network
            .map_err(|error| Refusal::Other(format!("The guest has no network: {error}")))?;
        let probe_address = network.as_ref().map(|it| it.address.to_string());
        self.built = Some(Built {
            gate: Arc::new(Gate::new(
                config.downtime_limit_ns,
                config.max_bandwidth_bytes_per_second,
            )),
            progress: progress_of_migration,
            connections: Connections::default(),
            migration: None,
            config: Arc::new(config),
            protection,
            defects,
            sampler,
            _network: network,
            guest,
        });
        Ok(Reply::Prepared(Prepared {
            tracker: facts.name.to_owned(),
            tracker_reason: facts.reason,
            tracking_page_bytes: facts.page_bytes,
            warnings: Vec::new(),
            probe_address,
        }))
    }
}

impl Session {
    fn protection(&self, config: &HostConfig) -> Result<Protection, Refusal> {
        let Some(name) = config.tls_name.clone() else { return Ok(Protection::Clear) };
        let other = |text: String| Refusal::Other(text);
        let directory = self.tls_directory.as_deref().ok_or_else(|| {
            other("This host has no certificates; start it with --tls-dir DIR, which `sterna certs` makes".to_owned())
        })?;
        let credentials = Credentials::load(directory).map_err(|it| other(it.to_string()))?;
        if config.side == Side::Destination {
            credentials.check_server().map_err(|it| other(it.to_string()))?;
        } else {
            credentials.check_client().map_err(|it| other(it.to_string()))?;
        }
        Ok(Protection::Tls { credentials: Arc::new(credentials), name })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(built) = &mut self.built {
            built.gate.cancel();
            built.gate.leave();
            built.connections.cut();
            if let Some(migration) = built.migration.take() {
                let _ = migration.join();
            }
            if built.lacks_memory() {
                // Its workers wait for pages that will never come, so they cannot be ended, and what they wait on must outlive them.
                std::mem::forget(Arc::clone(&built.guest));
            }
        }
    }
}

impl Built {
    fn start(&self) -> Result<Reply, Refusal> {
        let crew = self.guest.crew().ok_or_else(no_guest)?;
        Ok(Reply::Done { at_ns: crew.resume() })
    }

    fn pause(&self) -> Result<Reply, Refusal> {
        let crew = self.guest.crew().ok_or_else(no_guest)?;
        Ok(Reply::Done { at_ns: crew.pause() })
    }

    /// The guest, its memory and its tracker stay; all that belongs to the migration that brought it begins again.
    fn turn(&mut self) -> Result<Reply, Refusal> {
        let has_arrived = self.config.side == Side::Destination
            && self.progress.phase() == Phase::Completed
            && !self.is_migrating();
        if !has_arrived {
            return Err(Refusal::NotArrived);
        }
        if let Some(migration) = self.migration.take() {
            let _ = migration.join();
        }
        let config = HostConfig { side: Side::Source, ..HostConfig::clone(&self.config) };
        let defects = defects_of(&config)?;
        let plan = FaultPlan::new(&config.faults, config.side, 0)
            .map_err(|error| Refusal::Other(error.to_string()))?;
        self.progress = Arc::new(Progress::default());
        self.progress.note_waiting(&plan);
        let limit = config.max_bandwidth_bytes_per_second;
        self.gate = Arc::new(Gate::new(config.downtime_limit_ns, limit));
        self.connections = Connections::default();
        (self.config, self.defects) = (Arc::new(config), defects);
        self.guest.begin_times();
        Ok(Reply::Done { at_ns: monotonic_ns() })
    }

    fn listen(
        &mut self,
        endpoint: &Endpoint,
        session: [u8; 16],
        closing: Arc<AtomicBool>,
    ) -> Result<Reply, Refusal> {
        self.check_idle()?;
        let (listener, endpoint) =
            Listener::bind(endpoint).map_err(|error| Refusal::Other(error.to_string()))?;
        let listener = listener.protected_by(self.protection.clone());
        let destination = Destination {
            guest: Arc::clone(&self.guest),
            progress: Arc::clone(&self.progress),
            config: Arc::clone(&self.config),
            listener,
            session,
            closing,
            defects: self.defects.clone(),
            on_connect: {
                let connections = self.connections.clone();
                Box::new(move |socket| connections.keep(socket))
            },
        };
        self.spawn(move || destination.run())?;
        Ok(Reply::Listening { endpoint })
    }

    fn migrate(
        &mut self,
        endpoint: Endpoint,
        session: [u8; 16],
        shared_link: Option<&Path>,
    ) -> Result<Reply, Refusal> {
        self.check_idle()?;
        let wire = self.wire(shared_link)?;
        if self.config.techniques.hold {
            self.gate.hold();
        }
        self.guest.note_times_before();
        self.progress.update(|it| {
            it.phase = Phase::Setup;
            it.total_bytes = self.guest.region.bytes();
            it.remaining_bytes = self.guest.region.bytes();
        });
        let at_ns = monotonic_ns();
        self.progress.stamp(|it, _| it.accepted_ns = Some(at_ns));
        let source = Source {
            guest: Arc::clone(&self.guest),
            progress: Arc::clone(&self.progress),
            gate: Arc::clone(&self.gate),
            config: Arc::clone(&self.config),
            target: Target { endpoint, protection: self.protection.clone() },
            session,
            defects: self.defects.clone(),
            connections: self.connections.clone(),
            wire,
        };
        self.spawn(move || source.run())?;
        Ok(Reply::Done { at_ns })
    }

    fn wire(&self, shared_link: Option<&Path>) -> Result<TokenBucket, Refusal> {
        let rate = self.config.link_bytes_per_second;
        let Some(path) = shared_link else { return Ok(TokenBucket::new(rate)) };
        let wire = SharedWire::open(path)
            .map_err(|error| Refusal::Other(format!("The shared link cannot be had: {error}")))?;
        Ok(TokenBucket::shared(rate, wire))
    }

    fn act(&self, act: &Act) -> Result<Reply, Refusal> {
        match act {
            Act::Cancel => self.cancel()?,
            Act::Pause => self.gate.order_pause(),
            Act::StartPostcopy => self.start_postcopy()?,
            Act::Recover => self.recover()?,
            Act::LiftPostcopyLimit => self.gate.lift_postcopy_limit(),
            Act::Release => self.gate.release(),
            Act::SetDowntimeLimit { ns } => self.gate.set_downtime_limit_ns(*ns),
            Act::SetMaxBandwidth { bytes_per_second } => {
                self.gate.set_max_bytes_per_second(*bytes_per_second);
            }
        }
        Ok(Reply::Done { at_ns: monotonic_ns() })
    }

    fn start_postcopy(&self) -> Result<(), Refusal> {
        if self.config.postcopy.is_none() {
            return Err(Refusal::Other("The hosts were not prepared for post-copy".to_owned()));
        }
        if self.gate.is_committed() {
            return Err(Refusal::Committed);
        }
        self.gate.order_postcopy();
        Ok(())
    }

    fn recover(&self) -> Result<(), Refusal> {
        let other = |text: &str| Err(Refusal::Other(text.to_owned()));
        if !self.config.postcopy.as_ref().is_some_and(|it| it.recover) {
            return other("The hosts were not prepared to recover a post-copy");
        }
        let phase = self.progress.phase();
        if !matches!(phase, Phase::PostcopyPaused | Phase::Postcopy) {
            return other("There is no post-copy that could be recovered");
        }
        if !self.gate.order_recovery() {
            return other("A new connection is being made already");
        }
        if phase == Phase::Postcopy {
            // Only the other side has seen that the connection is lost.
            self.connections.cut();
        }
        Ok(())
    }

    fn cancel(&self) -> Result<(), Refusal> {
        if !self.gate.cancel() {
            return Err(Refusal::Committed);
        }
        let deadline = Instant::now() + CANCEL_GRACE;
        while self.is_migrating() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        if self.is_migrating() {
            self.connections.cut();
        }
        Ok(())
    }

    fn is_migrating(&self) -> bool {
        self.migration.as_ref().is_some_and(|it| !it.is_finished())
    }

    fn status(&self, passes_seen: usize) -> HostStatus {
        let mut status = self.progress.read(passes_seen);
        if status.stamps.resumed_ns.is_some() {
            status.stamps.worker_edge_ns =
                self.guest.crew().map(|it| it.first_write_ns()).unwrap_or_default();
        }
        status.writes_after_go = self.writes_after_go();
        status
    }

    /// What the guest's workers have written here since the guest was given up; `None` while it was not.
    fn writes_after_go(&self) -> Option<u64> {
        let written: u64 = self.guest.crew()?.counts().iter().sum();
        let given_up_at = self.gate.writes_at_go()?;
        Some(written.saturating_sub(given_up_at))
    }

    fn samples(&self) -> HostSamples {
        let gaps = self.guest.crew().map(Crew::take_gaps).unwrap_or_default();
        let (before, since) = self.guest.times();
        let service = |it: &Option<WriteTimes>| latency_summary(&it.as_ref()?.service);
        let since_due = |it: &Option<WriteTimes>| latency_summary(&it.as_ref()?.since_due);
        HostSamples {
            samples: self.sampler.take(),
            gaps: gaps
                .iter()
                .map(|it| Gap { worker: it.worker, start_ns: it.start_ns, end_ns: it.end_ns })
                .collect(),
            gaps_lost: self.guest.crew().map_or(0, Crew::lost_gaps),
            events: self.progress.take_events(),
            resident_peak_bytes: self.sampler.resident_peak_bytes(),
            latency_before: service(&before),
            latency_since: service(&since),
            since_due_before: since_due(&before),
            since_due_since: since_due(&since),
        }
    }

    /// Whether the guest runs here and lacks memory.
    fn lacks_memory(&self) -> bool {
        self.config.side == Side::Destination
            && matches!(
                self.progress.phase(),
                Phase::Postcopy | Phase::PostcopyPaused | Phase::Incomplete
            )
    }

    fn page_writes(&self, page: u64) -> Reply {
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        let writes = writes_of_page(&self.guest.region, &self.guest.spec, page);
        Reply::PageWrites { writes }
    }

    fn verify(&self) -> Result<Reply, Refusal> {
        if self.lacks_memory() {
            let text = "Memory cannot be compared before all of it has arrived";
            return Err(Refusal::Other(text.to_owned()));
        }
        let (found, first) = self.guest.verify().ok_or_else(no_guest)?;
        Ok(Reply::Verified(Verified {
            pages_checked: found.pages_checked,
            corrupt_pages: found.corrupt_pages,
            memory_pages: self.guest.layout.total_pages as u64,
            first_writes: first_writes(&self.guest, &first),
            first: found
                .corrupt
                .iter()
                .map(|it| Corruption {
                    page: it.page as u64,
                    offset_bytes: it.offset_bytes as u64,
                    expected: it.expected,
                    found: it.found,
                })
                .collect(),
        }))
    }

    fn check_idle(&self) -> Result<(), Refusal> {
        match self.migration {
            None => Ok(()),
            Some(_) => Err(Refusal::AlreadyMigrating),
        }
    }

    fn spawn(&mut self, run: impl FnOnce() + Send + 'static) -> Result<(), Refusal> {
        let thread = thread::Builder::new().name(MIGRATION_THREAD.to_owned()).spawn(run);
        let thread =
            thread.map_err(|error| Refusal::Other(format!("No thread can be had: {error}")))?;
        self.migration = Some(thread);
        Ok(())
    }
}

impl Refusal {
    /// Whether the machine lacks something, rather than the request being wrong.
    fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Refusal::Guest(
                GuestError::Memory(_)
                    | GuestError::NotEnough { .. }
                    | GuestError::Numa { .. }
                    | GuestError::Faults(_)
                    | GuestError::LargeFaults { .. }
                    | GuestError::Crew(CrewError::Pin { .. })
                    | GuestError::Tracker(TrackerError::Unavailable(_))
            )
        )
    }
}

/// None where the method makes nothing right that was wrong, so that there is nothing to check.
fn first_writes(guest: &Guest, found: &FirstWrites) -> Option<wire::FirstWrites> {
    let checks = guest.checks_first_writes && FirstWrites::are_needed_for(guest.spec.method);
    checks.then_some(wire::FirstWrites {
        pages_checked: found.pages_checked,
        corrupt_pages: found.corrupt_pages,
        checking_ns: found.checking_ns,
    })
}

fn defects_of(config: &HostConfig) -> Result<Vec<Defect>, Refusal> {
    let Some(list) = &config.breakage else { return Ok(Vec::new()) };
    breakage::defects_of(list, config.side).map_err(|error| Refusal::Other(error.to_string()))
}

fn no_guest() -> Refusal {
    Refusal::Other("No guest has arrived here".to_owned())
}
