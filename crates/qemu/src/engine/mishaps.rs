//! What goes wrong on purpose, as far as it can be done to a QEMU: its connections break, or it dies.

use serde_json::{Value, json};
use sterna_pilot::{EngineError, RecordedEvent, State, Status};
use sterna_report::EventSide;
use sterna_scenario::{Fault, FaultAction, FaultMoment, FaultSide, Scenario};
use sterna_sys::clock::monotonic_ns;

use super::Qemu;
use crate::launch::Launched;

/// The faults that have not struck yet.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    waiting: Vec<Fault>,
    accepted_ns: u64,
    /// Those that QEMU refused to carry out, as texts.
    refused: Vec<String>,
    has_guest_panicked: bool,
}

impl Mishaps {
    /// Those of a migration that was accepted at this moment.
    pub fn new(scenario: &Scenario, accepted_ns: u64) -> Mishaps {
        let waiting = scenario.faults.as_ref().map(|it| it.0.clone()).unwrap_or_default();
        Mishaps { waiting, accepted_ns, ..Mishaps::default() }
    }

    /// Those that never struck, as texts.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(ToString::to_string);
        waiting.chain(self.refused.iter().cloned()).collect()
    }

    /// Takes the faults that are due, in the order in which they were written.
    ///
    /// Post-copy counts from the destination running the guest: what the source says comes earlier, when no side runs it.
    fn due(&mut self, status: &Status, is_postcopy: bool) -> Vec<Fault> {
        let running_ns = status.moments.resumed_ns.filter(|_| is_postcopy);
        let is_over = |from_ns: u64, span: std::time::Duration| {
            u128::from(status.at_ns.saturating_sub(from_ns)) >= span.as_nanos()
        };
        let is_due = |fault: &Fault| match fault.moment {
            FaultMoment::Pass(number) => status.pass.is_some_and(|it| it >= u64::from(number)),
            FaultMoment::Bytes(bytes) => status.transferred_bytes.is_some_and(|it| it >= bytes.0),
            FaultMoment::Time(span) => is_over(self.accepted_ns, span.0),
            FaultMoment::Postcopy(span) => running_ns.is_some_and(|it| is_over(it, span.0)),
        };
        let (due, waiting) = self.waiting.iter().copied().partition(is_due);
        self.waiting = waiting;
        due
    }
}

impl Qemu {
    /// Strikes with the faults that are due; a poll sees the moment at most 50 ms late.
    pub(super) fn strike(&mut self, status: &Status) -> Result<(), EngineError> {
        if status.state.is_terminal() {
            return Ok(());
        }
        let is_postcopy = self.trace.has_postcopy_begun();
        for fault in self.mishaps.due(status, is_postcopy) {
            let side = match fault.side {
                FaultSide::Source => EventSide::Source,
                FaultSide::Destination => EventSide::Destination,
            };
            let outcome = self.strike_with(fault, is_postcopy);
            let result = match &outcome {
                // QEMU may have nothing to break yet, or no longer.
                Err(EngineError::Failed(words)) => format!(", which QEMU refused: {words}"),
                _ => String::new(),
            };
            if !result.is_empty() {
                self.mishaps.refused.push(format!("{fault}{result}"));
            }
            let text = format!("On purpose: {fault}{result}");
            let (at_ns, kind) = (monotonic_ns(), "fault".to_owned());
            self.events.push(RecordedEvent { at_ns, side, kind, text });
            match outcome {
                Err(error) if !matches!(error, EngineError::Failed(_)) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Has the guest's kernel panic in the first pass, where that was asked for.
    pub(super) fn panic_guest(&mut self, status: &Status) -> Result<(), EngineError> {
        let is_due = status.state == State::Active && !self.mishaps.has_guest_panicked;
        if !is_due || !self.is_broken("guest-panic") {
            return Ok(());
        }
        self.mishaps.has_guest_panicked = true;
        self.events.push(RecordedEvent {
            at_ns: monotonic_ns(),
            side: EventSide::Source,
            kind: "fault".to_owned(),
            text: "On purpose: the guest's kernel panics".to_owned(),
        });
        self.source()?.execute("inject-nmi", Value::Null).map(|_| ())
    }

    /// A link breaks past QEMU's main thread, as a network's would.
    fn strike_with(&mut self, fault: Fault, is_postcopy: bool) -> Result<(), EngineError> {
        let Launched { source, destination, .. } = self.sides()?;
        let qemu = match fault.side {
            FaultSide::Source => source,
            FaultSide::Destination => destination,
        };
        let (command, arguments) = match (fault.action, is_postcopy) {
            (FaultAction::Kill, _) => {
                qemu.kill();
                return Ok(());
            }
            (_, true) => ("migrate-pause", Value::Null),
            (_, false) => ("yank", json!({ "instances": [{ "type": "migration" }] })),
        };
        qemu.execute_out_of_band(command, arguments).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use sterna_pilot::Moments;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn faults_strike_once_and_at_their_moment() {
        let text = "faults = \"at=3s,action=drop;at-pass=2,action=kill;at-bytes=1MiB,action=drop;at-postcopy=1s,action=drop\"\n[migration.postcopy]\nafter = \"9s\"";
        let scenario = Scenario::from_toml(text, "test.toml").unwrap();
        let mut mishaps = Mishaps::new(&scenario, SECOND);
        let mut look = |seconds: u64, pass, bytes, running: Option<u64>| {
            let resumed_ns = running.map(|it| SECOND + it * SECOND);
            let status = Status {
                at_ns: SECOND + seconds * SECOND,
                pass: Some(pass),
                transferred_bytes: Some(bytes),
                moments: Moments { resumed_ns, ..Moments::default() },
                ..Status::default()
            };
            let due = mishaps.due(&status, seconds >= 5);
            let first = |it: &Fault| it.to_string().split(',').next().unwrap().to_owned();
            due.iter().map(first).collect::<Vec<_>>()
        };
        let nothing: Vec<String> = Vec::new();
        assert_eq!(look(1, 1, 9, None), nothing);
        assert_eq!(look(2, 1, 1 << 20, None), ["at-bytes=1MiB"]);
        assert_eq!(look(3, 2, 1 << 20, None), ["at=3s", "at-pass=2"]);
        // The source says post-copy since 5 s, and the destination runs the guest since 7 s.
        assert_eq!(look(5, 2, 1 << 20, None), nothing);
        assert_eq!(look(7, 2, 1 << 20, Some(7)), nothing);
        assert_eq!(look(8, 2, 1 << 20, Some(7)), ["at-postcopy=1s"]);
        assert_eq!(look(9, 9, 1 << 30, Some(7)), nothing);
    }
}
