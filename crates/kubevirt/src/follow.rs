//! Following all migrations of a namespace, or of the cluster, at once.
//!
//! Two watches feed one map of records. An event of a guest is kept for the records to come, since the guest's state
//! may tell of a migration before the migration's own event arrives.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::cluster::{Cluster, Seen, Watch, Watching};
use crate::error::KubevirtError;
use crate::labels;
use crate::record::{MigrationRecord, Origin};
use crate::views::{self, Vmi, Vmim};

/// Marks a migration that a drain made.
const EVACUATION: &str = "kubevirt.io/evacuationMigration";

/// How long the last word of the guest's object is waited for after the migration's.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Two watches and what they told.
pub struct Follower {
    start: Instant,
    started_at: Timestamp,
    vmims: Watching<Vmim>,
    vmis: Watching<Vmi>,
    /// Guests as they are now, by namespace and name.
    pub guests: HashMap<(String, String), Vmi>,
    /// Migrations that were seen and not taken yet, by UID.
    pub records: HashMap<String, MigrationRecord>,
    /// Migrations that were over when we came, or were taken.
    done: std::collections::HashSet<String>,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A migration's record changed; its UID.
    Migration(String),
    /// A guest changed.
    Guest(String, String),
    /// Nothing within the time.
    Nothing,
}

impl Follower {
    /// Follows in a namespace, or everywhere.
    pub fn new(cluster: &Cluster, namespace: Option<&str>, selector: Option<String>) -> Follower {
        let vmims = cluster.api(&views::vmims(), namespace);
        let vmis = cluster.api(&views::vmis(), namespace);
        Follower {
            start: Instant::now(),
            started_at: Timestamp::now(),
            vmims: Watch::new(cluster, "VirtualMachineInstanceMigrations", vmims, None).spawn(),
            vmis: Watch::new(cluster, "VirtualMachineInstances", vmis, selector).spawn(),
            guests: HashMap::new(),
            records: HashMap::new(),
            done: std::collections::HashSet::new(),
        }
    }

    /// Now, on the clock of the records.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Its zero.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// A moment of that clock in UTC.
    pub fn utc(&self, ns: u64) -> String {
        let span = Duration::from_nanos(ns);
        self.started_at.checked_add(span).unwrap_or(self.started_at).to_string()
    }

    /// Watches begun again, and lists made anew.
    pub fn interruptions(&self) -> (u64, u64) {
        let (first, second) = (self.vmims.interruptions(), self.vmis.interruptions());
        (first.0 + second.0, first.1 + second.1)
    }

    /// Begins the record of a migration that we made, at the moment of its acceptance.
    pub fn expect(&mut self, vmim: &Vmim, began_ns: u64) -> String {
        let uid = vmim.uid().unwrap_or_default();
        let mut record = self.fresh(vmim, began_ns);
        record.origin = Origin::Ours;
        // An event may have been faster than the answer.
        if let Some(seen) = self.records.remove(&uid) {
            record.phases = seen.phases;
            record.state = seen.state;
            record.ended_ns = seen.ended_ns;
            record.conditions = seen.conditions;
        }
        self.records.insert(uid.clone(), record);
        uid
    }

