//! Asking a guest again and again, beside everything else.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use tokio::sync::oneshot::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{Check, GuestSeen, Reading, page};
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::labels;
use crate::views::Vmi;

/// How long an answer may take; while a guest stands still there is none.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a check may take: a guest reads some GB a second.
const CHECK_PATIENCE: Duration = Duration::from_secs(120);

/// Asks a guest for its counters until told to finish; ends with it.
pub struct GuestWatch {
    finish: Option<Sender<bool>>,
    task: JoinHandle<GuestSeen>,
}

impl GuestWatch {
    /// Whether a guest has an agent that tells its counters.
    pub fn is_possible(guest: &Vmi) -> bool {
        port(guest).is_some()
    }

    /// Begins, if the guest answers a first time. `start` is the zero of the readings' clock.
    pub async fn begin(
        cluster: &Cluster,
        guest: &Vmi,
        start: Instant,
        interval: Duration,
    ) -> Result<GuestWatch, KubevirtError> {
        let mut agent = Agent {
            cluster: cluster.clone(),
            namespace: guest.namespace().unwrap_or_default(),
            guest: guest.name_any(),
            port: port(guest).unwrap_or_default(),
            pod: None,
            start,
        };
        let mut seen = GuestSeen::default();
        seen.readings.push(agent.read().await?);
        let (finish, is_finished) = oneshot::channel();
        let task = tokio::spawn(watch(agent, seen, interval, is_finished));
        Ok(GuestWatch { finish: Some(finish), task })
    }

    /// Asks it to end, perhaps with a check of the guest's memory.
    pub fn finish(&mut self, check: bool) {
        if let Some(finish) = self.finish.take() {
            let _ = finish.send(check);
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// What was seen, when it has ended.
    pub async fn take(mut self) -> GuestSeen {
        self.finish(false);
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

async fn watch(
    mut agent: Agent,
    mut seen: GuestSeen,
    interval: Duration,
    mut is_finished: Receiver<bool>,
) -> GuestSeen {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let check = loop {
        tokio::select! {
            check = &mut is_finished => break check.unwrap_or(false),
            _ = tick.tick() => {}
        }
        match agent.read().await {
            Ok(reading) => seen.readings.push(reading),
            Err(_) => seen.misses += 1,
        }
    };
    if check {
        seen.check = Some(agent.check().await.map_err(|error| error.to_string()));
    }
    seen
}

/// The agent of one guest, wherever the guest is.
struct Agent {
    cluster: Cluster,
    namespace: String,
    guest: String,
    port: u16,
    /// The Pod that answered last.
    pod: Option<String>,
    start: Instant,
}

impl Agent {
    async fn read(&mut self) -> Result<Reading, KubevirtError> {
        let now_ns = |start: Instant| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let asked_ns = now_ns(self.start);
        let (pod, page) = self.ask("metrics", PATIENCE).await?;
        let at_ns = u64::midpoint(asked_ns, now_ns(self.start));
        match page::counts(&page) {
            Some(counts) => Ok(Reading { at_ns, pod, counts }),
            None => Err(self.strange("it tells no counters")),
        }
    }

    async fn check(&mut self) -> Result<Check, KubevirtError> {
        let (_, page) = self.ask("verify", CHECK_PATIENCE).await?;
        page::check(&page).ok_or_else(|| self.strange("it tells no result of a check"))
    }

    fn strange(&self, reason: &str) -> KubevirtError {
        let what = format!("ask the agent in {}", self.guest);
        KubevirtError::Answer { what, reason: reason.to_owned() }
    }

    /// Asks the Pod that answered last, or else each of the guest's.
    async fn ask(
        &mut self,
        page: &str,
        patience: Duration,
    ) -> Result<(String, String), KubevirtError> {
        if let Some(pod) = self.pod.take()
            && let Ok(text) = self.get(&pod, page, patience).await
        {
            self.pod = Some(pod.clone());
            return Ok((pod, text));
        }
        let mut reason = KubevirtError::NotReady(format!("{} has no Pod", self.guest));
        for pod in self.pods().await? {
            match self.get(&pod, page, patience).await {
                Ok(text) => {
                    self.pod = Some(pod.clone());
                    return Ok((pod, text));
                }
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    async fn get(
        &self,
        pod: &str,
        page: &str,
        patience: Duration,
    ) -> Result<String, KubevirtError> {
        let (namespace, port) = (&self.namespace, self.port);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{page}");
        self.cluster.get_once(&path, patience).await
    }

    async fn pods(&self) -> Result<Vec<String>, KubevirtError> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), &self.namespace);
        let selector = format!("kubevirt.io=virt-launcher,vm.kubevirt.io/name={}", self.guest);
        let brief = self.cluster.with_patience(PATIENCE);
        let all = brief.list("Pods", &api, Some(&selector)).await?;
        let runs = |pod: &&Pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        };
        Ok(all.iter().filter(runs).map(ResourceExt::name_any).collect())
    }
}
