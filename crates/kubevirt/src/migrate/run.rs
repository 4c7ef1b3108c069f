//! The run: guests that wait, warm up, fly and cool down.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::api::PostParams;

use sterna_pilot::Interrupt;

use super::complete::{complete, warn};
use super::{MigrateEvent, MigrateOptions, Tell, migration_object};
use crate::apply::LOOK;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::{Follower, Step};
use crate::guest::{Asking, Finish, GuestWatch};
use crate::probe_pod::Wait;
use crate::record::{Cancel, MigrationRecord, Origin};
use crate::views::{self, Vmim};

/// How long virt-api may take to notice that a migration is over.
const IN_FLIGHT_PATIENCE: Duration = Duration::from_secs(15);

/// Time between two questions to a guest; more where all together would take more than a quarter of the calls.
const ASK_EVERY: Duration = Duration::from_millis(250);

pub struct Run<'a> {
    cluster: &'a Cluster,
    options: &'a MigrateOptions,
    follower: Follower,
    /// Guests that wait, and the number of their next migration.
    waiting: VecDeque<(String, u32)>,
    /// Guests that are watched before their migration.
    warming: VecDeque<Warming>,
    /// Migrations under way, by UID.
    flying: BTreeMap<String, Flight>,
    /// Migrations that are over, and whose guests are still watched.
    cooling: Vec<Cooling>,
    /// Records that were told.
    pub recorded: u32,
}

struct Warming {
    guest: String,
    number: u32,
    until: Instant,
    watch: Option<GuestWatch>,
    /// Why there is no watch although one was wanted.
    silent: Option<KubevirtError>,
}

struct Flight {
    guest: String,
    number: u32,
    name: String,
    deadline: Option<Instant>,
    aborted: Option<Instant>,
    watch: Option<GuestWatch>,
    silent: Option<KubevirtError>,
}

struct Cooling {
    record: MigrationRecord,
    guest: String,
    number: u32,
    ended: Instant,
    watch: GuestWatch,
}

