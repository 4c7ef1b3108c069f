//! An engine that follows a script in simulated time.
//!
//! The guest has two workers that write a page each millisecond while they run, so every count says how long that was.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sterna_pilot::{
    Action, Clock, ClockOffset, EngineError, GapSpan, GuestPoint, Hypervisor, Interrupt,
    LatencyPair, Moments, PassRow, Progress, Samples, Settled, SimulatedClock, State, Status,
    Unsupported, WriteTimes,
};
use sterna_report::{Engine, IntegrityDetail, Latency, Side, Warning};
use sterna_scenario::Scenario;

pub const MS: u64 = 1_000_000;

const BOOT_NS: u64 = 500 * MS;
const SETUP_NS: u64 = 20 * MS;
const FINAL_NS: u64 = 50 * MS;
const RESUME_NS: u64 = 10 * MS;
const VERIFY_NS: u64 = 400 * MS;
const SAMPLE_NS: u64 = 100 * MS;

/// What the engine does; times in milliseconds since the migrate command.
#[derive(Clone, Debug)]
pub struct Script {
    pub unsupported: bool,
    /// Length of a pass.
    pub pass: u64,
    /// When the guest is stopped by the engine's own decision.
    pub stop: Option<u64>,
    /// When the engine gives up.
    pub failure: Option<u64>,
    pub commit: Commit,
    pub cancel: Cancel,
    pub source_dies: Option<u64>,
    /// What it dies of is the guest, which the engine knows.
    pub source_dies_of_guest: bool,
    pub destination_dies: Option<u64>,
    /// The call that fails, and how often it works before.
    pub fault: Option<(Call, u32)>,
    /// How long each status takes.
    pub status_takes: u64,
    pub corrupt_pages: u64,
    /// A side that does not answer from then on, until then; it is alive, and the migration goes on.
    pub silent: Option<(Side, u64, u64)>,
    /// The link is lost once the guest runs on the destination; so many calls for another are refused, `None` for all.
    pub lost_link: Option<Option<u32>>,
}

/// What comes after GO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// RUNNING.
    Answered,
    /// The connection breaks, and the destination runs the guest.
    BrokenButRuns,
    /// The connection breaks, and the destination never ran the guest.
    BrokenAndLost,
    /// Nothing, though the destination runs the guest.
    Silent,
    /// Post-copy that lasts so many milliseconds, or until its limit is lifted.
    Postcopy(u64),
}

/// What a cancel before GO does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Ends the migration after so many milliseconds.
    After(u64),
    /// Is accepted, and nothing happens.
    Ignored,
}

impl Default for Script {
    /// Two passes, then a switchover of 60 ms.
    fn default() -> Script {
        Script {
            unsupported: false,
            pass: 400,
            stop: Some(1000),
            failure: None,
            commit: Commit::Answered,
            cancel: Cancel::After(30),
            source_dies: None,
            source_dies_of_guest: false,
            destination_dies: None,
            fault: None,
            status_takes: 0,
            corrupt_pages: 0,
            silent: None,
            lost_link: None,
        }
    }
}

/// How long the first question to a silent side takes, and after how many seconds it counts as gone.
const SOON_NS: u64 = 300 * MS;
const GONE_SECONDS: f64 = 10.0;

/// A method of the trait that was called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Boot,
    Migrate,
    Status,
    Act(Action),
    Settle,
    Samples,
    Verify(Side),
    Warnings,
    Shutdown,
}

/// Simulated time that counts its steps and presses Ctrl-C.
#[derive(Default)]
pub struct TestClock {
    time: SimulatedClock,
    steps: Cell<u32>,
    pub interrupt: Interrupt,
    /// When to press.
    pub presses: RefCell<Vec<u64>>,
}

