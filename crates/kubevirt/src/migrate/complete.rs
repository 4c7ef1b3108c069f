//! What only the end of a migration makes worth reading.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use sterna_report::Warning;

use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::probe_pod::Wait;
use crate::record::{ClusterEvent, MigrationRecord};
use crate::views::MigrationState;
use crate::{launcher, probe_pod};

/// Adds virt-launcher's account, the probes' outages and the cluster's events to a record. What cannot be read is no reason to lose the record.
pub async fn complete(
    cluster: &Cluster,
    record: &mut MigrationRecord,
    read_logs: bool,
    read_events: bool,
    wait: Wait,
) {
    if read_logs {
        match probe_pod::read(cluster, record, wait).await {
            Ok(probe) => record.probe = probe,
            Err(error) => warn(record, "no-probe-log", "The probe's outages", &error),
        }
    }
    let pod = record.state.as_ref().and_then(MigrationState::leaves_pod);
    if let (true, Some(pod)) = (read_logs, pod) {
        match log(cluster, &record.namespace, &pod).await {
            Ok(text) => take_log(record, &text),
            Err(error) => warn(record, "no-launcher-log", "virt-launcher's account", &error),
        }
    }
    if read_events {
        match events(cluster, record).await {
            Ok(events) => record.events = events,
            Err(error) => warn(record, "no-cluster-events", "The cluster's events", &error),
        }
    }
}

/// Takes the lines about this migration, and warns where there are none.
fn take_log(record: &mut MigrationRecord, text: &str) {
    let found = launcher::read_log(text, &record.log_uid());
    if let Some(problem) = found.problem() {
        record.warnings.push(Warning {
            code: "launcher-log-unread".to_owned(),
            text: problem,
            advice: Some(
                "KubeVirt before 1.2 writes these lines at log verbosity 4 only: set spec.configuration.developerConfiguration.logVerbosity.virtLauncher".to_owned(),
            ),
        });
    }
    record.lines = found.lines;
}

/// Says what could not be read, and why.
pub fn warn(record: &mut MigrationRecord, code: &str, what: &str, error: &KubevirtError) {
    record.warnings.push(Warning {
        code: code.to_owned(),
        text: format!("{what} could not be read: {error}"),
        advice: None,
    });
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
