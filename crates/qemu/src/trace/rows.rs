//! The rows of the report's table of passes: what was sent and found between two synchronisations.
//!
//! QEMU reports synchronisations by events and amounts when it is asked, so what a pass sent is read off between two polls.
//! An event comes at the end of its synchronisation, when the counters have long jumped.
//! Therefore an answer belongs to the pass that its own `dirty-sync-count` says, and not to that in which it came.

use sterna_pilot::PassRow;

use super::{Counters, Sync, Trace};

/// Where a row begins or ends.
#[derive(Clone, Copy)]
enum Edge {
    Sync(Sync),
    /// The guest's processors stopped.
    Stop(u64),
    /// The source had sent all.
    End(u64),
}

impl Edge {
    fn at_ns(self) -> u64 {
        match self {
            Edge::Sync(sync) => sync.at_ns,
            Edge::Stop(at_ns) | Edge::End(at_ns) => at_ns,
        }
    }
}

impl Trace {
    /// Rows that are complete and past which there is a poll, so that the counters at their ends are known.
    pub(super) fn new_rows(&mut self, is_over: bool) -> Vec<PassRow> {
        let Some(last_poll_ns) = self.polls.last().map(|it| it.at_ns) else { return Vec::new() };
        let mut edges: Vec<Edge> = self.live_syncs().iter().copied().map(Edge::Sync).collect();
        edges.extend(self.moments.stopped_ns.map(Edge::Stop));
        let mut rows = Vec::new();
        while let Some(&[from, to]) = edges.get(self.rows_told..self.rows_told + 2) {
            if to.at_ns() > last_poll_ns && !is_over {
                break;
            }
            self.rows_told += 1;
            rows.push(self.row(from, to));
        }
        let has_moved = self.moments.resumed_ns.is_some() || self.is_destination_unseen;
        let completed_ns = self.source_ended_ns.filter(|_| has_moved);
        if let (true, false, Some(from_ns)) = (is_over, self.is_final_told, self.moments.stopped_ns)
            && let Some(to_ns) = completed_ns
        {
            self.is_final_told = true;
            rows.push(self.row(Edge::Stop(from_ns), Edge::End(to_ns)));
        }
        rows
    }

    /// A row carries QEMU's number of the synchronisation that opens it, and the final phase the next one.
    fn row(&self, from: Edge, to: Edge) -> PassRow {
        let number = match from {
            Edge::Sync(sync) => sync.number,
            _ => self.live_syncs().last().map_or(1, |it| it.number + 1),
        };
        let (first, last) = (self.counters_at(from), self.counters_at(to));
        let grown = |value: fn(&Counters) -> u64| Some(value(&last).saturating_sub(value(&first)));
        let is_final = matches!(from, Edge::Stop(_));
        let (dirty_pages, remaining_bytes) = match from {
            Edge::Sync(sync) => (self.found_dirty(sync), self.remaining_at_end_of(sync)),
            _ => (self.final_sync().and_then(|it| self.found_dirty(it)), Some(0)),
        };
        PassRow {
            number,
            is_final,
            started_ns: from.at_ns(),
            ended_ns: Some(to.at_ns()),
            sync_ns: None,
            dirty_pages,
            pages_sent: grown(|it| it.pages_sent),
            zero_pages: grown(|it| it.zero_pages),
            pages_resent: None,
            wire_bytes: grown(|it| it.wire_bytes),
            remaining_bytes,
            guest_writes: None,
        }
    }

    /// The one at the stop, which finds what was written since the last one before.
    fn final_sync(&self) -> Option<Sync> {
        self.syncs.get(self.live_syncs().len()).copied()
    }

    /// Pages that a synchronisation added: what remained more than in the pass before, plus what was sent between the two answers.
    ///
    /// Any two answers of the two passes give the same number, since a page that is sent leaves what remains and enters a counter.
    /// Unknown where a pass was too short to be asked about, and where pages are sent as differences: QEMU counts nowhere those that it found unchanged.
    fn found_dirty(&self, sync: Sync) -> Option<u64> {
        if sync.number == 1 {
            return Some(self.total_pages);
        }
        let before = self.last_poll_of(sync.number - 1)?;
        let after = self.last_poll_of(sync.number).filter(|it| it.at_ns >= sync.at_ns)?;
        if after.is_compared {
            return None;
        }
        let sent = (after.pages_sent + after.zero_pages)
            .saturating_sub(before.pages_sent + before.zero_pages);
        let grown = after.remaining_bytes as i64 - before.remaining_bytes as i64;
        u64::try_from(grown / self.page_bytes as i64 + sent as i64).ok()
    }

    /// What remained when the next synchronisation was about to add to it.
    fn remaining_at_end_of(&self, sync: Sync) -> Option<u64> {
        let last = self.last_poll_of(sync.number).filter(|it| it.at_ns >= sync.at_ns)?;
        Some(last.remaining_bytes)
    }

    /// The last answer after this synchronisation and before the next. One that came while the synchronisation went on has a part of what it finds; a later one has all.
    fn last_poll_of(&self, number: u64) -> Option<&Counters> {
        self.polls.iter().rev().find(|it| it.syncs == Some(number))
    }

    /// The counters at an edge: between two polls on the line through both. While a synchronisation goes on nothing is sent, so an answer from within it holds for its end.
    fn counters_at(&self, edge: Edge) -> Counters {
        let at_ns = edge.at_ns();
        if let Edge::Sync(sync) = edge {
            let within = self.polls.iter().find(|it| it.syncs >= Some(sync.number));
            if let Some(within) = within.filter(|it| it.at_ns <= at_ns) {
                return *within;
            }
        }
        let after = self.polls.partition_point(|it| it.at_ns < at_ns);
        let before = after.checked_sub(1).map(|it| self.polls[it]).unwrap_or_default();
        let Some(after) = self.polls.get(after) else { return before };
        if before.at_ns == 0 {
            return Counters { at_ns, ..before };
        }
        let share = (at_ns - before.at_ns) as f64 / (after.at_ns - before.at_ns).max(1) as f64;
        let between = |from: u64, to: u64| from + (to.saturating_sub(from) as f64 * share) as u64;
        Counters {
            wire_bytes: between(before.wire_bytes, after.wire_bytes),
            pages_sent: between(before.pages_sent, after.pages_sent),
            zero_pages: between(before.zero_pages, after.zero_pages),
            ..before
        }
    }
}
