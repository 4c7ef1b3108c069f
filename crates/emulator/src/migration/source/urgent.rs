//! The connection for pages that the guest waits for, past the queue of those that it does not.
//!
//! ```text
//!  destination: Request … Finished      (nothing is asked for any more)
//!  source:      Pages, Zero … Finished  (everything that was asked for here was sent)
//! ```

use std::sync::Arc;

use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::Region;
use sterna_wire::control::HostConfig;
use sterna_wire::stream::{FrameError, Kind, Message, ReadError, check_runs};

use crate::migration::bucket::TokenBucket;
use crate::migration::channels::Further;
use crate::migration::faults::Damaging;
use crate::migration::pacer::Pacer;
use crate::migration::postcopy::Backlog;
use crate::migration::progress::Progress;
use crate::migration::ram::{BatchCount, RamSender};

/// Answers requests, each as soon as it comes.
pub(super) struct UrgentSender<'a> {
    further: Further,
    ram: RamSender,
    backlog: &'a Backlog,
    pacer: &'a Pacer,
    progress: &'a Progress,
    /// The emulated wire, as far as urgent pages alone fill it: they pass those of the background, which then pays for both.
    wire: TokenBucket,
}

impl<'a> UrgentSender<'a> {
    /// Sends pages of `region` that are left in `backlog`.
    pub(super) fn new(
        further: Further,
        region: &Arc<Region>,
        config: &HostConfig,
        backlog: &'a Backlog,
        pacer: &'a Pacer,
        progress: &'a Progress,
    ) -> UrgentSender<'a> {
        let ram = RamSender::idle(Arc::clone(region), config.zero_page);
        let wire = TokenBucket::new(config.link_bytes_per_second);
        UrgentSender { further, ram, backlog, pacer, progress, wire }
    }

    /// Serves until the destination has no more requests.
    pub(super) fn run(&mut self, ram_pages: u64) -> Result<(), ReadError> {
        loop {
            match self.further.reader.message(&mut self.further.inbound)? {
                Message::Request(runs) => {
                    check_runs(Kind::Request, &runs, ram_pages)?;
                    let ram = &mut self.ram;
                    self.backlog.take_requested(&runs, &mut |page| ram.add(page, 1));
                    self.send_taken()?;
                }
                Message::Finished => {
                    let Further { writer, socket, .. } = &mut self.further;
                    writer.send(socket, &Message::Finished)?;
                    return Ok(());
                }
                other => {
                    let (found, expected) = (other.kind(), "a request");
                    return Err(FrameError::Unexpected { found, expected }.into());
                }
            }
        }
    }

    fn send_taken(&mut self) -> std::io::Result<()> {
        while self.ram.pending_bytes() > 0 {
            let wait_ns = self.wire.wait_ns(monotonic_ns());
            if wait_ns > 0 {
                std::thread::sleep(std::time::Duration::from_nanos(wait_ns));
            }
            let most = self.ram.pending_bytes();
            let Further { writer, socket, trouble, .. } = &mut self.further;
            trouble.suffer(socket);
            let batch: BatchCount = match trouble.take_damage() {
                true => self.ram.send_batch(most, writer, &mut Damaging::new(socket))?,
                false => self.ram.send_batch(most, writer, socket)?,
            };
            self.wire.take(batch.wire_bytes, monotonic_ns());
            self.pacer.take(batch.wire_bytes);
            self.backlog.count_bytes(batch.wire_bytes);
            self.progress.update(|it| {
                it.pages_sent += batch.pages;
                it.zero_pages += batch.zero_pages;
            });
        }
        Ok(())
    }
}
