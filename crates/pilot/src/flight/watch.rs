//! From the migrate command to a terminal state: poll, decide, act.

use sterna_converge::{Policy, Ruling, Situation};
use sterna_report::Side;

use super::{FETCH_INTERVAL_NS, Flight, Stop, seconds_between};
use crate::{Action, EngineError, Notice, Phase, State, Status};

/// Time between two status polls while a migration runs: 40 Hz, so that 20 Hz are kept on a machine that is late.
const POLL_INTERVAL_NS: u64 = 25_000_000;

/// How long a cancelled migration may take to end; then its engine counts as stuck.
pub(super) const CANCEL_TIMEOUT_NS: u64 = 15_000_000_000;

/// How long an engine may wait for an answer past the commit point; then the destination is asked.
const COMMIT_TIMEOUT_NS: u64 = 30_000_000_000;

/// How long a link that was lost in post-copy may stay away.
pub(super) const RECOVERY_TIMEOUT_NS: u64 = 30_000_000_000;

/// How long a new link may take before yet another is asked for.
const RECOVERY_PATIENCE_NS: u64 = 2_000_000_000;

/// Time between two attempts to make it anew, as long as they are refused.
const RECOVERY_INTERVAL_NS: u64 = 300_000_000;

/// What is to be remembered of a post-copy under way.
#[derive(Default)]
pub(super) struct PostcopyWatch {
    pub(super) began_ns: Option<u64>,
    pub(super) is_limit_lifted: bool,
}
/// Shorter silences are those of a busy machine.
const NOTED_SILENCE_SECONDS: f64 = 1.0;

/// The state of watching one migration.
struct Watch {
    policy: Policy,
    accepted_ns: u64,
    committed_ns: Option<u64>,
    next_poll_ns: u64,
    next_fetch_ns: u64,
    last_state: Option<State>,
    /// Since when the link has been lost, in post-copy.
    lost_ns: Option<u64>,
    next_recovery_ns: u64,
    recoveries: u32,
    postcopy: PostcopyWatch,
    /// The bytes sent by the last poll that found more than the one before, and when that was.
    moved: (Option<u64>, u64),
    /// Sides whose silence was noted.
    silent: Vec<Side>,
}

impl Watch {
    /// For how long nothing has been sent, by a stamp.
    fn stalled_seconds(&self, now_ns: u64) -> f64 {
        seconds_between(self.moved.1.min(now_ns), now_ns)
    }
}

