//! What the records on a guest's data disk say of a migration.

use sterna_report::{
    Direction, DiskDefect, DiskIntegrity, Outage, Probe, RoundTrip, Side, Warning,
};
use sterna_wire::guest_disk::{DiskEnded, DiskStall};

use super::{GuestSeen, Reading};

impl GuestSeen {
    /// As a probe, with 0 at `began_ns`; None where no records were followed.
    pub fn disk_probe(&self, began_ns: u64) -> Option<Probe> {
        let Some(Ok(disk)) = &self.disk else { return None };
        let seconds = |ns: u64| ns as f64 / 1e9;
        let outage = |stall: &DiskStall| Outage {
            start_seconds: self.on_our_clock(stall.start_ns, began_ns),
            length_seconds: seconds(stall.length_ns),
            has_ended: stall.has_ended,
            // What came due in it became safe at its end.
            lost: Some(if stall.has_ended {
                0
            } else {
                disk.due - disk.acknowledged.min(disk.due)
            }),
            direction: Direction::RoundTrip,
            resolution_seconds: Some(seconds(disk.interval_ns)),
        };
        Some(Probe {
            kind: Probe::DISK.to_owned(),
            interval_seconds: Some(seconds(disk.interval_ns)),
            sent: Some(disk.due),
            received: Some(disk.acknowledged),
            duplicates: None,
            round_trip: disk.times.map(|it| RoundTrip {
                p50_ns: it.p50_ns,
                p99_ns: it.p99_ns,
                max_ns: it.max_ns,
            }),
            late_seconds: Some(seconds(disk.late_ns)),
            outages: disk.stalls.iter().map(outage).collect(),
            outage_resolution_seconds: Some(seconds(disk.interval_ns)),
        })
    }

    /// A stamp of the guest's, by the last answer before it: after that the guest may have been stopped, and its clock
    /// with it.
    fn on_our_clock(&self, guest_ns: u64, began_ns: u64) -> f64 {
        let known =
            || self.readings.iter().filter_map(|it: &Reading| Some((it.guest_ns?, it.at_ns)));
        let before = known().rfind(|it| it.0 <= guest_ns);
        let (then_ns, at_ns) = before.or_else(|| known().next()).unwrap_or((guest_ns, began_ns));
        let difference = |from: u64, to: u64| (i128::from(to) - i128::from(from)) as f64 / 1e9;
        difference(began_ns, at_ns) + difference(then_ns, guest_ns)
    }

    /// Whether every acknowledged record is there; None where that is not known.
    pub fn disk_integrity(&self, side: Side) -> Option<DiskIntegrity> {
        let Some(Ok(disk)) = &self.disk else { return None };
        let proof = disk.proof.as_ref().ok()?;
        let defect = |it: &sterna_wire::guest_disk::DiskDefect| DiskDefect {
            record: it.record,
            offset_bytes: it.offset_bytes,
            what: it.what.clone(),
        };
        Some(DiskIntegrity {
            side,
            record_bytes: disk.record_bytes,
            records_checked: disk.acknowledged,
            missing_records: proof.missing,
            torn_records: proof.torn,
            misplaced_records: proof.out_of_order,
            first: proof.first.iter().map(defect).collect(),
        })
    }