impl TestClock {
    pub fn pass(&self, ns: u64) {
        self.sleep_until_ns(self.now_ns() + ns);
    }
}

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        self.time.now_ns()
    }

    fn sleep_until_ns(&self, deadline_ns: u64) {
        self.steps.set(self.steps.get() + 1);
        assert!(self.steps.get() < 20_000, "the flight does not end");
        self.time.sleep_until_ns(deadline_ns);
        let now_ns = self.now_ns();
        self.presses.borrow_mut().retain(|press| {
            let is_due = *press <= now_ns;
            if is_due {
                self.interrupt.request();
            }
            !is_due
        });
    }
}

pub struct Scripted {
    script: Script,
    clock: Rc<TestClock>,
    pub calls: Vec<(u64, Call)>,
    booted_ns: Option<u64>,
    accepted_ns: Option<u64>,
    cancelled_ns: Option<u64>,
    paused_ns: Option<u64>,
    is_destination_killed: bool,
    passes_told: u64,
    is_final_told: bool,
    samples_from_ns: u64,
}

impl Scripted {
    pub fn new(script: Script, clock: Rc<TestClock>) -> Scripted {
        Scripted {
            script,
            clock,
            calls: Vec::new(),
            booted_ns: None,
            accepted_ns: None,
            cancelled_ns: None,
            paused_ns: None,
            is_destination_killed: false,
            passes_told: 0,
            is_final_told: false,
            samples_from_ns: 0,
        }
    }

    /// Where the guest really is now.
    pub fn guest(&self) -> Option<Side> {
        let moments = self.moments(self.now());
        let side = match self.has_committed(self.now()) {
            true if moments.resumed_ns.is_none() => return None,
            true => Side::Destination,
            false => Side::Source,
        };
        (self.booted_ns.is_some() && self.is_alive(side)).then_some(side)
    }

    fn now(&self) -> u64 {
        self.clock.now_ns()
    }

    fn called(&mut self, call: Call) -> Result<(), EngineError> {
        self.calls.push((self.now(), call));
        let Some((failing, works)) = self.script.fault else { return Ok(()) };
        let same = |it: Call| std::mem::discriminant(&it) == std::mem::discriminant(&failing);
        let count = self.calls.iter().filter(|it| same(it.1)).count() as u32;
        let is_due = same(call) && count == works + 1;
        if is_due { Err(EngineError::Failed("Scripted failure".to_owned())) } else { Ok(()) }
    }

    fn after_migrate(&self, ms: Option<u64>) -> Option<u64> {
        Some(self.accepted_ns? + ms? * MS)
    }

    fn is_alive(&self, side: Side) -> bool {
        let dies = match side {
            Side::Source => self.script.source_dies,
            Side::Destination if self.is_destination_killed => return false,
            Side::Destination => self.script.destination_dies,
        };
        self.after_migrate(dies).is_none_or(|it| self.now() < it)
    }

    /// For how many seconds a side has been silent; 0 when it was asked for the first time just now.
    fn silence(&self, side: Side) -> Option<f64> {
        let (silent, from, until) = self.script.silent?;
        let (from, until) = self.after_migrate(Some(from)).zip(self.after_migrate(Some(until)))?;
        let is_silent = silent == side && (from..until).contains(&self.now());
        is_silent.then(|| (self.now() - from) as f64 / 1e9)
    }

    fn ask(&self, side: Side) -> Result<(), EngineError> {
        if let Some(seconds) = self.silence(side) {
            if seconds < SOON_NS as f64 / 1e9 {
                self.clock.pass(SOON_NS);
            }
            if seconds < GONE_SECONDS {
                return Err(EngineError::Silent { side, seconds });
            }
        } else if self.is_alive(side) {
            return Ok(());
        }
        let side = if side == Side::Source { "source" } else { "destination" };
        Err(EngineError::SideGone { side, reason: "The process was killed".to_owned() })
    }

    /// When the guest stops on the source, if nothing comes before it.
    fn stop_ns(&self) -> Option<u64> {
        [self.after_migrate(self.script.stop), self.paused_ns].into_iter().flatten().min()
    }

