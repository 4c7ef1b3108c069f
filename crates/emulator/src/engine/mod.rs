//! The emulator as the pilot flies it.

mod boot;
mod configure;
mod evidence;
mod hold;
mod huge_pages;
mod mapping;
mod observer;
mod parallel;
pub mod places;
mod postcopy;
mod settle;
mod turn;
mod unsupported;
mod warnings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;
use sterna_pilot::{
    Action, ClockOffset, EngineError, GapSpan, Hypervisor, Interrupt, Moments, Progress, Samples,
    Settled, Status, Unsupported,
};
use sterna_report::{Control, Engine, IntegrityDetail, PeerVersions, Side, Tracker, Warning};
use sterna_scenario::{Scenario, Transport};
use sterna_sys::nameless::NamelessFile;
use sterna_sys::run_directory::RunDirectory;
use sterna_wire::clock::Offset;
use sterna_wire::control::{
    Act, Endpoint, HostStatus, Phase, Prepared, Reply, Request, TechniqueStatus,
};

use crate::host_process::HostProcess;
use hold::Hold;
use mapping::{add_destination, add_samples, integrity_detail, source_moments, to_status};
use observer::Observers;
use parallel::Parallel;
use places::Places;
use postcopy::{Evidence, check_destination};

/// Stand-in for the state of virtual devices: what a small virtio guest has.
const DEVICE_STATE_BYTES: u64 = 256 << 10;

/// Gaps shorter than this are not told by the workers.
const GAP_RESOLUTION_NS: u64 = 2_000_000;

/// How to run the emulator.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// A program and its arguments that call [`crate::host::serve`] on standard input.
    pub host_command: Vec<OsString>,
    /// Which dirty tracker: auto, wp-async or cooperative.
    pub tracker: String,
    /// Where both sides run.
    pub places: Places,
    /// Certificates, as [`sterna_wire::tls`] names them; `None` makes some for the run where they are needed.
    pub tls_directory: Option<PathBuf>,
    /// Memory that was available before any guest of the run has taken its part; `None` asks when this one does.
    pub available_bytes: Option<u64>,
    /// A defect to commit on purpose; see [`crate::migration::breakage`].
    pub breakage: Option<String>,
}

/// Two host processes and what is known of them.
pub struct Emulator {
    options: EmulatorOptions,
    /// As it was booted.
    scenario: Scenario,
    hosts: Option<Hosts>,
    /// What the source said of itself.
    prepared: Option<Prepared>,
    /// The same of the destination.
    prepared_there: Option<Prepared>,
    /// Those who look at the guest's network.
    observers: Option<Observers>,
    data: Option<Endpoint>,
    is_encrypted: bool,
    are_clocks_closed: bool,
    transport: Transport,
    runtime: Option<RunDirectory>,
    /// Keys that were made for this run, until both hosts have loaded them.
    own_keys: Vec<NamelessFile>,
    passes_seen: usize,
    hold: Option<Hold>,
    techniques: TechniqueStatus,
    accepted_ns: Option<u64>,
    gaps_lost: u64,
    is_switchover_told: bool,
    parallel: Parallel,
    evidence: Evidence,
    /// As it arrived.
    device_state_bytes: Option<u64>,
}

struct Hosts {
    source: HostProcess,
    destination: HostProcess,
}

impl Emulator {
    /// An engine that has started nothing yet.
    pub fn new(options: EmulatorOptions) -> Emulator {
        Emulator {
            options,
            scenario: Scenario::default(),
            hosts: None,
            prepared: None,
            prepared_there: None,
            observers: None,
            data: None,
            is_encrypted: false,
            are_clocks_closed: false,
            transport: Transport::Tcp,
            runtime: None,
            own_keys: Vec::new(),
            passes_seen: 0,
            hold: None,
            techniques: TechniqueStatus::default(),
            accepted_ns: None,
            gaps_lost: 0,
            is_switchover_told: false,
            parallel: Parallel::default(),
            evidence: Evidence::default(),
            device_state_bytes: None,
        }
    }