impl Flight<'_> {
    pub(super) fn migrate(&mut self) -> Result<(), Stop> {
        self.enter(Phase::Migrate);
        let accepted_ns = self.pilot.hypervisor.migrate()?;
        self.record.accepted_ns = Some(accepted_ns);
        self.note(accepted_ns, "migrate", "The migrate command was accepted".to_owned());
        let mut watch = Watch {
            policy: Policy::new(self.pilot.scenario),
            accepted_ns,
            committed_ns: None,
            next_poll_ns: self.now_ns(),
            next_fetch_ns: 0,
            last_state: None,
            lost_ns: None,
            next_recovery_ns: 0,
            recoveries: 0,
            postcopy: PostcopyWatch::default(),
            moved: (None, accepted_ns),
            silent: Vec::new(),
        };
        loop {
            let state = self.poll(&mut watch)?;
            let is_stranded = self.is_stranded(&mut watch, state);
            if state.is_terminal() || is_stranded || self.is_silent(&mut watch, state) {
                self.end_of_migration();
                return Ok(());
            }
            self.steer(&mut watch, state)?;
            if self.now_ns() >= watch.next_fetch_ns {
                watch.next_fetch_ns = self.now_ns() + FETCH_INTERVAL_NS;
                self.fetch()?;
            }
            watch.next_poll_ns = self.next_poll_ns(&watch);
            self.pilot.clock.sleep_until_ns(watch.next_poll_ns);
        }
    }

    /// Polls are due at fixed moments, so that the time they take does not make them fewer; missed ones are not made up for.
    ///
    /// Where the engine knows when something changes next, that is the moment, or the policy's own before it.
    fn next_poll_ns(&mut self, watch: &Watch) -> u64 {
        let now_ns = self.now_ns();
        let Some(change_ns) = self.pilot.hypervisor.next_change_ns() else {
            return (watch.next_poll_ns + POLL_INTERVAL_NS).max(now_ns);
        };
        let moment_ns = watch.policy.next_moment_ns(now_ns.saturating_sub(watch.accepted_ns));
        let moment_ns = moment_ns.map(|it| watch.accepted_ns.saturating_add(it));
        moment_ns.map_or(change_ns, |it| it.min(change_ns)).max(now_ns)
    }

    /// The last samples that belong to the migration. If they cannot be had, the cool-down will meet the reason.
    pub(super) fn end_of_migration(&mut self) {
        let _ = self.fetch();
        self.record.is_migration_over = true;
    }

    /// The state as it was heard last: a source that does not answer keeps no limit from being held.
    fn poll(&mut self, watch: &mut Watch) -> Result<State, Stop> {
        let polled = self.pilot.hypervisor.status();
        self.note_silences(watch);
        let status = match polled {
            Ok(status) => status,
            Err(EngineError::Silent { side, seconds: silent_seconds }) => {
                let elapsed_seconds = seconds_between(watch.accepted_ns, self.now_ns());
                (self.pilot.observer)(Notice::Silence { elapsed_seconds, side, silent_seconds });
                return Ok(watch.last_state.unwrap_or_default());
            }
            Err(error) => return Err(error.into()),
        };
        self.record.add_status(&status);
        self.note_progress(watch, &status);
        if watch.moved.0 != status.transferred_bytes {
            watch.moved = (status.transferred_bytes, status.at_ns);
        }
        let state = status.state;
        let elapsed_seconds = seconds_between(watch.accepted_ns, status.at_ns);
        let stalled_seconds = watch.stalled_seconds(status.at_ns);
        let status = Box::new(status);
        (self.pilot.observer)(Notice::Status { elapsed_seconds, status, stalled_seconds });
        Ok(state)
    }

    /// Notes each silence when it begins and when it ends.
    fn note_silences(&mut self, watch: &mut Watch) {
        let silent = self.pilot.hypervisor.silent_sides();
        for (side, seconds) in &silent {
            let longest = self.record.silences.entry(*side).or_default();
            *longest = seconds.max(*longest);
            if *seconds >= NOTED_SILENCE_SECONDS && !watch.silent.contains(side) {
                watch.silent.push(*side);
                let text = format!("The {side} host has not answered for {seconds:.1} s");
                self.note(self.now_ns(), "silence", text);
            }
        }
        for side in watch.silent.extract_if(.., |it| silent.iter().all(|(side, _)| side != it)) {
            self.note(self.now_ns(), "silence", format!("The {side} host is not silent any more"));
        }
    }

    /// What may have kept a migration from its end: who is silent, and whether anything moves.
    fn obstacles(&self, watch: &Watch) -> String {
        let mut text = String::new();
        let stalled_seconds = watch.stalled_seconds(self.now_ns());
        if stalled_seconds >= NOTED_SILENCE_SECONDS {
            text += &format!("; nothing was sent for the last {stalled_seconds:.1} s");
        }
        for (side, seconds) in self.pilot.hypervisor.silent_sides() {
            text += &format!("; the {side} host has not answered for {seconds:.1} s");
        }
        text
    }

    /// Notes what a status tells of the course of the migration.
    fn note_progress(&mut self, watch: &mut Watch, status: &Status) {
        for pass in &status.new_passes {
            let Some(ended_ns) = pass.ended_ns.filter(|_| !pass.is_final) else { continue };
            self.note(ended_ns, "pass", format!("Pass {} ended", pass.number));
        }
        if watch.last_state != Some(status.state) {
            watch.last_state = Some(status.state);
            let text = match &status.reason {
                Some(reason) => format!("State {}: {reason}", status.state.as_str()),
                None => format!("State {}", status.state.as_str()),
            };
            self.note(status.at_ns, "state", text);
        }
    }

    /// Whether the engine has waited too long past the commit point.
    fn is_silent(&mut self, watch: &mut Watch, state: State) -> bool {
        if state != State::Committed {
            return false;
        }
        let now_ns = self.now_ns();
        let since_ns = *watch.committed_ns.get_or_insert(now_ns);
        let is_silent = now_ns - since_ns > COMMIT_TIMEOUT_NS;
        if is_silent {
            let seconds = COMMIT_TIMEOUT_NS / 1_000_000_000;
            let text = format!("No answer for {seconds} s past the commit point");
            self.note(now_ns, "silence", text);
        }
        is_silent
    }

    /// Whether the link was lost in post-copy and will not come back.
    fn is_stranded(&mut self, watch: &mut Watch, state: State) -> bool {
        if state != State::PostcopyPaused {
            if state == State::Postcopy {
                // The link stands again; if it is lost once more, nobody needs to be patient.
                watch.next_recovery_ns = 0;
            }
            watch.lost_ns = None;
            return false;
        }
        let now_ns = self.now_ns();
        if watch.lost_ns.is_none() {
            self.note(now_ns, "link-lost", "The link was lost in post-copy".to_owned());
        }
        let since_ns = *watch.lost_ns.get_or_insert(now_ns);
        !self.recovers() || now_ns - since_ns > RECOVERY_TIMEOUT_NS
    }

    /// Whether the scenario wants a lost link to be made anew.
    pub(super) fn recovers(&self) -> bool {
        self.pilot.scenario.migration.postcopy.as_ref().is_some_and(|it| it.recover)
    }

    /// Asks for a new link until there is one. A refusal is no end: the other side may not have noticed yet.
    fn recover(&mut self, watch: &mut Watch) -> Result<(), Stop> {
        let now_ns = self.now_ns();
        if now_ns < watch.next_recovery_ns {
            return Ok(());
        }
        watch.next_recovery_ns = now_ns + RECOVERY_INTERVAL_NS;
        match self.pilot.hypervisor.act(Action::Recover) {
            Ok(()) => {
                watch.recoveries += 1;
                watch.next_recovery_ns = now_ns + RECOVERY_PATIENCE_NS;
                let text =
                    format!("Recovery {} began (migration.postcopy.recover)", watch.recoveries);
                self.note(now_ns, "recover", text);
                Ok(())
            }
            Err(EngineError::Failed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Interrupts, limits, and what the scenario wants in the middle of a migration.
    fn steer(&mut self, watch: &mut Watch, state: State) -> Result<(), Stop> {
        if self.pilot.interrupt.urgent() {
            return Err(Stop::Interrupted);
        }
        let now_ns = self.now_ns();
        if state == State::PostcopyPaused {
            return self.recover(watch);
        }
        if state == State::Postcopy {
            self.steer_postcopy(&mut watch.postcopy, watch.accepted_ns)?;
        }
        if let Some(since_ns) = self.cancelled_ns {
            // A cancel that came too late is no cancel, and the silence past the commit point has its own limit.
            let is_committed = matches!(state, State::Committed | State::Postcopy);
            let is_stuck = !is_committed && now_ns - since_ns > CANCEL_TIMEOUT_NS;
            return if is_stuck { Err(Stop::Stuck) } else { Ok(()) };
        }
        if self.pilot.interrupt.requested() && self.interrupted_in.is_none() {
            self.interrupted_in = Some(Phase::Migrate);
            let text = "Interrupted by the user".to_owned();
            return self.act(Ruling { action: Action::Cancel, kind: "interrupt", text });
        }
        if matches!(state, State::Committed | State::Postcopy) {
            return Ok(());
        }
        if self.refused_ns.is_some_and(|since_ns| now_ns - since_ns > CANCEL_TIMEOUT_NS) {
            return Err(Stop::Stuck);
        }
        let situation = Situation {
            elapsed_ns: now_ns.saturating_sub(watch.accepted_ns),
            passes: self.record.completed_passes(),
            guest_runs: state != State::Switchover,
        };
        let Some(mut decision) = watch.policy.decide(situation) else { return Ok(()) };
        if decision.kind == "limit" {
            decision.text += &self.obstacles(watch);
        }
        self.act(decision)
    }

    /// Does what was decided. The engine may refuse, above all a cancel past the commit point; then the migration goes on.
    fn act(&mut self, decision: Ruling) -> Result<(), Stop> {
        let Ruling { action, kind, text } = decision;
        let now_ns = self.now_ns();
        match self.pilot.hypervisor.act(action) {
            Ok(()) => {}
            // A limit must end the migration one way or the other.
            Err(EngineError::Failed(refusal))
                if action == Action::StartPostcopy && kind == "limit" =>
            {
                let text = format!("{text}; post-copy was refused: {refusal}");
                return self.act(Ruling { action: Action::Cancel, kind, text });
            }
            Err(EngineError::Failed(refusal)) => {
                if matches!(kind, "limit" | "interrupt") {
                    self.refused_ns.get_or_insert(now_ns);
                }
                self.note(now_ns, kind, format!("{text}, but the migration goes on: {refusal}"));
                return Ok(());
            }
            Err(EngineError::Silent { side, seconds }) => {
                let silence = format!("the {side} host has not answered");
                if matches!(kind, "limit" | "interrupt") {
                    // A limit has named it among its obstacles.
                    return Err(Stop::Unheard(match text.contains(&silence) {
                        true => text,
                        false => format!("{text}; {silence} for {seconds:.1} s"),
                    }));
                }
                let why = format!("but it was not done: {silence} for {seconds:.1} s");
                self.note(now_ns, kind, format!("{text}, {why}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.note(now_ns, kind, text.clone());
        match action {
            Action::Cancel => self.cancelled_ns = Some(now_ns),
            Action::Pause => self.record.forced_ns = Some(now_ns),
            // What the scenario itself asked for is no force; what a limit brought about is.
            Action::StartPostcopy if kind == "limit" => self.record.forced_ns = Some(now_ns),
            Action::SetDowntimeLimit(limit_ns) => {
                self.record.downtime_limit_ns = Some(limit_ns);
                return Ok(());
            }
            Action::StartPostcopy | Action::LiftPostcopyLimit | Action::Recover => return Ok(()),
        }
        self.record.reason = Some(text);
        Ok(())
    }
}