    /// When the migration breaks off before GO.
    fn break_off_ns(&self) -> Option<u64> {
        let cancelled = self.cancelled_ns.and_then(|it| match self.script.cancel {
            Cancel::After(ms) => Some(it + ms * MS),
            Cancel::Ignored => None,
        });
        let source = self.after_migrate(self.script.source_dies);
        let destination = self.after_migrate(self.script.destination_dies);
        let failure = self.after_migrate(self.script.failure);
        let first = [cancelled, source, destination, failure].into_iter().flatten().min()?;
        let go = self.stop_ns().map(|it| it + FINAL_NS);
        go.is_none_or(|go| first < go).then_some(first)
    }

    fn go_ns(&self) -> Option<u64> {
        match self.break_off_ns() {
            Some(_) => None,
            None => Some(self.stop_ns()? + FINAL_NS),
        }
    }

    fn is_link_lost(&self) -> bool {
        let asked = self.calls.iter().filter(|it| it.1 == Call::Act(Action::Recover)).count();
        match self.script.lost_link {
            None => false,
            Some(refused) => refused.is_none_or(|it| asked <= it as usize),
        }
    }

    fn has_committed(&self, at_ns: u64) -> bool {
        self.go_ns().is_some_and(|it| it <= at_ns)
    }

    fn state(&self, at_ns: u64) -> State {
        let since = |it: Option<u64>| it.is_some_and(|it| it <= at_ns);
        if since(self.break_off_ns()) {
            return if self.cancelled_ns.is_some() { State::Cancelled } else { State::Failed };
        }
        if since(self.go_ns().map(|it| it + RESUME_NS)) {
            return match self.script.commit {
                _ if self.is_link_lost() => State::PostcopyPaused,
                Commit::Answered => State::Completed,
                Commit::BrokenButRuns | Commit::BrokenAndLost => State::Undecided,
                Commit::Silent => State::Committed,
                Commit::Postcopy(length) => {
                    let is_lifted =
                        self.calls.iter().any(|it| it.1 == Call::Act(Action::LiftPostcopyLimit));
                    let end = self.go_ns().map(|it| it + RESUME_NS + length * MS);
                    if is_lifted || since(end) { State::Completed } else { State::Postcopy }
                }
            };
        }
        match () {
            () if self.has_committed(at_ns) => State::Committed,
            () if since(self.stop_ns()) => State::Switchover,
            () if since(self.accepted_ns.map(|it| it + SETUP_NS)) => State::Active,
            () => State::Setup,
        }
    }

    fn moments(&self, at_ns: u64) -> Moments {
        let seen = |it: Option<u64>| it.filter(|it| *it <= at_ns);
        let broken = seen(self.break_off_ns());
        let stopped = seen(self.stop_ns()).filter(|it| broken.is_none_or(|broken| *it < broken));
        let resumed = seen(self.go_ns().map(|it| it + RESUME_NS)).filter(|resumed| {
            let dies = self.after_migrate(self.script.destination_dies);
            self.script.commit != Commit::BrokenAndLost && dies.is_none_or(|dies| dies > *resumed)
        });
        Moments {
            setup_done_ns: seen(self.accepted_ns.map(|it| it + SETUP_NS)),
            stopped_ns: stopped,
            final_sync_done_ns: stopped.map(|it| it + MS).filter(|it| *it <= at_ns),
            ready_ns: seen(self.go_ns()),
            resumed_ns: resumed,
            ended_ns: broken.or(resumed),
            restored_ns: broken.filter(|_| stopped.is_some()),
            claimed_downtime_ns: resumed.map(|_| FINAL_NS + RESUME_NS),
        }
    }

    /// How long the workers had run, as that side counts it.
    fn ran_ns(&self, side: Side, at_ns: u64) -> u64 {
        let moments = self.moments(at_ns);
        let begin = self.booted_ns.unwrap_or(at_ns);
        let until_stop = moments.stopped_ns.unwrap_or(at_ns).min(at_ns) - begin.min(at_ns);
        let on_since = match side {
            Side::Source => moments.restored_ns,
            Side::Destination => moments.resumed_ns,
        };
        until_stop + on_since.map_or(0, |it| at_ns - it)
    }