    fn hosts(&mut self) -> Result<&mut Hosts, EngineError> {
        self.hosts.as_mut().ok_or_else(nothing_booted)
    }

    fn host(&mut self, side: Side) -> Result<&mut HostProcess, EngineError> {
        let hosts = self.hosts()?;
        Ok(match side {
            Side::Source => &mut hosts.source,
            Side::Destination => &mut hosts.destination,
        })
    }

    fn places(&self) -> &Places {
        &self.options.places
    }

    /// The moments that matter lie just behind, so this is when to learn how far their stamps may be off.
    fn close_clocks(&mut self) {
        if let Some(hosts) = &mut self.hosts
            && !self.are_clocks_closed
        {
            hosts.source.close_clock();
            hosts.destination.close_clock();
            self.are_clocks_closed = true;
        }
    }

    /// The source's status, and once the guest runs there what only the destination knows.
    fn whole_status(&mut self) -> Result<(HostStatus, Moments), EngineError> {
        let passes_seen = self.passes_seen;
        let Some(hosts) = &mut self.hosts else { return Err(nothing_booted()) };
        let mut status = hosts.source.status(passes_seen)?;
        self.evidence.see_source(&status);
        let mut moments = source_moments(&status, &hosts.source);
        let mut loaded = None;
        let has_switched = matches!(status.phase, Phase::Postcopy | Phase::PostcopyPaused);
        if status.phase == Phase::Completed || has_switched {
            let theirs = hosts.destination.status(0);
            if has_switched {
                check_destination(&mut status, &theirs);
            }
            match theirs {
                Ok(theirs) => {
                    self.evidence.see_destination(&theirs);
                    self.device_state_bytes = theirs.device_state_bytes.or(self.device_state_bytes);
                    loaded.clone_from(&theirs.multifd);
                    add_destination(&mut moments, &theirs, &hosts.destination);
                }
                Err(_) if status.phase == Phase::Undecided => {}
                // The source tells what matters in post-copy; past it, only the destination does.
                Err(EngineError::Silent { .. })
                    if has_switched && status.phase != Phase::Completed => {}
                Err(error) => return Err(error),
            }
        }
        self.parallel.note_source(&status.multifd);
        self.parallel.note_destination(&loaded);
        self.passes_seen += status.passes.len();
        Ok((status, moments))
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let mut details =
            BTreeMap::from([("device_state_bytes".to_owned(), self.device_state_bytes.into())]);
        details.extend(self.parallel.to_details().map(|it| ("multifd".to_owned(), it)));
        details.extend(self.evidence.to_details());
        if let Some(accepted_ns) = self.accepted_ns {
            let seconds = |ns: u64| (ns as f64 - accepted_ns as f64) / 1e9;
            add_details(&mut details, evidence::to_details(&self.techniques, seconds));
        }
        if let Some(hold) = &self.hold {
            details.insert("hold".to_owned(), hold.to_details());
        }
        details
    }

    /// The gap of each worker across the switchover, which neither host can see alone.
    fn switchover_gaps(&mut self) -> Result<Vec<GapSpan>, EngineError> {
        let hosts = self.hosts()?;
        let last = hosts.source.status(usize::MAX)?.stamps;
        let first = hosts.destination.status(usize::MAX)?.stamps;
        if first.resumed_ns.is_none() {
            return Ok(Vec::new());
        }
        let edges = last.worker_edge_ns.iter().zip(&first.worker_edge_ns).zip(0..);
        Ok(edges
            .filter_map(|((last, first), worker)| {
                Some(GapSpan {
                    side: Side::Destination,
                    worker,
                    start_ns: hosts.source.to_ours((*last)?),
                    end_ns: hosts.destination.to_ours((*first)?),
                })
            })
            .collect())
    }
}

