//! The emulator as the pilot flies it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use sterna_pilot::{
    Action, ClockOffset, CpuPoint, EngineError, GapSpan, GuestPoint, Hypervisor, Interrupt,
    LatencyPair, Moments, PassRow, Progress, Samples, Settled, State, Status, Unsupported,
};
use sterna_report::{CorruptPage, Engine, IntegrityDetail, Latency, PeerVersions, Side, Word};
use sterna_report::{Tracker, Warning};
use sterna_scenario::{LimitAction, Placement, Scenario, TlsMode, Transport, ZeroPage};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::clock::Offset;
use sterna_wire::control::{
    self, Act, Endpoint, HostConfig, HostSamples, HostStatus, LatencySummary, PassRecord, Phase,
    Prepared, Reply, Request, Verified,
};
use tempfile::TempDir;

use crate::host_process::HostProcess;

/// Stand-in for the state of virtual devices: what a small virtio guest has.
const DEVICE_STATE_BYTES: u64 = 256 << 10;

/// Gaps shorter than this are not told by the workers.
const GAP_RESOLUTION_NS: u64 = 2_000_000;

/// How long a destination may take to say whether it runs the guest.
const SETTLE_NS: u64 = 5_000_000_000;

/// How to run the emulator.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// A program and its arguments that call [`crate::host::serve`] on standard input.
    pub host_command: Vec<OsString>,
    /// Which dirty tracker: auto, wp-async or cooperative.
    pub tracker: String,
    /// A defect to commit on purpose; see [`crate::migration::breakage`].
    pub breakage: Option<String>,
}

