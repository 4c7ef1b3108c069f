//! From QEMU's answers and events to what the pilot knows: states, moments, passes.

use serde_json::Value;
use sterna_pilot::{Moments, PassRow, State, Status};

use crate::qmp::Event;

/// QEMU's RAM counters at one moment. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    pub at_ns: u64,
    pub remaining_bytes: u64,
    pub wire_bytes: u64,
    /// Pages sent with content, whole or as a difference.
    pub pages_sent: u64,
    pub zero_pages: u64,
}

/// One migration as seen from outside, from the migrate command on.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    polls: Vec<Counters>,
    /// Ends of synchronisations while the guest ran, and at its stop.
    syncs_ns: Vec<u64>,
    moments: Moments,
    source_ended_ns: Option<u64>,
    rows_told: usize,
    is_final_told: bool,
    has_postcopy_begun: bool,
    is_destination_done: bool,
    page_bytes: u64,
    total_pages: u64,
    downtime_limit_ns: u64,
    pages_resent: Option<u64>,
    last_dirty_rate: Option<f64>,
    last: Status,
}

impl Trace {
    /// Of a migration that is about to begin.
    pub fn new(downtime_limit_ns: u64) -> Trace {
        Trace { page_bytes: 4096, downtime_limit_ns, ..Trace::default() }
    }

    /// The moments known by now.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Completed passes by now.
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

    /// The downtime limit from now on.
    pub fn set_downtime_limit(&mut self, ns: u64) {
        self.downtime_limit_ns = ns;
    }

