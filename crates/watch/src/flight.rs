//! The watched flight: wait for a beginning, look, wait for the end. Nothing is done to the guest.
//!
//! ```text
//!  place ─ wait ─ look ─ look ─ … ─ end ─ look once more ─ leave
//!            │      │                │
//!            │      └── the source is gone: what it said last, or what the destination says
//!            └── timeout, interrupt, or the machine ends: no report
//! ```

use std::time::Duration;

use sterna_pilot::{Clock, Interrupt, Notice, State};
use sterna_report::{Side, Verdict};

use crate::chronicle::Chronicle;
use crate::{Answer, Destination, Heard, Look, Settings, WatchError, Watched, Way, Wish};

/// Time between two questions for parameters, which those who steer may change.
const SETTINGS_INTERVAL_NS: u64 = 1_000_000_000;

/// How long a destination may take to run the guest after the source has said that it is done.
const ARRIVAL_TIMEOUT_NS: u64 = 30_000_000_000;

/// How long a source may be silent in the middle of a migration. A QEMU can be busy with memory for seconds.
const SILENCE_TIMEOUT_NS: u64 = 120_000_000_000;

/// How long to sleep at most before an interrupt is heeded.
const NAP_NS: u64 = 50_000_000;

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long to wait for a migration to begin.
    pub timeout: Duration,
}

/// Waits for a migration and watches it to its end; the record is there however it ends.
///
/// # Errors
/// There is nothing to watch, or no migration began.
pub fn watch(
    way: &mut dyn Way,
    options: Options,
    clock: &dyn Clock,
    interrupt: &Interrupt,
    observer: &mut dyn FnMut(Notice),
) -> Result<Watched, WatchError> {
    let place = way.place()?;
    let chronicle = Chronicle::new(place, clock.now_ns());
    let mut flight =
        Flight { way, clock, interrupt, observer, chronicle, next_settings_ns: 0, silent: None };
    let result = flight.wait(options.timeout).map(|()| flight.follow());
    let claims = flight.way.claims();
    flight.chronicle.place.facts.extend(claims);
    flight.way.leave();
    result.map(|()| Watched::new(flight.chronicle))
}

struct Flight<'a> {
    way: &'a mut dyn Way,
    clock: &'a dyn Clock,
    interrupt: &'a Interrupt,
    observer: &'a mut dyn FnMut(Notice),
    chronicle: Chronicle,
    next_settings_ns: u64,
    /// Since when the source does not answer, and why.
    silent: Option<(u64, String)>,
}

