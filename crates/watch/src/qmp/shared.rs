//! A monitor that belongs to others: connect, be greeted, ask, leave.
//!
//! Nothing is held between two looks, and a look takes milliseconds, so those who own the socket never wait long.
//! Where another client has it, the look is given up after a short patience and comes again with the next.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_qemu::qmp::{Client, QmpError};
use sterna_sys::clock::monotonic_ns;

use super::connect::{Connection, open};
use super::{Monitors, arrival, ask, guest_name, must_ask, settings, version};
use crate::{Answer, Destination, Heard, Look, Pace, Place, WatchError, Way, Wish};

/// How long to wait for a greeting, and for each answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// A look may take this share of the time between two.
const MOST_OCCUPIED: f64 = 0.02;

/// How often the first look is tried; daemons make several short calls in a row.
const FIRST_ATTEMPTS: u32 = 10;

/// Both monitors, asked now and then.
pub struct Shared {
    monitors: Monitors,
    /// How long the socket was taken in all, and since when.
    occupied: Duration,
    longest: Duration,
    began: Instant,
}

impl Shared {
    /// Nothing is connected to yet.
    pub fn new(monitors: Monitors) -> Shared {
        Shared {
            monitors,
            occupied: Duration::ZERO,
            longest: Duration::ZERO,
            began: Instant::now(),
        }
    }

    /// One look; the socket is free again when it returns.
    fn call<T>(
        &mut self,
        path: &std::path::Path,
        questions: impl FnOnce(&mut Connection) -> T,
    ) -> Result<T, WatchError> {
        let mut connection = open(path, PATIENCE, true)?;
        let entered = Instant::now();
        let found = questions(&mut connection);
        drop(connection);
        let taken = entered.elapsed();
        self.occupied += taken;
        self.longest = self.longest.max(taken);
        Ok(found)
    }

    fn destination(&mut self) -> Destination {
        let Some(path) = self.monitors.destination.clone() else { return Destination::Unknown };
        match self.call(&path, |it| it.client.execute("query-status", Value::Null)) {
            Ok(answer) => arrival(answer),
            Err(WatchError::Missing(_) | WatchError::Refused(_)) => {
                Destination::Gone("its QEMU has ended".to_owned())
            }
            Err(_) => Destination::Unknown,
        }
    }
}

impl Way for Shared {
    fn place(&mut self) -> Result<Place, WatchError> {
        let path = self.monitors.source.clone();
        let mut attempt = 1;
        let (version, status, guest) = loop {
            let found = self.call(&path, |it| {
                let client: &mut Client = &mut it.client;
                let status = must_ask(client, "query-status")?;
                Ok((version(client.greeting()), status, guest_name(client, &path)))
            });
            match found {
                Err(WatchError::Held { .. }) if attempt < FIRST_ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(INTERVAL);
                }
                other => break other??,
            }
        };
        self.began = Instant::now();
        let destination = self.monitors.destination.as_ref();
        Ok(Place {
            way: "shared",
            guest,
            facts: vec![
                ("source", json!(self.monitors.source.display().to_string())),
                ("destination", json!(destination.map(|it| it.display().to_string()))),
                ("interval_seconds", json!(INTERVAL.as_secs_f64())),
            ],
            source_version: Some(version),
            run_state: status["status"].as_str().map(str::to_owned),
            asks_destination: destination.is_some(),
            ..Place::default()
        })
    }

    /// A QEMU that answers slowly is asked less often.
    fn pace(&self) -> Pace {
        let interval = INTERVAL.max(self.longest.div_f64(MOST_OCCUPIED)).min(INTERVAL * 20);
        Pace { idle: interval, busy: interval }
    }

    fn look(&mut self, wish: Wish) -> Look {
        let path = self.monitors.source.clone();
        let found = self.call(&path, |it| {
            let query = ask(&mut it.client, "query-migrate");
            let at_ns = monotonic_ns();
            (query, at_ns, wish.settings.then(|| settings(&mut it.client)).flatten())
        });
        let (source, settings) = match found {
            Ok((Ok(query), at_ns, settings)) => (Heard::Answer(Answer { at_ns, query }), settings),
            Ok((Err(QmpError::Closed), ..)) => {
                (Heard::Gone("its QEMU closed the monitor".to_owned()), None)
            }
            Ok((Err(error), ..)) => (Heard::Silence(error.text()), None),
            Err(error @ (WatchError::Missing(_) | WatchError::Refused(_))) => {
                (Heard::Gone(error.to_string()), None)
            }
            Err(error) => (Heard::Silence(error.to_string()), None),
        };
        let destination = match wish.destination {
            true => self.destination(),
            false => Destination::Unknown,
        };
        Look {
            source_events: Vec::new(),
            destination_events: Vec::new(),
            source,
            settings,
            destination,
        }
    }
}
