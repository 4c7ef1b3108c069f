//! Emptying a node of its guests.
//!
//! ```text
//!   cordon ──► evict every virt-launcher Pod ──► follow the migrations ──► node is empty ──► uncordon
//!                  ▲            │                        │                     │                 ▲
//!                  └─ again ◄───┘ (429: too early)       ├─ time is up, or the user asks ────────┤
//!                                                        └─ the node itself is gone ─────────────┘
//! ```
//!
//! Only guests are evicted; what else runs on the node is left alone. A guest that goes has its Pod protected by a
//! budget, so the first eviction is refused with 429 and the migration it caused is followed instead.

mod evict;
mod node;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sterna_pilot::Interrupt;

use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::record::MigrationRecord;

use node::Standing;

/// How a drain is done.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// The node.
    pub node: String,
    /// How long it may take.
    pub patience: Duration,
    /// Whether the node stays cordoned when it is empty.
    pub keep_cordoned: bool,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// Whether virt-launcher's account is read.
    pub read_logs: bool,
    /// Whether the cluster's events are read.
    pub read_events: bool,
}

/// What happens in a drain.
#[derive(Debug)]
pub enum DrainEvent<'a> {
    /// The node takes nothing new.
    Cordoned,
    /// These guests are on the node.
    Guests(usize),
    /// A guest was asked to go: its name, and what the API server said.
    Evicted(&'a str, &'a str),
    /// A migration moved on.
    Moved(&'a MigrationRecord),
    /// A migration is over, and this is all of it.
    Ended(&'a MigrationRecord),
    /// Something is the matter with the node itself, in words.
    Node(&'a str),
    /// The node takes guests again.
    Uncordoned,
}

/// What became of a drain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drained {
    /// Guests that were on the node.
    pub guests: usize,
    /// Guests that are still there, and why as far as is known.
    pub left: BTreeMap<String, String>,
    /// Guests that were on the node when it was taken out of the cluster, and ended with it.
    pub lost: BTreeSet<String>,
    /// Migrations that were recorded.
    pub migrations: usize,
    /// From the first eviction to the node being empty, or given up.
    pub seconds: f64,
    /// The version of the eviction API that was spoken.
    pub eviction_version: Option<&'static str>,
}

type Tell<'a> = &'a mut dyn FnMut(DrainEvent<'_>) -> Result<(), KubevirtError>;

/// Drains; the node is uncordoned at the end, whatever happens.
pub async fn drain(
    cluster: &Cluster,
    options: &DrainOptions,
    interrupt: &Interrupt,
    tell: Tell<'_>,
) -> Result<Drained, KubevirtError> {
    let name = &options.node;
    let (standing, was_cordoned) = node::look(cluster, name).await?;
    match standing {
        Standing::Gone => return Err(KubevirtError::NotReady(format!("There is no node {name}"))),
        Standing::NotReady(_) => tell(DrainEvent::Node(&standing.words(name)))?,
        Standing::Well => {}
    }
    if options.dry_run {
        return rehearse(cluster, name, tell).await;
    }
    node::cordon(cluster, name, true).await?;
    let result = match tell(DrainEvent::Cordoned) {
        Ok(()) => run::empty(cluster, options, standing, interrupt, tell).await,
        Err(error) => Err(error),
    };
    let is_empty = result.as_ref().is_ok_and(|it| it.left.is_empty() && it.lost.is_empty());
    if was_cordoned || options.keep_cordoned && is_empty {
        return result;
    }
    match node::cordon(cluster, name, false).await {
        Ok(()) => tell(DrainEvent::Uncordoned)?,
        Err(error) if error.is_not_found() => {
            tell(DrainEvent::Node(&format!("{name} is gone, so there is nothing to uncordon")))?;
        }
        Err(error) if result.is_ok() => return Err(error),
        Err(error) => {
            return result.map_err(|first| {
                KubevirtError::NotReady(format!(
                    "{first}; and node {name} is still cordoned: {error}"
                ))
            });
        }
    }
    result
}

/// Tells what would be done.
async fn rehearse(cluster: &Cluster, node: &str, tell: Tell<'_>) -> Result<Drained, KubevirtError> {
    let guests = node::pods(cluster, node).await?;
    tell(DrainEvent::Guests(guests.len()))?;
    for pod in &guests {
        tell(DrainEvent::Evicted(&node::guest_of(pod), "would be evicted"))?;
    }
    Ok(Drained { guests: guests.len(), ..Drained::default() })
}
