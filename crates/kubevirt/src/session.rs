//! The runtime, and the blocking face of everything that speaks to a cluster.

use std::time::Duration;

use serde_json::Value;
use sterna_pilot::Interrupt;
use tokio::runtime::{Builder, Runtime};

use crate::apply::ApplyEvent;
use crate::cleanup::Ours;
use crate::cluster::{Cluster, ConnectOptions};
use crate::drain::{DrainEvent, DrainOptions, Drained};
use crate::error::KubevirtError;
use crate::explain::Explanation;
use crate::live::{Row, WatchOptions};
use crate::migrate::{MigrateEvent, MigrateOptions};
use crate::preflight::Preflight;
use crate::rbac::Command;
use crate::simulate::{SimulateOptions, Simulation};
use crate::stress::Parameters;
use crate::{apply, cleanup, drain, explain, live, migrate, preflight};

/// How long the first call may take: a cluster that is not there shall be told soon.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster, and a runtime that is driven by whoever calls.
pub struct Session {
    runtime: Runtime,
    cluster: Cluster,
}

impl Session {
    /// Finds the way to a cluster.
    pub fn connect(options: &ConnectOptions) -> Result<Session, KubevirtError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| KubevirtError::Config(error.to_string()))?;
        let cluster = runtime.block_on(Cluster::connect(options))?;
        Ok(Session { runtime, cluster })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs something to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Looks whether a command can work.
    pub fn preflight(&self, command: Command) -> Result<Preflight, KubevirtError> {
        let brief = self.cluster.with_patience(FIRST_PATIENCE);
        self.block_on(preflight::look(&brief, command, None))
    }

    /// Looks whether the guests of a node can leave it.
    pub fn preflight_to_drain(&self, node: &str) -> Result<Preflight, KubevirtError> {
        let brief = self.cluster.with_patience(FIRST_PATIENCE);
        self.block_on(preflight::look(&brief, Command::Drain, Some(node)))
    }

    /// Creates the workload.
    pub fn apply(
        &self,
        parameters: &Parameters,
        tell: &mut dyn FnMut(ApplyEvent),
    ) -> Result<Vec<Value>, KubevirtError> {
        self.block_on(apply::apply(&self.cluster, parameters, tell))
    }

    /// Waits until the guests of a run answer.
    pub fn wait_ready(
        &self,
        run_id: &str,
        count: usize,
        patience: Duration,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(ApplyEvent),
    ) -> Result<(), KubevirtError> {
        let cluster = &self.cluster;
        self.block_on(apply::wait_ready(cluster, run_id, count, patience, interrupt, tell))
    }

    /// Migrates and records.
    pub fn migrate(
        &self,
        options: &MigrateOptions,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(MigrateEvent<'_>) -> Result<(), KubevirtError>,
    ) -> Result<u32, KubevirtError> {
        self.block_on(migrate::migrate(&self.cluster, options, interrupt, tell))
    }

    /// Empties a node.
    pub fn drain(
        &self,
        options: &DrainOptions,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(DrainEvent<'_>) -> Result<(), KubevirtError>,
    ) -> Result<Drained, KubevirtError> {
        self.block_on(drain::drain(&self.cluster, options, interrupt, tell))
    }

    /// Watches until told to stop; `tell` gets all rows whenever something changed, and says whether to go on.
    pub fn watch(
        &self,
        options: &WatchOptions,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(&[Row]) -> bool,
    ) -> Result<(), KubevirtError> {
        self.block_on(live::watch(&self.cluster, options, interrupt, tell))
    }

    /// Explains a virtual machine's next migration.
    pub fn explain(&self, vm: &str, preflight: &Preflight) -> Result<Explanation, KubevirtError> {
        self.block_on(explain::ask(&self.cluster, vm, preflight))
    }

    /// Acts as KubeVirt's controllers until told to stop.
    pub fn simulate(
        &self,
        options: SimulateOptions,
        interrupt: &Interrupt,
    ) -> Result<(), KubevirtError> {
        self.block_on(async {
            Simulation::begin(&self.cluster, options).await?.run(interrupt).await
        })
    }

    /// What is there of ours.
    pub fn find(&self, run_id: Option<&str>) -> Result<Vec<Ours>, KubevirtError> {
        self.block_on(cleanup::find(&self.cluster, run_id))
    }

    /// Removes what is ours.
    pub fn cleanup(
        &self,
        run_id: Option<&str>,
        patience: Duration,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(&Ours),
    ) -> Result<usize, KubevirtError> {
        self.block_on(cleanup::cleanup(&self.cluster, run_id, patience, interrupt, tell))
    }
}
