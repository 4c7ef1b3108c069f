//! Migrating guests, one after the other or all at once, and recording each migration.
//!
//! ```text
//!  for each guest:   create ──► follow ──► ended ──► account, events ──► record ──► next round
//!                      │          │
//!                   refused    time is up, or the user asks: delete, and wait for the abort
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams, PostParams};
use sterna_pilot::Interrupt;

use crate::apply::{LOOK, Obstacle, obstacle};
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::{Follower, Step};
use crate::labels;
use crate::launcher;
use crate::prometheus::Prometheus;
use crate::record::{Cancel, ClusterEvent, MigrationRecord, Origin};
use crate::views::{self, Vmim};

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

/// Migrates; every record goes to `tell` as soon as it is whole. Returns how many there were.
pub async fn migrate(
    cluster: &Cluster,
    options: &MigrateOptions,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(MigrateEvent<'_>) -> Result<(), KubevirtError>,
) -> Result<u32, KubevirtError> {
    let selector = selector(options);
    let mut follower = Follower::new(cluster, Some(&cluster.namespace), selector);
    follower.settle(cluster).await?;
    let guests = guests(cluster, options).await?;
    let mut run = Run {
        cluster,
        options,
        follower,
        waiting: guests.into_iter().map(|it| (it, 1)).collect(),
        flying: BTreeMap::new(),
        recorded: 0,
    };
    let result = run.fly(interrupt, tell).await;
    // Whatever went wrong on our side, no migration of ours may go on unwatched and unrecorded.
    run.land(tell).await?;
    result.map(|()| run.recorded)
}

/// How long virt-api may take to notice that a migration is over.
const IN_FLIGHT_PATIENCE: Duration = Duration::from_secs(15);

fn is_in_flight(error: &KubevirtError) -> bool {
    matches!(error, KubevirtError::Refused { message, .. } if message.contains("in-flight migration"))
}

struct Run<'a> {
    cluster: &'a Cluster,
    options: &'a MigrateOptions,
    follower: Follower,
    /// Guests that wait, and the number of their next migration.
    waiting: VecDeque<(String, u32)>,
    /// Migrations under way, by UID.
    flying: BTreeMap<String, Flight>,
    recorded: u32,
}

struct Flight {
    guest: String,
    number: u32,
    name: String,
    deadline: Option<Instant>,
    aborted: Option<Instant>,
}

