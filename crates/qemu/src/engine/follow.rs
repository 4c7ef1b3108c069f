//! What both QEMUs tell while the migration goes on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use sterna_pilot::{EngineError, RecordedEvent, State, Status};
use sterna_report::EventSide;
use sterna_sys::clock::monotonic_ns;

use super::Qemu;
use crate::hold::Hold;
use crate::launch::Launched;
use crate::qmp::Event;
use crate::transport::Way;

/// How often the source is asked for each time that the pilot asks, while a migration is held.
const HOLD_ROUNDS: u32 = 4;
const HOLD_INTERVAL: Duration = Duration::from_millis(6);

/// When answers were made, as far as that can be told from here.
///
/// A QEMU that is busy with a synchronisation answers when it is done, so the counters are those of the end of a long wait, not of its middle.
/// What remains is the way of the answer, which is taken to be half of the quickest round trip.
#[derive(Debug, Default)]
pub(super) struct AnswerClock {
    least_round_trip_ns: Option<u64>,
}

impl AnswerClock {
    fn made_ns(&mut self, asked_ns: u64, received_ns: u64) -> u64 {
        let round_trip_ns = received_ns.saturating_sub(asked_ns);
        let least_ns = self.least_round_trip_ns.get_or_insert(round_trip_ns);
        *least_ns = round_trip_ns.min(*least_ns);
        received_ns - *least_ns / 2
    }
}

impl Qemu {
    /// Takes in what both QEMUs tell.
    pub(super) fn drain_events(&mut self) {
        let Some(sides) = &mut self.sides else { return };
        let from_source = sides.source.take_events();
        let from_destination = sides.destination.take_events();
        for event in &from_source {
            self.trace.source_event(event);
            self.has_guest_shut_down |= is_guests_shutdown(event);
            self.events.extend(recorded_event(EventSide::Source, event));
        }
        for event in &from_destination {
            self.trace.destination_event(event);
            self.events.extend(recorded_event(EventSide::Destination, event));
        }
        let moments = self.trace.moments();
        let stopped_ns = moments.stopped_ns.or(self.paused_ns);
        match (stopped_ns, moments.resumed_ns, moments.restored_ns) {
            (Some(stopped_ns), Some(resumed_ns), _) => sides.guest.moved(stopped_ns, resumed_ns),
            (_, _, Some(_)) if !self.is_restored => {
                self.is_restored = true;
                sides.guest.restored();
            }
            _ => {}
        }
    }

    pub(super) fn poll(&mut self) -> Result<Status, EngineError> {
        let asked_ns = monotonic_ns();
        let answer = self.source()?.execute("query-migrate", Value::Null);
        let at_ns = self.answers.made_ns(asked_ns, monotonic_ns());
        self.drain_events();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.without_source(error),
        };
        self.evidence.see_source(&answer);
        self.polls.add(at_ns, &answer);
        self.trace.set_held(self.hold.as_ref().is_some_and(Hold::is_holding));
        let mut status = self.trace.poll(at_ns, &answer);
        self.miss_destination(&mut status)?;
        match status.state {
            State::Committed => match self.file() {
                Some(path) => self.await_load(&path, &mut status)?,
                None => self.await_resume(&mut status)?,
            },
            State::Postcopy | State::PostcopyPaused => self.check_postcopy(&mut status)?,
            State::Failed => self.explain_failure(&mut status)?,
            _ => {}
        }
        Ok(status)
    }

    /// The file that the stream goes through, if it does.
    fn file(&self) -> Option<PathBuf> {
        match &self.sides.as_ref()?.way {
            Way::File(path) => Some(path.clone()),
            _ => None,
        }
    }

    /// While the migration is held, the source is asked more often than the pilot asks.
    pub(super) fn poll_and_hold(&mut self) -> Result<Status, EngineError> {
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
    pub(super) fn steer(&mut self, status: &Status) -> Result<bool, EngineError> {
        let (Some(hold), Some(sides)) = (&mut self.hold, &mut self.sides) else {
            return Ok(false);
        };
        let passes = self.trace.passes() as u64;
        let Launched { source, destination, places, .. } = sides;
        hold.steer(status, passes, source, destination, places)?;
        Ok(hold.is_holding())
    }
}

/// Whether the guest itself asked for the end of its machine; a QEMU that is told to quit says so too.
fn is_guests_shutdown(event: &Event) -> bool {
    event.name == "SHUTDOWN" && event.data["guest"] == true
}

/// An event of QEMU as a report has it.
pub fn recorded_event(side: EventSide, event: &Event) -> Option<RecordedEvent> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_waited_for_is_of_the_end_of_the_wait() {
        let mut answers = AnswerClock::default();
        assert_eq!(answers.made_ns(1000, 1400), 1200);
        assert_eq!(answers.made_ns(2000, 2100), 2050);
        // A synchronisation lay between, and its pages are counted in the answer.
        assert_eq!(answers.made_ns(3000, 9000), 8950);
    }
}
