//! QEMU as the pilot flies it.
//!
//! The files follow the flight: [`boot`], [`follow`], [`act`], [`mishaps`], [`ending`]; [`facts`] is what the report gets.

mod act;
mod boot;
mod ending;
mod facts;
mod follow;
mod mishaps;

use std::time::Duration;

use serde_json::Value;
use sterna_pilot::{
    Action, ClockOffset, EngineError, GapSpan, Hypervisor, Interrupt, ProbeSeen, Progress,
    RecordedEvent, Samples, Settled, State, Status, Unsupported,
};
use sterna_report::{Engine, IntegrityDetail, Side, Warning};
use sterna_scenario::{Scenario, TlsMode};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::run_directory::RunDirectory;

use follow::AnswerClock;
pub use follow::recorded_event;
use mishaps::Mishaps;

use crate::costs::CostSampler;
use crate::evidence::Evidence;
use crate::footprint::Footprints;
use crate::guest_memory::Compared;
use crate::hold::Hold;
use crate::launch::Launched;
use crate::network::Prober;
use crate::place::Place;
use crate::process::QemuProcess;
use crate::raw_polls::RawPolls;
use crate::settings;
use crate::switchover::Switchover;
use crate::tls;
use crate::trace::Trace;
use crate::warnings::{self, Facts};
use crate::workload_size;
use crate::{Network, QemuOptions};

/// Time between two questions for the guest's clock while it migrates.
const PING_INTERVAL_NS: u64 = 100_000_000;

/// How long a comparison of the guest's memory may take, beyond a second for each 16 MiB.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);

/// Two QEMU processes and what is known of them.
pub struct Qemu {
    options: QemuOptions,
    scenario: Scenario,
    runtime: Option<RunDirectory>,
    places: Vec<Place>,
    stream_directory: Option<RunDirectory>,
    sides: Option<Launched>,
    /// Whether the sides have changed places, on an even hop.
    is_back: bool,
    /// When the guest was paused on purpose before the migration.
    paused_ns: Option<u64>,
    costs: Option<CostSampler>,
    prober: Option<Prober>,
    probes_seen: Vec<Option<ProbeSeen>>,
    heard_again_ns: Option<u64>,
    gaps: Vec<GapSpan>,
    trace: Trace,
    hold: Option<Hold>,
    nonce: u64,
    evidence: Evidence,
    answers: AnswerClock,
    polls: RawPolls,
    destination_polls: RawPolls,
    accepted_ns: u64,
    /// From the migrate command to its answer; QEMU accepted it in between.
    acceptance_took_ns: u64,
    events: Vec<RecordedEvent>,
    has_migration_begun: bool,
    is_paused_by_us: bool,
    is_restored: bool,
    is_file_loading: bool,
    stream_uri: Option<String>,
    completed_since_ns: Option<u64>,
    /// Why the destination does not answer any more.
    lost_destination: Option<String>,
    /// A destination ends by itself when its stream does, also before the source says that it has been cancelled.
    is_cancelled_by_us: bool,
    /// The guest on the source switched its machine off.
    has_guest_shut_down: bool,
    recoveries: u32,
    /// What was found when all memory of both sides was compared.
    compared: Option<Compared>,
    mishaps: Mishaps,
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
            places: Vec::new(),
            stream_directory: None,
            sides: None,
            is_back: false,
            paused_ns: None,
            costs: None,
            prober: None,
            probes_seen: Vec::new(),
            heard_again_ns: None,
            gaps: Vec::new(),
            trace: Trace::default(),
            hold: None,
            nonce: 0,
            evidence: Evidence::default(),
            answers: AnswerClock::default(),
            polls: RawPolls::default(),
            destination_polls: RawPolls::default(),
            accepted_ns: 0,
            acceptance_took_ns: 0,
            events: Vec::new(),
            has_migration_begun: false,
            is_paused_by_us: false,
            is_restored: false,
            is_file_loading: false,
            stream_uri: None,
            completed_since_ns: None,
            lost_destination: None,
            is_cancelled_by_us: false,
            has_guest_shut_down: false,
            recoveries: 0,
            compared: None,
            mishaps: Mishaps::default(),
            next_ping_ns: 0,
            warnings: Vec::new(),
        }
    }

    /// What was known of the hop before.
    fn forget_hop(&mut self) {
        let fresh = Qemu::new(self.options.clone());
        self.gaps = fresh.gaps;
        self.trace = fresh.trace;
        self.hold = fresh.hold;
        self.evidence = fresh.evidence;
        self.answers = fresh.answers;
        self.polls = fresh.polls;
        self.destination_polls = fresh.destination_polls;
        self.acceptance_took_ns = fresh.acceptance_took_ns;
        self.has_migration_begun = fresh.has_migration_begun;
        self.is_restored = fresh.is_restored;
        self.is_file_loading = fresh.is_file_loading;
        self.stream_uri = fresh.stream_uri;
        self.completed_since_ns = fresh.completed_since_ns;
        self.is_cancelled_by_us = fresh.is_cancelled_by_us;
        self.recoveries = fresh.recoveries;
        self.compared = fresh.compared;
        self.mishaps = fresh.mishaps;
        self.heard_again_ns = fresh.heard_again_ns;
        self.probes_seen = fresh.probes_seen;
    }

    fn sides(&mut self) -> Result<&mut Launched, EngineError> {
        self.sides.as_mut().ok_or_else(|| EngineError::Failed("Nothing was booted".to_owned()))
    }

    fn source(&mut self) -> Result<&mut QemuProcess, EngineError> {
        self.sides().map(|it| &mut it.source)
    }

    /// What was seen of the encryption, if it was asked for.
    fn encryption(&self) -> Option<tls::Seen> {
        let Launched { logs, places, .. } = self.sides.as_ref()?;
        let is_asked_for = self.scenario.migration.tls_mode() != TlsMode::Off;
        is_asked_for.then(|| tls::Seen::read(places, logs))
    }

    fn is_broken(&self, defect: &str) -> bool {
        self.options.breakage.as_deref() == Some(defect)
    }

    /// What the network that was chosen cannot do.
    fn network_impossible(&self, scenario: &Scenario) -> Option<Unsupported> {
        let remotes = &self.options.remotes;
        let is_apart = remotes.source.is_some() || remotes.destination.is_some();
        let refuse = |field: &str, reason: &str| {
            Some(Unsupported { field: field.to_owned(), reason: reason.to_owned() })
        };
        match &self.options.network {
            Network::None if scenario.probes.are_asked_for() => {
                refuse("probes", "with --network none nothing can be probed; drop one of the two")
            }
            Network::Tap { .. } if is_apart => refuse(
                "--network",
                "a bridge of this machine does not reach a QEMU on another; use --network switch",
            ),
            _ => None,
        }
    }

    fn console(&self, side: Side) -> String {
        self.sides.as_ref().map(|it| it.consoles[side as usize].last_words()).unwrap_or_default()
    }
}

impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn unsupported(&self, scenario: &Scenario) -> Vec<Unsupported> {
        let mut found = settings::impossible(scenario);
        found.extend(self.network_impossible(scenario));
        found.extend(self.options.remotes.impossible(scenario));
        found.extend(workload_size::too_small(scenario));
        found
    }

    fn boot(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.start_both(scenario, interrupt, progress)
    }

    fn facts(&self) -> Engine {
        self.all_facts()
    }

    fn clocks(&self) -> Vec<ClockOffset> {
        self.clock_offsets()
    }

    fn pause_guest(&mut self) -> Result<u64, EngineError> {
        self.source()?.execute("stop", Value::Null)?;
        let now_ns = monotonic_ns();
        // The destination loads it paused, and it goes on when all of it is there.
        (self.is_paused_by_us, self.paused_ns) = (true, Some(now_ns));
        Ok(now_ns)
    }

    /// The migration has ended, and with it the pause: the engine lets the guest go on as soon as no side waits for it.
    fn resume_guest(&mut self, side: Side) -> Result<u64, EngineError> {
        if side == Side::Source {
            self.run_source()?;
            self.drain_events();
            return Ok(monotonic_ns());
        }
        self.drain_events();
        let resumed_ns = self.trace.moments().resumed_ns;
        resumed_ns.ok_or_else(|| {
            EngineError::Failed("The destination does not say that the guest runs".to_owned())
        })
    }

    fn turn(
        &mut self,
        interrupt: &Interrupt,
        _: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.turn_round(interrupt)
    }

    fn migrate(&mut self) -> Result<u64, EngineError> {
        self.begin_migration()
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        let status = self.poll_and_hold()?;
        self.strike(&status)?;
        self.panic_guest(&status)?;
        if status.at_ns >= self.next_ping_ns {
            self.next_ping_ns = status.at_ns + PING_INTERVAL_NS;
            self.sides()?.guest.ping();
        }
        if status.state.is_terminal() {
            self.sides()?.footprints.iter_mut().for_each(Footprints::see_end);
        }
        // One that lacks memory might never answer.
        if status.state.is_terminal() && status.state != State::Undecided {
            let destination = &mut self.sides()?.destination;
            if let Ok(answer) = destination.execute("query-migrate", Value::Null) {
                self.evidence.see_destination(&answer);
                self.destination_polls.add(monotonic_ns(), &answer);
            }
        }
        if status.state == State::Cancelled {
            self.run_source()?;
            self.drain_events();
        }
        Ok(status)
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        self.obey(action)
    }

    fn settle(&mut self) -> Result<Settled, EngineError> {
        self.settle_both()
    }

    fn baseline_begins(&mut self, at_ns: u64) {
        if let Some(prober) = &self.prober {
            prober.count_from(at_ns);
        }
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        self.drain_events();
        let mut samples = self.sides()?.guest.samples();
        if let Some(costs) = &self.costs {
            samples.cpu = costs.take();
        }
        for keeper in self.places.iter().filter_map(Place::keeper) {
            samples.cpu.extend(keeper.costs());
        }
        samples.events = std::mem::take(&mut self.events);
        self.probes_seen = self.prober.as_ref().map(Prober::seen).unwrap_or_default();
        let resumed_ns = self.trace.moments().resumed_ns;
        let prober = self.prober.as_ref().zip(resumed_ns);
        self.heard_again_ns = prober.and_then(|(it, resumed_ns)| it.heard_since(resumed_ns));
        self.gaps.extend_from_slice(&samples.gaps);
        samples.probes = self.probes_seen.iter().flatten().cloned().collect();
        let has_begun = self.has_migration_begun;
        let sides = self.sides()?;
        if let Some(reason) = sides.guest.fatal() {
            return Err(EngineError::Failed(format!("The agent in the guest gave up: {reason}")));
        }
        // Once it migrates, `status` tells what that means for the guest.
        let end = sides.source.is_gone().filter(|_| !has_begun);
        if let (Some(_), Some(how)) = (&end, self.how_guest_died()) {
            return Err(EngineError::GuestDied(how));
        }
        if let Some(end) = end {
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
        let memory_bytes = self.scenario.guest.memory.0;
        let memory_pages = memory_bytes / sterna_report::PAGE_BYTES;
        let limit = VERIFY_TIMEOUT + Duration::from_secs(memory_bytes >> 24);
        let Launched { source, destination, guest, consoles, .. } = self.sides()?;
        let qemu = match side {
            Side::Source => source,
            Side::Destination => destination,
        };
        let mut is_gone = || {
            let words = consoles[side as usize].last_words();
            let reason = qemu.is_gone().map(|end| format!("{end}{words}"))?;
            Some(EngineError::SideGone { side: crate::process::side_name(side), reason })
        };
        let outcome = guest.verify(side, limit, Some(interrupt), &mut is_gone);
        match (outcome, self.how_guest_died()) {
            (Err(EngineError::SideGone { side: "source", .. }), Some(how)) => {
                Err(EngineError::GuestDied(how))
            }
            (outcome, _) => outcome.map(|detail| {
                let detail = IntegrityDetail { memory_pages: Some(memory_pages), ..detail };
                match &self.compared {
                    Some(compared) if side == Side::Destination => compared.beside(detail),
                    _ => detail,
                }
            }),
        }
    }

    fn waiting_faults(&mut self) -> Vec<String> {
        self.mishaps.waiting()
    }

    fn warnings(&mut self) -> Vec<Warning> {
        let mut found = std::mem::take(&mut self.warnings);
        let has_moved = self.trace.moments().resumed_ns.is_some();
        found.extend(self.encryption().filter(|_| has_moved).and_then(tls::Seen::warning));
        if let Some(sides) = &self.sides {
            found.extend(self.switchover().iter().flat_map(Switchover::differences));
            found.extend(warnings::of(&Facts {
                scenario: &self.scenario,
                evidence: &self.evidence,
                trace: &self.trace,
                is_hold_unproven: self.hold.as_ref().is_some_and(Hold::is_holding),
                probes: &self.probes_seen,
                accelerator: (sides.accelerator.name, &sides.accelerator.reason),
                memory: &sides.memory,
                gaps_lost: sides.guest.gaps_lost(),
                lines_lost: sides.guest.lines_lost(),
            }));
        }
        found
    }

    /// The facts outlive the processes: only what runs is ended here.
    fn shutdown(&mut self) {
        self.costs = None;
        self.prober = None;
        if let Some(sides) = &mut self.sides {
            QemuProcess::end_both(&mut sides.source, &mut sides.destination);
        }
        for keeper in self.places.iter().filter_map(Place::keeper) {
            keeper.end();
        }
        self.runtime = None;
        self.stream_directory = None;
    }
}