/// Two host processes and what is known of them.
pub struct Emulator {
    options: EmulatorOptions,
    hosts: Option<Hosts>,
    prepared: Option<Prepared>,
    clocks: Vec<ClockOffset>,
    transport: Transport,
    runtime: Option<TempDir>,
    passes_seen: usize,
    gaps_lost: u64,
    is_switchover_told: bool,
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
            hosts: None,
            prepared: None,
            clocks: Vec::new(),
            transport: Transport::Tcp,
            runtime: None,
            passes_seen: 0,
            gaps_lost: 0,
            is_switchover_told: false,
        }
    }

    fn hosts(&mut self) -> Result<&mut Hosts, EngineError> {
        self.hosts.as_mut().ok_or_else(|| EngineError::Failed("Nothing was booted".to_owned()))
    }

    fn host(&mut self, side: Side) -> Result<&mut HostProcess, EngineError> {
        let hosts = self.hosts()?;
        Ok(match side {
            Side::Source => &mut hosts.source,
            Side::Destination => &mut hosts.destination,
        })
    }

    fn endpoint(&mut self) -> Result<Endpoint, EngineError> {
        if self.transport == Transport::Tcp {
            return Ok(Endpoint::Tcp("127.0.0.1:0".to_owned()));
        }
        let failed = |error| EngineError::Failed(format!("No runtime directory: {error}"));
        let runtime = tempfile::Builder::new().prefix("sterna-").tempdir().map_err(failed)?;
        let path = runtime.path().join("migration").to_string_lossy().into_owned();
        self.runtime = Some(runtime);
        Ok(Endpoint::Unix(path))
    }

    /// The source's status, and on completion what only the destination knows.
    fn whole_status(&mut self) -> Result<(HostStatus, Moments), EngineError> {
        let passes_seen = self.passes_seen;
        let hosts = self.hosts()?;
        let status = status_of(&mut hosts.source, passes_seen)?;
        let mut moments = source_moments(&status, &hosts.source);
        if status.phase == Phase::Completed {
            let theirs = status_of(&mut hosts.destination, 0)?;
            add_destination(&mut moments, &theirs, &hosts.destination);
        }
        self.passes_seen += status.passes.len();
        Ok((status, moments))
    }

    /// The gap of each worker across the switchover, which neither host can see alone.
    fn switchover_gaps(&mut self) -> Result<Vec<GapSpan>, EngineError> {
        let hosts = self.hosts()?;
        let last = status_of(&mut hosts.source, usize::MAX)?.stamps;
        let first = status_of(&mut hosts.destination, usize::MAX)?.stamps;
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
        unsupported(scenario)
    }

    fn boot(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.transport = scenario.migration.transport;
        let mut hosts = Hosts {
            source: HostProcess::start(&self.options.host_command, control::Side::Source)?,
            destination: HostProcess::start(
                &self.options.host_command,
                control::Side::Destination,
            )?,
        };
        // Both build their memory at the same time.
        hosts.source.send(&prepare(scenario, &self.options, control::Side::Source))?;
        hosts.destination.send(&prepare(scenario, &self.options, control::Side::Destination))?;
        let prepared = hosts.source.finish_order(Some(interrupt), progress)?;
        match hosts.destination.finish_order(Some(interrupt), progress)? {
            Reply::Prepared(_) => {}
            other => return Err(hosts.destination.unexpected(&other)),
        }
        self.prepared = match prepared {
            Reply::Prepared(prepared) => Some(prepared),
            other => return Err(hosts.source.unexpected(&other)),
        };
        done(&mut hosts.source, &Request::Start)?;
        self.clocks = vec![
            clock_offset(Side::Source, &hosts.source),
            clock_offset(Side::Destination, &hosts.destination),
        ];
        self.hosts = Some(hosts);
        Ok(())
    }

    fn facts(&self) -> Engine {
        let prepared = self.prepared.as_ref();
        let version = || prepared.map(|_| env!("CARGO_PKG_VERSION").to_owned());
        Engine {
            name: self.name().to_owned(),
            tracker: prepared.map(|it| match it.tracker.as_str() {
                "wp-async" => Tracker::WpAsync,
                "cooperative" => Tracker::Cooperative,
                other => Tracker::Other(other.to_owned()),
            }),
            tracker_reason: prepared.map(|it| it.tracker_reason.clone()),
            tracking_page_bytes: prepared.map(|it| it.tracking_page_bytes),
            transport: Some(self.transport.to_string()),
            peer_versions: PeerVersions { source: version(), destination: version() },
            details: BTreeMap::from([("device_state_bytes".to_owned(), DEVICE_STATE_BYTES.into())]),
        }
    }

    fn clocks(&self) -> Vec<ClockOffset> {
        self.clocks.clone()
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
        let at_ns = done(&mut hosts.source, &Request::Migrate { endpoint, session })?;
        Ok(hosts.source.to_ours(at_ns))
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        let (status, moments) = self.whole_status()?;
        let source = &self.hosts()?.source;
        Ok(to_status(&status, moments, source))
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        let act = match action {
            Action::Cancel => Act::Cancel,
            Action::Pause => Act::Pause,
            Action::SetDowntimeLimit(ns) => Act::SetDowntimeLimit { ns },
            // `unsupported` refuses such a scenario before anything starts.
            Action::StartPostcopy => {
                return Err(EngineError::Failed("The emulator has no post-copy".to_owned()));
            }
        };
        done(&mut self.hosts()?.source, &Request::Act(act)).map(|_| ())
    }

    /// The destination alone can tell. If it cannot be made to tell, it is killed: a guest that might run is worse than one that is lost for certain.
    fn settle(&mut self) -> Result<Settled, EngineError> {
        let hosts = self.hosts()?;
        let deadline_ns = monotonic_ns() + SETTLE_NS;
        let reason = loop {
            match status_of(&mut hosts.destination, 0) {
                Ok(status) if status.phase == Phase::Completed => {
                    let source = status_of(&mut hosts.source, usize::MAX)?;
                    let mut moments = source_moments(&source, &hosts.source);
                    add_destination(&mut moments, &status, &hosts.destination);
                    return Ok(Settled::Running(Box::new(moments)));
                }
                Ok(status) if status.phase == Phase::Failed => {
                    let words = status.error.unwrap_or_default();
                    break format!("the destination never ran the guest: {words}");
                }
                Ok(_) if monotonic_ns() < deadline_ns => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                Ok(_) => {
                    break "the destination did not say whether it runs the guest and was killed"
                        .to_owned();
                }
                Err(error) => break format!("{error}"),
            }
        };
        hosts.destination.kill();
        Ok(Settled::Lost(format!("no side can run the guest: {reason}")))
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        let mut samples =
            Samples { gap_resolution_ns: Some(GAP_RESOLUTION_NS), ..Samples::default() };
        let mut gaps_lost = 0;
        for side in [Side::Source, Side::Destination] {
            let host = self.host(side)?;
            let theirs = match host.ask(&Request::Samples) {
                Ok(Reply::Samples(samples)) => samples,
                Ok(other) => return Err(host.unexpected(&other)),
                // A destination that is gone is the migration's failure, not the sampling's.
                Err(_) if side == Side::Destination => continue,
                Err(error) => return Err(error),
            };
            gaps_lost += theirs.gaps_lost;
            add_samples(&mut samples, side, theirs, host);
        }
        self.gaps_lost = gaps_lost;
        if !self.is_switchover_told
            && let Ok(gaps) = self.switchover_gaps()
            && !gaps.is_empty()
        {
            self.is_switchover_told = true;
            samples.gaps.extend(gaps);
        }
        Ok(samples)
    }

    fn verify(&mut self, side: Side) -> Result<IntegrityDetail, EngineError> {
        let host = self.host(side)?;
        match host.order(&Request::Verify, None, &mut |_| {})? {
            Reply::Verified(found) => Ok(integrity_detail(side, &found)),
            other => Err(host.unexpected(&other)),
        }
    }

    fn warnings(&mut self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, text: String, advice: Option<&str>| {
            warnings.push(Warning {
                code: code.to_owned(),
                text,
                advice: advice.map(str::to_owned),
            });
        };
        if let Some(prepared) = &self.prepared {
            if prepared.tracker == "cooperative" {
                warn(
                    "tracking-cost",
                    format!(
                        "Dirty pages were found by a bitmap that the workload keeps ({}), so the guest paid nothing for tracking",
                        prepared.tracker_reason
                    ),
                    Some(
                        "Use a kernel with asynchronous write protection; `sterna doctor` tells what is missing",
                    ),
                );
            }
            if prepared.tracking_page_bytes > sterna_report::PAGE_BYTES {
                warn(
                    "tracking-page",
                    format!(
                        "One write dirties {} bytes, since pages are tracked as a whole",
                        prepared.tracking_page_bytes
                    ),
                    Some("Use guest.huge-pages = \"none\" or \"thp\" to track pages of 4 KiB"),
                );
            }
        }
        if self.gaps_lost > 0 {
            warn(
                "gaps-lost",
                format!("{} standstills of workers were not recorded", self.gaps_lost),
                Some("The machine is overloaded; the blackout may be longer than stated"),
            );
        }
        warnings
    }

    fn shutdown(&mut self) {
        if let Some(Hosts { source, destination }) = self.hosts.take() {
            source.end();
            destination.end();
        }
        self.runtime = None;
    }
}