    /// Takes in an event of the source.
    pub fn source_event(&mut self, event: &Event) {
        let moments = &mut self.moments;
        match event.name.as_str() {
            "MIGRATION_PASS" => self.syncs_ns.push(event.at_ns),
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
            self.moments.ended_ns =
                self.source_ended_ns.or(Some(at_ns)).max(self.moments.resumed_ns);
        }
        status.pages_resent = self.pages_resent;
        status.pass = Some(self.live_syncs().len() as u64).filter(|it| *it > 0);
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
            "completed" if self.moments.resumed_ns.is_none() => State::Committed,
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
        let differences = answer["xbzrle-cache"]["pages"].as_u64().unwrap_or(0);
        let counters = Counters {
            at_ns,
            remaining_bytes: number("remaining").unwrap_or(0),
            wire_bytes: number("transferred").unwrap_or(0),
            pages_sent: number("normal").unwrap_or(0) + differences,
            zero_pages: number("duplicate").unwrap_or(0),
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
        status.threshold_bytes =
            status.bandwidth_bytes_per_second.map(|it| (it * limit_seconds) as u64);
        status.throttle_percent = answer["cpu-throttle-percentage"].as_f64();
        status.expected_downtime_seconds = answer["expected-downtime"].as_f64().map(|it| it / 1e3);
    }

    fn take_times(&mut self, answer: &Value) {
        if let Some(downtime) = answer["downtime"].as_u64() {
            self.moments.claimed_downtime_ns = Some(downtime * 1_000_000);
        }
        if let Some(stopped_ns) = self.moments.stopped_ns {
            let last = self.syncs_ns.last().copied();
            self.moments.final_sync_done_ns = last.filter(|it| *it >= stopped_ns);
        }
    }

    /// The synchronisations that begin passes: those while the guest runs.
    fn live_syncs(&self) -> &[u64] {
        let stopped_ns = self.moments.stopped_ns.unwrap_or(u64::MAX);
        let live = self.syncs_ns.iter().take_while(|it| **it < stopped_ns).count();
        &self.syncs_ns[..live]
    }

    /// Rows that are complete and past which there is a poll, so that the counters at their ends are known.
    fn new_rows(&mut self, is_over: bool) -> Vec<PassRow> {
        let Some(last_poll_ns) = self.polls.last().map(|it| it.at_ns) else { return Vec::new() };
        let mut edges = self.live_syncs().to_vec();
        edges.extend(self.moments.stopped_ns);
        let mut rows = Vec::new();
        while let Some(&[from_ns, to_ns]) = edges.get(self.rows_told..self.rows_told + 2) {
            if to_ns > last_poll_ns && !is_over {
                break;
            }
            self.rows_told += 1;
            rows.push(self.row(self.rows_told as u64, from_ns, Some(to_ns), false));
        }
        let completed_ns = self.source_ended_ns.filter(|_| self.moments.resumed_ns.is_some());
        if let (true, false, Some(from_ns)) = (is_over, self.is_final_told, self.moments.stopped_ns)
            && completed_ns.is_some()
        {
            self.is_final_told = true;
            rows.push(self.row(self.rows_told as u64 + 1, from_ns, completed_ns, true));
        }
        rows
    }

    fn row(&self, number: u64, from_ns: u64, to_ns: Option<u64>, is_final: bool) -> PassRow {
        let (from, to) = (self.counters_at(from_ns), self.counters_at(to_ns.unwrap_or(u64::MAX)));
        let grown = |value: fn(&Counters) -> u64| Some(value(&to).saturating_sub(value(&from)));
        let dirty_pages =
            if number == 1 { Some(self.total_pages) } else { self.found_dirty(from_ns) };
        PassRow {
            number,
            is_final,
            started_ns: from_ns,
            ended_ns: to_ns,
            sync_ns: None,
            dirty_pages: dirty_pages.filter(|_| !is_final),
            pages_sent: grown(|it| it.pages_sent),
            zero_pages: grown(|it| it.zero_pages),
            pages_resent: None,
            wire_bytes: grown(|it| it.wire_bytes),
            remaining_bytes: Some(if is_final { 0 } else { to.remaining_bytes }),
            guest_writes: None,
        }
    }

    /// Pages that a synchronisation added: what remains more than before, plus what was sent between the two polls around it. Unknown when another one fell between them too.
    fn found_dirty(&self, sync_ns: u64) -> Option<u64> {
        let after = self.polls.iter().position(|it| it.at_ns >= sync_ns)?;
        let (before, after) = (self.polls.get(after.checked_sub(1)?)?, self.polls.get(after)?);
        let between = |it: &&u64| **it > before.at_ns && **it <= after.at_ns;
        if self.syncs_ns.iter().filter(between).count() != 1 {
            return None;
        }
        let sent = (after.pages_sent + after.zero_pages)
            .saturating_sub(before.pages_sent + before.zero_pages);
        let grown = after.remaining_bytes as i64 - before.remaining_bytes as i64;
        u64::try_from(grown / self.page_bytes as i64 + sent as i64).ok()
    }

    /// The counters at a moment: between two polls on the line through both; `remaining` is that of the poll before, for it jumps at a synchronisation.
    fn counters_at(&self, at_ns: u64) -> Counters {
        let after = self.polls.partition_point(|it| it.at_ns < at_ns);
        let before = after.checked_sub(1).map(|it| self.polls[it]).unwrap_or_default();
        let Some(after) = self.polls.get(after) else { return before };
        if before.at_ns == 0 {
            return Counters { at_ns, remaining_bytes: after.remaining_bytes, ..before };
        }
        let share = (at_ns - before.at_ns) as f64 / (after.at_ns - before.at_ns).max(1) as f64;
        let between = |from: u64, to: u64| from + (to.saturating_sub(from) as f64 * share) as u64;
        Counters {
            at_ns,
            remaining_bytes: before.remaining_bytes,
            wire_bytes: between(before.wire_bytes, after.wire_bytes),
            pages_sent: between(before.pages_sent, after.pages_sent),
            zero_pages: between(before.zero_pages, after.zero_pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MS: u64 = 1_000_000;

    fn event(name: &str, at_ms: u64, data: Value) -> Event {
        Event { name: name.to_owned(), data, at_ns: at_ms * MS, received_ns: at_ms * MS }
    }

    fn ram(status: &str, remaining_pages: u64, sent_pages: u64) -> Value {
        json!({ "status": status, "ram": {
            "page-size": 4096, "total": 4096 * 1000, "remaining": remaining_pages * 4096,
            "normal": sent_pages, "duplicate": 0, "transferred": sent_pages * 4104,
            "mbps": 80.0, "dirty-pages-rate": 0,
        }})
    }

    /// A migration of 1000 pages with two passes, as 10.0 tells it.
    fn two_passes() -> (Trace, Vec<Status>) {
        let mut trace = Trace::new(300 * MS);
        let mut seen = Vec::new();
        trace.source_event(&event("MIGRATION_PASS", 1, json!({"pass": 1})));
        trace.source_event(&event("MIGRATION", 1, json!({"status": "active"})));
        seen.push(trace.poll(10 * MS, &ram("active", 900, 100)));
        seen.push(trace.poll(50 * MS, &ram("active", 100, 900)));
        trace.source_event(&event("MIGRATION_PASS", 55, json!({"pass": 2})));
        seen.push(trace.poll(60 * MS, &ram("active", 250, 950)));
        seen.push(trace.poll(70 * MS, &ram("active", 50, 1150)));
        trace.source_event(&event("STOP", 75, Value::Null));
        trace.source_event(&event("MIGRATION_PASS", 76, json!({"pass": 3})));
        seen.push(trace.poll(78 * MS, &ram("device", 20, 1200)));
        trace.source_event(&event("MIGRATION", 90, json!({"status": "completed"})));
        seen.push(trace.poll(91 * MS, &ram("completed", 0, 1220)));
        trace.destination_event(&event("RESUME", 89, Value::Null));
        seen.push(trace.poll(95 * MS, &ram("completed", 0, 1220)));
        (trace, seen)
    }

    #[test]
    fn states_follow_what_both_sides_say() {
        let (trace, seen) = two_passes();
        let states: Vec<&str> = seen.iter().map(|it| it.state.as_str()).collect();
        let expected =
            ["active", "active", "active", "active", "switchover", "committed", "completed"];
        assert_eq!(states, expected);
        let moments = trace.moments();
        assert_eq!(moments.setup_done_ns, Some(MS));
        assert_eq!(moments.stopped_ns, Some(75 * MS));
        assert_eq!(moments.final_sync_done_ns, Some(76 * MS));
        assert_eq!(moments.resumed_ns, Some(89 * MS));
        assert_eq!(moments.ended_ns, Some(90 * MS));
    }

    #[test]
    fn passes_are_told_once_with_what_was_sent_in_them() {
        let (trace, seen) = two_passes();
        assert_eq!(trace.passes(), 1);
        let rows: Vec<PassRow> = seen.iter().flat_map(|it| it.new_passes.clone()).collect();
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!((rows[0].number, rows[0].dirty_pages), (1, Some(1000)));
        assert_eq!((rows[0].started_ns, rows[0].ended_ns), (MS, Some(55 * MS)));
        assert_eq!(rows[0].pages_sent, Some(925));
        // 100 remained, 50 were sent, 250 remain: 200 came anew.
        assert_eq!(rows[1].dirty_pages, Some(200));
        assert!(rows[2].is_final && rows[2].ended_ns == Some(90 * MS));
        assert_eq!(seen.last().unwrap().pages_resent, Some(150));
        assert_eq!(seen[0].threshold_bytes, Some(3_000_000));
    }

    #[test]
    fn an_end_without_counters_keeps_the_last_ones() {
        let mut trace = Trace::new(MS);
        trace.poll(10 * MS, &ram("active", 900, 100));
        let failed = json!({"status": "failed", "error-desc": "Connection reset"});
        let status = trace.poll(20 * MS, &failed);
        assert_eq!((status.state, status.pages_sent), (State::Failed, Some(100)));
        assert_eq!(status.reason.as_deref(), Some("Connection reset"));
        assert_eq!(status.moments.ended_ns, Some(20 * MS));
    }

    #[test]
    fn a_stop_that_was_taken_back_is_told_as_such() {
        let mut trace = Trace::new(MS);
        trace.source_event(&event("RESUME", 1, Value::Null));
        trace.source_event(&event("STOP", 5, Value::Null));
        trace.source_event(&event("RESUME", 9, Value::Null));
        let status = trace.poll(20 * MS, &json!({"status": "cancelled"}));
        assert_eq!(status.state, State::Cancelled);
        assert_eq!(status.moments.restored_ns, Some(9 * MS));
    }

    #[test]
    fn post_copy_is_past_the_point_of_return_in_either_order_of_events() {
        for status_first in [true, false] {
            let mut trace = Trace::new(MS);
            let active = event("MIGRATION", 5, json!({"status": "postcopy-active"}));
            if status_first {
                trace.source_event(&active);
            }
            trace.source_event(&event("STOP", 5, Value::Null));
            trace.source_event(&active);
            let status = trace.poll(20 * MS, &ram("postcopy-active", 5, 5));
            assert_eq!(status.state, State::Postcopy);
            assert!(trace.has_postcopy_begun());
        }
    }
}
