//! From nothing to two QEMUs, the source with a guest at work.

use std::path::{Path, PathBuf};

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_probe::Probe;
use sterna_report::Side;
use sterna_scenario::Scenario;
use tempfile::TempDir;

use super::Qemu;
use crate::costs::CostSampler;
use crate::keeper::Keeper;
use crate::launch::{self, Plan};
use crate::network::{NetworkError, Prober};
use crate::place::Place;

/// The longest path of a Unix socket is 107 bytes; the longest name in the run's directory takes about 30.
const LONGEST_DIRECTORY: usize = 75;

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
        let runtime = runtime_directory()
            .map_err(|error| EngineError::Failed(format!("No runtime directory: {error}")))?;
        let probes = scenario.probes.or(&[Probe::default()]);
        self.prober = Prober::start(&self.options.network, runtime.path(), self.nonce, &probes)
            .map_err(no_network)?;
        self.stream_directory = self.stream_directory()?;
        self.places = vec![Place::Here(runtime.path().to_owned()); 2];
        self.runtime = Some(runtime);
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
        let directory = self.runtime.as_ref().map_or(Path::new(""), TempDir::path);
        let plan = Plan {
            scenario,
            options: &self.options,
            directory,
            stream_directory: self.stream_directory.as_ref().map_or(directory, TempDir::path),
            places: [source.clone(), destination.clone()],
            nonce: self.nonce,
            interrupt,
            network: self.prober.as_ref(),
        };
        let mut sides = launch::launch(&plan, progress)?;
        let qemus = [(Side::Source, &sides.source), (Side::Destination, &sides.destination)];
        let pids = qemus.into_iter().filter_map(|(side, it)| Some((side, it.local_pid()?)));
        let pids: Vec<_> = pids.collect();
        self.costs = CostSampler::start(pids).ok();
        sides.guest.start();
        self.sides = Some(sides);
        Ok(())
    }

    /// A private place for a stream that is a file, where one was asked for.
    fn stream_directory(&self) -> Result<Option<TempDir>, EngineError> {
        let Some(place) = &self.options.stream_directory else { return Ok(None) };
        let made = tempfile::Builder::new().prefix("sterna-").tempdir_in(place);
        made.map(Some).map_err(|error| {
            EngineError::Unsupported(format!(
                "No stream can be written to {}: {error}",
                place.display()
            ))
        })
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

/// A directory that nobody else can look into. Where the usual place has too long a name for sockets, a shorter one.
fn runtime_directory() -> std::io::Result<TempDir> {
    let usual = std::env::temp_dir();
    let place =
        if usual.as_os_str().len() > LONGEST_DIRECTORY { PathBuf::from("/tmp") } else { usual };
    tempfile::Builder::new().prefix("sterna-").tempdir_in(place)
}

fn random() -> Result<u64, EngineError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| EngineError::Failed(format!("No randomness: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}