impl Hypervisor for Emulator {
    fn name(&self) -> &'static str {
        "emulator"
    }

    fn unsupported(&self, scenario: &Scenario) -> Vec<Unsupported> {
        unsupported::unsupported(scenario)
    }

    fn boot(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.start(scenario, interrupt, progress)
    }

    fn facts(&self) -> Engine {
        let prepared = self.prepared.as_ref();
        let version = |host: fn(&Hosts) -> &HostProcess| {
            self.hosts.as_ref().and_then(|it| host(it).welcome().release.clone())
        };
        Engine {
            name: self.name().to_owned(),
            control: Control::Steered,
            tracker: prepared.map(|it| match it.tracker.as_str() {
                "wp-async" => Tracker::WpAsync,
                "cooperative" => Tracker::Cooperative,
                other => Tracker::Other(other.to_owned()),
            }),
            tracker_reason: prepared.map(|it| it.tracker_reason.clone()),
            tracking_page_bytes: prepared.map(|it| it.tracking_page_bytes),
            transport: Some(self.transport.to_string()),
            peer_versions: PeerVersions {
                source: version(|it| &it.source),
                destination: version(|it| &it.destination),
            },
            details: self.details(),
            ..Engine::default()
        }
    }

    fn clocks(&self) -> Vec<ClockOffset> {
        let Some(hosts) = &self.hosts else { return Vec::new() };
        vec![
            clock_offset(Side::Source, &hosts.source),
            clock_offset(Side::Destination, &hosts.destination),
        ]
    }

    fn pause_guest(&mut self) -> Result<u64, EngineError> {
        self.order_guest(Side::Source, &Request::Pause)
    }

    fn resume_guest(&mut self, side: Side) -> Result<u64, EngineError> {
        self.order_guest(side, &Request::Start)
    }

    fn turn(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.turn_round(interrupt, progress)
    }

    fn migrate(&mut self) -> Result<u64, EngineError> {
        let endpoint = self.endpoint()?;
        let mut session = [0; 16];
        rustix::rand::getrandom(&mut session, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| EngineError::Failed(format!("No randomness: {error}")))?;
        let hosts = self.hosts()?;
        let endpoint = match hosts.destination.ask(&Request::Listen { endpoint, session })? {
            Reply::Listening { endpoint } => endpoint,
            other => return Err(hosts.destination.unexpected(&other)),
        };
        let data = Some(endpoint.clone());
        let at_ns = done(&mut hosts.source, &Request::Migrate { endpoint, session })?;
        let at_ns = hosts.source.to_ours(at_ns);
        self.data = data;
        Ok(at_ns)
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        let (status, moments) = self.whole_status()?;
        if let (Some(hold), Some(hosts)) = (&mut self.hold, &mut self.hosts) {
            hold.steer(&status, hosts)?;
        }
        self.techniques.clone_from(&status.techniques);
        self.accepted_ns = status.stamps.accepted_ns.or(self.accepted_ns);
        let source = &self.hosts()?.source;
        let status = to_status(&status, moments, source);
        if status.state.is_terminal() {
            self.close_clocks();
        }
        Ok(status)
    }

    fn silent_sides(&self) -> Vec<(Side, f64)> {
        let Some(hosts) = &self.hosts else { return Vec::new() };
        let sides = [(Side::Source, &hosts.source), (Side::Destination, &hosts.destination)];
        sides
            .into_iter()
            .filter_map(|(side, host)| Some((side, host.silence()?.as_secs_f64())))
            .collect()
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        let act = match action {
            Action::Cancel => Act::Cancel,
            Action::Pause => Act::Pause,
            Action::SetDowntimeLimit(ns) => Act::SetDowntimeLimit { ns },
            Action::StartPostcopy => Act::StartPostcopy,
            Action::LiftPostcopyLimit => Act::LiftPostcopyLimit,
            Action::Recover => Act::Recover,
        };
        let source = &mut self.hosts()?.source;
        if let Some(silence) = source.silence() {
            // An order behind an answer that is owed would be carried out at any time, or never.
            let seconds = silence.as_secs_f64();
            return Err(EngineError::Silent { side: Side::Source, seconds });
        }
        done(source, &Request::Act(act)).map(|_| ())
    }

    fn baseline_begins(&mut self, at_ns: u64) {
        if let Some(observers) = &self.observers {
            observers.count_from(at_ns);
        }
    }

    fn settle(&mut self) -> Result<Settled, EngineError> {
        self.ask_destination()
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        let mut samples =
            Samples { gap_resolution_ns: Some(GAP_RESOLUTION_NS), ..Samples::default() };
        let mut gaps_lost = 0;
        for side in [Side::Source, Side::Destination] {
            let host = self.host(side)?;
            let theirs = match host.samples() {
                Ok(theirs) => theirs,
                // What is owed is taken the next time.
                Err(EngineError::Silent { .. }) => continue,
                // A destination that is gone is the migration's failure, not the sampling's.
                Err(_) if side == Side::Destination => continue,
                Err(error) => return Err(error),
            };
            gaps_lost += theirs.last().map_or(0, |it| it.gaps_lost);
            for some in theirs {
                add_samples(&mut samples, side, some, host);
            }
        }
        self.gaps_lost = gaps_lost;
        samples.probes = self.observers.as_ref().map(Observers::seen).unwrap_or_default();
        if !self.is_switchover_told
            && let Ok(gaps) = self.switchover_gaps()
            && !gaps.is_empty()
        {
            self.is_switchover_told = true;
            samples.gaps.extend(gaps);
        }
        Ok(samples)
    }

    fn verify(
        &mut self,
        side: Side,
        interrupt: &Interrupt,
    ) -> Result<IntegrityDetail, EngineError> {
        let host = self.host(side)?;
        match host.order(&Request::Verify, Some(interrupt), &mut |_| {})? {
            Reply::Verified(found) => {
                let writes_after_go = self.writes_after_go(side);
                Ok(IntegrityDetail { writes_after_go, ..integrity_detail(side, &found) })
            }
            other => Err(host.unexpected(&other)),
        }
    }

    fn waiting_faults(&mut self) -> Vec<String> {
        [Side::Source, Side::Destination]
            .into_iter()
            .filter_map(|side| self.host(side).ok()?.status(usize::MAX).ok())
            .flat_map(|status| status.waiting_faults)
            .collect()
    }

    fn warnings(&mut self) -> Vec<Warning> {
        self.all_warnings()
    }

    fn shutdown(&mut self) {
        if let Some(Hosts { source, destination }) = self.hosts.take() {
            source.end();
            destination.end();
        }
        self.runtime = None;
    }
}

