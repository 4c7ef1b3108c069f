//! From QEMU's answers and events to what the pilot knows: states, moments, passes.

mod rows;
#[cfg(test)]
mod tests;

use serde_json::Value;
use sterna_pilot::{Moments, State, Status};

use crate::qmp::Event;

/// QEMU's RAM counters at one moment. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    pub at_ns: u64,
    pub remaining_bytes: u64,
    pub wire_bytes: u64,
    /// Pages sent with content: whole, as a difference, or packed.
    pub pages_sent: u64,
    pub zero_pages: u64,
    /// QEMU's own count of synchronisations, of the same answer.
    pub syncs: Option<u64>,
    /// Whether pages are compared with a cache: one that is found unchanged is in no counter.
    pub is_compared: bool,
}

/// One synchronisation of the dirty bitmap, as its event reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sync {
    /// QEMU's number for it, from 1.
    number: u64,
    at_ns: u64,
    /// Whether an event says so; else it was noticed at this moment, and may have been some time before.
    has_event: bool,
}

/// One migration as seen from outside, from the migrate command on, or from the moment at which it was found under way.
#[derive(Debug, Default)]
pub struct Trace {
    polls: Vec<Counters>,
    /// Synchronisations while the guest ran, and at its stop. QEMU sends the event at the end of each.
    syncs: Vec<Sync>,
    moments: Moments,
    accepted_ns: Option<u64>,
    source_ended_ns: Option<u64>,
    rows_told: usize,
    is_final_told: bool,
    has_postcopy_begun: bool,
    is_destination_done: bool,
    /// Nothing is heard of the destination, so what the source says has to do.
    is_destination_unseen: bool,
    page_bytes: u64,
    total_pages: u64,
    downtime_limit_ns: u64,
    /// Bytes per second that the scenario plans for the switchover.
    planned_bandwidth: Option<u64>,
    is_held: bool,
    pages_resent: Option<u64>,
    last_dirty_rate: Option<f64>,
    last: Status,
}

impl Trace {
    /// Of a migration that is about to begin.
    pub fn new(downtime_limit_ns: u64, planned_bandwidth: Option<u64>) -> Trace {
        Trace { page_bytes: 4096, downtime_limit_ns, planned_bandwidth, ..Trace::default() }
    }

    /// The moments known by now.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Completed passes by now, of those that were seen to begin.
    pub fn passes(&self) -> usize {
        self.live_syncs().len().saturating_sub(1)
    }

    /// Mean bandwidth on the wire while the guest ran, in bytes per second; unknown for less than half a second.
    pub fn live_bandwidth(&self) -> Option<f64> {
        let stopped_ns = self.moments.stopped_ns.unwrap_or(u64::MAX);
        let first = self.polls.iter().find(|it| it.wire_bytes > 0)?;
        let last = self.polls.iter().rev().find(|it| it.at_ns < stopped_ns)?;
        let seconds = last.at_ns.checked_sub(first.at_ns)? as f64 / 1e9;
        (seconds >= 0.5).then(|| last.wire_bytes.saturating_sub(first.wire_bytes) as f64 / seconds)
    }

    /// What QEMU said last of the dirty rate, in bytes per second.
    pub fn last_dirty_rate(&self) -> Option<f64> {
        self.last_dirty_rate
    }

    /// Whether the guest may run on the destination before all of its memory is there.
    pub fn has_postcopy_begun(&self) -> bool {
        self.has_postcopy_begun
    }

    /// Whether the destination has said that it lacks nothing.
    pub fn is_destination_done(&self) -> bool {
        self.is_destination_done
    }

    /// The migrate command was accepted at this moment or later.
    pub fn accepted(&mut self, at_ns: u64) {
        self.accepted_ns = Some(at_ns);
    }

    /// The downtime limit from now on.
    pub fn set_downtime_limit(&mut self, ns: u64) {
        self.downtime_limit_ns = ns;
    }

    /// Whether the migration is kept from finishing, which is done by limits that are not the scenario's: then nothing that remains is little enough, and no threshold can be told.
    pub fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// There is no monitor of the destination: the source's word that it has completed is the end.
    pub fn without_destination(&mut self) {
        self.is_destination_unseen = true;
    }

