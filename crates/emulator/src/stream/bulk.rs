//! The thread that sends bulk on one lane.

use std::sync::mpsc::Sender;

use sterna_sys::PAGE_BYTES;
use sterna_wire::trial::Head;

use super::packer::{For, Packer, Piece, send_all};
use super::reader::LaneError;
use super::side::{LaneState, SideState, WayState};

/// Bytes that one call sends where nothing limits it and nobody waits behind it: the receiver is woken for more at a time, and both sides copy for longer stretches.
const AT_ONCE_BYTES: usize = 1 << 20;

/// Blocks that one call sends at most, when they are small.
const MOST_PIECES: usize = 64;

/// What the thread needs.
pub struct Bulk<'a> {
    pub side: &'a SideState,
    pub way: &'a WayState,
    pub lane: &'a LaneState,
    /// Told when no more bulk comes, where the lane also carries requests.
    pub done: Option<Sender<()>>,
}

impl Bulk<'_> {
    /// Sends until time, bytes or a wish end it.
    pub fn run(self) -> Result<(), LaneError> {
        let mut packer = Packer::new(&self.side.plan, &self.lane.socket, true)?;
        let sent = self.send_blocks(&mut packer);
        // Also after a failure, so that nobody waits for it.
        drop(self.done);
        sent?;
        let counts = packer.finish(&self.lane.socket)?;
        if self.side.plan.test.zero_copy {
            *self.lane.meter.zero_copy.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(counts);
        }
        let _turn = self.lane.line.bulk();
        send_all(&self.lane.socket, &Head::End.encode())?;
        self.lane.sent(sterna_wire::trial::HEAD_BYTES as u64);
        if !self.lane.has_requests {
            // A receiver that waits for whole blocks is told that there is none.
            let _ = rustix::net::shutdown(&self.lane.socket, rustix::net::Shutdown::Write);
        }
        Ok(())
    }

    fn send_blocks(&self, packer: &mut Packer) -> Result<(), LaneError> {
        let store = &self.way.store()?;
        let mut pieces = Vec::new();
        while !self.side.is_over() {
            let quantum = self.way.pacer.quantum_bytes(PAGE_BYTES as u64, u64::MAX);
            let most = usize::try_from(quantum / PAGE_BYTES as u64).unwrap_or(usize::MAX).max(1);
            let is_eager = quantum == u64::MAX && !self.lane.has_requests && packer.can_send_many();
            let at_once = if is_eager { AT_ONCE_BYTES } else { 1 };
            pieces.clear();
            let mut bytes = 0;
            while bytes < at_once && pieces.len() < MOST_PIECES {
                let (first, pages) = store.next_block(most);
                let Some(pages) = self.way.claim(pages) else { break };
                bytes += pages * PAGE_BYTES;
                pieces.push(packer.pack(&store.region, first, pages, For::Bulk));
            }
            let wire_bytes = pieces.iter().map(Piece::wire_bytes).sum();
            if pieces.is_empty() || self.way.pacer.acquire(wire_bytes).is_err() {
                break;
            }
            let turn = self.lane.line.bulk();
            match &*pieces {
                [piece] => packer.send(&self.lane.socket, &store.region, piece)?,
                pieces => packer.send_many(&self.lane.socket, &store.region, pieces)?,
            }
            drop(turn);
            self.lane.sent(wire_bytes);
            self.lane.meter.bulk(bytes as u64);
        }
        Ok(())
    }
}
