//! QEMU as the pilot flies it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_pilot::{
    Action, ClockOffset, EngineError, Hypervisor, Interrupt, ProbeSeen, Progress, RecordedEvent,
    Samples, Settled, State, Status, Unsupported,
};
use sterna_report::{Engine, EventSide, IntegrityDetail, PeerVersions, Side, Tracker, Warning};
use sterna_scenario::{Scenario, Transport};
use sterna_sys::clock::monotonic_ns;
use tempfile::TempDir;

use crate::costs::CostSampler;
use crate::evidence::Evidence;
use crate::hold::Hold;
use crate::launch::{self, Launched, Plan, last_words};
use crate::network::Prober;
use crate::process::QemuProcess;
use crate::qmp::Event;
use crate::settings;
use crate::trace::Trace;
use crate::warnings;
use crate::{Network, QemuOptions};

/// QEMU stamps events in microseconds, and a stamp is mapped between two readings of clocks that take less than one.
const EVENT_UNCERTAINTY_NS: u64 = 2_000;

/// How long a destination may take to run the guest after the source has sent all.
const RESUME_TIMEOUT_NS: u64 = 10_000_000_000;

/// Time between two questions for the guest's clock while it migrates.
const PING_INTERVAL_NS: u64 = 100_000_000;

/// How long a destination may take to run the guest once the source is gone.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a comparison of the guest's memory may take, beyond a second for each 16 MiB.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the source is asked for each time that the pilot asks, while a migration is held.
const HOLD_ROUNDS: u32 = 4;
const HOLD_INTERVAL: Duration = Duration::from_millis(6);

/// The longest path of a Unix socket is 107 bytes; the longest name in the run's directory takes about 30.
const LONGEST_DIRECTORY: usize = 75;

/// Two QEMU processes and what is known of them.
pub struct Qemu {
    options: QemuOptions,
    scenario: Scenario,
    runtime: Option<TempDir>,
    sides: Option<Launched>,
    costs: Option<CostSampler>,
    prober: Option<Prober>,
    probe_seen: Option<ProbeSeen>,
    trace: Trace,
    hold: Option<Hold>,
    nonce: u64,
    evidence: Evidence,
    events: Vec<RecordedEvent>,
    has_migration_begun: bool,
    is_paused_by_us: bool,
    is_restored: bool,
    completed_since_ns: Option<u64>,
    next_ping_ns: u64,
    warnings: Vec<Warning>,
}

impl Qemu {
    /// An engine that has started nothing yet.
    pub fn new(options: QemuOptions) -> Qemu {
        Qemu {
            options,
            scenario: Scenario::default(),
            runtime: None,
            sides: None,
            costs: None,
            prober: None,
            probe_seen: None,
            trace: Trace::default(),
            hold: None,
            nonce: 0,
            evidence: Evidence::default(),
            events: Vec::new(),
            has_migration_begun: false,
            is_paused_by_us: false,
            is_restored: false,
            completed_since_ns: None,
            next_ping_ns: 0,
            warnings: Vec::new(),
        }
    }

    fn sides(&mut self) -> Result<&mut Launched, EngineError> {
        self.sides.as_mut().ok_or_else(|| EngineError::Failed("Nothing was booted".to_owned()))
    }

    fn source(&mut self) -> Result<&mut QemuProcess, EngineError> {
        self.sides().map(|it| &mut it.source)
    }

    /// Where the destination listens, as the source has to dial it.
    fn listen(&mut self) -> Result<String, EngineError> {
        let directory = self.runtime.as_ref().map(|it| it.path().to_owned()).unwrap_or_default();
        let transport = self.scenario.migration.transport;
        let destination = &mut self.sides()?.destination;
        if transport == Transport::Unix {
            let uri = format!("unix:{}", directory.join("migration").display());
            destination.execute("migrate-incoming", json!({ "uri": uri }))?;
            return Ok(uri);
        }
        destination.execute("migrate-incoming", json!({ "uri": "tcp:127.0.0.1:0" }))?;
        let answer = destination.execute("query-migrate", Value::Null)?;
        let port = answer["socket-address"][0]["port"].as_str().map(str::to_owned);
        port.map(|port| format!("tcp:127.0.0.1:{port}")).ok_or_else(|| {
            EngineError::Failed("The destination does not say on which port it listens".to_owned())
        })
    }

