//! Orders to a QEMU that migrates.

use serde_json::{Value, json};
use sterna_pilot::{Action, EngineError};

use super::Qemu;
use super::mishaps::Mishaps;
use crate::hold::Hold;
use crate::launch::Launched;
use crate::settings;
use crate::trace::Trace;
use crate::transport;

impl Qemu {
    /// Lets the destination listen and the source dial; gives the moment at which the source agreed.
    pub(super) fn begin_migration(&mut self) -> Result<u64, EngineError> {
        let limit_ns = self.scenario.migration.first_downtime_limit().0.as_nanos() as u64;
        // What happened at boot is none of the migration's.
        self.drain_events();
        let planned = self.scenario.migration.switchover_bandwidth;
        self.trace = Trace::new(limit_ns, planned.map(|it| it.bytes_per_second()));
        let marker_gpa = self.sides()?.hello.marker_gpa.filter(|_| !self.is_broken("no-marker"));
        self.hold = Hold::new(&self.scenario, self.nonce, marker_gpa);
        if let (Some(hold), Some(sides)) = (&mut self.hold, &mut self.sides) {
            hold.begin(&mut sides.source, &mut sides.destination)?;
        }
        if self.is_broken("stay-in-switchover") {
            let capability = json!({ "capability": "pause-before-switchover", "state": true });
            let arguments = json!({ "capabilities": [capability] });
            self.source()?.execute("migrate-set-capabilities", arguments)?;
        }
        let Launched { source, destination, way, .. } = self.sides()?;
        let begun = transport::begin(way, source, destination);
        let begun = begun.map_err(|error| match (error, destination.is_gone()) {
            (EngineError::Failed(words), Some(end)) => {
                EngineError::Failed(format!("{words}; destination: {end}"))
            }
            (error, _) => error,
        })?;
        // QEMU begins to count somewhere between the command and its answer. The earliest of these moments keeps the setup positive, and the total no shorter than QEMU's own.
        let accepted_ns = begun.asked_ns;
        self.acceptance_took_ns = begun.answered_ns - accepted_ns;
        self.has_migration_begun = true;
        self.accepted_ns = accepted_ns;
        self.trace.accepted(accepted_ns);
        self.stream_uri = Some(begun.uri);
        self.mishaps = Mishaps::new(&self.scenario, accepted_ns);
        self.sides()?.guest.migration_began(accepted_ns);
        Ok(accepted_ns)
    }

    /// Lets the destination listen where it did before, and the source dial again.
    ///
    /// The destination is not asked for its port, since its main thread may itself wait for memory that is not there; only what goes past that thread is sure to be answered.
    fn recover(&mut self) -> Result<(), EngineError> {
        let uri = self.stream_uri.clone().unwrap_or_default();
        let Launched { source, destination, .. } = self.sides()?;
        let arguments = json!({ "uri": uri });
        match destination.execute_out_of_band("migrate-recover", arguments) {
            // An attempt before this one had come so far.
            Err(EngineError::Failed(words)) if words.contains("already") => {}
            other => other.map(|_| ())?,
        }
        source.execute("migrate", json!({ "uri": uri, "resume": true }))?;
        self.recoveries += 1;
        Ok(())
    }

    /// Does what the pilot wants done.
    pub(super) fn obey(&mut self, action: Action) -> Result<(), EngineError> {
        let has_begun = self.trace.has_postcopy_begun();
        match action {
            Action::Cancel if has_begun => Err(EngineError::Failed(
                "post-copy has begun, and the guest lives on both sides".to_owned(),
            )),
            Action::Cancel if self.is_file_loading => Err(EngineError::Failed(
                "the source has written its file, and the destination reads it".to_owned(),
            )),
            Action::Cancel => {
                self.source()?.execute("migrate_cancel", Value::Null)?;
                self.is_cancelled_by_us = true;
                Ok(())
            }
            Action::Pause => {
                self.source()?.execute("stop", Value::Null)?;
                self.is_paused_by_us = true;
                match (&self.hold, &mut self.sides) {
                    (Some(hold), Some(sides)) => hold.give_back(&mut sides.source),
                    _ => Ok(()),
                }
            }
            Action::SetDowntimeLimit(ns) => {
                self.trace.set_downtime_limit(ns);
                if let Some(hold) = self.hold.as_mut().filter(|it| it.is_holding()) {
                    hold.set_downtime_limit(ns);
                    return Ok(());
                }
                let limit = settings::milliseconds(ns);
                let arguments = json!({ "downtime-limit": limit });
                self.source()?.execute("migrate-set-parameters", arguments).map(|_| ())
            }
            Action::LiftPostcopyLimit => {
                // 0 is QEMU's word for no limit.
                let arguments = json!({ "max-postcopy-bandwidth": 0 });
                self.source()?.execute("migrate-set-parameters", arguments).map(|_| ())
            }
            Action::Recover => self.recover(),
            Action::StartPostcopy => {
                self.source()?.execute("migrate-start-postcopy", Value::Null).map(|_| ())
            }
        }
    }
}
