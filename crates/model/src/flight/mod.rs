//! A migration under way in simulated time.
//!
//! ```text
//!  setup ─ active ─────────────────────── switchover ─ completed
//!            │  send, write, synchronise      │
//!            │                                └─ postcopy ─ completed
//!            └─ cancelled
//! ```
//!
//! Time goes from event to event: the end of a segment of memory, a synchronisation that is due, a window of the bandwidth estimate, a change of the workload. Between two of them everything is known in closed form.

mod active;
mod ending;
mod slowdown;

use std::sync::Arc;

use sterna_converge::{Action, Decision};

use crate::cost::{Cost, cost};
use crate::dirty::PAGE;
use crate::guest::Guest;
use crate::host::Host;
use crate::link::Link;
use crate::memory::Memory;
use crate::outcome::{End, Outcome, Pass};
use crate::rules::Rules;
use crate::settings::Settings;
use slowdown::Slowdown;

/// So far ahead is looked for the next change.
const HORIZON_NS: u64 = 3_600_000_000_000;

/// All that a flight depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What moves.
    pub guest: Guest,
    /// Over which way.
    pub link: Link,
    /// Between which machines.
    pub host: Host,
    /// By whose algorithm.
    pub rules: Rules,
    /// With which settings.
    pub settings: Settings,
}

/// Where a flight is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Accepted, nothing sent yet.
    #[default]
    Setup,
    /// Memory moves while the guest runs.
    Active,
    /// The guest is stopped; the rest moves.
    Switchover,
    /// The guest runs at the destination; its memory follows.
    Postcopy,
    /// The guest and all of its memory are at the destination.
    Completed,
    /// The guest runs on at the source.
    Cancelled,
}

/// What is done while the guest runs and nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Busy {
    /// A synchronisation that began at this moment, with these pages pending before it.
    Sync(u64, f64),
    /// The destination discards what comes after a switch to post-copy.
    Prepare,
}

/// What cannot be done at this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// After the commit point, or after the end.
    #[error("the guest already runs at the destination, or the migration is over")]
    TooLate,
    /// The guest is stopped already.
    #[error("the guest is stopped already, and the rest of its memory is under way")]
    Stopped,
    /// Post-copy has not begun.
    #[error("post-copy has not begun, so its limit on the bandwidth cannot be lifted")]
    NoPostcopy,
    /// No link was lost.
    #[error("the model loses no link, so there is none to recover")]
    NothingLost,
}

/// One migration.
#[derive(Clone, Debug)]
pub struct Flight {
    plan: Arc<Plan>,
    memory: Memory,
    decision: Decision,
    slowdown: Slowdown,
    stage: Stage,
    now_ns: u64,
    /// Running time of the guest since the command, at full speed.
    ran: f64,
    /// Writes of the guest since the command.
    writes: f64,
    writes_at_pass: f64,
    sent_bytes: f64,
    /// For each class of regions, what is in the cache of former contents.
    cached: Vec<f64>,
    /// The rate at which bytes have left since the window began, while that is one rate.
    steady: Option<f64>,
    next_sync_ns: u64,
    /// Which phase of the workload holds.
    phase: Option<usize>,
    pass: Pass,
    outcome: Outcome,
    stopped_ns: Option<u64>,
    resumed_ns: Option<u64>,
    /// The moment of the next stage, once it is known.
    next_stage_ns: u64,
    switches: bool,
    /// What keeps the stream from sending while the guest runs, and until when.
    busy: Option<(Busy, u64)>,
    /// Raw bytes that follow after a switch to post-copy.
    backlog_bytes: u64,
    /// From when on they follow, evenly, and for how long.
    backlog_since_ns: u64,
    backlog_length_ns: u64,
    downtime_limit_ns: u64,
}