/// What the emulator cannot do, field by field.
fn unsupported(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let later = "this technique is not available on the emulator in this version; remove it";
    let table = [
        (migration.postcopy.is_some(), "migration.postcopy", later),
        (migration.auto_converge.is_some(), "migration.auto-converge", later),
        (migration.dirty_limit.is_some(), "migration.dirty-limit", later),
        (migration.multifd.is_some(), "migration.multifd", later),
        (migration.xbzrle.is_some(), "migration.xbzrle", later),
        (migration.hold.is_some(), "migration.hold", later),
        (migration.zero_copy, "migration.zero-copy", later),
        (migration.tls_mode() != TlsMode::Off, "migration.tls.mode", later),
        (
            migration.zero_page == ZeroPage::Multifd,
            "migration.zero-page",
            "zero pages are found by the main thread here; use \"main\" or \"off\"",
        ),
        (
            scenario.limits.then == LimitAction::Postcopy,
            "limits.then",
            "there is no post-copy on the emulator in this version; use \"cancel\" or \"pause\"",
        ),
        (
            scenario.workload.workers != scenario.guest.vcpus,
            "workload.workers",
            "each worker stands for a vCPU here; give guest.vcpus the same number",
        ),
    ];
    table
        .into_iter()
        .filter(|(is_asked_for, ..)| *is_asked_for)
        .map(|(_, field, reason)| Unsupported {
            field: field.to_owned(),
            reason: reason.to_owned(),
        })
        .collect()
}

