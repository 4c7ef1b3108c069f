//! The thread that sends bulk on one lane.

use std::sync::mpsc::Sender;

use sterna_sys::PAGE_BYTES;
use sterna_wire::trial::Head;

use super::packer::{For, Packer, send_all};
use super::reader::LaneError;
use super::side::{LaneState, SideState, WayState};

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
        while !self.side.is_over() {
            let quantum = self.way.pacer.quantum_bytes(PAGE_BYTES as u64, u64::MAX);
            let most = usize::try_from(quantum / PAGE_BYTES as u64).unwrap_or(usize::MAX).max(1);
            let (first, pages) = store.next_block(most);
            let Some(pages) = self.way.claim(pages) else { break };
            let piece = packer.pack(&store.region, first, pages, For::Bulk);
            if self.way.pacer.acquire(piece.wire_bytes()).is_err() {
                break;
            }
            let turn = self.lane.line.bulk();
            packer.send(&self.lane.socket, &store.region, &piece)?;
            drop(turn);
            self.lane.sent(piece.wire_bytes());
            self.lane.meter.bulk((pages * PAGE_BYTES) as u64);
        }
        Ok(())
    }
}
