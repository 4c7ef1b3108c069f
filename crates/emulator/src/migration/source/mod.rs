//! The source's half of a migration.
//!
//! ```text
//!            ┌────────────── any error or cancel ──────────────┐
//!            │                                                 ▼
//!  connect ─ greet ─ arm ─ iterate ─ stop ─ send rest ─ await READY ─ GO ─ await RUNNING ─ completed
//!                                                     commit point ─┘            │
//!            restore: Abort to the peer, tracker off, workers on                 └─ error: undecided
//! ```
//!
//! At a switch to post-copy a map of what is missing takes the place of "the rest", and after RUNNING it is served: see [`super::postcopy`].
//!
//! Before GO every error leads to one place, [`Source::run`], which puts the world back: the workers run on with their memory as it was.
//! After GO nothing leads back.

mod connection;
mod live;
mod parallel;
mod postcopy;
mod recovery;
mod rules;
mod run;
mod slowdown;
mod standstill;
mod switchover;
mod turns;
mod urgent;

use std::io;
use std::sync::Arc;

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{HostConfig, HostStatus, Phase, Side};
use sterna_workload::Crew;

use super::breakage::Defect;
use super::bucket::TokenBucket;
use super::connections::Connections;
use super::faults::FaultPlan;
use super::gate::Gate;
use super::multifd::PoolError;
use super::pacer::{Cancelled, Pacer};
use super::progress::Progress;
use crate::host::guest::Guest;
use crate::transport::Target;
use connection::{Connection, Dialer, STALL_TIMEOUT};
use run::Run;
use standstill::{Standstill, Watched};

/// Everything the source needs for one migration.
pub struct Source {
    /// The guest to move.
    pub guest: Arc<Guest>,
    /// Where to tell how far it is.
    pub progress: Arc<Progress>,
    /// Orders and the commit point.
    pub gate: Arc<Gate>,
    /// The host's configuration.
    pub config: Arc<HostConfig>,
    /// The destination, and how to connect to it.
    pub target: Target,
    /// Names the migration.
    pub session: [u8; 16],
    /// What goes wrong on purpose.
    pub defects: Vec<Defect>,
    /// The emulated wire.
    pub wire: TokenBucket,
    /// Receives a handle on each connection.
    pub connections: Connections,
}

/// Why a migration ended before the commit point, or was left undecided after it.
#[derive(Debug)]
enum Stop {
    Cancelled,
    Failed(String),
    /// The link failed; in post-copy a new one may take its place.
    Cut(String),
}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Stop {
        Stop::Cancelled
    }
}

impl From<PoolError> for Stop {
    fn from(error: PoolError) -> Stop {
        match error {
            PoolError::Cancelled => Stop::Cancelled,
            PoolError::Channel { index, source } => {
                Stop::Failed(format!("Channel {index}: {}", Stop::from(source).text()))
            }
            PoolError::Gone => Stop::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Cut(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("The destination has accepted no data for {} s", STALL_TIMEOUT.as_secs())
            }
            _ => format!("The connection to the destination failed: {error}"),
        })
    }
}

impl Source {
    /// Migrates, and leaves the outcome in the progress.
    pub fn run(self) {
        let Source { guest, progress, .. } = &self;
        let Some(crew) = guest.crew() else {
            progress
                .update(|it| fail(it, Phase::Failed, "There is no guest to migrate".to_owned()));
            return;
        };
        let faults = match FaultPlan::new(&self.config.faults, Side::Source, monotonic_ns()) {
            Ok(faults) => faults,
            Err(error) => {
                let stop = Stop::Failed(error.to_string());
                return self.restore(crew, None, stop);
            }
        };
        let dialer = self.dialer();
        let mut connection = match Connection::open(&dialer) {
            Ok(connection) => connection,
            Err(error) => return self.restore(crew, None, error),
        };
        let pacer = Arc::new(Pacer::new(Arc::clone(&self.gate), self.wire.clone()));
        progress.watch(&pacer, &self.connections);
        let watched = self.watched(&pacer);
        let mut run = Run::new(&self, crew, faults, pacer, &mut connection, &dialer);
        let outcome = match Standstill::watch(watched) {
            Ok(_standstill) => run.phases(),
            Err(error) => Err(Stop::Failed(format!("No thread can be had: {error}"))),
        };
        run.end_slowdown();
        // Its threads end behind the outcome, since a guest that runs on shall not wait for them.
        let pool = run.pool.take();
        self.conclude(outcome, crew, &mut connection);
        drop(pool);
        connection.close();
    }

    fn dialer(&self) -> Dialer<'_> {
        let Source { target, config, connections, .. } = self;
        Dialer { target, config, connections }
    }

    fn watched(&self, pacer: &Arc<Pacer>) -> Watched {
        Watched {
            gate: Arc::clone(&self.gate),
            progress: Arc::clone(&self.progress),
            pacer: Arc::clone(pacer),
            connections: self.connections.clone(),
            config: Arc::clone(&self.config),
        }
    }

    /// Tells how it ended; before the commit point an error lets the guest run on.
    fn conclude(&self, outcome: Result<(), Stop>, crew: &Crew, connection: &mut Connection) {
        let Source { progress, gate, .. } = self;
        match outcome {
            Ok(()) => progress.update(|it| it.phase = Phase::Completed),
            Err(stop) if gate.is_committed() => {
                progress.update(|it| fail(it, Phase::Undecided, stop.text()));
            }
            // A cancel ends a stuck write by cutting the connection; the error it then meets is not the reason.
            Err(_) if gate.is_cancelled() => {
                let stop = gate.given_up().map_or(Stop::Cancelled, Stop::Failed);
                self.restore(crew, Some(connection), stop);
            }
            Err(stop) => self.restore(crew, Some(connection), stop),
        }
        progress.stamp(|it, now_ns| it.ended_ns = it.ended_ns.or(Some(now_ns)));
    }

    /// The one error path: tell the peer, stop tracking, let the guest run on, unless it was paused before.
    fn restore(&self, crew: &Crew, connection: Option<&mut Connection>, stop: Stop) {
        let Source { guest, progress, config, .. } = self;
        let restored_ns = (!config.paused).then(|| crew.resume());
        progress.stamp(|it, now_ns| {
            it.restored_ns = it.stopped_ns.and(restored_ns);
            it.ended_ns = Some(now_ns);
        });
        if let Some(connection) = connection {
            connection.abort(&stop.text());
        }
        let untracked = guest.tracker().disarm(crew);
        progress.update(|it| {
            let phase = match stop {
                Stop::Cancelled => Phase::Cancelled,
                Stop::Failed(_) | Stop::Cut(_) => Phase::Failed,
            };
            let mut text = stop.text();
            if let Err(error) = untracked {
                text = format!("{text}; and tracking could not be ended: {error}");
            }
            fail(it, phase, text);
        });
    }
}

fn fail(status: &mut HostStatus, phase: Phase, text: String) {
    status.error = Some(text);
    status.phase = phase;
}

impl Stop {
    fn text(&self) -> String {
        match self {
            Stop::Cancelled => "Cancelled on request".to_owned(),
            Stop::Failed(text) | Stop::Cut(text) => text.clone(),
        }
    }
}