    /// A synchronisation without an event: the count was first seen to be this at this moment.
    pub fn sync_noticed(&mut self, number: u64, at_ns: u64) {
        self.syncs.push(Sync { number, at_ns, has_event: false });
    }

    /// The setup ended at this moment, where no event says so.
    pub fn set_up_until(&mut self, at_ns: u64) {
        self.moments.setup_done_ns.get_or_insert(at_ns);
    }

    /// The guest was paused for a while and goes on where it was; that was no switchover.
    pub fn forget_stop(&mut self) {
        self.moments.stopped_ns = None;
        self.moments.restored_ns = None;
    }

    /// Takes in an event of the source.
    pub fn source_event(&mut self, event: &Event) {
        let moments = &mut self.moments;
        match event.name.as_str() {
            "MIGRATION_PASS" => {
                // It comes before QEMU says `active`, and opens pass 1: setup ends where that begins.
                let number = event.data["pass"].as_u64();
                if number == Some(1) {
                    moments.setup_done_ns.get_or_insert(event.at_ns);
                }
                let sync = |number| Sync { number, at_ns: event.at_ns, has_event: true };
                self.syncs.extend(number.map(sync));
            }
            "STOP" => {
                moments.stopped_ns.get_or_insert(event.at_ns);
            }
            "RESUME" if moments.stopped_ns.is_some() => moments.restored_ns = Some(event.at_ns),
            "MIGRATION" => match event.data["status"].as_str().unwrap_or_default() {
                "active" => {
                    moments.setup_done_ns.get_or_insert(event.at_ns);
                }
                "completed" | "failed" | "cancelled" => {
                    self.source_ended_ns = Some(event.at_ns);
                }
                status if status.starts_with("postcopy") => self.has_postcopy_begun = true,
                _ => {}
            },
            _ => {}
        }
    }

    /// Takes in an event of the destination.
    pub fn destination_event(&mut self, event: &Event) {
        if event.name == "RESUME" {
            self.moments.resumed_ns.get_or_insert(event.at_ns);
        }
        if event.name == "MIGRATION" {
            self.is_destination_done = event.data["status"] == "completed";
        }
    }

    /// Takes in an answer to `query-migrate`, and says where the migration stands.
    pub fn poll(&mut self, at_ns: u64, answer: &Value) -> Status {
        let word = answer["status"].as_str().unwrap_or("none");
        self.has_postcopy_begun |= word.starts_with("postcopy");
        let mut status = Status { at_ns, state: self.state(word), ..self.last.clone() };
        if let Some(ram) = answer.get("ram").filter(|it| it.is_object()) {
            self.take_ram(at_ns, ram, answer, &mut status);
        }
        status.reason = answer["error-desc"].as_str().map(str::to_owned);
        self.take_times(answer);
        let is_over = status.state.is_terminal();
        if is_over {
            let own_end_ns = self.own_end_ns(answer);
            let source_ended_ns = self.source_ended_ns.or(own_end_ns).or(Some(at_ns));
            self.moments.ended_ns = source_ended_ns.max(self.moments.resumed_ns).max(own_end_ns);
        }
        status.pages_resent = self.pages_resent;
        status.pass = self.live_syncs().last().map(|it| it.number);
        status.moments = self.moments.clone();
        self.last = Status { reason: None, ..status.clone() };
        status.new_passes = self.new_rows(is_over);
        status
    }

    fn state(&self, word: &str) -> State {
        match word {
            "none" | "setup" | "wait-unplug" => State::Setup,
            "pre-switchover" | "device" => State::Switchover,
            // The source is done when the stream has left; the destination says when it runs.
            "completed" if self.moments.resumed_ns.is_none() && !self.is_destination_unseen => {
                State::Committed
            }
            "completed" => State::Completed,
            "cancelled" => State::Cancelled,
            "failed" => State::Failed,
            "postcopy-paused" => State::PostcopyPaused,
            _ if self.has_postcopy_begun => State::Postcopy,
            _ if self.moments.stopped_ns.is_some() && self.moments.restored_ns.is_none() => {
                State::Switchover
            }
            // Words of later versions: something goes on.
            _ => State::Active,
        }
    }

