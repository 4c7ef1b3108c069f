//! Results of guestperf, the measuring program in QEMU's source tree.
//!
//! It keeps an answer of `query-migrate` whenever the count of synchronisations grew, the guest's
//! own time for each GiB that it wrote, and the CPU time of QEMU and its vCPUs. Three of its habits
//! shape the mapping:
//!
//! * It counts synchronisations, and the first of them is that of the setup: its `iterations` are
//!   passes + 1.
//! * Its downtime is what QEMU claims, so it is `downtime_claimed_seconds` here; nobody measured it.
//! * A value that QEMU did not tell is 0 in its file, and is unknown here.

mod guest;
mod scenario;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::foreign::{moment, report, warn, warn_of_unmapped};
use crate::{
    CpuSample, Event, EventSide, PAGE_BYTES, Pass, PassKind, Poll, Report, Side, Summary, Verdict,
    statistics,
};
use shape::{File, Progress, Timing};

/// Reads a result of any generation.
pub(super) fn read(value: Value) -> Result<Report, String> {
    let file: File = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if file.progress_history.is_empty() {
        return Err("its `progress_history` is empty: nothing was measured".to_owned());
    }
    Ok(Reader::new(&file).report())
}

struct Reader<'a> {
    file: &'a File,
    /// When the migration began, in seconds since 1970.
    began: f64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a File) -> Reader<'a> {
        // The clock of a running migration is exact, an answer may be late: the earliest is nearest.
        let begins =
            file.progress_history.iter().map(|it| it.now - it.duration.unwrap_or(0.0) / 1e3);
        Reader { file, began: begins.fold(f64::INFINITY, f64::min) }
    }

    fn report(&self) -> Report {
        let file = self.file;
        let mut report = report("guestperf", None, "qemu");
        report.started_at = moment(self.began).unwrap_or(report.started_at);
        report.scenario = scenario::scenario(file);
        report.engine.transport = file.transport.clone();
        self.add_details(&mut report);
        report.timeline = file.progress_history.iter().map(|it| self.poll(it)).collect();
        report.passes = self.passes();
        report.events = self.events();
        report.cpu = self.cpu();
        report.summary = self.summary(&report);
        self.add_guest(&mut report);
        let mut unmapped = file.unknown_fields();
        unmapped.extend(scenario::unmapped(file));
        warn_of_unmapped(&mut report, unmapped);
        warn(
            &mut report,
            "claimed-downtime",
            "Guestperf keeps the downtime that QEMU claims and measures none, so only `downtime_claimed_seconds` is known",
        );
        report
    }

    fn add_details(&self, report: &mut Report) {
        let file = self.file;
        let mut add = |name: &str, value: serde_json::Value| {
            if !value.is_null() {
                report.engine.details.insert(name.to_owned(), value);
            }
        };
        add("read_from", json!("guestperf"));
        add("binary", json!(file.binary));
        add("destination_host", json!(file.dst_host));
        add("kernel", json!(file.kernel));
        add("initrd", json!(file.initrd));
        add("sleep_seconds", json!(file.sleep));
        add("dirty_ring_size", json!(file.hardware.dirty_ring_size));
        let last = |field: fn(&Progress) -> Option<f64>| {
            file.progress_history.iter().rev().find_map(field).filter(|it| *it != 0.0)
        };
        let throttle = last(|it| it.dirty_limit_throttle_time_per_round);
        add("dirty_limit_throttle_time_per_round_us", json!(throttle));
        add("dirty_limit_ring_full_time_us", json!(last(|it| it.dirty_limit_ring_full_time)));
    }

    fn seconds(&self, progress: &Progress) -> f64 {
        match progress.duration.filter(|it| *it > 0.0) {
            Some(duration) => duration / 1e3,
            None => progress.now - self.began,
        }
    }

    fn poll(&self, progress: &Progress) -> Poll {
        let ram = &progress.ram;
        let is_running = ["active", "postcopy-active"].contains(&progress.status.as_str());
        let while_running = |value: Option<f64>| value.filter(|it| is_running && *it > 0.0);
        Poll {
            t_seconds: self.seconds(progress),
            state: progress.status.clone(),
            pass: ram.iterations.filter(|it| *it > 0),
            remaining_bytes: ram.remaining_bytes.filter(|_| is_told(progress)),
            transferred_bytes: ram.transferred_bytes.filter(|_| is_told(progress)),
            bandwidth_bytes_per_second: while_running(ram.transfer_rate_mbs)
                .map(|it| it * 1e6 / 8.0),
            dirty_rate_bytes_per_second: while_running(ram.dirty_rate_pps)
                .map(|it| it * PAGE_BYTES as f64),
            threshold_bytes: None,
            expected_downtime_seconds: while_running(progress.downtime_expected).map(|it| it / 1e3),
            throttle_percent: progress.throttle_pcent.filter(|_| self.file.scenario.auto_converge),
        }
    }

    /// A row for each synchronisation that was seen. Where the end is the end of the migration, the
    /// amounts hold what was sent at the stop as well, and are left out.
    fn passes(&self) -> Vec<Pass> {
        let mut rows: Vec<(u64, &Progress)> = Vec::new();
        for progress in &self.file.progress_history {
            let number = progress.ram.iterations.unwrap_or(0);
            if number > 0 && rows.last().is_none_or(|(last, _)| *last < number) {
                rows.push((number, progress));
            }
        }
        let pairs = rows.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.map(|((number, from), (_, to))| self.pass(number, from, to)).collect()
    }

    fn pass(&self, number: u64, from: &Progress, to: &Progress) -> Pass {
        let is_cut = to.status != "active";
        let started_seconds = self.seconds(from);
        let stop = to.downtime.filter(|it| is_cut && *it > 0.0).unwrap_or(0.0) / 1e3;
        let length_seconds = Some(self.seconds(to) - stop - started_seconds).filter(|it| *it > 0.0);
        let grown = |field: fn(&Progress) -> Option<u64>| {
            field(to)?.checked_sub(field(from)?).filter(|_| !is_cut)
        };
        let wire_bytes = grown(|it| it.ram.transferred_bytes);
        Pass {
            number,
            kind: PassKind::Pass,
            started_seconds,
            length_seconds,
            sync_seconds: None,
            dirty_pages_at_sync: None,
            pages_sent: grown(|it| it.ram.normal_pages),
            zero_pages: grown(|it| it.ram.duplicate_pages),
            pages_resent: None,
            wire_bytes,
            bandwidth_bytes_per_second: wire_bytes
                .zip(length_seconds)
                .map(|(bytes, seconds)| bytes as f64 / seconds),
            remaining_bytes_at_end: None,
            dirty_rate_bytes_per_second: None,
            touch_rate_bytes_per_second: None,
            guest_dip_percent: None,
        }
    }

    /// The first time that each status was seen.
    fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for progress in &self.file.progress_history {
            if events.iter().all(|it| it.kind != progress.status) {
                events.push(Event {
                    t_seconds: self.seconds(progress),
                    side: EventSide::Source,
                    kind: progress.status.clone(),
                    text: format!("QEMU's status was first seen to be {}", progress.status),
                });
            }
        }
        events
    }

    /// CPU time of the source, the vCPUs apart from the rest.
    fn cpu(&self) -> Vec<CpuSample> {
        /// The values of one moment are read one after the other.
        const TOGETHER_SECONDS: f64 = 0.25;
        let mut vcpus: Vec<Timing> = self.file.vcpu_timings.clone();
        vcpus.sort_by(|a, b| a.timestamp.total_cmp(&b.timestamp));
        let mut vcpus = vcpus.into_iter().peekable();
        let mut latest: BTreeMap<i64, f64> = BTreeMap::new();
        let mut samples = Vec::new();
        for whole in &self.file.qemu_timings {
            while let Some(one) =
                vcpus.next_if(|it| it.timestamp <= whole.timestamp + TOGETHER_SECONDS)
            {
                latest.insert(one.tid, one.value);
            }
            let of_vcpus: f64 = latest.values().sum();
            let mut classes = BTreeMap::new();
            if !latest.is_empty() {
                classes.insert("vcpu".to_owned(), of_vcpus / 1e3);
            }
            classes.insert("other".to_owned(), (whole.value - of_vcpus).max(0.0) / 1e3);
            samples.push(CpuSample {
                t_seconds: whole.timestamp - self.began,
                side: Side::Source,
                classes,
                resident_bytes: None,
            });
        }
        samples
    }

    fn summary(&self, report: &Report) -> Summary {
        let file = self.file;
        let told = || file.progress_history.iter().rev().filter(|it| is_told(it));
        let last_of = |field: fn(&Progress) -> Option<u64>| told().find_map(field);
        let last = file.progress_history.last();
        let total = last.map(|it| self.seconds(it)).filter(|it| *it > 0.0);
        let setup = told().find_map(|it| it.setup_time).filter(|it| *it >= 0.0);
        let (verdict, verdict_reason) = self.verdict();
        let has_moved = matches!(verdict, Verdict::Completed | Verdict::CompletedForced);
        let wire_bytes = last_of(|it| it.ram.transferred_bytes);
        let sending = total.map(|it| it - setup.unwrap_or(0.0) / 1e3).filter(|it| *it > 0.0);
        Summary {
            verdict,
            verdict_reason,
            total_time_seconds: total,
            setup_seconds: setup.map(|it| it / 1e3),
            downtime_claimed_seconds: last
                .and_then(|it| it.downtime)
                // QEMU prints -1 where it knows of none.
                .filter(|it| has_moved && *it >= 0.0)
                .map(|it| it / 1e3),
            passes: last_of(|it| it.ram.iterations).unwrap_or(0).saturating_sub(1),
            pages_sent: last_of(|it| it.ram.normal_pages),
            zero_pages: last_of(|it| it.ram.duplicate_pages),
            wire_bytes,
            amplification: wire_bytes
                .zip(scenario::guest_bytes(&file.hardware))
                .map(|(wire, memory)| wire as f64 / memory as f64),
            bandwidth_mean_bytes_per_second: wire_bytes.zip(sending).map(|(b, s)| b as f64 / s),
            cpu: crate::CpuBySide {
                source: total.map_or(Vec::new(), |end| {
                    statistics::cpu_by_class(&report.cpu, Side::Source, 0.0, end)
                }),
                destination: Vec::new(),
            },
            ..Summary::default()
        }
    }

    fn verdict(&self) -> (Verdict, Option<String>) {
        let scenario = &self.file.scenario;
        let statuses = || self.file.progress_history.iter().map(|it| it.status.as_str());
        let success = self.file.result.as_ref().and_then(|it| it.success);
        match statuses().next_back().unwrap_or_default() {
            "completed" if scenario.pause && success != Some(true) => {
                let why = "Guestperf paused the guest, or may have: it marks runs with a pause as no success";
                (Verdict::CompletedForced, Some(why.to_owned()))
            }
            "completed" => (Verdict::Completed, None),
            "cancelled" | "cancelling" => {
                let why = "Guestperf cancelled it: a limit of time or iterations was reached";
                (Verdict::Cancelled, Some(why.to_owned()))
            }
            "failed" if statuses().any(|it| it.starts_with("postcopy")) => (
                Verdict::Lost,
                Some("QEMU's status was `failed` after post-copy had begun".to_owned()),
            ),
            "failed" => (Verdict::Failed, Some("QEMU's last status was `failed`".to_owned())),
            other => {
                (Verdict::Interrupted, Some(format!("The last status in the file is `{other}`")))
            }
        }
    }

    fn add_guest(&self, report: &mut Report) {
        let switched = self.switched_seconds();
        match guest::samples(&self.file.guest_timings, self.began, switched) {
            Err(why) => warn(report, "not-mapped", why),
            Ok(samples) if samples.is_empty() => {}
            Ok(samples) => {
                report.guest = samples;
                self.add_work(report, switched);
                warn(
                    report,
                    "guest-clock",
                    "The guest's throughput is known by its own clock, as a mean over each GiB that it wrote; short standstills do not show",
                );
            }
        }
    }

    fn add_work(&self, report: &mut Report, switched: Option<f64>) {
        let throughput = statistics::Throughput::new(&report.guest);
        let baseline = statistics::baseline(&report.guest);
        let total = report.summary.total_time_seconds;
        let summary = &mut report.summary;
        let bytes = |pages: f64| pages * PAGE_BYTES as f64;
        summary.baseline_pages_per_second = baseline;
        summary.baseline_bytes_per_second = baseline.map(bytes);
        let touch = switched.or(total).and_then(|end| throughput.mean(0.0, end));
        summary.touch_rate_pages_per_second = touch;
        summary.touch_rate_bytes_per_second = touch.map(bytes);
        let settled = switched.or(total);
        let lost = settled.and_then(|it| statistics::lost_work(&throughput, baseline, it));
        summary.lost_work_seconds = lost.map(|it| it.seconds);
        summary.lost_work_lower_bound = lost.map(|it| it.lower_bound);
        if let Some(at) = switched {
            let back = statistics::resumption(&report.guest, baseline, at).at_95_percent_seconds;
            summary.resumption.at_95_percent_seconds = back;
        }
    }

    /// When the guest came to run on the destination, as near as the file knows.
    fn switched_seconds(&self) -> Option<f64> {
        let first = |status: &str| self.file.progress_history.iter().find(|it| it.status == status);
        first("postcopy-active").or_else(|| first("completed")).map(|it| self.seconds(it))
    }
}

/// Whether QEMU told amounts. While it sets up and after it has cancelled it does not, and the file
/// has zeros.
fn is_told(progress: &Progress) -> bool {
    progress.ram.total_bytes.is_some_and(|it| it > 0)
}