    /// Takes in what both QEMUs tell.
    fn drain_events(&mut self) {
        let Some(sides) = &mut self.sides else { return };
        let from_source = sides.source.take_events();
        let from_destination = sides.destination.take_events();
        for event in &from_source {
            self.trace.source_event(event);
            self.events.extend(recorded(EventSide::Source, event));
        }
        for event in &from_destination {
            self.trace.destination_event(event);
            self.events.extend(recorded(EventSide::Destination, event));
        }
        let moments = self.trace.moments();
        match (moments.stopped_ns, moments.resumed_ns, moments.restored_ns) {
            (Some(stopped_ns), Some(resumed_ns), _) => sides.guest.moved(stopped_ns, resumed_ns),
            (_, _, Some(_)) if !self.is_restored => {
                self.is_restored = true;
                sides.guest.restored();
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Result<Status, EngineError> {
        let asked_ns = monotonic_ns();
        let answer = self.source()?.execute("query-migrate", Value::Null);
        let at_ns = asked_ns.midpoint(monotonic_ns());
        self.drain_events();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.without_source(error),
        };
        self.evidence.see_source(&answer);
        let mut status = self.trace.poll(at_ns, &answer);
        match status.state {
            State::Committed => self.await_resume(&mut status)?,
            State::Postcopy => self.check_postcopy(&mut status)?,
            State::Failed => self.explain_failure(&mut status)?,
            _ => {}
        }
        Ok(status)
    }

    /// While the migration is held, the source is asked more often than the pilot asks.
    fn poll_and_hold(&mut self) -> Result<Status, EngineError> {
        let mut new_passes = Vec::new();
        for round in 1.. {
            let mut status = self.poll()?;
            new_passes.append(&mut status.new_passes);
            let is_held = self.steer(&status)?;
            if !is_held || status.state.is_terminal() || round == HOLD_ROUNDS {
                return Ok(Status { new_passes, ..status });
            }
            std::thread::sleep(HOLD_INTERVAL);
        }
        self.poll()
    }

    /// Whether the migration is being held.
    fn steer(&mut self, status: &Status) -> Result<bool, EngineError> {
        let (Some(hold), Some(sides), Some(runtime)) =
            (&mut self.hold, &mut self.sides, &self.runtime)
        else {
            return Ok(false);
        };
        let passes = self.trace.passes() as u64;
        let Launched { source, destination, .. } = sides;
        hold.steer(status, passes, source, destination, runtime.path())?;
        Ok(hold.is_holding())
    }

    fn is_broken(&self, defect: &str) -> bool {
        self.options.breakage.as_deref() == Some(defect)
    }

    /// The source is gone, and the guest with it, unless the destination runs it by now.
    fn without_source(&mut self, error: EngineError) -> Result<Status, EngineError> {
        match error {
            EngineError::SideGone { .. } => {
                let words = self.console(Side::Source);
                Ok(self.undecided(format!("{error}{words}")))
            }
            error => Err(error),
        }
    }

    fn undecided(&mut self, reason: String) -> Status {
        let at_ns = monotonic_ns();
        let status = self.trace.poll(at_ns, &json!({ "status": "unknown" }));
        Status { state: State::Undecided, reason: Some(reason), ..status }
    }

    /// The source has sent everything; the guest runs when the destination says so. A guest that we paused is started by us.
    fn await_resume(&mut self, status: &mut Status) -> Result<(), EngineError> {
        let since_ns = *self.completed_since_ns.get_or_insert(status.at_ns);
        let is_paused_by_us = self.is_paused_by_us;
        let destination = &mut self.sides()?.destination;
        if let Some(end) = destination.is_gone() {
            *status = self.undecided(format!("destination: {end}"));
            return Ok(());
        }
        if is_paused_by_us && is_loaded(destination)? {
            destination.execute("cont", Value::Null)?;
            self.is_paused_by_us = false;
        }
        if status.at_ns.saturating_sub(since_ns) > RESUME_TIMEOUT_NS {
            *status = self.undecided("The destination does not run the guest".to_owned());
        }
        Ok(())
    }

    /// In post-copy a link that breaks leaves both sides waiting for each other.
    fn check_postcopy(&mut self, status: &mut Status) -> Result<(), EngineError> {
        let destination = &mut self.sides()?.destination;
        if let Some(end) = destination.is_gone() {
            *status = self.undecided(format!("destination: {end}"));
        }
        Ok(())
    }

    /// Adds what the destination knows, and makes sure that the guest runs on.
    fn explain_failure(&mut self, status: &mut Status) -> Result<(), EngineError> {
        if self.trace.has_postcopy_begun() {
            let reason = status.reason.clone().unwrap_or_default();
            *status = self.undecided(reason);
            return Ok(());
        }
        let sides = self.sides()?;
        let end = sides.destination.is_gone().or_else(|| error_of(&mut sides.destination));
        let complaint = sides.destination.complaints().pop().filter(|_| end.is_none());
        if let Some(theirs) = end.or(complaint) {
            let ours = status.reason.take().unwrap_or_else(|| "The migration failed".to_owned());
            status.reason = Some(format!("{ours}; destination: {theirs}"));
        }
        self.run_source()
    }

    /// A guest that was paused for a migration which did not happen goes on.
    fn run_source(&mut self) -> Result<(), EngineError> {
        let source = self.source()?;
        let answer = source.execute("query-status", Value::Null)?;
        if answer["running"] == false {
            source.execute("cont", Value::Null)?;
        }
        Ok(())
    }

    fn console(&self, side: Side) -> String {
        self.sides.as_ref().map(|it| last_words(&it.consoles[side as usize])).unwrap_or_default()
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let mut details = BTreeMap::new();
        let Some(sides) = &self.sides else { return details };
        let mut add = |name: &str, value: Value| {
            details.insert(name.to_owned(), value);
        };
        add("accelerator", sides.accelerator.name.into());
        add("machine", sides.machine.clone().into());
        add("kernel", sides.image.kernel_release.clone().into());
        add("command_line_source", sides.source.command_line().into());
        add("command_line_destination", sides.destination.command_line().into());
        add("left_out", sides.left_out.clone().into());
        if let Some(freeze) = sides.guest.freeze() {
            add("guest_clock_standstill_seconds", (freeze.length_ns as f64 / 1e9).into());
            let uncertainty = freeze.uncertainty_ns as f64 / 1e9;
            add("guest_clock_standstill_uncertainty_seconds", uncertainty.into());
        }
        if let Some(ns) = sides.guest.clock_uncertainty_ns() {
            add("guest_clock_uncertainty_seconds", (ns as f64 / 1e9).into());
        }
        let complaints = [sides.source.complaints(), sides.destination.complaints()];
        for (name, lines) in ["stderr_source", "stderr_destination"].into_iter().zip(complaints) {
            if !lines.is_empty() {
                add(name, lines.into());
            }
        }
        details.extend(self.evidence.to_details());
        if let Some(hold) = &self.hold {
            details.insert("hold".to_owned(), hold.to_details());
        }
        details
    }
}

impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn unsupported(&self, scenario: &Scenario) -> Vec<Unsupported> {
        settings::impossible(scenario)
    }

    fn boot(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.scenario = scenario.clone();
        self.nonce = random()?;
        let runtime = runtime_directory()
            .map_err(|error| EngineError::Failed(format!("No runtime directory: {error}")))?;
        let failed =
            |error| EngineError::Failed(format!("No switch for the guest's network: {error}"));
        self.prober = match self.options.network {
            Network::Switch => Some(Prober::start(runtime.path(), self.nonce).map_err(failed)?),
            Network::None => None,
        };
        let plan = Plan {
            scenario,
            options: &self.options,
            directory: runtime.path(),
            nonce: self.nonce,
            interrupt,
            network: self.prober.as_ref().map(Prober::paths),
        };
        let launched = launch::launch(&plan, progress);
        self.runtime = Some(runtime);
        let mut sides = launched?;
        let pids =
            vec![(Side::Source, sides.source.pid()), (Side::Destination, sides.destination.pid())];
        self.costs = CostSampler::start(pids).ok();
        sides.guest.start();
        self.sides = Some(sides);
        Ok(())
    }

    fn facts(&self) -> Engine {
        let version = |qemu: &QemuProcess| {
            let greeting = qemu.greeting();
            let package = Some(&greeting.package).filter(|it| !it.is_empty());
            let package = package.map(|it| format!(" ({it})")).unwrap_or_default();
            format!("{}{package}", greeting.version)
        };
        let sides = self.sides.as_ref();
        Engine {
            name: self.name().to_owned(),
            tracker: sides.map(|it| Tracker::Other(it.accelerator.name.to_owned())),
            tracker_reason: sides.map(|it| it.accelerator.reason.clone()),
            tracking_page_bytes: sides.map(|_| sterna_report::PAGE_BYTES),
            transport: Some(settings::transport_word(self.scenario.migration.transport).to_owned()),
            peer_versions: PeerVersions {
                source: sides.map(|it| version(&it.source)),
                destination: sides.map(|it| version(&it.destination)),
            },
            details: self.details(),
        }
    }

    /// Both QEMUs run on this machine and stamp with its clock; what is uncertain is how a stamp of the wall clock was mapped.
    fn clocks(&self) -> Vec<ClockOffset> {
        if self.sides.is_none() {
            return Vec::new();
        }
        let of = |side| ClockOffset { side, offset_ns: 0, uncertainty_ns: EVENT_UNCERTAINTY_NS };
        vec![of(Side::Source), of(Side::Destination)]
    }

    fn migrate(&mut self) -> Result<u64, EngineError> {
        let uri = self.listen()?;
        let limit_ns = self.scenario.migration.first_downtime_limit().0.as_nanos() as u64;
        // What happened at boot is none of the migration's.
        self.drain_events();
        self.trace = Trace::new(limit_ns);
        let marker_gpa = self.sides()?.hello.marker_gpa.filter(|_| !self.is_broken("no-marker"));
        self.hold = Hold::new(&self.scenario, self.nonce, marker_gpa);
        if let (Some(hold), Some(sides)) = (&mut self.hold, &mut self.sides) {
            hold.begin(&mut sides.source)?;
        }
        let asked_ns = monotonic_ns();
        self.source()?.execute("migrate", json!({ "uri": uri }))?;
        let accepted_ns = asked_ns.midpoint(monotonic_ns());
        self.has_migration_begun = true;
        self.sides()?.guest.migration_began(accepted_ns);
        Ok(accepted_ns)
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        let status = self.poll_and_hold()?;
        if status.at_ns >= self.next_ping_ns {
            self.next_ping_ns = status.at_ns + PING_INTERVAL_NS;
            self.sides()?.guest.ping();
        }
        if status.state.is_terminal() {
            let destination = &mut self.sides()?.destination;
            if let Ok(answer) = destination.execute("query-migrate", Value::Null) {
                self.evidence.see_destination(&answer);
            }
        }
        if status.state == State::Cancelled {
            self.run_source()?;
            self.drain_events();
        }
        Ok(status)
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        let has_begun = self.trace.has_postcopy_begun();
        match action {
            Action::Cancel if has_begun => Err(EngineError::Failed(
                "post-copy has begun, and the guest lives on both sides".to_owned(),
            )),
            Action::Cancel => self.source()?.execute("migrate_cancel", Value::Null).map(|_| ()),
            Action::Pause => {
                self.source()?.execute("stop", Value::Null)?;
                self.is_paused_by_us = true;
                Ok(())
            }
            Action::SetDowntimeLimit(ns) => {
                self.trace.set_downtime_limit(ns);
                if let Some(hold) = self.hold.as_mut().filter(|it| it.is_holding()) {
                    hold.set_downtime_limit(ns);
                    return Ok(());
                }
                let limit = settings::milliseconds(ns);
                let arguments = json!({ "downtime-limit": limit });
                self.source()?.execute("migrate-set-parameters", arguments).map(|_| ())
            }
            Action::StartPostcopy => {
                self.source()?.execute("migrate-start-postcopy", Value::Null).map(|_| ())
            }
        }
    }

    /// The destination alone can tell. If it does not run the guest, it is killed: a guest that might run is worse than one that is lost for certain.
    fn settle(&mut self) -> Result<Settled, EngineError> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        let reason = loop {
            self.drain_events();
            let has_begun = self.trace.has_postcopy_begun();
            let sides = self.sides()?;
            let answer = sides.destination.execute("query-status", Value::Null);
            match answer {
                // In post-copy a running destination still lacks memory that only the source has.
                Ok(answer) if answer["running"] == true && !has_begun => {
                    return Ok(Settled::Running(Box::new(self.trace.moments().clone())));
                }
                Ok(_) if has_begun => break "post-copy cannot go on".to_owned(),
                Ok(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Ok(_) => break "the destination does not run the guest and was killed".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.sides()?.destination.kill();
        Ok(Settled::Lost(format!("no side can run the guest: {reason}")))
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        self.drain_events();
        let mut samples = self.sides()?.guest.samples();
        if let Some(costs) = &self.costs {
            samples.cpu = costs.take();
        }
        samples.events = std::mem::take(&mut self.events);
        self.probe_seen = self.prober.as_ref().and_then(Prober::seen);
        samples.probes = self.probe_seen.clone().into_iter().collect();
        let has_begun = self.has_migration_begun;
        let sides = self.sides()?;
        if let Some(reason) = sides.guest.fatal() {
            return Err(EngineError::Failed(format!("The agent in the guest gave up: {reason}")));
        }
        // Once it migrates, `status` tells what that means for the guest.
        if let Some(end) = sides.source.is_gone().filter(|_| !has_begun) {
            let words = self.console(Side::Source);
            return Err(EngineError::SideGone { side: "source", reason: format!("{end}{words}") });
        }
        Ok(samples)
    }

    fn verify(
        &mut self,
        side: Side,
        interrupt: &Interrupt,
    ) -> Result<IntegrityDetail, EngineError> {
        self.drain_events();
        let limit = VERIFY_TIMEOUT + Duration::from_secs(self.scenario.guest.memory.0 >> 24);
        let Launched { source, destination, guest, consoles, .. } = self.sides()?;
        let qemu = match side {
            Side::Source => source,
            Side::Destination => destination,
        };
        let mut is_gone = || {
            let words = last_words(&consoles[side as usize]);
            let reason = qemu.is_gone().map(|end| format!("{end}{words}"))?;
            Some(EngineError::SideGone { side: crate::process::side_name(side), reason })
        };
        guest.verify(side, limit, Some(interrupt), &mut is_gone)
    }

    fn warnings(&mut self) -> Vec<Warning> {
        let mut found = std::mem::take(&mut self.warnings);
        if let Some(sides) = &self.sides {
            let (evidence, hold) = (&self.evidence, self.hold.as_ref());
            let probe = self.probe_seen.as_ref();
            found.extend(warnings::of(&self.scenario, evidence, &self.trace, hold, probe, sides));
        }
        found
    }

    /// The facts outlive the processes: only what runs is ended here.
    fn shutdown(&mut self) {
        self.costs = None;
        self.prober = None;
        if let Some(sides) = &mut self.sides {
            sides.source.end();
            sides.destination.end();
        }
        self.runtime = None;
    }
}

fn recorded(side: EventSide, event: &Event) -> Option<RecordedEvent> {
    let word = |name: &str| event.data[name].to_string().trim_matches('"').to_owned();
    let (kind, text) = match event.name.as_str() {
        "MIGRATION" => ("qemu-status", format!("QEMU says {}", word("status"))),
        "MIGRATION_PASS" => ("qemu-pass", format!("Synchronisation {}", word("pass"))),
        "STOP" => ("qemu-stop", "The processors stopped".to_owned()),
        "RESUME" => ("qemu-resume", "The processors run".to_owned()),
        name => ("qemu-event", format!("{name} {}", event.data)),
    };
    Some(RecordedEvent { at_ns: event.at_ns, side, kind: kind.to_owned(), text })
}

/// Whether a destination has loaded everything and waits for `cont`.
fn is_loaded(qemu: &mut QemuProcess) -> Result<bool, EngineError> {
    let answer = qemu.execute("query-status", Value::Null)?;
    Ok(answer["status"] != "inmigrate")
}

fn error_of(qemu: &mut QemuProcess) -> Option<String> {
    let answer = qemu.execute("query-migrate", Value::Null).ok()?;
    answer["error-desc"].as_str().map(str::to_owned)
}

/// A directory that nobody else can look into. Where the usual place has too long a name for sockets, a shorter one.
fn runtime_directory() -> std::io::Result<TempDir> {
    let usual = std::env::temp_dir();
    let place =
        if usual.as_os_str().len() > LONGEST_DIRECTORY { PathBuf::from("/tmp") } else { usual };
    tempfile::Builder::new().prefix("sterna-").tempdir_in(place)
}

fn random() -> Result<u64, EngineError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| EngineError::Failed(format!("No randomness: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}