    fn take_ram(&mut self, at_ns: u64, ram: &Value, answer: &Value, status: &mut Status) {
        let number = |name: &str| ram[name].as_u64();
        self.page_bytes = number("page-size").filter(|it| *it > 0).unwrap_or(4096);
        self.total_pages = number("total").unwrap_or(0) / self.page_bytes;
        // Neither counts as normal: what xbzrle sends as differences, and what the old `compress` packs.
        let differences = answer["xbzrle-cache"]["pages"].as_u64().unwrap_or(0);
        let packed = answer["compression"]["pages"].as_u64().unwrap_or(0);
        let counters = Counters {
            at_ns,
            remaining_bytes: number("remaining").unwrap_or(0),
            wire_bytes: number("transferred").unwrap_or(0),
            pages_sent: number("normal").unwrap_or(0) + differences + packed,
            zero_pages: number("duplicate").unwrap_or(0),
            syncs: number("dirty-sync-count"),
            is_compared: answer.get("xbzrle-cache").is_some(),
        };
        self.polls.push(counters);
        if self.moments.stopped_ns.is_none_or(|it| at_ns < it) {
            // Each page is sent for the first time once at most, so what goes beyond their number was sent again.
            let sent = counters.pages_sent + counters.zero_pages;
            self.pages_resent = Some(sent.saturating_sub(self.total_pages));
        }
        status.remaining_bytes = number("remaining");
        status.transferred_bytes = number("transferred");
        status.pages_sent = Some(counters.pages_sent);
        status.zero_pages = Some(counters.zero_pages);
        status.bandwidth_bytes_per_second =
            ram["mbps"].as_f64().filter(|it| *it > 0.0).map(|it| it * 1e6 / 8.0);
        // Before the second synchronisation QEMU says 0 for what it does not know yet.
        status.dirty_rate_bytes_per_second = number("dirty-pages-rate")
            .filter(|it| *it > 0)
            .map(|it| it as f64 * self.page_bytes as f64);
        self.last_dirty_rate = status.dirty_rate_bytes_per_second.or(self.last_dirty_rate);
        let limit_seconds = self.downtime_limit_ns as f64 / 1e9;
        // A bandwidth that was planned for the switchover takes the place of the measured one.
        let planned = self.planned_bandwidth.map(|it| it as f64);
        let bandwidth = planned.or(status.bandwidth_bytes_per_second);
        let threshold = bandwidth.map(|it| (it * limit_seconds) as u64);
        status.threshold_bytes = threshold.filter(|_| !self.is_held);
        status.throttle_percent = answer["cpu-throttle-percentage"].as_f64();
        status.expected_downtime_seconds = answer["expected-downtime"].as_f64().map(|it| it / 1e3);
    }

    fn take_times(&mut self, answer: &Value) {
        if let Some(downtime) = answer["downtime"].as_u64() {
            self.moments.claimed_downtime_ns = Some(downtime * 1_000_000);
        }
        if let Some(stopped_ns) = self.moments.stopped_ns {
            let last = self.syncs.last().filter(|it| it.has_event).map(|it| it.at_ns);
            self.moments.final_sync_done_ns = last.filter(|it| *it >= stopped_ns);
        }
    }

    /// The earliest moment at which a completed migration can have ended by QEMU's own total time.
    ///
    /// QEMU stops its clock a little after it says `completed`, once it has got its main lock; under load that is milliseconds later.
    fn own_end_ns(&self, answer: &Value) -> Option<u64> {
        let total_ms = answer["total-time"].as_u64().filter(|_| answer["status"] == "completed")?;
        Some(self.accepted_ns? + total_ms * 1_000_000)
    }

    /// The synchronisations that begin passes: those while the guest runs.
    fn live_syncs(&self) -> &[Sync] {
        let stopped_ns = self.moments.stopped_ns.unwrap_or(u64::MAX);
        let live = self.syncs.iter().take_while(|it| it.at_ns < stopped_ns).count();
        &self.syncs[..live]
    }
}