impl Flight<'_> {
    /// Until a migration begins. What shows the beginning is already taken in then.
    fn wait(&mut self, timeout: Duration) -> Result<(), WatchError> {
        let deadline_ns = self.clock.now_ns() + timeout.as_nanos() as u64;
        loop {
            let settings = self.clock.now_ns() >= self.next_settings_ns;
            let look = self.look(Wish { settings, destination: false });
            let answer = self.hear(&look);
            if self.chronicle.begins(&look, answer.as_ref()) {
                let accepted_ns = self.chronicle.record.accepted_ns.unwrap_or_default();
                self.chronicle.note(accepted_ns, "migrate", "The migration began".to_owned());
                let status = self.chronicle.take(&look, answer.as_ref());
                self.show(status);
                self.next_settings_ns = 0;
                return Ok(());
            }
            if let Heard::Gone(reason) = look.source {
                return Err(WatchError::Ended(reason));
            }
            if self.interrupt.requested() {
                return Err(WatchError::Interrupted);
            }
            if self.clock.now_ns() >= deadline_ns {
                let hint = self.silent.take().map(|it| it.1);
                return Err(WatchError::NeverBegan(timeout, hint));
            }
            self.sleep(self.way.pace().idle);
        }
    }

    /// From the beginning to the end.
    fn follow(&mut self) {
        let mut done_ns = None;
        loop {
            let is_done = self.chronicle.last_word() == "completed";
            let look = self.look(Wish {
                settings: self.clock.now_ns() >= self.next_settings_ns,
                destination: is_done && self.chronicle.place.asks_destination,
            });
            let answer = self.hear(&look);
            let status = self.chronicle.take(&look, answer.as_ref());
            let state = status.as_ref().map(|it| it.state);
            self.show(status);
            if let Heard::Gone(reason) = &look.source {
                return self.source_is_gone(reason);
            }
            match state {
                Some(State::Committed) => {
                    let since_ns = *done_ns.get_or_insert(self.clock.now_ns());
                    if self.arrives(&look.destination, since_ns) {
                        return;
                    }
                }
                Some(state) if state.is_terminal() => return self.over(state),
                _ => {}
            }
            if let Some(text) = self.has_to_stop() {
                return self.chronicle.end(Verdict::Interrupted, Some(text));
            }
            self.sleep(self.way.pace().busy);
        }
    }

    fn look(&mut self, wish: Wish) -> Look {
        let mut look = self.way.look(wish);
        if let Some(settings) = look.settings.take() {
            self.next_settings_ns = self.clock.now_ns() + SETTINGS_INTERVAL_NS;
            self.set(settings);
        }
        look
    }

    fn set(&mut self, settings: Settings) {
        let memory_bytes = settings.memory_bytes.or(self.chronicle.memory_bytes);
        self.chronicle.set(Settings { memory_bytes, ..settings });
    }

    fn hear(&mut self, look: &Look) -> Option<Answer> {
        match &look.source {
            Heard::Answer(answer) => {
                self.silent = None;
                return Some(answer.clone());
            }
            Heard::Silence(reason) => {
                let now_ns = self.clock.now_ns();
                let (since_ns, _) = self.silent.get_or_insert((now_ns, reason.clone()));
                let silent_seconds = now_ns.saturating_sub(*since_ns) as f64 / 1e9;
                let began_ns = self.chronicle.record.accepted_ns;
                let elapsed_seconds = seconds(began_ns.unwrap_or(*since_ns), now_ns);
                (self.observer)(Notice::Silence {
                    elapsed_seconds,
                    side: Side::Source,
                    silent_seconds,
                });
            }
            Heard::Gone(_) => {}
        }
        None
    }

    fn show(&mut self, status: Option<sterna_pilot::Status>) {
        let Some(status) = status else { return };
        let began_ns = self.chronicle.record.accepted_ns.unwrap_or(status.at_ns);
        let elapsed_seconds = seconds(began_ns, status.at_ns);
        let status = Box::new(status);
        (self.observer)(Notice::Status { elapsed_seconds, status, stalled_seconds: 0.0 });
    }

    /// Why the watch ends before the migration does; the guest and its migration go on.
    fn has_to_stop(&self) -> Option<String> {
        if self.interrupt.requested() {
            let text = "Interrupted by the user while the migration went on; it was left alone";
            return Some(text.to_owned());
        }
        let (since_ns, reason) = self.silent.as_ref()?;
        let silent_ns = self.clock.now_ns().saturating_sub(*since_ns);
        (silent_ns > SILENCE_TIMEOUT_NS).then(|| {
            format!(
                "The source has not answered for {} s ({reason}), so the end was not seen",
                silent_ns / 1_000_000_000
            )
        })
    }

    /// The source has said that it is done; whether the destination's answer ends the watch.
    fn arrives(&mut self, destination: &Destination, since_ns: u64) -> bool {
        let is_late = self.clock.now_ns().saturating_sub(since_ns) > ARRIVAL_TIMEOUT_NS;
        match destination {
            Destination::Arrived => {
                // Its event may be a moment behind its answer.
                self.look_again();
                if self.chronicle.record.moments.resumed_ns.is_none() {
                    self.chronicle.arrived_unheard();
                    self.look_again();
                }
                self.chronicle.end(Verdict::Completed, None);
                true
            }
            Destination::Gone(reason) => {
                let text = format!(
                    "The source says that the migration completed, and the destination has ended before it was seen to run the guest: {reason}"
                );
                self.chronicle.end(Verdict::Lost, Some(text));
                true
            }
            _ if is_late => {
                let text = format!(
                    "The source says that the migration completed, and the destination was not seen to run the guest for {} s",
                    ARRIVAL_TIMEOUT_NS / 1_000_000_000
                );
                self.chronicle.end(Verdict::Interrupted, Some(text));
                true
            }
            _ => false,
        }
    }

    fn over(&mut self, state: State) {
        // QEMU's own figures are complete a moment after its word, and a source that goes on says so by an event.
        self.look_again();
        let reason = self.chronicle.record.polls.iter().rev().find_map(|it| it.reason.clone());
        match state {
            State::Completed => self.chronicle.end(Verdict::Completed, None),
            State::Cancelled => {
                let text = "It was cancelled by those who steer it";
                let reason = reason.or_else(|| Some(text.to_owned()));
                self.chronicle.end(Verdict::Cancelled, reason);
            }
            _ if self.chronicle.has_postcopy_begun() => {
                let text =
                    "It failed after post-copy had begun: each side has a part of the memory";
                let reason = reason.or_else(|| Some(text.to_owned()));
                self.chronicle.end(Verdict::Lost, reason);
            }
            _ => {
                let text = "QEMU says `failed`, and not why";
                let reason = reason.or_else(|| Some(text.to_owned()));
                self.chronicle.end(Verdict::Failed, reason);
            }
        }
    }

    fn look_again(&mut self) {
        self.clock.sleep_until_ns(self.clock.now_ns() + self.way.pace().busy.as_nanos() as u64);
        let look = self.look(Wish::default());
        let answer = self.hear(&look);
        let status = self.chronicle.take(&look, answer.as_ref());
        self.show(status);
    }

    /// A source that ends after its migration has taken nothing with it; before that it has taken the guest.
    fn source_is_gone(&mut self, reason: &str) {
        let word = self.chronicle.last_word().to_owned();
        let destination = self.ask_destination(&word);
        let now_ns = self.clock.now_ns();
        match (word.as_str(), destination) {
            ("completed", Destination::Gone(why)) => {
                let text =
                    format!("The source had completed, and the destination has ended: {why}");
                self.chronicle.end(Verdict::Lost, Some(text));
            }
            ("completed", _) => {
                if self.chronicle.record.moments.resumed_ns.is_none() {
                    self.chronicle.arrived_unheard();
                }
                self.chronicle.close(now_ns);
                self.chronicle.end(Verdict::Completed, None);
            }
            ("cancelled", _) => {
                self.chronicle.close(now_ns);
                let text = format!("It was cancelled, and the source has ended: {reason}");
                self.chronicle.end(Verdict::Cancelled, Some(text));
            }
            (_, Destination::Arrived) => {
                let text = "The source ended before it said how the migration went; the destination says that it has the guest";
                self.chronicle.end(Verdict::Completed, Some(text.to_owned()));
            }
            (_, Destination::Unknown) => {
                let text = format!(
                    "The source ended before it said how the migration went ({reason}); with --destination-qmp or --destination the destination could say"
                );
                self.chronicle.end(Verdict::Interrupted, Some(text));
            }
            (_, Destination::Incoming | Destination::Gone(_)) => {
                let text = format!(
                    "The source ended in the middle of the migration and took the guest with it: {reason}"
                );
                self.chronicle.end(Verdict::Lost, Some(text));
            }
        }
    }

    /// What became of the guest, by the destination, which may need a moment to know.
    fn ask_destination(&mut self, word: &str) -> Destination {
        let place = &self.chronicle.place;
        if !place.asks_destination {
            return Destination::Unknown;
        }
        let seconds = if word == "completed" { 30 } else { 5 };
        let deadline_ns = self.clock.now_ns() + seconds * 1_000_000_000;
        loop {
            let look = self.look(Wish { settings: false, destination: true });
            self.chronicle.take(&look, None);
            let is_known = matches!(look.destination, Destination::Arrived | Destination::Gone(_));
            let is_enough = self.clock.now_ns() >= deadline_ns || self.interrupt.requested();
            if is_known || is_enough {
                return look.destination;
            }
            self.sleep(self.way.pace().busy);
        }
    }

    /// Sleeps in short naps, so that an interrupt is heeded at once.
    fn sleep(&self, time: Duration) {
        let until_ns = self.clock.now_ns() + time.as_nanos() as u64;
        while !self.interrupt.requested() && self.clock.now_ns() < until_ns {
            self.clock.sleep_until_ns(until_ns.min(self.clock.now_ns() + NAP_NS));
        }
    }
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns as f64 - from_ns as f64) / 1e9
}