impl Flight {
    /// A flight whose command is accepted at time 0.
    pub fn new(plan: Arc<Plan>) -> Flight {
        let Plan { guest, settings, host, rules, .. } = &*plan;
        let setup_ns = host.whole_setup_ns(guest.memory_bytes());
        let memory = Memory::new(&guest.dirty, rules.rearm);
        let mut decision = Decision::new(settings.switchover, settings.downtime_limit_ns, setup_ns);
        decision.fix_bandwidth(settings.switchover_bytes_per_second);
        let mut flight = Flight {
            memory,
            decision,
            slowdown: Slowdown::new(&plan),
            stage: Stage::Setup,
            now_ns: 0,
            ran: 0.0,
            writes: 0.0,
            writes_at_pass: 0.0,
            sent_bytes: 0.0,
            cached: vec![0.0; guest.dirty.regions.len()],
            steady: None,
            next_sync_ns: 0,
            phase: None,
            pass: Pass { number: 1, ..Pass::default() },
            outcome: Outcome { syncs: 1, ..Outcome::default() },
            stopped_ns: None,
            resumed_ns: None,
            next_stage_ns: setup_ns,
            switches: false,
            busy: None,
            backlog_bytes: 0,
            backlog_since_ns: 0,
            backlog_length_ns: 0,
            downtime_limit_ns: settings.downtime_limit_ns,
            plan,
        };
        flight.pass.pending_pages = flight.memory.pending();
        flight.pass.dirty_pages = flight.memory.pending();
        flight.enter_phase();
        flight
    }

    /// Lets time pass up to `to_ns`, or up to the terminal stage.
    pub fn advance(&mut self, to_ns: u64) {
        while self.now_ns < to_ns && !self.is_over() {
            self.step(to_ns);
        }
    }

    /// The next moment at which something changes that a policy may look at: a pass ends, or a stage. `None` after the end.
    pub fn next_change_ns(&mut self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        // The look ahead needs no record of what was; with it, the cost of a flight would grow with the square of its
        // passes.
        let passes = std::mem::take(&mut self.outcome.passes);
        let mut ahead = self.clone();
        self.outcome.passes = passes;
        let before = ahead.version();
        let horizon_ns = self.now_ns.saturating_add(HORIZON_NS);
        while ahead.version() == before && ahead.now_ns < horizon_ns {
            ahead.step(horizon_ns);
        }
        // At this very moment it would never be passed.
        Some(ahead.now_ns.max(self.now_ns + 1))
    }

    /// Changes something about the migration.
    pub fn act(&mut self, action: Action) -> Result<(), Refusal> {
        let is_stopped = self.stage == Stage::Switchover;
        if self.stage == Stage::Postcopy && action == Action::LiftPostcopyLimit {
            self.lift_postcopy_limit();
            return Ok(());
        }
        if self.is_over() || self.stage == Stage::Postcopy {
            return Err(Refusal::TooLate);
        }
        match action {
            Action::Cancel => self.cancel(),
            Action::SetDowntimeLimit(limit_ns) => {
                self.downtime_limit_ns = limit_ns;
                self.decision.set_downtime_limit_ns(limit_ns);
            }
            Action::Pause | Action::StartPostcopy if is_stopped => return Err(Refusal::Stopped),
            Action::Pause => {
                self.outcome.is_forced = true;
                self.leave_setup();
                self.stop();
            }
            // It is on its way.
            Action::StartPostcopy if self.switches => {}
            Action::StartPostcopy => {
                self.leave_setup();
                self.switch();
            }
            Action::LiftPostcopyLimit => return Err(Refusal::NoPostcopy),
            Action::Recover => return Err(Refusal::NothingLost),
        }
        Ok(())
    }

    /// What is simulated.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The present moment, since the command.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The pass under way, from 1.
    pub fn pass(&self) -> u32 {
        self.pass.number
    }

    /// Raw bytes still to be sent.
    pub fn remaining_bytes(&self) -> u64 {
        match self.stage {
            Stage::Completed => 0,
            Stage::Postcopy => self.backlog_left_bytes(),
            _ => self.pending_bytes(),
        }
    }

