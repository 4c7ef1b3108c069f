//! The rows of the report's table of passes: what was sent and found between two synchronisations.
//!
//! QEMU tells of synchronisations by events and of amounts when it is asked, so what a pass sent is read off between two polls.

use sterna_pilot::PassRow;

use super::{Counters, Trace};

impl Trace {
    /// Rows that are complete and past which there is a poll, so that the counters at their ends are known.
    pub(super) fn new_rows(&mut self, is_over: bool) -> Vec<PassRow> {
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