impl Emulator {
    fn order_guest(&mut self, side: Side, request: &Request) -> Result<u64, EngineError> {
        let host = self.host(side)?;
        let at_ns = done(host, request)?;
        Ok(host.to_ours(at_ns))
    }

    /// Whether the source's workers have stayed stopped since the guest was given up there; `None` where the guest never
    /// left, and where the source can no longer say.
    fn writes_after_go(&mut self, home: Side) -> Option<u64> {
        (home == Side::Destination).then_some(())?;
        self.host(Side::Source).ok()?.status(usize::MAX).ok()?.writes_after_go
    }
}

fn nothing_booted() -> EngineError {
    EngineError::Failed("Nothing was booted".to_owned())
}

/// Counters of several techniques stand in the same objects.
fn add_details(to: &mut BTreeMap<String, Value>, more: BTreeMap<String, Value>) {
    for (name, value) in more {
        match (to.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
            (_, value) => {
                to.insert(name, value);
            }
        }
    }
}

fn clock_offset(side: Side, host: &HostProcess) -> ClockOffset {
    let Offset { offset_ns, uncertainty_ns } = host.offset();
    ClockOffset { side, offset_ns, uncertainty_ns }
}

fn done(host: &mut HostProcess, request: &Request) -> Result<u64, EngineError> {
    match host.ask(request)? {
        Reply::Done { at_ns } => Ok(at_ns),
        other => Err(host.unexpected(&other)),
    }
}
