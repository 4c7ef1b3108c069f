//! The flight itself.
//!
//! ```text
//!  check ─ boot ─ warm up ─ migrate ─ (settle) ─ cool down ─ verify ─ shut down
//!    │       │        │         │                    │          │
//!    └───────┴────────┴─────────┴──── any error or interrupt ───┘
//!                               │
//!        before the commit point: cancel, verify the source; always: what was seen is kept, everything is shut down
//! ```

use sterna_report::{EventSide, Side, Verdict};
use sterna_scenario::Scenario;

use crate::policy::{Policy, Situation};
use crate::record::RecordedEvent;
use crate::{
    Action, Clock, EngineError, Hypervisor, Interrupt, Notice, Phase, Record, Settled, State,
    Status, Unsupported,
};

/// Time between two status polls while a migration runs: 40 Hz.
const POLL_INTERVAL_NS: u64 = 25_000_000;

/// Time between two fetches of samples; they are stamped where they are taken, so this is no resolution.
const FETCH_INTERVAL_NS: u64 = 200_000_000;

/// How long a cancelled migration may take to end; then its engine counts as stuck.
const CANCEL_TIMEOUT_NS: u64 = 15_000_000_000;

/// One flight of one scenario.
pub struct Pilot<'a> {
    /// What to do.
    pub scenario: &'a Scenario,
    /// With what.
    pub hypervisor: &'a mut dyn Hypervisor,
    /// In which time.
    pub clock: &'a dyn Clock,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
    /// Who is told.
    pub observer: &'a mut dyn FnMut(Notice),
}

/// Why a flight ends early.
enum Stop {
    Unsupported(String),
    Interrupted,
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Stop {
        match error {
            EngineError::Interrupted => Stop::Interrupted,
            EngineError::Unsupported(text) => Stop::Unsupported(text),
            error => Stop::Engine(error),
        }
    }
}

