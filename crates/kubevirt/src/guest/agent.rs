//! The agent in a guest, asked by way of the API server's proxy to Pods.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use sterna_wire::guest_disk::{DiskEnded, DiskPage, DiskRefused};

use super::{Check, Reading, page};
use crate::cluster::Cluster;
use crate::error::KubevirtError;

/// How long an answer may take; while a guest stands still there is none.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a check may take: a guest reads some GB a second.
const CHECK_PATIENCE: Duration = Duration::from_secs(120);
/// How long a disk may take for a first record; the agent gives it 8 s.
const BEGIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long reading all records again may take; the agent gives the disk 100 s.
const END_PATIENCE: Duration = Duration::from_secs(110);

/// The agent of one guest, wherever the guest is.
pub struct Agent {
    cluster: Cluster,
    namespace: String,
    guest: String,
    port: u16,
    /// The Pod that answered last.
    pod: Option<String>,
    start: Instant,
}

impl Agent {
    pub fn new(
        cluster: Cluster,
        namespace: String,
        guest: String,
        port: u16,
        start: Instant,
    ) -> Agent {
        Agent { cluster, namespace, guest, port, pod: None, start }
    }

    pub async fn read(&mut self) -> Result<Reading, KubevirtError> {
        let now_ns = |start: Instant| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let asked_ns = now_ns(self.start);
        let (pod, page) = self.ask("metrics", PATIENCE).await?;
        let at_ns = u64::midpoint(asked_ns, now_ns(self.start));
        match page::counts(&page) {
            Some(counts) => Ok(Reading { at_ns, pod, counts, guest_ns: page::clock_ns(&page) }),
            None => Err(self.strange("it tells no counters")),
        }
    }

    pub async fn check(&mut self) -> Result<Check, KubevirtError> {
        let (_, page) = self.ask("verify", CHECK_PATIENCE).await?;
        page::check(&page).ok_or_else(|| self.strange("it tells no result of a check"))
    }

    /// Begins records on the guest's data disk, and tells their run; None where it has no such disk, or where its agent
    /// knows of none.
    pub async fn begin_disk(&mut self) -> Result<Option<u64>, String> {
        for _ in 0..2 {
            let page = self.ask("disk/begin", BEGIN_PATIENCE).await;
            let (_, page) = page.map_err(|error| error.to_string())?;
            match page.parse() {
                Ok(DiskPage::Begun { run }) => return Ok(Some(run)),
                Ok(DiskPage::Refused(it)) => match it.why {
                    DiskRefused::NoDisk => return Ok(None),
                    // Those of somebody who was killed, or whose answer was lost: no guest is migrated twice at a time.
                    DiskRefused::Runs => drop(self.ask("disk/end", END_PATIENCE).await),
                    _ => return Err(it.text),
                },
                Ok(DiskPage::Ended(_)) | Err(_) => return Ok(None),
            }
        }
        Err("Somebody else has records written there".to_owned())
    }

    /// Ends them. What the agent has told once it tells again, so a lost answer costs nothing.
    pub async fn end_disk(&mut self, run: u64, is_hurried: bool) -> Result<DiskEnded, String> {
        let (began, mut patience) = (Instant::now(), END_PATIENCE);
        if is_hurried {
            patience = BEGIN_PATIENCE;
        }
        let mut reason;
        loop {
            let left = patience.saturating_sub(began.elapsed());
            match self.ask("disk/end", left.max(PATIENCE)).await {
                Ok((_, page)) => {
                    match page.parse() {
                        Ok(DiskPage::Ended(it)) if it.run == run => return Ok(*it),
                        Ok(DiskPage::Ended(_)) => {
                            return Err("Somebody else has begun records of their own".to_owned());
                        }
                        Ok(DiskPage::Refused(it)) if it.why == DiskRefused::NotBegun => {
                            return Err("The agent in the guest restarted meanwhile, and knows of no records".to_owned());
                        }
                        Ok(DiskPage::Refused(it)) => reason = it.text,
                        Ok(DiskPage::Begun { .. }) | Err(_) => {
                            reason = "It tells nothing of records".to_owned();
                        }
                    }
                }
                Err(error) => reason = error.to_string(),
            }
            if began.elapsed() >= patience {
                return Err(reason);
            }
            tokio::time::sleep(PATIENCE).await;
        }
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
