//! From a scenario to two hosts that wait for the migration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_scenario::{Scenario, TlsMode, Transport};
use sterna_sys::run_directory::RunDirectory;
use sterna_wire::control::{self, Endpoint, Reply, Request};
use sterna_wire::tls;

use super::configure::{multifd, prepare};
use super::hold::Hold;
use super::observer::Observers;
use super::parallel::Parallel;
use super::places::{Start, check_memory, data_endpoint};
use super::{Emulator, Hosts, done};
use crate::probe::available_bytes;

/// How long certificates made for one run are valid: longer than any run.
const OWN_CERTIFICATES: Duration = Duration::from_secs(30 * 86_400);

/// Where they are in the run's directory.
const OWN_KEYS: &str = "certificates";

impl Emulator {
    /// Starts both hosts, prepares them, and lets the guest run on the source.
    pub(super) fn start(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.scenario.clone_from(scenario);
        self.places().check(scenario, self.options.tls_directory.is_some())?;
        self.transport = scenario.migration.transport;
        self.hold = Hold::new(scenario);
        self.parallel = Parallel::new(multifd(&scenario.migration));
        let directory = self.tls_directory(scenario)?;
        self.is_encrypted = scenario.migration.tls_mode() != TlsMode::Off;
        let start = Start {
            places: &self.options.places,
            command: &self.options.host_command,
            tls_directory: directory.as_deref(),
            interrupt,
        };
        let mut hosts = Hosts {
            source: start.host(control::Side::Source)?,
            destination: start.host(control::Side::Destination)?,
        };
        let available = self.options.available_bytes.or_else(available_bytes);
        check_memory(scenario, hosts.source.welcome(), hosts.destination.welcome(), available)?;
        let name = self.places().tls_name(scenario);
        // Both build their memory at the same time.
        for (host, side) in [
            (&mut hosts.source, control::Side::Source),
            (&mut hosts.destination, control::Side::Destination),
        ] {
            host.send(&prepare(scenario, &self.options, side, name.clone()))?;
        }
        let prepared = hosts.source.finish_order(Some(interrupt), progress)?;
        let destination = match hosts.destination.finish_order(Some(interrupt), progress)? {
            Reply::Prepared(prepared) => prepared,
            other => return Err(hosts.destination.unexpected(&other)),
        };
        let source = match prepared {
            Reply::Prepared(prepared) => prepared,
            other => return Err(hosts.source.unexpected(&other)),
        };
        if scenario.migration.hops == 1 {
            self.remove_own_keys();
        }
        done(&mut hosts.source, &Request::Start)?;
        self.observers = Observers::of(scenario, [&source, &destination])?;
        (self.prepared, self.prepared_there) = (Some(source), Some(destination));
        self.hosts = Some(hosts);
        Ok(())
    }

    /// Where the migration data goes.
    pub(super) fn endpoint(&mut self) -> Result<Endpoint, EngineError> {
        if self.transport == Transport::Tcp {
            let address = self.options.places.address.clone();
            let hosts = self.hosts()?;
            let (source, destination) = (hosts.source.welcome(), hosts.destination.welcome());
            return Ok(data_endpoint(address.as_deref(), source, destination));
        }
        let path = self.runtime()?.join("migration").to_string_lossy().into_owned();
        Ok(Endpoint::Unix(path))
    }

    /// A directory of this run alone.
    fn runtime(&mut self) -> Result<&Path, EngineError> {
        let failed =
            |error| EngineError::Failed(format!("Cannot create a directory for this run: {error}"));
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => RunDirectory::new().map_err(failed)?,
        };
        Ok(self.runtime.insert(runtime).path())
    }

    /// Both hosts have loaded the keys that were made for this run, and what is not there cannot be left behind.
    pub(super) fn remove_own_keys(&mut self) {
        self.own_keys.clear();
        if let Some(runtime) = &self.runtime {
            let _ = std::fs::remove_dir_all(runtime.path().join(OWN_KEYS));
        }
        if self.transport != Transport::Unix {
            // Nothing more of this run has a name.
            self.runtime = None;
        }
    }

    /// Where the certificates of this run are, if its connections are encrypted.
    pub(super) fn tls_directory(
        &mut self,
        scenario: &Scenario,
    ) -> Result<Option<PathBuf>, EngineError> {
        if !self.places().are_here()
            || self.options.tls_directory.is_some()
            || scenario.migration.tls_mode() == TlsMode::Off
        {
            return Ok(self.options.tls_directory.clone());
        }
        let directory = self.runtime()?.join(OWN_KEYS);
        // The hosts of a later hop trust the authority of the first.
        if !self.own_keys.is_empty() {
            return Ok(Some(directory));
        }
        self.own_keys = tls::issue_nameless(&directory, &[], OWN_CERTIFICATES)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        Ok(Some(directory))
    }
}
