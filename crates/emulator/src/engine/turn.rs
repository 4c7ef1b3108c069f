//! From one hop to the next: the host that has the guest becomes the source, and the other place gets a new destination.
//!
//! ```text
//!  hop n:    source ───────► destination
//!               │ ended          │ `turn`: fresh counters, the guest runs on
//!  hop n+1:  destination ◄────── source
//!            (a new host)
//! ```

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_wire::control::{Reply, Request, Side, TechniqueStatus};

use super::configure::{multifd, prepare};
use super::hold::Hold;
use super::observer::Observers;
use super::parallel::Parallel;
use super::places::Start;
use super::postcopy::Evidence;
use super::{Emulator, Hosts, done, nothing_booted};

impl Emulator {
    pub(super) fn turn_round(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        let Hosts { source: left, destination: mut source } =
            self.hosts.take().ok_or_else(nothing_booted)?;
        // Its memory is needed for the new destination.
        left.end();
        source.set_side(Side::Source);
        done(&mut source, &Request::Turn)?;
        let places = &mut self.options.places;
        std::mem::swap(&mut places.source, &mut places.destination);
        let destination = self.new_destination(interrupt, progress);
        let (destination, prepared) = match destination {
            Ok(it) => it,
            Err(error) => {
                source.end();
                return Err(error);
            }
        };
        // The check of the hop before has stopped the guest.
        done(&mut source, &Request::Start)?;
        self.prepared = self.prepared_there.replace(prepared);
        self.observers = match (&self.prepared, &self.prepared_there) {
            (Some(here), Some(there)) => Observers::of(&self.scenario, [here, there])?,
            _ => None,
        };
        self.hosts = Some(Hosts { source, destination });
        self.forget_hop();
        Ok(())
    }

    fn new_destination(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(crate::host_process::HostProcess, sterna_wire::control::Prepared), EngineError>
    {
        let directory = self.tls_directory(&self.scenario.clone())?;
        let start = Start {
            places: &self.options.places,
            command: &self.options.host_command,
            tls_directory: directory.as_deref(),
            interrupt,
        };
        let mut host = start.host(Side::Destination)?;
        let name = self.places().tls_name(&self.scenario);
        let request = prepare(&self.scenario, &self.options, Side::Destination, name);
        match host.order(&request, Some(interrupt), progress)? {
            Reply::Prepared(prepared) => Ok((host, prepared)),
            other => Err(host.unexpected(&other)),
        }
    }

    /// What was known of the hop before.
    fn forget_hop(&mut self) {
        self.hold = Hold::new(&self.scenario);
        self.parallel = Parallel::new(multifd(&self.scenario.migration));
        self.data = None;
        self.are_clocks_closed = false;
        self.passes_seen = 0;
        self.techniques = TechniqueStatus::default();
        self.accepted_ns = None;
        self.gaps_lost = 0;
        self.is_switchover_told = false;
        self.evidence = Evidence::default();
        self.device_state_bytes = None;
    }
}