type Tell<'a> = &'a mut dyn FnMut(MigrateEvent<'_>) -> Result<(), KubevirtError>;

impl Run<'_> {
    async fn fly(&mut self, interrupt: &Interrupt, tell: Tell<'_>) -> Result<(), KubevirtError> {
        while !self.waiting.is_empty() || !self.flying.is_empty() {
            if interrupt.requested() {
                return Err(KubevirtError::Interrupted);
            }
            while self.flying.len() < self.options.at_once.max(1) {
                let Some((guest, number)) = self.waiting.pop_front() else { break };
                self.begin(guest, number, tell).await?;
            }
            self.step(tell).await?;
        }
        Ok(())
    }

    /// Aborts what is under way and waits for its end.
    async fn land(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let uids: Vec<String> = self.flying.keys().cloned().collect();
        for uid in uids {
            self.abort(&uid, Cancel::User, tell).await?;
        }
        while !self.flying.is_empty() {
            self.step(tell).await?;
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        guest: String,
        number: u32,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let vmim = migration_object(self.options.run_id.as_deref(), &guest);
        let api = self.cluster.api::<Vmim>(&views::vmims(), Some(&self.cluster.namespace));
        let parameters = PostParams::default();
        let what = format!("migrate {guest}");
        let began = Instant::now();
        let (uid, name) = loop {
            let made = self.cluster.call(&what, || api.create(&parameters, &vmim)).await;
            match made {
                Ok(made) => {
                    let uid = self.follower.expect(&made, self.follower.now_ns());
                    break (uid, made.name_any());
                }
                // virt-api may not have heard yet that the one before is over; or the one that is under way is the one
                // that we just asked for, and only its answer was lost.
                Err(error) if is_in_flight(&error) && began.elapsed() < IN_FLIGHT_PATIENCE => {
                    self.follower.step(LOOK).await?;
                    if let Some(found) = self.lost_answer(&guest) {
                        break found;
                    }
                }
                Err(error) => return Err(error),
            }
        };
        let deadline = self.options.max_time.map(|it| Instant::now() + it);
        tell(MigrateEvent::Began(&guest, number))?;
        self.flying.insert(uid, Flight { guest, number, name, deadline, aborted: None });
        Ok(())
    }

    /// A migration of ours that nobody follows: the answer to its creation was lost.
    fn lost_answer(&self, guest: &str) -> Option<(String, String)> {
        let found = self.follower.records.iter().find(|(uid, record)| {
            record.vmi == guest
                && record.origin == Origin::Ours
                && !record.is_ended()
                && !self.flying.contains_key(*uid)
        });
        found.map(|(uid, record)| (uid.clone(), record.name.clone()))
    }

    async fn step(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        if let Step::Migration(uid) = self.follower.step(LOOK).await?
            && let Some(record) = self.follower.records.get(&uid)
            && self.flying.contains_key(&uid)
        {
            tell(MigrateEvent::Moved(record))?;
        }
        let uids: Vec<String> = self.flying.keys().cloned().collect();
        for uid in uids {
            self.look_at(&uid, tell).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, uid: &str, tell: Tell<'_>) -> Result<(), KubevirtError> {
        if let Some(mut record) = self.follower.take_ended(uid) {
            let flight = self.flying.remove(uid);
            self.complete(&mut record).await;
            tell(MigrateEvent::Ended(&record))?;
            self.recorded += 1;
            if let Some(Flight { guest, number, .. }) = flight
                && number < self.options.count
            {
                self.waiting.push_back((guest, number + 1));
            }
            return Ok(());
        }
        let Some(flight) = self.flying.get(uid) else { return Ok(()) };
        if flight.aborted.is_none() && flight.deadline.is_some_and(|it| Instant::now() >= it) {
            return self.abort(uid, Cancel::Time, tell).await;
        }
        let is_stuck = flight.aborted.is_some_and(|it| it.elapsed() > self.options.abort_patience);
        if is_stuck {
            let name = flight.name.clone();
            self.flying.remove(uid);
            if let Some(mut record) = self.follower.take(uid) {
                self.complete(&mut record).await;
                tell(MigrateEvent::Ended(&record))?;
                self.recorded += 1;
            }
            return Err(KubevirtError::NotReady(format!(
                "The abort of {name} was not over after {} s; the object is deleted, and its controller has to finish it",
                self.options.abort_patience.as_secs()
            )));
        }
        Ok(())
    }

    async fn abort(
        &mut self,
        uid: &str,
        cancel: Cancel,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let Some(flight) = self.flying.get_mut(uid) else { return Ok(()) };
        if flight.aborted.is_some() {
            return Ok(());
        }
        flight.aborted = Some(Instant::now());
        let name = flight.name.clone();
        if let Some(record) = self.follower.records.get_mut(uid) {
            if record.is_ended() {
                return Ok(());
            }
            record.cancel = Some(cancel);
        }
        tell(MigrateEvent::Aborting(&name))?;
        let api = self.cluster.api::<Vmim>(&views::vmims(), Some(&self.cluster.namespace));
        self.cluster.delete("VirtualMachineInstanceMigration", &api, &name).await.map(drop)
    }

    /// Adds what only the end makes worth reading. What cannot be read is no reason to lose the record.
    async fn complete(&self, record: &mut MigrationRecord) {
        complete(self.cluster, record, self.options.read_logs, self.options.read_events).await;
        let Some(prometheus) = &self.options.prometheus else { return };
        match prometheus.of(record).await {
            Ok(series) => record.prometheus = Some(series),
            Err(error) => record.warnings.push(sterna_report::Warning {
                code: "no-prometheus".to_owned(),
                text: format!("KubeVirt's metrics could not be read: {error}"),
                advice: None,
            }),
        }
    }
}

/// Adds virt-launcher's account and the cluster's events to a record.
pub async fn complete(
    cluster: &Cluster,
    record: &mut MigrationRecord,
    read_logs: bool,
    read_events: bool,
) {
    let pod = record.state.as_ref().and_then(|it| it.source_pod.clone());
    if let (true, Some(pod)) = (read_logs, pod) {
        match log(cluster, &record.namespace, &pod).await {
            Ok(text) => record.lines = launcher::of_migration(&text, &record.uid),
            Err(error) => record.warnings.push(sterna_report::Warning {
                code: "no-launcher-log".to_owned(),
                text: format!("virt-launcher's account could not be read: {error}"),
                advice: None,
            }),
        }
    }
    if read_events {
        match events(cluster, record).await {
            Ok(events) => record.events = events,
            Err(error) => record.warnings.push(sterna_report::Warning {
                code: "no-cluster-events".to_owned(),
                text: format!("The cluster's events could not be read: {error}"),
                advice: None,
            }),
        }
    }
}

/// The last lines of virt-launcher's log.
pub(crate) async fn log(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
) -> Result<String, KubevirtError> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let parameters = LogParams {
        container: Some("compute".to_owned()),
        tail_lines: Some(5000),
        ..LogParams::default()
    };
    let brief = cluster.with_patience(Duration::from_secs(3));
    brief.call(&format!("read the log of {pod}"), || api.logs(pod, &parameters)).await
}

async fn events(
    cluster: &Cluster,
    record: &MigrationRecord,
) -> Result<Vec<ClusterEvent>, KubevirtError> {
    let api: Api<Event> = Api::namespaced(cluster.client(), &record.namespace);
    let selector = format!("involvedObject.uid={}", record.uid);
    let parameters = ListParams::default().fields(&selector);
    let brief = cluster.with_patience(Duration::from_secs(10));
    let found = brief.call("list events", || api.list(&parameters)).await?;
    let mut events: Vec<ClusterEvent> = found
        .items
        .into_iter()
        .map(|it| ClusterEvent {
            at: it.last_timestamp.or(it.first_timestamp).map(|at| at.0.to_string()),
            reason: it.reason.unwrap_or_default(),
            message: it.message.unwrap_or_default(),
        })
        .collect();
    events.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(events)
}

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
