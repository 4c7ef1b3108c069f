//! Creating the workload and waiting until it answers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use serde_json::Value;
use sterna_pilot::Interrupt;

use crate::cluster::{Cluster, Seen, Watch};
use crate::error::KubevirtError;
use crate::labels;
use crate::policy::require_known;
use crate::stress::{Parameters, manifests};
use crate::views::{self, Vmi, condition};

/// How often the user's wish to stop is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// What happened while applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyEvent {
    /// An object was created: kind and name.
    Applied(String, String),
    /// A guest answers; how many do, of how many.
    Ready(String, usize, usize),
}

/// Creates every object; returns them as they are printed.
pub async fn apply(
    cluster: &Cluster,
    parameters: &Parameters,
    tell: &mut dyn FnMut(ApplyEvent),
) -> Result<Vec<Value>, KubevirtError> {
    let objects = manifests(parameters)?;
    if let Some(policy) = objects.iter().find(|it| it["kind"] == "MigrationPolicy") {
        require_known(cluster, policy).await?;
    }
    for object in &objects {
        cluster.create(object).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        tell(ApplyEvent::Applied(text(&object["kind"]), text(&object["metadata"]["name"])));
    }
    Ok(objects)
}

/// Waits until every guest of a run is ready and may be migrated.
///
/// Ready means that the port of the agent answers: the machine's readiness probe asks for it.
pub async fn wait_ready(
    cluster: &Cluster,
    run_id: &str,
    count: usize,
    patience: Duration,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(ApplyEvent),
) -> Result<(), KubevirtError> {
    let api = cluster.api::<Vmi>(&views::vmis(), Some(&cluster.namespace));
    let selector = Some(labels::selector(Some(run_id)));
    let mut guests = Watch::new(cluster, "VirtualMachineInstances", api, selector).spawn();
    let deadline = Instant::now() + patience;
    let mut ready = BTreeSet::new();
    let mut waiting: std::collections::BTreeMap<String, String> = Default::default();
    while ready.len() < count {
        let seen = tokio::select! {
            seen = guests.next() => seen?,
            () = tokio::time::sleep(LOOK) => {
                if interrupt.requested() {
                    return Err(KubevirtError::Interrupted);
                }
                if Instant::now() >= deadline {
                    return Err(late(count, ready.len(), &waiting, patience));
                }
                continue;
            }
        };
        match seen {
            Seen::There(vmi) => {
                let name = vmi.name_any();
                match obstacle(&vmi) {
                    Obstacle::None => {
                        waiting.remove(&name);
                        if ready.insert(name.clone()) {
                            tell(ApplyEvent::Ready(name, ready.len(), count));
                        }
                    }
                    Obstacle::Passing(reason) => {
                        ready.remove(&name);
                        waiting.insert(name, reason);
                    }
                    Obstacle::Lasting(reason) => {
                        return Err(KubevirtError::NotReady(format!("Guest {name}: {reason}")));
                    }
                }
            }
            Seen::Gone(vmi) => {
                ready.remove(&vmi.name_any());
                waiting.insert(vmi.name_any(), "it was deleted".to_owned());
            }
        }
    }
    Ok(())
}

/// What keeps a guest from being migrated.
pub(crate) enum Obstacle {
    /// Nothing.
    None,
    /// Something that ends by itself.
    Passing(String),
    /// Something that does not.
    Lasting(String),
}

/// Whether a guest runs, answers, and may be migrated.
pub(crate) fn obstacle(vmi: &Vmi) -> Obstacle {
    let status = vmi.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or("unknown");
    if matches!(phase, "Failed" | "Succeeded") {
        return Obstacle::Lasting(format!("it is in phase {phase}"));
    }
    if phase != "Running" {
        return Obstacle::Passing(format!("it is in phase {phase}"));
    }
    let migratable = condition(&status.conditions, "LiveMigratable");
    if let Some(no) = migratable.filter(|it| it.status == "False") {
        let reason = no.reason.as_deref().unwrap_or("no reason");
        let message = no.message.as_deref().unwrap_or("no message");
        return Obstacle::Lasting(format!("it cannot be migrated live: {reason}: {message}"));
    }
    match condition(&status.conditions, "Ready") {
        Some(ready) if ready.status == "True" => Obstacle::None,
        Some(ready) => {
            let message = ready.message.as_deref().or(ready.reason.as_deref());
            Obstacle::Passing(format!(
                "it runs, but its workload does not answer yet{}",
                message.map_or_else(String::new, |it| format!(" ({it})"))
            ))
        }
        None => Obstacle::Passing("it runs, and is not ready yet".to_owned()),
    }
}

fn late(
    count: usize,
    ready: usize,
    waiting: &std::collections::BTreeMap<String, String>,
    patience: Duration,
) -> KubevirtError {
    let first: Vec<String> =
        waiting.iter().take(3).map(|(name, reason)| format!("{name}: {reason}")).collect();
    let rest = match (first.is_empty(), waiting.len().saturating_sub(3)) {
        (true, _) => "no instance was seen".to_owned(),
        (false, 0) => first.join("; "),
        (false, more) => format!("{}; and {more} more", first.join("; ")),
    };
    KubevirtError::NotReady(format!(
        "{ready} of {count} guests are ready after {} s: {rest}",
        patience.as_secs()
    ))
}
