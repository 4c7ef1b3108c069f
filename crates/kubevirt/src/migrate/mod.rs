//! Migrating guests, one after the other or all at once, and recording each migration.
//!
//! ```text
//!  for each guest:   warm up ──► create ──► follow ──► ended ──► cool down ──► accounts ──► record ──► next round
//!                                  │          │
//!                               refused    time is up, or the user asks: delete, and wait for the abort
//! ```
//!
//! Warming up and cooling down are for guests that tell how far they are; the others have neither.

mod complete;
mod run;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;
use sterna_pilot::Interrupt;

use crate::apply::{Obstacle, obstacle};
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::Follower;
use crate::labels;
use crate::prometheus::Prometheus;
use crate::record::MigrationRecord;
use crate::views::{self, Vmim};

pub(crate) use complete::{complete, log};
use run::Run;

/// What to migrate, and how often.
#[derive(Clone)]
pub struct MigrateOptions {
    /// The run whose guests are migrated.
    pub run_id: Option<String>,
    /// These guests; empty takes all of the run.
    pub guests: Vec<String>,
    /// How often each.
    pub count: u32,
    /// How many guests at once; the others wait on our side.
    pub at_once: usize,
    /// A migration that takes longer is aborted.
    pub max_time: Option<Duration>,
    /// How long an abort may take.
    pub abort_patience: Duration,
    /// Whether virt-launcher's account is read.
    pub read_logs: bool,
    /// Whether the cluster's events are read.
    pub read_events: bool,
    /// Whether guests are asked for their progress, and how.
    pub guests_tell: Option<GuestsTell>,
    /// Where to ask for KubeVirt's metrics.
    pub prometheus: Option<Prometheus>,
}

/// What happens while migrating.
#[derive(Debug)]
pub enum MigrateEvent<'a> {
    /// A migration was accepted: guest, its number.
    Began(&'a str, u32),
    /// A migration moved on.
    Moved(&'a MigrationRecord),
    /// A migration is over, and this is all of it.
    Ended(&'a MigrationRecord),
    /// We asked for its end.
    Aborting(&'a str),
}

/// How guests are asked for their progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestsTell {
    /// How long a guest is watched before its migration, which makes the baseline.
    pub warm_up: Duration,
    /// How long after it.
    pub cool_down: Duration,
    /// Whether its memory is checked at the end.
    pub check_memory: bool,
    /// Whether records are written to its data disk meanwhile, if it has one.
    pub follow_disk: bool,
}

/// Migrates; every record goes to `tell` as soon as it is whole. Returns how many there were.
pub async fn migrate(
    cluster: &Cluster,
    options: &MigrateOptions,
    interrupt: &Interrupt,
    tell: Tell<'_>,
) -> Result<u32, KubevirtError> {
    let selector = selector(options);
    let mut follower = Follower::new(cluster, Some(&cluster.namespace), selector);
    follower.settle(cluster).await?;
    let guests = guests(cluster, options).await?;
    let mut run = Run::new(cluster, options, follower, guests);
    let result = run.fly(interrupt, tell).await;
    // Whatever went wrong on our side, no migration of ours may go on unwatched and unrecorded.
    run.land(tell).await?;
    result.map(|()| run.recorded)
}

type Tell<'a> = &'a mut dyn FnMut(MigrateEvent<'_>) -> Result<(), KubevirtError>;

/// Guests that are not named must be ours.
fn selector(options: &MigrateOptions) -> Option<String> {
    let is_ours = options.run_id.is_some() || options.guests.is_empty();
    is_ours.then(|| labels::selector(options.run_id.as_deref()))
}

/// The guests to migrate, each of which must be able to.
async fn guests(cluster: &Cluster, options: &MigrateOptions) -> Result<Vec<String>, KubevirtError> {
    let api = cluster.api::<views::Vmi>(&views::vmis(), Some(&cluster.namespace));
    let selector = selector(options);
    let found = cluster.list("VirtualMachineInstances", &api, selector.as_deref()).await?;
    let is_wanted = |name: &String| options.guests.is_empty() || options.guests.contains(name);
    let mut names = Vec::new();
    for vmi in found.iter().filter(|it| is_wanted(&it.name_any())) {
        match obstacle(vmi) {
            Obstacle::None => names.push(vmi.name_any()),
            Obstacle::Passing(reason) | Obstacle::Lasting(reason) => {
                return Err(KubevirtError::NotReady(format!("Guest {}: {reason}", vmi.name_any())));
            }
        }
    }
    if let Some(missing) = options.guests.iter().find(|it| !names.contains(it)) {
        return Err(KubevirtError::NotReady(format!(
            "There is no running instance {missing} in namespace {}",
            cluster.namespace
        )));
    }
    if names.is_empty() {
        let run = options.run_id.as_deref().map_or_else(String::new, |it| format!(" of run {it}"));
        return Err(KubevirtError::NotReady(format!(
            "There is no running instance{run} in namespace {}; `sterna kubevirt apply` makes some",
            cluster.namespace
        )));
    }
    names.sort();
    Ok(names)
}

/// A migration of a guest, with a name that the cluster makes.
pub fn migration_object(run_id: Option<&str>, guest: &str) -> Vmim {
    let mut object = Vmim::new(
        "",
        &views::vmims(),
        views::VmimSpec { vmi_name: guest.to_owned(), ..views::VmimSpec::default() },
    );
    object.metadata.name = None;
    // Names end with five letters of the cluster's, and may have 63 letters in all.
    let stem: String = guest.chars().take(50).collect();
    object.metadata.generate_name = Some(format!("sterna-{stem}-"));
    let mut labels = BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::US.to_owned()),
        (labels::ROLE.to_owned(), "migration".to_owned()),
        (labels::VM.to_owned(), guest.to_owned()),
    ]);
    if let Some(run_id) = run_id {
        labels.insert(labels::RUN_ID.to_owned(), run_id.to_owned());
    }
    object.metadata.labels = Some(labels);
    object
}
