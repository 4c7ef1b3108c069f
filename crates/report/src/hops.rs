//! A guest that moved several times, there and back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Integrity, Report, ResidentPeak, Summary, Verdict};

/// One hop of several: a migration of its own, from where the hop before has brought the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    /// Its number, from 1. Odd hops go from the source's place to the destination's, even ones back.
    pub hop: u64,
    /// When its migrate command was accepted, in seconds since that of the first hop. Null when it never was.
    pub started_seconds: Option<f64>,
    /// The report of this hop alone. Its source is the side that the guest leaves, on even hops the destination of the
    /// hop before; its times count from its own migrate command.
    pub report: Report,
}

impl Hop {
    /// The headline numbers of `hops` together, of which `asked` were asked for: the ending of the last, the worst
    /// integrity, downtime and blackout, and sums of times, lost work, passes, pages and bytes. What has no meaning for
    /// several migrations is unknown.
    pub fn summary(hops: &[Hop], asked: u32) -> Summary {
        let all = || hops.iter().map(|it| &it.report.summary);
        let seconds = |field: fn(&Summary) -> Option<f64>| all().map(field).sum::<Option<f64>>();
        let count = |field: fn(&Summary) -> Option<u64>| all().map(field).sum::<Option<u64>>();
        let most = |field: fn(&Summary) -> Option<f64>| {
            all().map(field).collect::<Option<Vec<f64>>>()?.into_iter().max_by(f64::total_cmp)
        };
        let Some(last) = hops.last().map(|it| &it.report.summary) else {
            return Summary::default();
        };
        let is_forced = all().any(|it| it.verdict == Verdict::CompletedForced);
        let lost_work_seconds = seconds(|it| it.lost_work_seconds);
        let worst_downtime = all().filter(|it| it.downtime_seconds.is_some()).max_by(|a, b| {
            a.downtime_seconds.partial_cmp(&b.downtime_seconds).expect("both known")
        });
        let worst_blackout = all().filter(|it| it.blackout_seconds.is_some()).max_by(|a, b| {
            a.blackout_seconds.partial_cmp(&b.blackout_seconds).expect("both known")
        });
        let blackout_seconds = most(|it| it.blackout_seconds);
        Summary {
            verdict: match last.verdict {
                Verdict::Completed if is_forced => Verdict::CompletedForced,
                verdict => verdict,
            },
            verdict_reason: reason(hops, asked),
            failed_in: last.failed_in.filter(|_| hops.len() == 1),
            lost_cause: last.lost_cause,
            integrity: integrity(hops),
            integrity_detail: hops
                .iter()
                .find(|it| it.report.summary.integrity == Integrity::Corrupt)
                .map_or(last, |it| &it.report.summary)
                .integrity_detail
                .clone(),
            total_time_seconds: seconds(|it| it.total_time_seconds),
            downtime_seconds: most(|it| it.downtime_seconds),
            downtime_limit_seconds: worst_downtime.and_then(|it| it.downtime_limit_seconds),
            blackout_seconds,
            blackout_phase: blackout_seconds.and(worst_blackout).and_then(|it| it.blackout_phase),
            blackout_at_switchover_seconds: most(|it| it.blackout_at_switchover_seconds),
            blackout_resolution_seconds: most(|it| it.blackout_resolution_seconds),
            lost_work_seconds,
            lost_work_lower_bound: lost_work_seconds
                .map(|_| all().any(|it| it.lost_work_lower_bound == Some(true))),
            passes: all().map(|it| it.passes).sum(),
            pages_sent: count(|it| it.pages_sent),
            zero_pages: count(|it| it.zero_pages),
            pages_resent: count(|it| it.pages_resent),
            wire_bytes: count(|it| it.wire_bytes),
            amplification: seconds(|it| it.amplification),
            resident_peak_bytes: peak(hops),
            ..Summary::default()
        }
    }
}

