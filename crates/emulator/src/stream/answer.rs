//! The thread that answers requests on one lane.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use sterna_sys::PAGE_BYTES;
use sterna_wire::trial::{HEAD_BYTES, Head, Urgency};

use super::packer::{For, Packer};
use super::reader::{LaneError, Reader};
use super::side::{LaneState, SideState, WayState};

/// So many heads are read at once.
const HEADS: usize = 256;

/// More requests than this nobody may have open.
const MOST_OPEN: usize = u16::MAX as usize;

/// What the thread needs.
pub struct Answer<'a> {
    pub side: &'a SideState,
    pub way: &'a WayState,
    pub lane: &'a LaneState,
    /// Comes to its end when no more bulk does.
    pub bulk_done: Option<Receiver<()>>,
}

/// Requests that wait: by urgency, then as they came.
#[derive(Debug, Default)]
pub struct Open {
    heap: BinaryHeap<Reverse<(Urgency, u64, u64, u16)>>,
    came: u64,
}

impl Open {
    fn push(&mut self, urgency: Urgency, page: u64, waiter: u16) {
        self.heap.push(Reverse((urgency, self.came, page, waiter)));
        self.came += 1;
    }

    /// The page that matters most, and who waits for it.
    fn pop(&mut self) -> Option<(u64, u16)> {
        self.heap.pop().map(|Reverse((_, _, page, waiter))| (page, waiter))
    }
}

impl Answer<'_> {
    /// Answers until the other side wants nothing more.
    pub fn run(self) -> Result<(), LaneError> {
        let mut reader = Reader::new(self.lane.socket_clone()?, HEADS * HEAD_BYTES, true);
        let mut packer = Packer::new(&self.side.plan, &self.lane.socket, false)?;
        let mut open = Open::default();
        let mut has_ended = false;
        while !has_ended || !open.heap.is_empty() {
            // Whatever has come meanwhile may matter more than what waits.
            while !has_ended && (open.heap.is_empty() || reader.has_more()) {
                match reader.head()? {
                    Some(Head::Request { page, waiter, urgency }) => {
                        self.check(page, &open)?;
                        open.push(urgency, page, waiter);
                    }
                    Some(Head::End) => has_ended = true,
                    Some(other) => return Err(unexpected(&other)),
                    None => return Err(LaneError::Closed),
                }
            }
            if let Some((page, waiter)) = open.pop() {
                self.answer(&mut packer, page as usize, waiter)?;
            }
            self.lane.meter.wire_received.store(reader.read_bytes(), Ordering::Relaxed);
        }
        // Bulk may still come on this lane, and says its end itself.
        if let Some(done) = &self.bulk_done {
            let _ = done.recv();
        }
        Ok(())
    }

    fn check(&self, page: u64, open: &Open) -> Result<(), LaneError> {
        let pages = self.way.store()?.region.pages();
        if page >= pages as u64 {
            return Err(LaneError::Protocol(format!("it asks for page {page} of {pages}")));
        }
        if open.heap.len() >= MOST_OPEN {
            return Err(LaneError::Protocol("it asks for too many pages at once".to_owned()));
        }
        Ok(())
    }

    fn answer(&self, packer: &mut Packer, page: usize, waiter: u16) -> Result<(), LaneError> {
        let region = &self.way.store()?.region;
        let piece = packer.pack(region, page, 1, For::Waiter(waiter));
        let turn = self.lane.line.urgent();
        packer.send(&self.lane.socket, region, &piece)?;
        drop(turn);
        self.lane.sent(piece.wire_bytes());
        self.lane.meter.answered.fetch_add(1, Ordering::Relaxed);
        self.lane.meter.page_bytes.fetch_add(PAGE_BYTES as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// A head that may not come here.
pub fn unexpected(head: &Head) -> LaneError {
    LaneError::Protocol(format!("{head:?} is not due"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_awaited_goes_before_what_is_asked_for_ahead() {
        let mut open = Open::default();
        open.push(Urgency::Ahead, 1, 10);
        open.push(Urgency::Awaited, 2, 0);
        open.push(Urgency::Ahead, 3, 11);
        open.push(Urgency::Awaited, 4, 1);
        let order: Vec<_> = std::iter::from_fn(|| open.pop()).collect();
        assert_eq!(order, [(2, 0), (4, 1), (1, 10), (3, 11)]);
    }
}