    /// What to know about its disk.
    pub fn disk_warnings(&self) -> Vec<Warning> {
        let disk = match &self.disk {
            None => return Vec::new(),
            Some(Err(reason)) => {
                let text =
                    format!("What is written to the guest's data disk was not followed: {reason}");
                return vec![warning("disk-not-followed", text, None)];
            }
            Some(Ok(disk)) => disk,
        };
        [lost(disk), failed(disk), unproven(disk), Some(clock(disk))]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn warning(code: &str, text: String, advice: Option<&str>) -> Warning {
    Warning { code: code.to_owned(), text, advice: advice.map(str::to_owned) }
}

fn lost(disk: &DiskEnded) -> Option<Warning> {
    let proof = disk.proof.as_ref().ok().filter(|it| !it.is_sound())?;
    let first = proof.first.first().map_or_else(String::new, |it| {
        format!("; the first is record {} at byte {}: {}", it.record, it.offset_bytes, it.what)
    });
    let text = format!(
        "Of {} records that the guest's data disk had acknowledged as safe {} are missing, {} are torn, and {} places hold another{first}",
        disk.acknowledged, proof.missing, proof.torn, proof.out_of_order
    );
    let advice = "Whatever else was written to this disk may be lost as well; look at the cache mode of the disk, and whether both nodes see the same volume";
    Some(warning("disk-lost-records", text, Some(advice)))
}

fn failed(disk: &DiskEnded) -> Option<Warning> {
    let error = disk.error.as_ref()?;
    let text = format!(
        "The guest's data disk failed after {} of {} records, and none was written after that: {error}",
        disk.acknowledged, disk.due
    );
    Some(warning("disk-failed", text, Some("The guest's kernel log says what the disk answered")))
}

fn unproven(disk: &DiskEnded) -> Option<Warning> {
    let reason = disk.proof.as_ref().err()?;
    let text = format!(
        "Whether {} records on the guest's data disk are there could not be proved: {reason}",
        disk.acknowledged
    );
    Some(warning("disk-not-proved", text, None))
}

fn clock(disk: &DiskEnded) -> Warning {
    let untold = match disk.stalls_untold {
        0 => String::new(),
        more => format!("; {more} further stalls are not listed"),
    };
    let text = format!(
        "Stalls of the data disk are by the guest's clock, which may stand still while the guest is stopped: they are what the guest noticed of its disk, and begin on this clock as exactly as the guest's answers tell{untold}"
    );
    warning("disk-by-the-guests-clock", text, None)
}

#[cfg(test)]
mod tests {
    use sterna_wire::guest_disk::DiskProof;

    use super::*;

    const MS: u64 = 1_000_000;

    fn reading(at_ms: u64, guest_ms: Option<u64>) -> Reading {
        let guest_ns = guest_ms.map(|it| it * MS);
        Reading { at_ns: at_ms * MS, pod: String::new(), counts: Vec::new(), guest_ns }
    }

    fn disk() -> DiskEnded {
        DiskEnded {
            run: 1,
            interval_ns: 10 * MS,
            record_bytes: 512,
            due: 500,
            acknowledged: 490,
            late_ns: 2 * MS,
            longest_stall_ns: 100 * MS,
            stalls: vec![
                DiskStall { start_ns: 55_100 * MS, length_ns: 100 * MS, has_ended: true },
                DiskStall { start_ns: 56_400 * MS, length_ns: 90 * MS, has_ended: false },
            ],
            stalls_untold: 0,
            times: None,
            proof: Ok(DiskProof::default()),
            error: None,
        }
    }

    fn seen(disk: DiskEnded) -> GuestSeen {
        GuestSeen {
            readings: vec![
                reading(1000, Some(55_000)),
                reading(1200, None),
                // The guest stood still for 700 ms, and its clock with it.
                reading(2900, Some(56_200)),
            ],
            disk: Some(Ok(disk)),
            ..GuestSeen::default()
        }
    }

    #[test]
    fn a_stall_begins_where_the_last_answer_before_it_says() {
        let probe = seen(disk()).disk_probe(1500 * MS).unwrap();
        assert_eq!(
            (probe.kind.as_str(), probe.sent, probe.received),
            ("disk", Some(500), Some(490))
        );
        assert_eq!((probe.interval_seconds, probe.late_seconds), (Some(0.01), Some(0.002)));
        let outages: Vec<_> = probe
            .outages
            .iter()
            .map(|it| (it.start_seconds, it.length_seconds, it.has_ended, it.lost))
            .collect();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(outages[0].0, -0.4) && near(outages[0].1, 0.1), "{outages:?}");
        assert!(near(outages[1].0, 1.6), "{outages:?}");
        assert_eq!((outages[0].2, outages[0].3), (true, Some(0)));
        assert_eq!((outages[1].2, outages[1].3), (false, Some(10)));
    }

    #[test]
    fn each_way_to_know_less_than_all_has_its_warning() {
        let codes = |seen: &GuestSeen| -> Vec<String> {
            seen.disk_warnings().into_iter().map(|it| it.code).collect()
        };
        assert!(codes(&GuestSeen::default()).is_empty());
        assert_eq!(codes(&seen(disk())), ["disk-by-the-guests-clock"]);
        assert!(seen(disk()).disk_integrity(Side::Source).unwrap().is_sound());
        let torn = DiskEnded { proof: Ok(DiskProof { torn: 2, ..DiskProof::default() }), ..disk() };
        let torn = seen(torn);
        assert_eq!(codes(&torn), ["disk-lost-records", "disk-by-the-guests-clock"]);
        assert!(torn.disk_warnings()[0].text.contains("0 are missing, 2 are torn"));
        assert!(!torn.disk_integrity(Side::Source).unwrap().is_sound());
        let full = seen(DiskEnded { error: Some("No space left".to_owned()), ..disk() });
        assert_eq!(codes(&full), ["disk-failed", "disk-by-the-guests-clock"]);
        let hung = seen(DiskEnded { proof: Err("it hangs".to_owned()), ..disk() });
        assert_eq!(codes(&hung), ["disk-not-proved", "disk-by-the-guests-clock"]);
        assert_eq!(hung.disk_integrity(Side::Source), None);
        let silent = GuestSeen { disk: Some(Err("no answer".to_owned())), ..GuestSeen::default() };
        assert_eq!(codes(&silent), ["disk-not-followed"]);
        assert_eq!((silent.disk_probe(0), silent.disk_integrity(Side::Source)), (None, None));
    }
}