    fn rows(&mut self, now_ns: u64) -> Vec<PassRow> {
        let Some(begin) = self.moments(now_ns).setup_done_ns else { return Vec::new() };
        let moments = self.moments(now_ns);
        let live_end = [moments.stopped_ns, moments.ended_ns].into_iter().flatten().min();
        let live_end = live_end.unwrap_or(now_ns);
        let length = self.script.pass * MS;
        let mut rows = Vec::new();
        while begin + (self.passes_told + 1) * length <= live_end {
            rows.push(row(self.passes_told + 1, begin + self.passes_told * length, length));
            self.passes_told += 1;
        }
        if let (Some(stopped), Some(_)) = (moments.stopped_ns, moments.ready_ns)
            && !self.is_final_told
        {
            self.is_final_told = true;
            // The last byte is sent a little before READY is heard.
            let last = row(self.passes_told + 1, stopped, FINAL_NS - MS);
            rows.push(PassRow { is_final: true, ..last });
        }
        rows
    }
}

fn row(number: u64, started_ns: u64, length_ns: u64) -> PassRow {
    PassRow {
        number,
        started_ns,
        ended_ns: Some(started_ns + length_ns),
        sync_ns: Some(MS),
        dirty_pages: Some(100),
        pages_sent: Some(100),
        zero_pages: Some(0),
        pages_resent: Some(if number > 1 { 100 } else { 0 }),
        wire_bytes: Some(400_000),
        remaining_bytes: Some(4096),
        guest_writes: Some(2 * length_ns / MS),
        ..PassRow::default()
    }
}

