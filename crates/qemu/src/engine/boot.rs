//! From nothing to two QEMUs, the source with a guest at work.

use std::path::Path;

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_probe::Probe;
use sterna_report::Side;
use sterna_scenario::{Scenario, TlsMode, Transport};
use sterna_sys::run_directory::RunDirectory;

use super::Qemu;
use crate::QemuOptions;
use crate::costs::CostSampler;
use crate::keeper::Keeper;
use crate::launch::{self, Launched, Plan};
use crate::network::{NetworkError, Prober};
use crate::place::Place;

impl Qemu {
    /// Starts both sides.
    pub(super) fn start_both(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.scenario = scenario.clone();
        self.nonce = random()?;
        let need = Need::new(scenario, &self.options);
        self.runtime = need.directory()?;
        let directory = self.runtime.as_ref().map(|it| it.path().to_owned());
        let probes = scenario.probes.or(&[Probe::default()]);
        let reachable = directory.as_deref().filter(|_| need.is_elsewhere);
        self.prober = Prober::start(&self.options.network, reachable, self.nonce, &probes)
            .map_err(no_network)?;
        self.stream_directory = self.stream_directory()?;
        self.places = vec![Place::Here(directory.clone().unwrap_or_default()); 2];
        for side in [Side::Source, Side::Destination] {
            let remotes = &self.options.remotes;
            if let Some(target) = remotes.of(side) {
                let started =
                    Keeper::start(side, &remotes.ssh, target, &remotes.program, interrupt);
                self.places[side as usize] = Place::There(started?);
            }
        }
        let [Some(source), Some(destination)] = [self.places.first(), self.places.get(1)] else {
            return Err(EngineError::Failed("There are not two places".to_owned()));
        };
        let directory = directory.as_deref().unwrap_or(Path::new(""));
        let plan = Plan {
            scenario,
            options: &self.options,
            directory,
            stream_directory: self.stream_directory.as_ref().map_or(directory, RunDirectory::path),
            places: [source.clone(), destination.clone()],
            nonce: self.nonce,
            interrupt,
            network: self.prober.as_ref(),
            is_back: false,
        };
        let mut sides = launch::launch(&plan, progress)?;
        if need.is_over_at_launch() {
            self.runtime = None;
        }
        sides.guest.start();
        self.take_sides(sides);
        Ok(())
    }

    fn take_sides(&mut self, sides: Launched) {
        let qemus = [(Side::Source, &sides.source), (Side::Destination, &sides.destination)];
        let pids = qemus.into_iter().filter_map(|(side, it)| Some((side, it.local_pid()?)));
        let pids: Vec<_> = pids.collect();
        self.costs = CostSampler::start(pids).ok();
        self.sides = Some(sides);
    }

    /// From where the guest has arrived to the beginning of the next hop.
    pub(super) fn turn_round(&mut self, interrupt: &Interrupt) -> Result<(), EngineError> {
        self.costs = None;
        let nothing = || EngineError::Failed("Nothing was booted".to_owned());
        let before = self.sides.take().ok_or_else(nothing)?;
        self.places.swap(0, 1);
        let options = &mut self.options;
        std::mem::swap(&mut options.source, &mut options.destination);
        let guest = &mut self.scenario.guest;
        std::mem::swap(&mut guest.source, &mut guest.destination);
        self.is_back = !self.is_back;
        let [Some(source), Some(destination)] = [self.places.first(), self.places.get(1)] else {
            return Err(nothing());
        };
        let directory = self.runtime.as_ref().map_or(Path::new(""), RunDirectory::path);
        let plan = Plan {
            scenario: &self.scenario,
            options: &self.options,
            directory,
            stream_directory: self.stream_directory.as_ref().map_or(directory, RunDirectory::path),
            places: [source.clone(), destination.clone()],
            nonce: self.nonce,
            interrupt,
            network: self.prober.as_ref(),
            is_back: self.is_back,
        };
        let sides = launch::turn(&plan, before)?;
        self.take_sides(sides);
        self.forget_hop();
        Ok(())
    }

    /// A private place for a stream that is a file, where one was asked for.
    fn stream_directory(&self) -> Result<Option<RunDirectory>, EngineError> {
        let Some(place) = &self.options.stream_directory else { return Ok(None) };
        RunDirectory::new_in(Path::new(place)).map(Some).map_err(|error| {
            EngineError::Unsupported(format!(
                "No stream can be written to {}: {error}",
                place.display()
            ))
        })
    }
}

/// What of a run needs a directory. All else are descriptors, of which nothing is left when this process is killed.
struct Need {
    /// A keeper copies to and from paths, and connects to the switch by one.
    is_elsewhere: bool,
    /// The stream has a path.
    has_stream: bool,
    /// QEMU looks for keys in a directory.
    keys: Option<TlsMode>,
    /// A QEMU will be started for each.
    has_more_hops: bool,
}

impl Need {
    fn new(scenario: &Scenario, options: &QemuOptions) -> Need {
        let migration = &scenario.migration;
        let sides = [Side::Source, Side::Destination];
        let own = migration.tls.as_ref().filter(|it| it.credentials.is_none());
        Need {
            is_elsewhere: sides.into_iter().any(|it| options.remotes.of(it).is_some()),
            has_stream: match migration.transport {
                Transport::Unix | Transport::Exec => true,
                Transport::File => options.stream_directory.is_none(),
                Transport::Tcp | Transport::Fd | Transport::Rdma => false,
            },
            keys: own.map(|it| it.mode).filter(|it| *it != TlsMode::Off),
            has_more_hops: migration.hops > 1,
        }
    }

    fn directory(&self) -> Result<Option<RunDirectory>, EngineError> {
        let is_needed = self.is_elsewhere || self.has_stream || self.keys.is_some();
        is_needed.then(RunDirectory::new).transpose().map_err(|error| {
            EngineError::Failed(format!("Cannot create a directory for this run: {error}"))
        })
    }

    /// Whether both QEMUs have by then read all that was in it.
    fn is_over_at_launch(&self) -> bool {
        let needs_keys = self.keys == Some(TlsMode::Psk) || self.has_more_hops;
        !self.is_elsewhere && !self.has_stream && !needs_keys
    }
}

/// What a bridge lacks, the user asked for and may get; for a switch of ours there is no excuse.
fn no_network(error: NetworkError) -> EngineError {
    match error {
        NetworkError::Bridge(error) => EngineError::Unsupported(error.to_string()),
        error => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            EngineError::Failed(format!("{error}: {}", source.unwrap_or_default()))
        }
    }
}

fn random() -> Result<u64, EngineError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| EngineError::Failed(format!("No randomness: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}
