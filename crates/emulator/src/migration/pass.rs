//! Keeping the books of one pass.

use sterna_wire::control::PassRecord;

use super::ram::BatchCount;

/// The pass under way.
#[derive(Debug)]
pub struct PassMeter {
    record: PassRecord,
    /// What encryption had added before it.
    encryption_bytes: u64,
}

/// What is known when a synchronisation ends and a pass begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// When the synchronisation began.
    pub started_ns: u64,
    /// How long it took.
    pub sync_ns: u64,
    /// Distinct pages it found dirty.
    pub dirty_pages: u64,
    /// Raw bytes that were pending just before it.
    pub pending_bytes: u64,
    /// Writes of all workers just before it.
    pub writes: u64,
    /// What encryption had added to the bytes on the wire by then.
    pub encryption_bytes: u64,
}

impl PassMeter {
    /// Begins pass `number`, or the final phase with that number.
    pub fn begin(number: u32, is_final: bool, opening: Opening) -> PassMeter {
        PassMeter {
            encryption_bytes: opening.encryption_bytes,
            record: PassRecord {
                number,
                is_final,
                started_ns: opening.started_ns,
                sync_ns: opening.sync_ns,
                dirty_pages: opening.dirty_pages,
                writes_at_start: opening.writes,
                ..PassRecord::default()
            },
        }
    }

    /// Counts a batch.
    pub fn count(&mut self, batch: BatchCount) {
        self.record.pages_sent += batch.pages;
        self.record.zero_pages += batch.zero_pages;
        self.record.pages_resent += batch.resent;
        self.record.wire_bytes += batch.wire_bytes;
    }

    /// Counts bytes that belong to no page.
    pub fn count_bytes(&mut self, bytes: u64) {
        self.record.wire_bytes += bytes;
    }

    /// The running number.
    pub fn number(&self) -> u32 {
        self.record.number
    }

    /// Ends it; `encryption_bytes` is what encryption has added to the bytes on the wire by now.
    pub fn finish(
        self,
        ended_ns: u64,
        remaining_bytes: u64,
        writes: u64,
        encryption_bytes: u64,
    ) -> PassRecord {
        let wire_bytes =
            self.record.wire_bytes + encryption_bytes.saturating_sub(self.encryption_bytes);
        PassRecord { ended_ns, remaining_bytes, writes_at_end: writes, wire_bytes, ..self.record }
    }
}
