//! The thread that receives on one lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sterna_sys::PAGE_BYTES;
use sterna_sys::region::Region;
use sterna_sys::socket::set_receive_low_water;
use sterna_wire::compression::Decompressor;
use sterna_wire::stream::Compression;
use sterna_wire::trial::{HEAD_BYTES, Head, Part};

use crate::transport::Socket;

use super::answer::unexpected;
use super::ask::Asker;
use super::reader::{LaneError, Reader};
use super::side::{LaneState, SideState, WayState};

/// What the thread needs.
pub struct Receive<'a> {
    pub side: &'a SideState,
    pub way: &'a WayState,
    pub lane: &'a LaneState,
}

/// Where pages go.
struct Landing {
    region: Option<Arc<Region>>,
    pages: u64,
    unpacker: Decompressor,
    raw: Vec<u8>,
}

impl Receive<'_> {
    /// Receives until the source has said its end, and asks for pages where that is done here.
    pub fn run(self) -> Result<(), LaneError> {
        let plan = &self.side.plan;
        let place = self.way.place.clone();
        let mut reader =
            Reader::new(self.lane.socket_clone()?, plan.test.block_bytes as usize, place.is_none());
        self.wait_for_blocks(place.is_some());
        let mut landing = Landing {
            region: place,
            pages: plan.pages() as u64,
            unpacker: Decompressor::new()?,
            raw: Vec::new(),
        };
        let asks = (plan.test.vcpus, plan.test.prefetch);
        let mut asker = self
            .lane
            .has_requests
            .then(|| Asker::new(self.lane, &self.way.requests, plan.pages(), asks));
        if let Some(asker) = &mut asker {
            asker.begin()?;
        }
        let mut has_bulk = plan.has_bulk(self.lane.part);
        while has_bulk || asker.as_ref().is_some_and(|it| !it.has_ended()) {
            let Some(head) = reader.head()? else { return Err(LaneError::Closed) };
            match (head, &mut asker) {
                (Head::Bulk { page, pages, compression, bytes }, _) if has_bulk => {
                    let pages = usize::from(pages);
                    landing.take(&mut reader, page, pages, compression, bytes as usize)?;
                    self.lane.meter.bulk((pages * PAGE_BYTES) as u64);
                }
                (Head::Page { page, waiter, compression, bytes }, Some(asker)) => {
                    landing.take(&mut reader, page, 1, compression, bytes as usize)?;
                    self.lane.meter.page_bytes.fetch_add(PAGE_BYTES as u64, Ordering::Relaxed);
                    asker.came(page, waiter, self.is_over())?;
                }
                (Head::End, asker) if has_bulk => {
                    has_bulk = false;
                    self.way.bulk_ended();
                    if let Some(asker) = asker {
                        asker.end()?;
                    }
                }
                (other, _) => return Err(unexpected(&other)),
            }
            self.lane.meter.wire_received.store(reader.read_bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Requests end with the trial, and with the last bulk of a number of bytes.
    fn is_over(&self) -> bool {
        self.side.is_over() || self.way.has_bulk_ended()
    }

    /// Wakes this thread for whole blocks only, where nothing else is waited for: each wake-up costs as much as copying many pages.
    fn wait_for_blocks(&self, places: bool) {
        let test = &self.side.plan.test;
        let is_plain = matches!(self.lane.socket, Socket::Tcp(_))
            && self.side.plan.compression == Compression::None
            && test.max_bytes_per_second.is_none();
        if is_plain && self.lane.part == Part::Main && !self.lane.has_requests && !places {
            let bytes = test.block_bytes as usize + HEAD_BYTES;
            // The kernel sizes the buffer for it; one that was asked for stays as it is.
            if test.receive_buffer_bytes.is_none() {
                let _ = set_receive_low_water(&self.lane.socket, bytes);
            }
        }
    }
}

impl Landing {
    fn take(
        &mut self,
        reader: &mut Reader,
        page: u64,
        pages: usize,
        compression: Compression,
        bytes: usize,
    ) -> Result<(), LaneError> {
        if page.checked_add(pages as u64).is_none_or(|end| end > self.pages) {
            let all = self.pages;
            return Err(LaneError::Protocol(format!("it sends page {page} of {all}")));
        }
        let first = page as usize;
        match (compression, &self.region) {
            (Compression::None, None) => reader.skip(bytes),
            (Compression::None, Some(region)) => reader.place(region, first, pages),
            (method, region) => {
                let raw_bytes = pages * PAGE_BYTES;
                self.raw.resize(raw_bytes, 0);
                let unpacked =
                    self.unpacker.decompress(method, reader.content(bytes)?, &mut self.raw);
                unpacked.map_err(|error| LaneError::Protocol(error.to_string()))?;
                if let Some(region) = region {
                    region.copy_in(first, &self.raw);
                }
                Ok(())
            }
        }
    }
}