    /// Lets what is already over be history; to be called before the first migration of one's own.
    pub async fn settle(&mut self, cluster: &Cluster) -> Result<(), KubevirtError> {
        let api = self.vmims.api.clone();
        for old in cluster.list("VirtualMachineInstanceMigrations", &api, None).await? {
            let phase = old.status.as_ref().and_then(|it| it.phase.as_deref());
            if views::is_final(phase) {
                self.done.insert(old.uid().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Waits for the next event, at most so long.
    pub async fn step(&mut self, patience: Duration) -> Result<Step, KubevirtError> {
        let event = tokio::select! {
            vmim = self.vmims.next() => Either::Migration(vmim?),
            vmi = self.vmis.next() => Either::Guest(vmi?),
            () = tokio::time::sleep(patience) => return Ok(Step::Nothing),
        };
        Ok(match event {
            Either::Migration(seen) => self.migration(seen),
            Either::Guest(seen) => self.guest(seen),
        })
    }

    fn migration(&mut self, seen: Seen<Vmim>) -> Step {
        let now_ns = self.now_ns();
        let (vmim, is_gone) = match seen {
            Seen::There(vmim) => (vmim, false),
            Seen::Gone(vmim) => (vmim, true),
        };
        let uid = vmim.uid().unwrap_or_default();
        if self.done.contains(&uid) {
            return Step::Nothing;
        }
        if !self.records.contains_key(&uid) {
            let record = self.fresh(&vmim, now_ns);
            self.records.insert(uid.clone(), record);
        }
        let guest =
            self.guests.get(&(vmim.namespace().unwrap_or_default(), vmim.spec.vmi_name.clone()));
        if let Some(record) = self.records.get_mut(&uid) {
            record.see(&vmim, now_ns);
            if let Some(guest) = guest {
                record.see_guest(guest);
            }
            record.vanished |= is_gone && record.ended_ns.is_none();
        }
        Step::Migration(uid)
    }

    fn guest(&mut self, seen: Seen<Vmi>) -> Step {
        let (vmi, is_gone) = match seen {
            Seen::There(vmi) => (vmi, false),
            Seen::Gone(vmi) => (vmi, true),
        };
        let key = (vmi.namespace().unwrap_or_default(), vmi.name_any());
        if let Some(state) = vmi.status.as_ref().and_then(|it| it.migration_state.as_ref())
            && let Some(record) = self.records.values_mut().find(|it| state.is_about(&it.uid))
        {
            record.see_guest(&vmi);
        }
        let phase = vmi.status.as_ref().and_then(|it| it.phase.as_deref());
        let end = match phase {
            _ if is_gone => Some("its instance was deleted".to_owned()),
            Some(phase) if views::is_final(Some(phase)) => Some(format!("its instance is {phase}")),
            _ => None,
        };
        if let Some(end) = end {
            let is_its = |it: &&mut MigrationRecord| {
                it.ended_ns.is_none() && (&it.namespace, &it.vmi) == (&key.0, &key.1)
            };
            for record in self.records.values_mut().filter(is_its) {
                record.guest_lost.get_or_insert_with(|| end.clone());
            }
        }
        if is_gone {
            self.guests.remove(&key);
        } else {
            self.guests.insert(key.clone(), vmi);
        }
        Step::Guest(key.0, key.1)
    }

    fn fresh(&self, vmim: &Vmim, began_ns: u64) -> MigrationRecord {
        let namespace = vmim.namespace().unwrap_or_default();
        let vmi = vmim.spec.vmi_name.clone();
        let guest = self.guests.get(&(namespace.clone(), vmi.clone()));
        let is_ours = vmim.labels().get(labels::MANAGED_BY).is_some_and(|it| it == labels::US);
        let origin = if is_ours {
            Origin::Ours
        } else if vmim.annotations().contains_key(EVACUATION) {
            Origin::Evacuation
        } else {
            Origin::Other
        };
        MigrationRecord {
            name: vmim.name_any(),
            uid: vmim.uid().unwrap_or_default(),
            origin,
            began_ns,
            began_at: self.utc(began_ns),
            created_at: vmim.metadata.creation_timestamp.as_ref().map(|it| it.0.to_string()),
            node_before: guest.and_then(|it| it.status.as_ref()?.node_name.clone()),
            namespace,
            vmi,
            ..MigrationRecord::default()
        }
    }

    /// Takes a record whose end was seen, once the guest has had its last word too.
    pub fn take_ended(&mut self, uid: &str) -> Option<MigrationRecord> {
        let now_ns = self.now_ns();
        let record = self.records.get(uid)?;
        let waited = record.ended_ns.map(|it| Duration::from_nanos(now_ns.saturating_sub(it)));
        let is_due = record.is_complete() || waited.is_some_and(|it| it >= LAST_WORD);
        if !is_due {
            return None;
        }
        self.done.insert(uid.to_owned());
        self.records.remove(uid)
    }

    /// Takes a record as it is.
    pub fn take(&mut self, uid: &str) -> Option<MigrationRecord> {
        self.done.insert(uid.to_owned());
        self.records.remove(uid)
    }
}

enum Either {
    Migration(Seen<Vmim>),
    Guest(Seen<Vmi>),
}
