//! A monitor of Sterna's own, held for as long as the watch lasts.

use std::time::Duration;

use serde_json::{Value, json};
use sterna_qemu::qmp::{Client, QmpError};
use sterna_sys::clock::monotonic_ns;

use super::connect::{Connection, open};
use super::{Monitors, arrival, ask, guest_name, must_ask, settings, version};
use crate::{Answer, Destination, Heard, Look, Pace, Place, Settings, WatchError, Way, Wish};

/// How long a monitor may take to greet. Longer than the short calls of those who share it.
const PATIENCE: Duration = Duration::from_secs(3);

/// QEMU stamps events in microseconds, and a stamp is mapped between two readings of clocks that take less than one.
const EVENT_UNCERTAINTY_NS: u64 = 2_000;

/// Both monitors, held.
pub struct Held {
    monitors: Monitors,
    source: Connection,
    destination: Option<Connection>,
    settings: Option<Settings>,
    /// Which sides got the capability `events` from us.
    changed: [bool; 2],
    least_round_trip_ns: u64,
}

impl Held {
    /// Connects to both monitors, and sets nothing but what `may_change` allows.
    ///
    /// # Errors
    /// A monitor cannot be had.
    pub fn open(monitors: Monitors) -> Result<Held, WatchError> {
        let source = open(&monitors.source, PATIENCE, false)?;
        let destination =
            monitors.destination.as_ref().map(|it| open(it, PATIENCE, false)).transpose()?;
        let mut held = Held {
            monitors,
            source,
            destination,
            settings: None,
            changed: [false; 2],
            least_round_trip_ns: u64::MAX,
        };
        if held.monitors.may_change {
            held.changed[0] = ask_for_events(&mut held.source.client)?;
            if let Some(destination) = &mut held.destination {
                held.changed[1] = ask_for_events(&mut destination.client)?;
            }
        }
        Ok(held)
    }

    /// A QEMU that is busy with a synchronisation answers when it is done, so the counters are those of the end of a wait; what remains is half of the quickest round trip.
    fn query(&mut self) -> Heard {
        let asked_ns = monotonic_ns();
        let query = ask(&mut self.source.client, "query-migrate");
        let received_ns = monotonic_ns();
        self.least_round_trip_ns = self.least_round_trip_ns.min(received_ns - asked_ns);
        match query {
            Ok(query) => {
                Heard::Answer(Answer { at_ns: received_ns - self.least_round_trip_ns / 2, query })
            }
            Err(QmpError::Closed) => Heard::Gone("its QEMU closed the monitor".to_owned()),
            Err(error) => Heard::Silence(error.text()),
        }
    }
}

/// Sets the capability that lets QEMU tell statuses and synchronisations by events; whether it was off before.
fn ask_for_events(client: &mut Client) -> Result<bool, WatchError> {
    let was_on = settings(client).is_some_and(|it| it.has("events"));
    if was_on {
        return Ok(false);
    }
    set_events(client, true).map(|()| true).map_err(|error| WatchError::Unanswered {
        what: "--may-change (migrate-set-capabilities events)".to_owned(),
        reason: error.text(),
    })
}

fn set_events(client: &mut Client, state: bool) -> Result<(), QmpError> {
    let wanted = json!({ "capabilities": [{ "capability": "events", "state": state }] });
    client.execute("migrate-set-capabilities", wanted).map(|_| ())
}

impl Way for Held {
    fn place(&mut self) -> Result<Place, WatchError> {
        let status = must_ask(&mut self.source.client, "query-status")?;
        let destination = self.destination.as_ref();
        let destination_path = self.monitors.destination.as_ref();
        Ok(Place {
            way: "held",
            guest: guest_name(&mut self.source.client, &self.monitors.source),
            facts: vec![
                ("source", json!(self.monitors.source.display().to_string())),
                ("destination", json!(destination_path.map(|it| it.display().to_string()))),
                ("events_were_set", json!(self.changed.contains(&true))),
            ],
            source_version: Some(version(self.source.client.greeting())),
            destination_version: destination.map(|it| version(it.client.greeting())),
            run_state: status["status"].as_str().map(str::to_owned),
            hears_source: true,
            hears_destination: destination.is_some(),
            asks_destination: destination.is_some(),
            source_clock_is_ours: self.source.is_here,
            destination_clock_is_ours: destination.is_some_and(|it| it.is_here),
            event_uncertainty_ns: EVENT_UNCERTAINTY_NS,
        })
    }

    fn pace(&self) -> Pace {
        Pace { idle: Duration::from_millis(100), busy: Duration::from_millis(50) }
    }

    fn look(&mut self, wish: Wish) -> Look {
        let source = self.query();
        if wish.settings {
            self.settings = settings(&mut self.source.client);
        }
        let mut look = Look {
            source_events: self.source.client.take_events(),
            destination_events: Vec::new(),
            source,
            settings: self.settings.take(),
            destination: Destination::Unknown,
        };
        if let Some(destination) = &mut self.destination {
            if wish.destination {
                look.destination = arrival(destination.client.execute("query-status", Value::Null));
            }
            look.destination_events = destination.client.take_events();
        }
        look
    }

    fn leave(&mut self) {
        // Refused while a migration runs, and then it stays as it is.
        if self.changed[0] {
            let _ = set_events(&mut self.source.client, false);
        }
        if let Some(destination) = self.destination.as_mut().filter(|_| self.changed[1]) {
            let _ = set_events(&mut destination.client, false);
        }
    }
}