impl Pilot<'_> {
    /// Flies, and returns what was seen, however it ended. Nothing of the run is left behind.
    pub fn fly(mut self) -> Record {
        let mut record = Record { began_ns: self.clock.now_ns(), ..Record::default() };
        if let Err(stop) = self.phases(&mut record) {
            self.end_early(&mut record, stop);
        }
        self.enter(Phase::Shutdown);
        self.hypervisor.shutdown();
        record
    }

    fn phases(&mut self, record: &mut Record) -> Result<(), Stop> {
        self.check()?;
        self.boot()?;
        self.warm_up(record)?;
        self.migrate(record)?;
        let home = self.settle(record)?;
        self.cool_down(record)?;
        match home {
            Some(side) => self.verify(record, side),
            None => Ok(()),
        }
    }

    fn check(&mut self) -> Result<(), Stop> {
        let name = self.hypervisor.name();
        let unsupported = self.hypervisor.unsupported(self.scenario);
        if unsupported.is_empty() {
            return Ok(());
        }
        let say = |it: &Unsupported| format!("{}: {}", it.field, it.reason);
        let list = unsupported.iter().map(say).collect::<Vec<_>>().join("; ");
        Err(Stop::Unsupported(format!("The engine {name} cannot do this scenario. {list}")))
    }

    fn boot(&mut self) -> Result<(), Stop> {
        self.enter(Phase::Boot);
        let Pilot { hypervisor, observer, scenario, interrupt, .. } = self;
        hypervisor.boot(scenario, interrupt, &mut |it| observer(Notice::Progress(it)))?;
        Ok(())
    }

    fn warm_up(&mut self, record: &mut Record) -> Result<(), Stop> {
        self.enter(Phase::WarmUp);
        let length = self.scenario.timing.warmup.0;
        self.watch_guest(record, length)
    }

    fn cool_down(&mut self, record: &mut Record) -> Result<(), Stop> {
        self.enter(Phase::CoolDown);
        let length = self.scenario.timing.cooldown.0;
        self.watch_guest(record, length)
    }

    /// Lets time pass and fetches samples.
    fn watch_guest(
        &mut self,
        record: &mut Record,
        length: std::time::Duration,
    ) -> Result<(), Stop> {
        let end_ns = self.clock.now_ns() + length.as_nanos() as u64;
        loop {
            if self.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            record.add_samples(self.hypervisor.samples()?);
            let now_ns = self.clock.now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            self.clock.sleep_until_ns(end_ns.min(now_ns + FETCH_INTERVAL_NS));
        }
    }

    /// From the migrate command to a terminal state.
    fn migrate(&mut self, record: &mut Record) -> Result<(), Stop> {
        self.enter(Phase::Migrate);
        let accepted_ns = self.hypervisor.migrate()?;
        record.accepted_ns = Some(accepted_ns);
        self.note(record, accepted_ns, "migrate", "The migrate command was accepted".to_owned());
        let mut watch = Watch::new(self.scenario, accepted_ns);
        loop {
            let status = self.hypervisor.status()?;
            record.add_status(&status);
            let elapsed_seconds = seconds_between(accepted_ns, status.at_ns);
            let is_over = status.state.is_terminal();
            self.note_state(record, &mut watch, &status);
            (self.observer)(Notice::Status { elapsed_seconds, status: Box::new(status) });
            if is_over {
                record.add_samples(self.hypervisor.samples()?);
                return Ok(());
            }
            self.steer(record, &mut watch)?;
            if self.clock.now_ns() >= watch.next_fetch_ns {
                watch.next_fetch_ns = self.clock.now_ns() + FETCH_INTERVAL_NS;
                record.add_samples(self.hypervisor.samples()?);
            }
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_INTERVAL_NS);
        }
    }

    /// Interrupts, limits, and what the scenario wants in the middle of a migration.
    fn steer(&mut self, record: &mut Record, watch: &mut Watch) -> Result<(), Stop> {
        let now_ns = self.clock.now_ns();
        if let Some(since_ns) = watch.cancelled_ns {
            let is_stuck = now_ns - since_ns > CANCEL_TIMEOUT_NS;
            return match is_stuck || (watch.is_interrupted && self.interrupt.urgent()) {
                true if is_stuck => Err(Stop::Engine(EngineError::Failed(
                    "The migration did not end after it was cancelled".to_owned(),
                ))),
                true => Err(Stop::Interrupted),
                false => Ok(()),
            };
        }
        if self.interrupt.requested() && !watch.is_interrupted {
            watch.is_interrupted = true;
            return self.cancel(record, watch, "interrupt", "Interrupted by the user".to_owned());
        }
        let situation = Situation {
            elapsed_ns: now_ns.saturating_sub(watch.accepted_ns),
            passes: record.completed_passes(),
        };
        let Some(decision) = watch.policy.decide(situation) else { return Ok(()) };
        if decision.action == Action::Cancel {
            return self.cancel(record, watch, decision.kind, decision.text);
        }
        self.note(record, now_ns, decision.kind, decision.text.clone());
        self.hypervisor.act(decision.action)?;
        // What the scenario itself asked for is no force; what a limit brought about is, and a pause always.
        let is_limit = decision.kind == "limit";
        if decision.action == Action::Pause || is_limit {
            record.was_forced = true;
            record.reason = Some(decision.text);
        }
        Ok(())
    }

    /// Cancels; past the commit point the engine refuses, and the migration goes on to its end.
    fn cancel(
        &mut self,
        record: &mut Record,
        watch: &mut Watch,
        kind: &'static str,
        text: String,
    ) -> Result<(), Stop> {
        let now_ns = self.clock.now_ns();
        match self.hypervisor.act(Action::Cancel) {
            Ok(()) => {
                watch.cancelled_ns = Some(now_ns);
                record.reason = Some(text.clone());
                self.note(record, now_ns, kind, text);
                Ok(())
            }
            Err(EngineError::Failed(refusal)) => {
                let text = format!("{text}, but the migration goes on: {refusal}");
                self.note(record, now_ns, kind, text);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Turns the terminal state into a verdict; returns where the guest is now, if anywhere.
    fn settle(&mut self, record: &mut Record) -> Result<Option<Side>, Stop> {
        let Some(last) = record.polls.last().cloned() else { return Ok(None) };
        let words = last.reason.clone();
        match last.state {
            State::Completed => {
                record.verdict = completed(record);
                Ok(Some(Side::Destination))
            }
            State::Undecided => match self.hypervisor.settle()? {
                Settled::Running(moments) => {
                    record.moments = *moments;
                    record.verdict = completed(record);
                    let text = "The connection broke after the commit point; asked over the control connection, the destination runs the guest";
                    self.note(record, self.clock.now_ns(), "settled", text.to_owned());
                    Ok(Some(Side::Destination))
                }
                Settled::Lost(reason) => {
                    record.verdict = Verdict::Lost;
                    let words = words.map(|it| format!("{it}; ")).unwrap_or_default();
                    record.reason = Some(format!("{words}{reason}"));
                    Ok(None)
                }
            },
            State::Cancelled => {
                if self.interrupt.requested() {
                    record.verdict = Verdict::Interrupted;
                    self.verify_unless_urgent(record)?;
                    return Err(Stop::Interrupted);
                }
                record.verdict = Verdict::Cancelled;
                record.reason = record.reason.take().or(words);
                Ok(Some(Side::Source))
            }
            _ => {
                record.verdict = Verdict::Failed;
                record.reason = words.or(record.reason.take());
                Ok(Some(Side::Source))
            }
        }
    }

    fn verify(&mut self, record: &mut Record, side: Side) -> Result<(), Stop> {
        self.enter(Phase::Verify);
        record.verified = Some(self.hypervisor.verify(side)?);
        // The last gaps and samples of the guest, which has now been stopped.
        record.add_samples(self.hypervisor.samples()?);
        Ok(())
    }

    fn verify_unless_urgent(&mut self, record: &mut Record) -> Result<(), Stop> {
        if self.interrupt.urgent() { Ok(()) } else { self.verify(record, Side::Source) }
    }

    /// The one error path. What was decided before stands: an interrupt during the cool-down does not undo a completed migration's facts, but its verdict says that the run was cut short.
    fn end_early(&mut self, record: &mut Record, stop: Stop) {
        match stop {
            Stop::Unsupported(text) => {
                record.verdict = Verdict::Unsupported;
                record.reason = Some(text);
            }
            Stop::Interrupted => {
                record.verdict = Verdict::Interrupted;
                record.reason = Some("Interrupted by the user".to_owned());
            }
            Stop::Engine(error) => {
                let was_settled = !matches!(record.verdict, Verdict::Interrupted);
                let text = error.to_string();
                self.note(record, self.clock.now_ns(), "error", text.clone());
                if was_settled {
                    // The migration had its verdict; what failed is the checking after it, and integrity stays unchecked.
                    let reason =
                        record.reason.take().map(|it| format!("{it}; ")).unwrap_or_default();
                    record.reason = Some(format!("{reason}after the migration: {text}"));
                    // A guest that arrived and then died with its side did not survive the migration.
                    if matches!(error, EngineError::SideGone { .. }) {
                        record.verdict = Verdict::Lost;
                    }
                } else {
                    // In mid-migration the guest lives on the source, and dies with it.
                    let is_source = matches!(error, EngineError::SideGone { side: "source", .. });
                    let took_guest = is_source && record.accepted_ns.is_some();
                    record.verdict = if took_guest { Verdict::Lost } else { Verdict::Failed };
                    record.reason = Some(text);
                    self.rescue(record);
                }
            }
        }
    }

    /// After an engine error in mid-migration: if the source still lives, end the migration and check its memory.
    fn rescue(&mut self, record: &mut Record) {
        if record.accepted_ns.is_none() || self.interrupt.urgent() {
            return;
        }
        let Ok(status) = self.hypervisor.status() else { return };
        record.add_status(&status);
        if !status.state.is_terminal() {
            if self.hypervisor.act(Action::Cancel).is_err() {
                return;
            }
            if let Ok(status) = self.hypervisor.status() {
                record.add_status(&status);
            }
        }
        let is_home = record
            .polls
            .last()
            .is_some_and(|it| matches!(it.state, State::Cancelled | State::Failed));
        if is_home {
            let _ = self.verify(record, Side::Source);
        }
    }

    /// Notes what a status tells of the course of the migration.
    fn note_state(&mut self, record: &mut Record, watch: &mut Watch, status: &Status) {
        for pass in &status.new_passes {
            let Some(ended_ns) = pass.ended_ns.filter(|_| !pass.is_final) else { continue };
            let text = format!("Pass {} ended", pass.number);
            self.note(record, ended_ns, "pass", text);
        }
        if watch.last_state != Some(status.state) {
            watch.last_state = Some(status.state);
            let text = match &status.reason {
                Some(reason) => format!("State {}: {reason}", status.state.as_str()),
                None => format!("State {}", status.state.as_str()),
            };
            self.note(record, status.at_ns, "state", text);
        }
    }

    fn note(&mut self, record: &mut Record, at_ns: u64, kind: &'static str, text: String) {
        let elapsed_seconds = record.accepted_ns.map(|it| seconds_between(it, at_ns));
        (self.observer)(Notice::Event { elapsed_seconds, kind, text: text.clone() });
        let (side, kind) = (EventSide::Pilot, kind.to_owned());
        record.events.push(RecordedEvent { at_ns, side, kind, text });
    }

    fn enter(&mut self, phase: Phase) {
        (self.observer)(Notice::Phase(phase));
    }
}

/// The state of watching one migration.
struct Watch {
    policy: Policy,
    accepted_ns: u64,
    cancelled_ns: Option<u64>,
    is_interrupted: bool,
    next_fetch_ns: u64,
    last_state: Option<State>,
}

impl Watch {
    fn new(scenario: &Scenario, accepted_ns: u64) -> Watch {
        Watch {
            policy: Policy::new(scenario),
            accepted_ns,
            cancelled_ns: None,
            is_interrupted: false,
            next_fetch_ns: 0,
            last_state: None,
        }
    }
}

fn completed(record: &Record) -> Verdict {
    if record.was_forced { Verdict::CompletedForced } else { Verdict::Completed }
}

fn seconds_between(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns as f64 - from_ns as f64) / 1e9
}
