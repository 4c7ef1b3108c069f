//! What is known of the records while they are written. Stamps are of the guest's monotonic clock.

use std::ops::Range;

use sterna_wire::guest_disk::{DiskEnded, DiskProof, DiskStall, DiskTimes};
use sterna_workload::Histogram;

use super::target::RECORD_BYTES;

/// Time between two records.
pub const INTERVAL_NS: u64 = 10_000_000;
/// So many, and no more: half a day of them, 2 GiB. Whoever began them may be dead.
pub const MOST_RECORDS: u64 = 4 << 20;
/// A time without a safe record that is longer is a stall, as with `sterna probe disk`.
pub const STALL_NS: u64 = 3 * INTERVAL_NS;
/// The first stalls are told one by one.
const MOST_STALLS: usize = 1000;

/// Records since the first was due, on a beat that waits for nobody: what came due while the disk, or the whole guest, stood still counts like any other.
#[derive(Clone, Debug)]
pub struct Ledger {
    begun_ns: u64,
    /// Records that are safe: the first so many.
    acknowledged: u64,
    /// When the last of them was.
    safe_ns: u64,
    late_ns: u64,
    longest_ns: u64,
    stalls: Vec<DiskStall>,
    untold: u64,
    times: Histogram,
    pub error: Option<String>,
}

impl Ledger {
    /// The first record is due now.
    pub fn new(now_ns: u64) -> Ledger {
        Ledger {
            begun_ns: now_ns,
            acknowledged: 0,
            safe_ns: now_ns,
            late_ns: 0,
            longest_ns: 0,
            stalls: Vec::new(),
            untold: 0,
            times: Histogram::default(),
            error: None,
        }
    }

    /// How many records are safe: the first so many.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// When a record is due.
    pub fn due_ns(&self, number: u64) -> u64 {
        self.begun_ns.saturating_add(number.saturating_mul(INTERVAL_NS))
    }

    /// How many records are due by then.
    pub fn due(&self, now_ns: u64) -> u64 {
        (now_ns.saturating_sub(self.begun_ns) / INTERVAL_NS + 1).min(MOST_RECORDS)
    }

    /// The next records are taken in hand: whatever time has passed since they were due and the ones before were safe was our own.
    pub fn takes(&mut self, now_ns: u64) {
        let could_ns = self.due_ns(self.acknowledged).max(self.safe_ns);
        self.late_ns = self.late_ns.max(now_ns.saturating_sub(could_ns));
    }

    /// These records are safe now.
    pub fn safe(&mut self, numbers: Range<u64>, now_ns: u64) {
        self.silence(now_ns, true);
        for number in numbers.clone() {
            let due_ns = self.due_ns(number);
            self.times.record(now_ns.saturating_sub(due_ns));
        }
        self.acknowledged = numbers.end;
        self.safe_ns = now_ns;
    }

    /// What is told at the end, but for the proof.
    pub fn close(&self, run: u64, end_ns: u64, proof: Result<DiskProof, String>) -> DiskEnded {
        let mut it = self.clone();
        let due = it.due(end_ns);
        if it.acknowledged < due {
            it.silence(end_ns, false);
        }
        let percentile = |percent: f64| it.times.percentile_ns(percent);
        let times = percentile(50.0).zip(percentile(99.0)).zip(it.times.max_ns());
        DiskEnded {
            run,
            interval_ns: INTERVAL_NS,
            record_bytes: RECORD_BYTES as u64,
            due,
            acknowledged: it.acknowledged,
            late_ns: it.late_ns,
            longest_stall_ns: it.longest_ns,
            stalls: it.stalls,
            stalls_untold: it.untold,
            times: times.map(|((p50_ns, p99_ns), max_ns)| DiskTimes { p50_ns, p99_ns, max_ns }),
            proof,
            error: it.error,
        }
    }

    /// From the last safe record to this moment.
    fn silence(&mut self, now_ns: u64, has_ended: bool) {
        let (start_ns, length_ns) = (self.safe_ns, now_ns.saturating_sub(self.safe_ns));
        self.longest_ns = self.longest_ns.max(length_ns);
        if length_ns <= STALL_NS {
            return;
        }
        if self.stalls.len() < MOST_STALLS {
            self.stalls.push(DiskStall { start_ns, length_ns, has_ended });
        } else {
            self.untold += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn close(ledger: &Ledger, end_ns: u64) -> DiskEnded {
        ledger.close(1, end_ns, Ok(DiskProof::default()))
    }

    #[test]
    fn records_come_due_whatever_becomes_of_those_before() {
        let mut ledger = Ledger::new(1000 * MS);
        let due = |ms: u64| ledger.due((1000 + ms) * MS);
        assert_eq!([due(0), due(9), due(10), due(999), due(1000)], [1, 1, 2, 100, 101]);
        assert_eq!(ledger.due(u64::MAX), MOST_RECORDS);
        ledger.safe(0..1, 1001 * MS);
        ledger.takes(1012 * MS);
        ledger.safe(1..2, 1015 * MS);
        // The disk has held the writer, so it is not late itself.
        ledger.takes(1500 * MS);
        ledger.safe(2..51, 2100 * MS);
        ledger.takes(2100 * MS);
        ledger.safe(51..111, 2104 * MS);
        let ended = close(&ledger, 2105 * MS);
        assert_eq!((ended.due, ended.acknowledged), (111, 111));
        assert_eq!(ended.late_ns, 480 * MS);
        assert_eq!(ended.longest_stall_ns, 1085 * MS);
        let stall = DiskStall { start_ns: 1015 * MS, length_ns: 1085 * MS, has_ended: true };
        assert_eq!(ended.stalls, [stall]);
        // Record 2 was due at 1020 and safe at 2100.
        assert_eq!(ended.times.unwrap().max_ns, 1080 * MS);
    }

    #[test]
    fn what_has_not_become_safe_by_the_end_is_a_stall_that_has_none() {
        let mut ledger = Ledger::new(0);
        ledger.safe(0..1, MS);
        let ended = close(&ledger, 9 * MS);
        assert_eq!((ended.due, ended.acknowledged, ended.stalls.len()), (1, 1, 0));
        ledger.error = Some("No space".to_owned());
        let ended = close(&ledger, 500 * MS);
        assert_eq!((ended.due, ended.acknowledged), (51, 1));
        let stall = DiskStall { start_ns: MS, length_ns: 499 * MS, has_ended: false };
        assert_eq!((ended.stalls, ended.longest_stall_ns), (vec![stall], 499 * MS));
        // Asked once more it tells the same once more.
        assert_eq!(close(&ledger, 500 * MS).stalls.len(), 1);
    }

    #[test]
    fn a_stall_is_longer_than_three_beats_and_only_the_first_thousand_are_told() {
        let mut ledger = Ledger::new(0);
        ledger.safe(0..1, 0);
        ledger.safe(1..4, STALL_NS);
        assert!(close(&ledger, STALL_NS).stalls.is_empty());
        for number in 1..=1500 {
            ledger.safe(4 * number..4 * number + 4, STALL_NS * (1 + 2 * number));
        }
        let ended = close(&ledger, STALL_NS * 3001);
        assert_eq!((ended.stalls.len(), ended.stalls_untold), (1000, 500));
    }
}