fn prepare(scenario: &Scenario, options: &EmulatorOptions, side: control::Side) -> Request {
    let Scenario { guest, migration, link, timing, .. } = scenario;
    let placement = match side {
        control::Side::Source => &guest.source,
        control::Side::Destination => &guest.destination,
    };
    let Placement { cpus, numa_nodes } = placement;
    let ids = |set: &Option<sterna_scenario::IdSet>| {
        set.as_ref().map(|it| it.iter().map(|id| id as usize).collect()).unwrap_or_default()
    };
    Request::Prepare(Box::new(HostConfig {
        side,
        memory_bytes: guest.memory.0,
        ballast_bytes: scenario.ballast_bytes().0,
        workload: scenario.workload_spec().to_string(),
        huge_pages: guest.huge_pages.to_string(),
        prealloc: guest.prealloc,
        locked: guest.locked,
        cpus: ids(cpus),
        numa_nodes: ids(numa_nodes),
        tracker: options.tracker.clone(),
        sample_interval_ns: timing.sample_interval.0.as_nanos() as u64,
        max_bandwidth_bytes_per_second: migration.max_bandwidth.map(|it| it.bytes_per_second()),
        limit_in_switchover: migration.limit_in_switchover,
        downtime_limit_ns: migration.first_downtime_limit().0.as_nanos() as u64,
        zero_page: migration.zero_page == ZeroPage::Main,
        device_state_bytes: DEVICE_STATE_BYTES,
        link_latency_ns: link.as_ref().map_or(0, |it| it.latency.0.as_nanos() as u64),
        link_bytes_per_second: link
            .as_ref()
            .and_then(|it| it.bandwidth)
            .map(|it| it.bytes_per_second()),
        breakage: options.breakage.clone(),
    }))
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

fn status_of(host: &mut HostProcess, passes_seen: usize) -> Result<HostStatus, EngineError> {
    match host.ask(&Request::Status { passes_seen })? {
        Reply::Status(status) => Ok(*status),
        other => Err(host.unexpected(&other)),
    }
}

fn source_moments(status: &HostStatus, source: &HostProcess) -> Moments {
    let stamps = &status.stamps;
    let map = |ns: Option<u64>| ns.map(|it| source.to_ours(it));
    let claimed = stamps.stopped_ns.zip(stamps.ended_ns).filter(|_| stamps.go_ns.is_some());
    Moments {
        setup_done_ns: map(stamps.setup_done_ns),
        stopped_ns: map(stamps.stopped_ns),
        final_sync_done_ns: map(stamps.final_sync_done_ns),
        ready_ns: map(stamps.ready_ns),
        resumed_ns: None,
        ended_ns: map(stamps.ended_ns),
        restored_ns: map(stamps.restored_ns),
        // As a source sees it: from the stop to hearing RUNNING.
        claimed_downtime_ns: claimed.map(|(stopped, ended)| ended.saturating_sub(stopped)),
    }
}

fn add_destination(moments: &mut Moments, theirs: &HostStatus, destination: &HostProcess) {
    moments.resumed_ns = theirs.stamps.resumed_ns.map(|it| destination.to_ours(it));
    moments.ended_ns = moments.ended_ns.max(moments.resumed_ns);
}

fn to_status(status: &HostStatus, moments: Moments, source: &HostProcess) -> Status {
    let rate = status.bandwidth_bytes_per_second;
    let expected = rate.filter(|it| *it > 0).map(|it| status.remaining_bytes as f64 / it as f64);
    Status {
        at_ns: source.to_ours(status.at_ns),
        state: state(status.phase),
        reason: status.error.clone(),
        pass: Some(u64::from(status.pass)).filter(|it| *it > 0),
        remaining_bytes: Some(status.remaining_bytes),
        transferred_bytes: Some(status.transferred_bytes),
        bandwidth_bytes_per_second: rate.map(|it| it as f64),
        dirty_rate_bytes_per_second: status.dirty_rate_bytes_per_second.map(|it| it as f64),
        threshold_bytes: status.threshold_bytes,
        expected_downtime_seconds: expected,
        throttle_percent: None,
        pages_sent: Some(status.pages_sent),
        zero_pages: Some(status.zero_pages),
        pages_resent: Some(status.pages_resent),
        new_passes: status.passes.iter().map(|it| pass_row(it, source)).collect(),
        moments,
    }
}

fn pass_row(pass: &PassRecord, source: &HostProcess) -> PassRow {
    PassRow {
        number: u64::from(pass.number),
        is_final: pass.is_final,
        started_ns: source.to_ours(pass.started_ns),
        ended_ns: Some(source.to_ours(pass.ended_ns)),
        sync_ns: Some(pass.sync_ns),
        dirty_pages: Some(pass.dirty_pages),
        pages_sent: Some(pass.pages_sent),
        zero_pages: Some(pass.zero_pages),
        pages_resent: Some(pass.pages_resent),
        wire_bytes: Some(pass.wire_bytes),
        remaining_bytes: Some(pass.remaining_bytes),
        guest_writes: Some(pass.writes_at_end.saturating_sub(pass.writes_at_start)),
    }
}

fn state(phase: Phase) -> State {
    match phase {
        Phase::Idle | Phase::Setup => State::Setup,
        Phase::Active => State::Active,
        Phase::Switchover => State::Switchover,
        Phase::Committed => State::Committed,
        Phase::Completed => State::Completed,
        Phase::Cancelled => State::Cancelled,
        Phase::Failed => State::Failed,
        Phase::Undecided => State::Undecided,
    }
}

fn add_samples(to: &mut Samples, side: Side, theirs: HostSamples, host: &HostProcess) {
    for sample in theirs.samples {
        let at_ns = host.to_ours(sample.at_ns);
        to.cpu.push(CpuPoint {
            side,
            at_ns,
            classes: sample.cpu_ns.into_iter().collect(),
            resident_bytes: sample.resident_bytes,
        });
        to.guest.push(GuestPoint {
            side,
            at_ns,
            counts: sample.counts,
            latency: sample.latency.map(latency),
        });
    }
    to.gaps.extend(theirs.gaps.iter().map(|gap| GapSpan {
        side,
        worker: gap.worker,
        start_ns: host.to_ours(gap.start_ns),
        end_ns: host.to_ours(gap.end_ns),
    }));
    let pair = LatencyPair {
        before: theirs.latency_before.map(latency),
        since: theirs.latency_since.map(latency),
    };
    to.latency.push((side, pair));
    to.resident_peak_bytes.extend(theirs.resident_peak_bytes.map(|bytes| (side, bytes)));
}

fn latency(summary: LatencySummary) -> Latency {
    let LatencySummary { count, p50_ns, p99_ns, p999_ns, max_ns } = summary;
    Latency { samples: count, p50_ns, p99_ns, p999_ns, max_ns }
}

fn integrity_detail(side: Side, found: &Verified) -> IntegrityDetail {
    IntegrityDetail {
        side,
        pages_checked: found.pages_checked,
        corrupt_pages: found.corrupt_pages,
        first: found
            .first
            .iter()
            .map(|it| CorruptPage {
                page: it.page,
                offset_bytes: it.offset_bytes,
                expected: Word(it.expected),
                found: Word(it.found),
            })
            .collect(),
    }
}