impl Hypervisor for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn unsupported(&self, _: &Scenario) -> Vec<Unsupported> {
        let reason = "not today".to_owned();
        let field = "migration.multifd".to_owned();
        if self.script.unsupported { vec![Unsupported { field, reason }] } else { Vec::new() }
    }

    fn boot(
        &mut self,
        _: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.called(Call::Boot)?;
        for done in 0..10 {
            self.clock.pass(BOOT_NS / 10);
            progress(Progress { what: "memory".to_owned(), done, total: 10 });
            if interrupt.requested() {
                return Err(EngineError::Interrupted);
            }
        }
        self.booted_ns = Some(self.now());
        self.samples_from_ns = self.now();
        Ok(())
    }

    fn facts(&self) -> Engine {
        Engine { name: self.name().to_owned(), ..Engine::default() }
    }

    fn clocks(&self) -> Vec<ClockOffset> {
        let offset = |side| ClockOffset { side, offset_ns: 0, uncertainty_ns: 20_000 };
        vec![offset(Side::Source), offset(Side::Destination)]
    }

    fn migrate(&mut self) -> Result<u64, EngineError> {
        self.called(Call::Migrate)?;
        self.accepted_ns = Some(self.now());
        Ok(self.now())
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        self.called(Call::Status)?;
        self.clock.pass(self.script.status_takes * MS);
        self.ask(Side::Source)?;
        let now = self.now();
        let state = self.state(now);
        let sent = (now - self.accepted_ns.unwrap_or(now)) / MS;
        let reason = matches!(state, State::Failed | State::Undecided | State::Cancelled)
            .then(|| "In the engine's own words".to_owned());
        Ok(Status {
            at_ns: now,
            state,
            reason,
            pass: Some(self.passes_told + 1),
            remaining_bytes: Some(4096),
            transferred_bytes: Some(sent * 1000),
            threshold_bytes: Some(8192),
            pages_sent: Some(sent),
            zero_pages: Some(0),
            pages_resent: Some(sent / 2),
            new_passes: self.rows(now),
            moments: self.moments(now),
            ..Status::default()
        })
    }

    fn silent_sides(&self) -> Vec<(Side, f64)> {
        let sides = [Side::Source, Side::Destination].into_iter();
        sides.filter_map(|side| Some((side, self.silence(side)?))).collect()
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        self.called(Call::Act(action))?;
        self.ask(Side::Source)?;
        let now = self.now();
        match action {
            Action::Cancel if self.has_committed(now) => {
                return Err(EngineError::Failed("It is past its commit point".to_owned()));
            }
            Action::Cancel if !self.state(now).is_terminal() => {
                self.cancelled_ns = self.cancelled_ns.or(Some(now));
            }
            Action::Pause => self.paused_ns = Some(now),
            Action::StartPostcopy => {
                return Err(EngineError::Failed("This engine has no post-copy".to_owned()));
            }
            Action::Recover if self.is_link_lost() => {
                return Err(EngineError::Failed("The other side has not noticed yet".to_owned()));
            }
            Action::Cancel
            | Action::SetDowntimeLimit(_)
            | Action::LiftPostcopyLimit
            | Action::Recover => {}
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Settled, EngineError> {
        self.called(Call::Settle)?;
        let moments = self.moments(self.now());
        if self.is_alive(Side::Destination) && !self.is_link_lost() && moments.resumed_ns.is_some()
        {
            return Ok(Settled::Running(Box::new(moments)));
        }
        self.is_destination_killed = true;
        if self.script.source_dies_of_guest {
            return Ok(Settled::GuestDied("kernel panic: out of memory".to_owned()));
        }
        Ok(Settled::Lost("no side can run the guest".to_owned()))
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        self.called(Call::Samples)?;
        self.ask(Side::Source)?;
        let mut samples = Samples { gap_resolution_ns: Some(2 * MS), ..Samples::default() };
        let now = self.now();
        while self.samples_from_ns <= now {
            let at_ns = self.samples_from_ns;
            for side in [Side::Source, Side::Destination] {
                let counts = vec![self.ran_ns(side, at_ns) / MS; 2];
                samples.guest.push(GuestPoint {
                    side,
                    at_ns,
                    counts,
                    checking_ns: 0,
                    latency: None,
                    latency_half_octaves: Vec::new(),
                });
            }
            self.samples_from_ns += SAMPLE_NS;
        }
        let moments = self.moments(now);
        if let Some((start_ns, end_ns)) = moments.stopped_ns.zip(moments.resumed_ns) {
            let gap = |worker| GapSpan { side: Side::Destination, worker, start_ns, end_ns };
            samples.gaps.extend([gap(0), gap(1)]);
        }
        let timed = self.ran_ns(Side::Source, now) / MS;
        let latency = Latency { samples: timed, p50_ns: 1, p99_ns: 2, p999_ns: 3, max_ns: 4 };
        let since = WriteTimes { service: Some(latency), since_due: None };
        let pair = LatencyPair { before: WriteTimes::default(), since };
        samples.latency = vec![(Side::Source, pair)];
        Ok(samples)
    }

    fn verify(
        &mut self,
        side: Side,
        interrupt: &Interrupt,
    ) -> Result<IntegrityDetail, EngineError> {
        self.called(Call::Verify(side))?;
        for _ in 0..10 {
            self.clock.pass(VERIFY_NS / 10);
            if interrupt.requested() {
                return Err(EngineError::Interrupted);
            }
        }
        self.ask(side)?;
        let corrupt_pages = self.script.corrupt_pages;
        Ok(IntegrityDetail {
            side,
            pages_checked: 100,
            corrupt_pages,
            first: Vec::new(),
            memory_pages: Some(100),
            first_writes: None,
            writes_after_go: None,
        })
    }

    fn warnings(&mut self) -> Vec<Warning> {
        let _ = self.called(Call::Warnings);
        Vec::new()
    }

    fn shutdown(&mut self) {
        let _ = self.called(Call::Shutdown);
    }
}
