//! Asking a guest again and again, beside everything else.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use tokio::sync::oneshot::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::GuestSeen;
use super::agent::Agent;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::labels;
use crate::views::Vmi;

/// How a guest is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The zero of the readings' clock.
    pub start: Instant,
    /// Time between two questions.
    pub interval: Duration,
    /// Whether records are written to its data disk, if it has one.
    pub follow_disk: bool,
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As soon as may be: nobody waits for the last word.
    Hurried,
    /// With the counters.
    Plain,
    /// With a check of the guest's memory.
    Checked,
}

/// Asks a guest for its counters until told to finish; ends with it.
pub struct GuestWatch {
    finish: Option<Sender<Finish>>,
    task: JoinHandle<GuestSeen>,
}

impl GuestWatch {
    /// Whether a guest has an agent that tells its counters.
    pub fn is_possible(guest: &Vmi) -> bool {
        port(guest).is_some()
    }

    /// Begins, if the guest answers a first time.
    pub async fn begin(
        cluster: &Cluster,
        guest: &Vmi,
        asking: Asking,
    ) -> Result<GuestWatch, KubevirtError> {
        let namespace = guest.namespace().unwrap_or_default();
        let port = port(guest).unwrap_or_default();
        let mut agent =
            Agent::new(cluster.clone(), namespace, guest.name_any(), port, asking.start);
        let mut seen = GuestSeen::default();
        seen.readings.push(agent.read().await?);
        let mut disk = None;
        if asking.follow_disk {
            match agent.begin_disk().await {
                Ok(begun) => disk = begun,
                Err(reason) => seen.disk = Some(Err(reason)),
            }
        }
        let (finish, is_finished) = oneshot::channel();
        let task = tokio::spawn(watch(agent, seen, asking.interval, disk, is_finished));
        Ok(GuestWatch { finish: Some(finish), task })
    }

    /// Asks it to end; the first word holds.
    pub fn finish(&mut self, how: Finish) {
        if let Some(finish) = self.finish.take() {
            let _ = finish.send(how);
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// What was seen, when it has ended.
    pub async fn take(mut self) -> GuestSeen {
        self.finish(Finish::Hurried);
        (&mut self.task).await.unwrap_or_default()
    }
}

impl Drop for GuestWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn port(guest: &Vmi) -> Option<u16> {
    guest.annotations().get(labels::METRICS_PORT)?.parse().ok()
}

/// `disk` is the run of the records that are being written.
async fn watch(
    mut agent: Agent,
    mut seen: GuestSeen,
    interval: Duration,
    disk: Option<u64>,
    mut is_finished: Receiver<Finish>,
) -> GuestSeen {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let how = loop {
        tokio::select! {
            how = &mut is_finished => break how.unwrap_or(Finish::Hurried),
            _ = tick.tick() => {}
        }
        match agent.read().await {
            Ok(reading) => seen.readings.push(reading),
            Err(_) => seen.misses += 1,
        }
    };
    // Before the check of the memory, which takes all the guest's processors.
    if let Some(run) = disk {
        seen.disk = Some(agent.end_disk(run, how == Finish::Hurried).await);
    }
    if how == Finish::Checked {
        seen.check = Some(agent.check().await.map_err(|error| error.to_string()));
    }
    seen
}
