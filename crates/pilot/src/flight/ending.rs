//! How a flight ends: where the guest is, what the verdict is, and how an early end is put right.
//!
//! # Where is the guest?
//!
//! The source tells, as long as it answers: completed means the destination, cancelled and failed mean the source.
//! When it cannot tell (undecided), has waited too long past the commit point, or does not answer at all, the destination is asked by [`Hypervisor::settle`](crate::Hypervisor::settle).
//! If that cannot say yes, the guest is `lost`: the engine has made sure that it will not run there later, and two running guests would be worse than none.
//!
//! A side that is dead has taken its guest with it, whatever the verdict was until then.
//! The check of memory finds that out, and the verdict becomes `lost` as well; "failed" would claim a guest that runs on unharmed.

use sterna_report::{FailedIn, LostCause, Side, Verdict};

use super::watch::{CANCEL_TIMEOUT_NS, RECOVERY_TIMEOUT_NS};
use super::{Flight, Stop};
use crate::{Action, EngineError, Phase, Settled, State};

/// Time between two polls while the only question is whether the migration has ended.
const ENDING_POLL_NS: u64 = 50_000_000;

impl Flight<'_> {
    /// Turns the terminal state into a verdict, and finds out where the guest is.
    pub(super) fn settle(&mut self) {
        let Some(last) = self.record.polls.last() else { return };
        let words = last.reason.clone();
        match last.state {
            State::Completed => self.completed(),
            State::Cancelled => self.ended_at_source(Verdict::Cancelled, None, words),
            State::Failed => self.ended_at_source(Verdict::Failed, words, None),
            State::PostcopyPaused => self.stranded(words),
            _ => self.ask_destination(words),
        }
    }

    /// Each side has a part of the guest's memory, and there is no way between them.
    fn stranded(&mut self, words: Option<String>) {
        let words = words.map(|it| format!(" ({it})")).unwrap_or_default();
        let why = if self.recovers() {
            let seconds = RECOVERY_TIMEOUT_NS / 1_000_000_000;
            format!("it did not come back within {seconds} s")
        } else {
            "the scenario does not recover it (migration.postcopy.recover)".to_owned()
        };
        self.ask_destination(Some(format!("The link was lost in post-copy{words}, and {why}")));
    }

    fn completed(&mut self) {
        self.home = Some(Side::Destination);
        self.record.verdict = Verdict::Completed;
        if self.record.was_forced() {
            self.record.verdict = Verdict::CompletedForced;
        } else if self.record.forced_ns.is_some() {
            self.record.add_reason("the engine had stopped the guest a moment before");
        }
        if self.cancelled_ns.is_some() {
            self.record.add_reason("the migration completed before the cancel took effect");
        }
    }

    /// The engine's own words come first or last, or not at all.
    fn ended_at_source(&mut self, verdict: Verdict, first: Option<String>, last: Option<String>) {
        self.home = Some(Side::Source);
        self.record.verdict = verdict;
        self.record.reason = first.or(self.record.reason.take()).or(last);
    }

    /// The source cannot tell; `words` say why.
    fn ask_destination(&mut self, words: Option<String>) {
        let words = words.unwrap_or_else(|| "The source does not know how it ended".to_owned());
        let lost = match self.pilot.hypervisor.settle() {
            Ok(Settled::Running(moments)) => {
                self.record.add_moments(*moments);
                let text = format!("{words}; the destination says that it runs the guest");
                self.note(self.now_ns(), "settled", text);
                return self.completed();
            }
            Ok(Settled::Lost(reason)) => reason,
            Ok(Settled::GuestDied(how)) => return self.guest_died(&how, "before the commit point"),
            Err(error) => format!("no side can be shown to run the guest: {error}"),
        };
        self.record.verdict = Verdict::Lost;
        self.record.reason = Some(format!("{words}; {lost}"));
    }

    /// What the source says of its end is that of the guest; nothing has to be added to it.
    fn guest_died(&mut self, how: &str, when: &str) {
        self.home = None;
        self.record.verdict = Verdict::Lost;
        self.record.lost_cause = Some(LostCause::Guest);
        self.record.reason = Some(format!("The guest itself died ({how}), {when}"));
    }

    /// The one error path.
    pub(super) fn end_early(&mut self, stop: Stop) {
        match stop {
            Stop::Unsupported(text) => {
                self.record.verdict = Verdict::Unsupported;
                self.record.reason = Some(text);
            }
            Stop::Interrupted => self.end_interrupted(),
            Stop::Stuck => {
                let seconds = CANCEL_TIMEOUT_NS / 1_000_000_000;
                self.end_stuck(&format!("the migration did not end within {seconds} s"));
            }
            Stop::Abandoned(text) => {
                self.end_of_migration();
                self.note(self.now_ns(), "abandoned", text.clone());
                self.record.verdict = Verdict::Lost;
                self.record.reason = Some(text);
            }
            Stop::Engine(error) => self.end_broken(error),
            Stop::Unheard(text) => self.end_unheard(text),
        }
    }

    /// The source cannot be asked to end the migration, so the destination decides where the guest is, once and for all.
    fn end_unheard(&mut self, text: String) {
        self.note(self.now_ns(), "error", text.clone());
        self.end_of_migration();
        if self.pilot.interrupt.urgent() {
            return self.end_interrupted();
        }
        self.ask_destination_and_check(text);
    }

    /// What the migration came to before the interrupt stays in the reason; that the run was cut short is the verdict. A lost guest stays lost.
    fn end_interrupted(&mut self) {
        let phase = self.interrupted_in.unwrap_or(self.phase);
        let reason = self.record.reason.take();
        let ending = match (self.home, self.record.verdict) {
            (None, _) => String::new(),
            (Some(_), Verdict::Cancelled) if phase == Phase::Migrate => {
                ", which was cancelled".to_owned()
            }
            (Some(_), verdict) => {
                let reason = reason.map(|it| format!(" ({it})")).unwrap_or_default();
                format!("; the migration ended as {verdict}{reason}")
            }
        };
        self.record.verdict = Verdict::Interrupted;
        self.record.reason =
            Some(format!("Interrupted by the user during {}{ending}", phase.words()));
        if self.phase != Phase::Verify {
            self.check_home();
        }
    }

    fn end_stuck(&mut self, text: &str) {
        self.record.verdict = Verdict::Failed;
        self.record.add_reason(text);
        self.note(self.now_ns(), "error", text.to_owned());
    }

    fn end_broken(&mut self, error: EngineError) {
        let text = error.to_string();
        self.note(self.now_ns(), "error", text.clone());
        if self.home.is_some() {
            self.broken_after_migration(&error, &text);
        } else if self.record.accepted_ns.is_some() {
            self.rescue(text);
        } else {
            self.broken_before_migration(&error, text);
        }
    }

    /// The guest, if there is one, never left the source.
    fn broken_before_migration(&mut self, error: &EngineError, text: String) {
        if let EngineError::GuestDied(how) = error {
            return self.guest_died(how, "before the migration");
        }
        self.record.verdict = Verdict::Failed;
        self.record.failed_in = Some(match (self.phase, error) {
            (_, EngineError::Connect(_)) => FailedIn::Connect,
            (Phase::Boot, _) => FailedIn::Boot,
            _ => FailedIn::Prepare,
        });
        self.record.reason = Some(text);
        self.home = self.record.booted_ns.map(|_| Side::Source);
        self.lose_if_gone(error);
        self.check_home();
    }

    /// The migration has its verdict; what failed is the watching and checking after it.
    fn broken_after_migration(&mut self, error: &EngineError, text: &str) {
        self.record.add_reason(&format!("after the migration: {text}"));
        self.lose_if_gone(error);
        if self.phase != Phase::Verify {
            self.check_home();
        }
    }

    /// After an engine error in mid-migration: ends the migration if somebody still answers, and finds out what became of the guest.
    fn rescue(&mut self, text: String) {
        if self.pilot.interrupt.urgent() {
            return self.end_interrupted();
        }
        let ended = self.bring_to_end();
        self.end_of_migration();
        match ended {
            Ok(_) if self.pilot.interrupt.urgent() => return self.end_interrupted(),
            Ok(state)
                if state.is_terminal()
                    || matches!(state, State::Committed | State::PostcopyPaused) =>
            {
                self.settle();
            }
            Ok(_) => return self.end_stuck(&format!("{text}; the migration does not end")),
            Err(_) => return self.ask_destination_and_check(text),
        }
        match self.record.verdict {
            // Our own cancel is no reason.
            Verdict::Cancelled => {
                self.record.verdict = Verdict::Failed;
                self.record.reason = Some(text);
            }
            Verdict::Lost => {}
            _ => self.record.add_reason(&text),
        }
        self.check_home();
    }

    fn ask_destination_and_check(&mut self, text: String) {
        self.ask_destination(Some(text));
        self.check_home();
    }

    /// Cancels, unless it has ended already, and waits for the end, though not for ever; returns the last state seen.
    fn bring_to_end(&mut self) -> Result<State, EngineError> {
        let deadline_ns = self.now_ns() + CANCEL_TIMEOUT_NS;
        let mut is_cancelled = false;
        loop {
            let is_enough = self.now_ns() >= deadline_ns || self.pilot.interrupt.urgent();
            let state = match self.pilot.hypervisor.status() {
                Ok(status) => {
                    self.record.add_status(&status);
                    Some(status.state)
                }
                Err(error @ EngineError::Silent { .. }) if is_enough => return Err(error),
                Err(EngineError::Silent { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some(state) = state.filter(|it| it.is_terminal() || is_enough) {
                return Ok(state);
            }
            if !is_cancelled && state.is_some() {
                is_cancelled = true;
                // Past the commit point it is refused, and the end comes by itself.
                let _ = self.pilot.hypervisor.act(Action::Cancel);
            }
            self.pilot.clock.sleep_until_ns(self.now_ns() + ENDING_POLL_NS);
        }
    }

    /// Verifies the guest on an error path, where a further error changes the verdict only if the guest is gone.
    fn check_home(&mut self) {
        let is_pointless = self.pilot.interrupt.urgent() || self.record.verdict == Verdict::Lost;
        let Some(side) = self.home.filter(|_| !is_pointless) else { return };
        match self.verify(side) {
            Err(Stop::Engine(error)) => {
                let text = error.to_string();
                self.note(self.now_ns(), "error", text.clone());
                self.record.add_reason(&text);
                self.lose_if_gone(&error);
            }
            Err(Stop::Interrupted) if self.record.verdict != Verdict::Interrupted => {
                self.end_interrupted();
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// A side that is dead has taken its guest with it.
    fn lose_if_gone(&mut self, error: &EngineError) {
        let home = match self.home {
            Some(Side::Source) => "source",
            Some(Side::Destination) => "destination",
            None => return,
        };
        match error {
            EngineError::SideGone { side, .. } if *side == home => {
                self.record.verdict = Verdict::Lost;
            }
            EngineError::GuestDied(_) => {
                self.record.verdict = Verdict::Lost;
                self.record.lost_cause = Some(LostCause::Guest);
            }
            _ => {}
        }
    }
}
