//! What the Pod that probes a guest saw of a migration, from its log.
//!
//! The Pod runs `sterna probe` on a node of its own, so its times are by that node's clock; the length of an outage is
//! by one clock, and needs no other.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use sterna_report::probing::{ProbeDirection, ProbeEvent, ProbeOutage};
use sterna_report::{Direction, Outage, Probe};

use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::record::MigrationRecord;

/// Time between two messages; [`crate::stress`] gives it to the Pod.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// An outage that begins later after the end is none of the migration's.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(10);

/// The probe tells of an outage when it is over; one that the migration made is, after so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// More of a log is not read: some 20,000 outages.
const MOST_BYTES: i64 = 4 << 20;

/// The Pod that probes a guest.
pub fn name(guest: &str) -> String {
    format!("{guest}-probe")
}

/// What it saw of a migration that has just ended; None where there is no such Pod.
pub async fn read(
    cluster: &Cluster,
    record: &MigrationRecord,
    since_the_end: Duration,
) -> Result<Option<Probe>, KubevirtError> {
    let first = match log(cluster, record).await {
        Err(error) if error.is_not_found() => return Ok(None),
        first => of(&first?, record)?,
    };
    if !first.outages.is_empty() || since_the_end >= PATIENCE {
        return Ok(Some(first));
    }
    tokio::time::sleep(PATIENCE.saturating_sub(since_the_end)).await;
    of(&log(cluster, record).await?, record).map(Some)
}

async fn log(cluster: &Cluster, record: &MigrationRecord) -> Result<String, KubevirtError> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), &record.namespace);
    let parameters = LogParams {
        container: Some("probe".to_owned()),
        limit_bytes: Some(MOST_BYTES),
        ..LogParams::default()
    };
    let pod = name(&record.vmi);
    let brief = cluster.with_patience(Duration::from_secs(3));
    brief.call(&format!("read the log of {pod}"), || api.logs(&pod, &parameters)).await
}

fn of(log: &str, record: &MigrationRecord) -> Result<Probe, KubevirtError> {
    let length = record.ended_ns.unwrap_or(record.began_ns).saturating_sub(record.began_ns);
    let began: Timestamp = record.began_at.parse().unwrap_or_default();
    parse(log, began, Duration::from_nanos(length)).ok_or_else(|| KubevirtError::Answer {
        what: format!("read the log of {}", name(&record.vmi)),
        reason: "it does not begin as `sterna probe --format ndjson` does".to_owned(),
    })
}

/// The outages in a log that overlap a migration; None where it is no such log.
fn parse(log: &str, began: Timestamp, length: Duration) -> Option<Probe> {
    // What the program says on its standard error stands between.
    let mut events = log.lines().filter_map(|it| serde_json::from_str(it).ok());
    let started: Timestamp = events.find_map(|event| match event {
        ProbeEvent::Start(start) => start.started_at.parse().ok(),
        _ => None,
    })?;
    let offset = started.duration_since(began).as_secs_f64();
    let until = length.as_secs_f64() + AFTERMATH.as_secs_f64();
    let (mut outages, mut total) = (Vec::new(), None);
    for event in events {
        match event {
            ProbeEvent::Start(_) => {}
            ProbeEvent::Outage(it) => outages.push(it.outage),
            ProbeEvent::Report(it) => total = it.probes.into_iter().next(),
        }
    }
    if let Some(total) = &total {
        outages.clone_from(&total.outages);
    }
    let is_in_it = |it: &&ProbeOutage| {
        let start = offset + it.start_seconds;
        start + it.length_seconds >= 0.0 && start <= until
    };
    Some(Probe {
        kind: "udp".to_owned(),
        interval_seconds: Some(INTERVAL.as_secs_f64()),
        // The whole life of the Pod is no count of this migration.
        sent: None,
        received: None,
        duplicates: None,
        round_trip: None,
        late_seconds: total.map(|it| it.late_seconds),
        outages: outages.iter().filter(is_in_it).map(|it| outage(it, offset)).collect(),
    })
}

fn outage(seen: &ProbeOutage, offset: f64) -> Outage {
    Outage {
        start_seconds: offset + seen.start_seconds,
        length_seconds: seen.length_seconds,
        has_ended: seen.has_ended,
        lost: Some(seen.lost),
        direction: match seen.direction {
            ProbeDirection::ToResponder => Direction::ToGuest,
            ProbeDirection::FromResponder => Direction::FromGuest,
            ProbeDirection::Both => Direction::Both,
            ProbeDirection::Unknown => Direction::RoundTrip,
        },
    }
}

#[cfg(test)]
mod tests {
    use sterna_report::probing::{NamedOutage, ProbeStart};
    use sterna_report::{Host, Tool};

    use super::*;

    fn line(event: &ProbeEvent) -> String {
        format!("{}\n", serde_json::to_string(event).unwrap())
    }

    fn start(at: &str) -> String {
        let tool = Tool { name: "sterna".into(), version: "0".into(), features: Vec::new() };
        line(&ProbeEvent::Start(Box::new(ProbeStart::new(tool, Host::default(), at.into(), None))))
    }

    fn ended(start_seconds: f64, length_seconds: f64) -> String {
        line(&ProbeEvent::Outage(Box::new(NamedOutage {
            probe: "udp".to_owned(),
            outage: ProbeOutage {
                start_seconds,
                length_seconds,
                has_ended: true,
                lost: 7,
                direction: ProbeDirection::ToResponder,
                noise_seconds: 0.0,
            },
        })))
    }

    #[test]
    fn outages_of_the_migration_are_on_its_clock_and_those_of_others_are_left_out() {
        let began: Timestamp = "2026-01-02T03:04:10Z".parse().unwrap();
        let log = format!(
            "warning: no real-time priority\n{}{}{}{}{}",
            start("2026-01-02T03:04:00Z"),
            ended(2.0, 1.0),
            ended(9.5, 1.0),
            ended(14.0, 0.25),
            ended(40.0, 0.25)
        );
        let probe = parse(&log, began, Duration::from_secs(5)).unwrap();
        let seen: Vec<_> =
            probe.outages.iter().map(|it| (it.start_seconds, it.length_seconds)).collect();
        assert_eq!(seen, [(-0.5, 1.0), (4.0, 0.25)]);
        assert_eq!(probe.outages[0].direction, Direction::ToGuest);
        assert_eq!((probe.interval_seconds, probe.sent), (Some(0.01), None));
    }

    #[test]
    fn a_log_of_something_else_is_none_and_one_without_outages_saw_none() {
        let began: Timestamp = "2026-01-02T03:04:10Z".parse().unwrap();
        let read = |log: &str| parse(log, began, Duration::ZERO);
        assert_eq!(read(""), None);
        assert_eq!(read("hello\n{\"event\":\"other\"}\n"), None);
        assert_eq!(read(&ended(1.0, 1.0)), None, "it was rotated away, so its clock is unknown");
        assert_eq!(read(&start("2026-01-02T03:04:00Z")).unwrap().outages, []);
    }
}