    /// Bytes on the wire so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes as u64
    }

    /// The bandwidth estimate.
    pub fn bandwidth_bytes_per_second(&self) -> Option<u64> {
        self.decision.bytes_per_second()
    }

    /// Raw bytes under which the guest may be stopped.
    pub fn threshold_bytes(&self) -> Option<u64> {
        self.decision.threshold_bytes()
    }

    /// What the downtime would be now.
    pub fn expected_downtime_ns(&self) -> Option<u64> {
        self.decision.expected_downtime_ns(self.pending_bytes())
    }

    /// How much the guest is held back, in percent; `None` without a technique that does.
    pub fn throttle_percent(&self) -> Option<f64> {
        self.slowdown.percent()
    }

    /// When the first pass began; `None` before.
    pub fn began_ns(&self) -> Option<u64> {
        let first = self.outcome.passes.first().unwrap_or(&self.pass);
        (self.stage != Stage::Setup).then_some(first.started_ns)
    }

    /// When the guest stopped.
    pub fn stopped_ns(&self) -> Option<u64> {
        self.stopped_ns
    }

    /// When the guest ran at the destination.
    pub fn resumed_ns(&self) -> Option<u64> {
        self.resumed_ns.filter(|it| *it <= self.now_ns)
    }

    /// Writes of the guest since the command.
    pub fn guest_writes(&self) -> f64 {
        self.writes
    }

    /// What is known of the outcome so far; all of it after the end.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What is known of the outcome, without a copy.
    pub fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// What a limit ordered is no end that the plan asked for.
    pub(crate) fn force(&mut self) {
        self.outcome.is_forced = true;
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Completed | Stage::Cancelled)
    }

    fn step(&mut self, to_ns: u64) {
        match self.stage {
            Stage::Setup if self.next_stage_ns > to_ns => self.run_guest(to_ns),
            Stage::Setup => {
                self.run_guest(self.next_stage_ns);
                self.leave_setup();
            }
            Stage::Active => self.step_active(to_ns),
            Stage::Switchover | Stage::Postcopy => self.step_ending(to_ns),
            Stage::Completed | Stage::Cancelled => self.now_ns = to_ns,
        }
    }

    fn leave_setup(&mut self) {
        if self.stage == Stage::Setup {
            self.stage = Stage::Active;
            self.pass.started_ns = self.now_ns;
            self.slowdown.start(self.now_ns);
            let settings = &self.plan.settings;
            self.decision = Decision::new(settings.switchover, self.downtime_limit_ns, self.now_ns);
            self.decision.fix_bandwidth(settings.switchover_bytes_per_second);
            // What is written before tracking begins is in the first round anyhow.
            self.memory.forget(self.ran);
        }
    }

    fn version(&self) -> (u32, Stage, usize) {
        (self.pass.number, self.stage, self.outcome.throttle.len())
    }

    fn pending_bytes(&self) -> u64 {
        (self.memory.pending() * PAGE).round() as u64
    }

    /// The guest runs up to `to_ns`, held back as it is.
    fn run_guest(&mut self, to_ns: u64) {
        let length = seconds(to_ns.saturating_sub(self.now_ns));
        let share = self.slowdown.running_share();
        self.now_ns = to_ns;
        self.ran += length * share;
        self.writes += length * share * self.memory.writes_per_second();
        self.outcome.lost_work_seconds += length * (1.0 - share);
    }

    /// What a page of a region takes: as it was at first, or as it was written since.
    fn cost(&self, region: usize, is_first_round: bool) -> Cost {
        let Plan { guest, settings, host, rules, .. } = &*self.plan;
        let it = &guest.dirty.regions[region];
        let content = if is_first_round { &it.content } else { &it.written };
        cost(content, settings, host, rules, self.cached[region])
    }

    fn count_pages(&mut self, cost: Cost, pages: f64, is_again: bool) {
        let wire_bytes = pages * cost.wire_bytes;
        self.sent_bytes += wire_bytes;
        self.outcome.wire_bytes = self.sent_bytes as u64;
        self.pass.wire_bytes += wire_bytes;
        self.pass.zero_pages += pages * cost.zero_share;
        self.pass.pages_sent += pages * (1.0 - cost.zero_share);
        self.pass.pages_resent += if is_again { pages } else { 0.0 };
    }

    fn close_pass(&mut self, ended_ns: u64) {
        self.pass.ended_ns = ended_ns;
        self.pass.remaining_bytes = self.pending_bytes();
        self.pass.threshold_bytes = self.decision.threshold_bytes();
        self.pass.throttle_percent = self.slowdown.percent().unwrap_or(0.0);
        self.pass.guest_writes = self.writes - self.writes_at_pass;
        self.writes_at_pass = self.writes;
        self.outcome.passes.push(self.pass);
    }

    fn finish(&mut self, end: End, stage: Stage) {
        self.stage = stage;
        self.outcome.end = end;
        self.outcome.total_ns = self.now_ns;
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Nanoseconds of a time, rounded up, so that what was to happen by then has happened.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9).ceil() as u64
}