impl Run<'_> {
    pub fn new<'a>(
        cluster: &'a Cluster,
        options: &'a MigrateOptions,
        follower: Follower,
        guests: Vec<String>,
    ) -> Run<'a> {
        Run {
            cluster,
            options,
            follower,
            waiting: guests.into_iter().map(|it| (it, 1)).collect(),
            warming: VecDeque::new(),
            flying: BTreeMap::new(),
            cooling: Vec::new(),
            recorded: 0,
        }
    }

    pub async fn fly(
        &mut self,
        interrupt: &Interrupt,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        loop {
            if interrupt.requested() {
                return Err(KubevirtError::Interrupted);
            }
            while self.under_way() < self.options.at_once.max(1) {
                let Some((guest, number)) = self.waiting.pop_front() else { break };
                self.warm_up(guest, number).await;
            }
            while self.warming.front().is_some_and(|it| Instant::now() >= it.until) {
                if let Some(warm) = self.warming.pop_front() {
                    self.begin(warm, tell).await?;
                }
            }
            if self.under_way() == 0 {
                return Ok(());
            }
            self.step(tell).await?;
        }
    }

    fn under_way(&self) -> usize {
        self.warming.len() + self.flying.len() + self.cooling.len()
    }

    /// Aborts what is under way and waits for its end.
    pub async fn land(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        self.waiting.clear();
        for warm in std::mem::take(&mut self.warming) {
            if let Some(watch) = warm.watch {
                // What was begun in the guest is ended there.
                watch.take().await;
            }
        }
        let uids: Vec<String> = self.flying.keys().cloned().collect();
        for uid in uids {
            self.abort(&uid, Cancel::User, tell).await?;
        }
        while !(self.flying.is_empty() && self.cooling.is_empty()) {
            self.step(tell).await?;
        }
        Ok(())
    }

    /// Begins to watch a guest that tells how far it is; any other is ready at once.
    async fn warm_up(&mut self, guest: String, number: u32) {
        let (mut watch, mut silent, mut until) = (None, None, Instant::now());
        if let Some(how) = self.options.guests_tell
            && let Some(vmi) = self.guest(&guest).await
        {
            let at_once = u32::try_from(self.options.at_once.max(1)).unwrap_or(u32::MAX);
            let together = self.cluster.pace() * 4 * at_once;
            let asking = Asking {
                start: self.follower.start(),
                interval: ASK_EVERY.max(together),
                follow_disk: how.follow_disk,
            };
            match GuestWatch::begin(self.cluster, &vmi, asking).await {
                Ok(begun) => (watch, until) = (Some(begun), Instant::now() + how.warm_up),
                Err(error) => silent = Some(error),
            }
        }
        self.warming.push_back(Warming { guest, number, until, watch, silent });
    }

    /// A guest's object, if its agent can be asked.
    async fn guest(&self, name: &str) -> Option<views::Vmi> {
        let api = self.cluster.api::<views::Vmi>(&views::vmis(), Some(&self.cluster.namespace));
        let key = (self.cluster.namespace.clone(), name.to_owned());
        let known = self.follower.guests.get(&key).cloned();
        let vmi = match known {
            Some(known) => known,
            // Its first event is not here yet.
            None => {
                let all = self.cluster.list("VirtualMachineInstances", &api, None).await.ok()?;
                all.into_iter().find(|it| it.name_any() == name)?
            }
        };
        GuestWatch::is_possible(&vmi).then_some(vmi)
    }

    async fn begin(&mut self, warm: Warming, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let Warming { guest, number, watch, silent, .. } = warm;
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
        let flight = Flight { guest, number, name, deadline, aborted: None, watch, silent };
        self.flying.insert(uid, flight);
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
        self.cool(tell).await
    }

    async fn look_at(&mut self, uid: &str, tell: Tell<'_>) -> Result<(), KubevirtError> {
        if let Some(record) = self.follower.take_ended(uid)
            && let Some(flight) = self.flying.remove(uid)
        {
            return self.over(record, flight, tell).await;
        }
        let Some(flight) = self.flying.get(uid) else { return Ok(()) };
        if flight.aborted.is_none() && flight.deadline.is_some_and(|it| Instant::now() >= it) {
            return self.abort(uid, Cancel::Time, tell).await;
        }
        let is_stuck = flight.aborted.is_some_and(|it| it.elapsed() > self.options.abort_patience);
        if is_stuck {
            let name = flight.name.clone();
            self.flying.remove(uid);
            if let Some(record) = self.follower.take(uid) {
                self.record(record, Duration::ZERO, tell).await?;
            }
            return Err(KubevirtError::NotReady(format!(
                "The abort of {name} was not over after {} s; the object is deleted, and its controller has to finish it",
                self.options.abort_patience.as_secs()
            )));
        }
        Ok(())
    }

    /// A migration is over: its guest cools down, or the record is whole at once.
    async fn over(
        &mut self,
        mut record: MigrationRecord,
        flight: Flight,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let Flight { guest, number, watch, silent, .. } = flight;
        if let Some(error) = silent {
            warn(&mut record, "no-guest-samples", "The guest's own progress", &error);
        }
        match watch {
            Some(watch) => {
                self.cooling.push(Cooling { record, guest, number, ended: Instant::now(), watch });
                Ok(())
            }
            None => {
                self.record(record, Duration::ZERO, tell).await?;
                self.again(guest, number);
                Ok(())
            }
        }
    }

    /// Guests that were watched long enough are asked for a last word; who has given it is recorded.
    async fn cool(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let Some(how) = self.options.guests_tell else { return Ok(()) };
        let mut over = Vec::new();
        for mut it in std::mem::take(&mut self.cooling) {
            // Who pressed Ctrl-C does not want to wait for a check of all memory.
            if it.record.cancel == Some(Cancel::User) {
                it.watch.finish(Finish::Hurried);
            } else if it.ended.elapsed() >= how.cool_down {
                it.watch.finish(if how.check_memory { Finish::Checked } else { Finish::Plain });
            }
            if it.watch.is_over() { over.push(it) } else { self.cooling.push(it) }
        }
        for Cooling { mut record, guest, number, ended, watch } in over {
            record.guest = Some(watch.take().await);
            self.record(record, ended.elapsed(), tell).await?;
            self.again(guest, number);
        }
        Ok(())
    }

    fn again(&mut self, guest: String, number: u32) {
        if number < self.options.count {
            self.waiting.push_back((guest, number + 1));
        }
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

    /// Adds what others say of a migration, and tells it.
    async fn record(
        &mut self,
        mut record: MigrationRecord,
        since_the_end: Duration,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let options = self.options;
        let (logs, events) = (options.read_logs, options.read_events);
        let is_alone = self.flying.is_empty() && self.cooling.is_empty();
        let wait = Wait { since_the_end, is_alone };
        complete(self.cluster, &mut record, logs, events, wait).await;
        if let Some(prometheus) = &options.prometheus {
            match prometheus.of(&record).await {
                Ok(series) => record.prometheus = Some(series),
                Err(error) => warn(&mut record, "no-prometheus", "KubeVirt's metrics", &error),
            }
        }
        self.recorded += 1;
        tell(MigrateEvent::Ended(&record))
    }
}

fn is_in_flight(error: &KubevirtError) -> bool {
    matches!(error, KubevirtError::Refused { message, .. } if message.contains("in-flight migration"))
}
