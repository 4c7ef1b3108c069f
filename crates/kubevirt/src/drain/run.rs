//! The drain itself: evict, follow, look again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use sterna_pilot::Interrupt;
use sterna_report::Verdict;

use super::evict::Evictor;
use super::node::{self, Standing};
use super::{DrainEvent, DrainOptions, Drained, Tell};
use crate::apply::LOOK;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::{Follower, Step};
use crate::migrate::complete;
use crate::probe_pod::Wait;
use crate::record::MigrationRecord;

/// How often Pods that are still there are evicted again, as kubectl does it; and the node is looked at.
const AGAIN: Duration = Duration::from_secs(5);

/// Namespace and name of a guest.
type Guest = (String, String);

struct Drain<'a> {
    cluster: &'a Cluster,
    options: &'a DrainOptions,
    follower: Follower,
    evictor: Evictor,
    standing: Standing,
    /// Guests still on the node: their Pod, and what the last eviction said.
    left: BTreeMap<Guest, (String, String)>,
    lost: BTreeSet<String>,
    migrations: BTreeSet<String>,
    recorded: usize,
}

/// Evicts and follows until the node is empty, gone, or the time is up.
pub async fn empty(
    cluster: &Cluster,
    options: &DrainOptions,
    standing: Standing,
    interrupt: &Interrupt,
    tell: Tell<'_>,
) -> Result<Drained, KubevirtError> {
    let mut follower = Follower::new(cluster, None, None);
    follower.settle(cluster).await?;
    let mut drain = Drain {
        cluster,
        options,
        follower,
        evictor: Evictor::default(),
        standing,
        left: BTreeMap::new(),
        lost: BTreeSet::new(),
        migrations: BTreeSet::new(),
        recorded: 0,
    };
    let began = Instant::now();
    drain.refresh().await?;
    let guests = drain.left.len();
    tell(DrainEvent::Guests(guests))?;
    let result = drain.run(began, interrupt, tell).await;
    drain.rest(tell).await?;
    result?;
    Ok(Drained {
        guests,
        left: drain.left.into_iter().map(|(key, (_, why))| (key.1, why)).collect(),
        lost: drain.lost,
        migrations: drain.recorded,
        seconds: began.elapsed().as_secs_f64(),
        eviction_version: drain.evictor.version,
    })
}

impl Drain<'_> {
    async fn run(
        &mut self,
        began: Instant,
        interrupt: &Interrupt,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        self.evict(tell).await?;
        let mut looked = Instant::now();
        while !(self.left.is_empty() && self.migrations.is_empty()) {
            if interrupt.requested() {
                return Err(KubevirtError::Interrupted);
            }
            if began.elapsed() >= self.options.patience {
                return Ok(());
            }
            self.step(tell).await?;
            if looked.elapsed() >= AGAIN {
                self.look_at_node(tell).await?;
                if self.standing != Standing::Gone {
                    self.refresh().await?;
                    self.evict(tell).await?;
                }
                looked = Instant::now();
            }
        }
        Ok(())
    }

    /// Looks which guests are on the node.
    async fn refresh(&mut self) -> Result<(), KubevirtError> {
        let pods = node::pods(self.cluster, &self.options.node).await?;
        let old = std::mem::take(&mut self.left);
        for pod in &pods {
            let key = (pod.namespace().unwrap_or_default(), node::guest_of(pod));
            let why = old.get(&key).map(|it| it.1.clone()).unwrap_or_default();
            self.left.insert(key, (pod.name_any(), why));
        }
        Ok(())
    }

    /// Looks how the node stands. With one that is gone everything has ended that is not under way.
    async fn look_at_node(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let standing = node::look(self.cluster, &self.options.node).await?.0;
        if standing != self.standing {
            tell(DrainEvent::Node(&standing.words(&self.options.node)))?;
            self.standing = standing;
        }
        if self.standing == Standing::Gone {
            let records = self.follower.records.values();
            let followed: BTreeSet<Guest> = records.map(guest_of).collect();
            self.left.retain(|guest, _| {
                let is_followed = followed.contains(guest);
                if !is_followed {
                    self.lost.insert(guest.1.clone());
                }
                is_followed
            });
        }
        Ok(())
    }

    async fn evict(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let records = self.follower.records.values().filter(|it| !it.is_ended());
        let moving: BTreeSet<Guest> = records.map(guest_of).collect();
        let staying: Vec<(Guest, String)> = self
            .left
            .iter()
            .filter(|(guest, _)| !moving.contains(*guest))
            .map(|(guest, (pod, _))| (guest.clone(), pod.clone()))
            .collect();
        for (guest, pod) in staying {
            let words = self.evictor.evict(self.cluster, &guest.0, &pod).await?;
            tell(DrainEvent::Evicted(&guest.1, &words))?;
            if let Some(left) = self.left.get_mut(&guest) {
                left.1 = words;
            }
        }
        Ok(())
    }

    async fn step(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        if let Step::Migration(uid) = self.follower.step(LOOK).await?
            && let Some(record) = self.follower.records.get(&uid)
        {
            let is_ours = self.left.contains_key(&guest_of(record))
                || record.node_before.as_ref() == Some(&self.options.node);
            if is_ours {
                self.migrations.insert(uid);
                tell(DrainEvent::Moved(record))?;
            }
        }
        let uids: Vec<String> = self.migrations.iter().cloned().collect();
        for uid in uids {
            if let Some(record) = self.follower.take_ended(&uid) {
                self.ended(&uid, record, tell).await?;
            }
        }
        Ok(())
    }

    async fn ended(
        &mut self,
        uid: &str,
        mut record: MigrationRecord,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let options = self.options;
        self.migrations.remove(uid);
        let guest = guest_of(&record);
        if record.is_ended() && !record.has_succeeded() {
            self.look_at_node(tell).await?;
            if self.standing == Standing::Gone {
                record.guest_lost = Some(self.standing.words(&options.node));
            }
        }
        let (logs, events) = (options.read_logs, options.read_events);
        let wait = Wait { since_the_end: Duration::ZERO, is_alone: self.migrations.is_empty() };
        complete(self.cluster, &mut record, logs, events, wait).await;
        match record.verdict() {
            (Verdict::Lost, _) => {
                self.left.remove(&guest);
                self.lost.insert(guest.1);
            }
            _ if record.node_after.as_ref().is_some_and(|it| *it != options.node) => {
                self.left.remove(&guest);
            }
            (_, Some(reason)) => {
                if let Some(left) = self.left.get_mut(&guest) {
                    left.1 = reason;
                }
            }
            _ => {}
        }
        self.recorded += 1;
        tell(DrainEvent::Ended(&record))
    }

    /// Migrations that are still under way are recorded as they are; they are the cluster's, so they go on.
    async fn rest(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        for uid in std::mem::take(&mut self.migrations) {
            if let Some(record) = self.follower.take(&uid) {
                self.ended(&uid, record, tell).await?;
            }
        }
        Ok(())
    }
}

fn guest_of(record: &MigrationRecord) -> Guest {
    (record.namespace.clone(), record.vmi.clone())
}
