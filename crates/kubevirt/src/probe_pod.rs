//! What the Pod that probes a guest saw of a migration, from its log.
//!
//! The Pod runs `sterna probe` on a node of its own, so its times are by that node's clock; the length of an outage is
//! by one clock, and needs no other.

use std::time::{Duration, Instant};

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

/// The probe tells of an outage when it is over, and after a second that there is one: by then everything is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// The end of an outage that lasts is waited for for so long; how often the log is read meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// More of a log is not read: some 20,000 outages.
const MOST_BYTES: i64 = 4 << 20;

/// How long a probe may be waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// How long ago the migration was over.
    pub since_the_end: Duration,
    /// Whether nothing else is under way, whose moments would be missed meanwhile.
    pub is_alone: bool,
}

/// The Pod that probes a guest.
pub fn name(guest: &str) -> String {
    format!("{guest}-probe")
}

/// What it saw of a migration that is over; None where there is no such Pod.
pub async fn read(
    cluster: &Cluster,
    record: &MigrationRecord,
    wait: Wait,
) -> Result<Option<Probe>, KubevirtError> {
    let mut probe = match log(cluster, record).await {
        Err(error) if error.is_not_found() => return Ok(None),
        first => of(&first?, record)?,
    };
    if probe.outages.is_empty() && wait.since_the_end < PATIENCE {
        tokio::time::sleep(PATIENCE.saturating_sub(wait.since_the_end)).await;
        probe = of(&log(cluster, record).await?, record)?;
    }
    let deadline = Instant::now() + LONGEST_WAIT;
    while wait.is_alone && probe.outages.iter().any(|it| !it.has_ended) && Instant::now() < deadline
    {
        tokio::time::sleep(LOOK_AGAIN).await;
        probe = of(&log(cluster, record).await?, record)?;
    }
    Ok(Some(probe))
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
    let (mut outages, mut total, mut silence) = (Vec::new(), None, None);
    for event in events {
        match event {
            ProbeEvent::Start(_) => {}
            ProbeEvent::Silence(it) => silence = Some(it.outage),
            ProbeEvent::Outage(it) => {
                outages.push(it.outage);
                silence = None;
            }
            ProbeEvent::Report(it) => total = it.probes.into_iter().next(),
        }
    }
    match &total {
        Some(total) => outages.clone_from(&total.outages),
        None => outages.extend(silence),
    }
    let is_in_it = |it: &&ProbeOutage| {
        let start = offset + it.start_seconds;
        start + it.length_seconds >= 0.0 && start <= until
    };
    Some(Probe {
        kind: "udp".to_owned(),
        interval_seconds: Some(INTERVAL.as_secs_f64()),
        // The whole life of the Pod is no count of this migration, unless nothing ever answered.
        sent: None,
        received: total.as_ref().map(|it| it.received).filter(|it| *it == 0),
        duplicates: None,
        round_trip: None,
        late_seconds: total.as_ref().map(|it| it.late_seconds),
        outages: outages.iter().filter(is_in_it).map(|it| outage(it, offset)).collect(),
        outage_resolution_seconds: Some(
            total.as_ref().map_or(3.0 * INTERVAL.as_secs_f64(), |it| it.resolution_seconds),
        ),
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
        resolution_seconds: Some(INTERVAL.as_secs_f64()),
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

    fn outage(start_seconds: f64, length_seconds: f64, has_ended: bool) -> Box<NamedOutage> {
        Box::new(NamedOutage {
            probe: "udp".to_owned(),
            outage: ProbeOutage {
                start_seconds,
                length_seconds,
                has_ended,
                lost: 7,
                direction: ProbeDirection::ToResponder,
                resolution_seconds: 0.03,
                noise_seconds: 0.0,
            },
        })
    }

    fn ended(start_seconds: f64, length_seconds: f64) -> String {
        line(&ProbeEvent::Outage(outage(start_seconds, length_seconds, true)))
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
    fn an_outage_that_lasts_is_in_it_until_its_end_is() {
        let began: Timestamp = "2026-01-02T03:04:00Z".parse().unwrap();
        let silent = line(&ProbeEvent::Silence(outage(2.0, 1.05, false)));
        let log = format!("{}{silent}", start("2026-01-02T03:04:00Z"));
        let of = |log: &str| {
            let probe = parse(log, began, Duration::from_secs(3)).unwrap();
            probe.outages.iter().map(|it| (it.length_seconds, it.has_ended)).collect::<Vec<_>>()
        };
        assert_eq!(of(&log), [(1.05, false)]);
        assert_eq!(of(&format!("{log}{}", ended(2.0, 14.0))), [(14.0, true)]);
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