/// Why not all hops were made, or what the last of them says.
fn reason(hops: &[Hop], asked: u32) -> Option<String> {
    let last = hops.last()?;
    let words = last.report.summary.verdict_reason.as_deref();
    let is_whole = hops.len() == asked as usize;
    match (is_whole, words) {
        (true, None) => None,
        (_, Some(words)) => Some(format!("Hop {} of {asked}: {words}", last.hop)),
        (false, None) => Some(format!("It ended with hop {} of {asked}", last.hop)),
    }
}

fn integrity(hops: &[Hop]) -> Integrity {
    let all = || hops.iter().map(|it| it.report.summary.integrity);
    let worst = [Integrity::Corrupt, Integrity::Unchecked];
    worst.into_iter().find(|it| all().any(|found| found == *it)).unwrap_or(Integrity::Verified)
}

/// A place is the source on odd hops and the destination on even ones.
fn peak(hops: &[Hop]) -> ResidentPeak {
    let of = |place: bool| {
        let of_hop = |it: &Hop| {
            let ResidentPeak { source, destination } = it.report.summary.resident_peak_bytes;
            if place == (it.hop % 2 == 1) { source } else { destination }
        };
        hops.iter().filter_map(of_hop).max()
    };
    ResidentPeak { source: of(true), destination: of(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Host, Tool};

    fn hop(hop: u64, verdict: Verdict, integrity: Integrity, seconds: Option<f64>) -> Hop {
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        let mut report = Report::new(tool, host, engine, String::new(), serde_json::Map::default());
        report.summary = Summary {
            verdict,
            integrity,
            total_time_seconds: seconds,
            downtime_seconds: seconds.map(|it| it / 10.0),
            downtime_limit_seconds: seconds,
            verdict_reason: (verdict == Verdict::Failed).then(|| "why".to_owned()),
            wire_bytes: Some(10),
            passes: 2,
            ..Summary::default()
        };
        Hop { hop, started_seconds: None, report }
    }

    #[test]
    fn sums_and_the_worst_are_those_of_all_hops() {
        use Integrity::Verified;
        let hops = [
            hop(1, Verdict::CompletedForced, Verified, Some(3.0)),
            hop(2, Verdict::Completed, Verified, Some(1.0)),
        ];
        let found = Hop::summary(&hops, 2);
        assert_eq!((found.verdict, found.integrity), (Verdict::CompletedForced, Verified));
        assert_eq!(found.total_time_seconds, Some(4.0));
        assert_eq!((found.downtime_seconds, found.downtime_limit_seconds), (Some(0.3), Some(3.0)));
        assert_eq!((found.wire_bytes, found.passes), (Some(20), 4));
        assert_eq!(found.verdict_reason, None);
    }

    #[test]
    fn what_is_unknown_of_one_hop_is_unknown_of_all() {
        let hops = [
            hop(1, Verdict::Completed, Integrity::Verified, Some(3.0)),
            hop(2, Verdict::Completed, Integrity::Verified, None),
        ];
        let found = Hop::summary(&hops, 2);
        assert_eq!((found.total_time_seconds, found.downtime_seconds), (None, None));
    }

    #[test]
    fn the_hop_that_did_not_complete_gives_the_verdict_and_is_named() {
        let hops = [
            hop(1, Verdict::Completed, Integrity::Verified, Some(3.0)),
            hop(2, Verdict::Failed, Integrity::Unchecked, Some(1.0)),
        ];
        let found = Hop::summary(&hops, 3);
        assert_eq!((found.verdict, found.integrity), (Verdict::Failed, Integrity::Unchecked));
        assert_eq!(found.verdict_reason.as_deref(), Some("Hop 2 of 3: why"));
        let corrupt = [hop(1, Verdict::Completed, Integrity::Corrupt, Some(1.0))];
        let found = Hop::summary(&corrupt, 2);
        assert_eq!(found.integrity, Integrity::Corrupt);
        assert_eq!(found.verdict_reason.as_deref(), Some("It ended with hop 1 of 2"));
    }
}
