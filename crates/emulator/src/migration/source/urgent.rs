//! The connection for pages that the guest waits for, past the queue of those that it does not.
//!
//! ```text
//!  destination: Request … Finished      (nothing is asked for any more)
//!  source:      Pages, Zero … Finished  (everything that was asked for here was sent)
//! ```

use std::io::BufReader;
use std::sync::Arc;

use sterna_sys::region::Region;
use sterna_wire::control::HostConfig;
use sterna_wire::stream::{
    FrameError, Kind, Message, MessageReader, MessageWriter, ReadError, check_runs,
};

use super::turns::Turns;
use crate::link::Inbound;
use crate::migration::channels::Further;
use crate::migration::faults::Damaging;
use crate::migration::pacer::Pacer;
use crate::migration::postcopy::Backlog;
use crate::migration::progress::Progress;
use crate::migration::ram::{BatchCount, RamSender};
use crate::migration::trouble::Trouble;
use crate::transport::Socket;

/// Answers requests, each as soon as it comes.
pub(super) struct UrgentSender<'a> {
    socket: Socket,
    writer: MessageWriter,
    /// A request comes in one call.
    inbound: BufReader<Inbound>,
    reader: MessageReader,
    trouble: Arc<Trouble>,
    ram: RamSender,
    backlog: &'a Backlog,
    pacer: &'a Pacer,
    progress: &'a Progress,
    turns: &'a Turns,
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
        turns: &'a Turns,
    ) -> UrgentSender<'a> {
        let ram = RamSender::idle(Arc::clone(region), config.zero_page);
        let Further { socket, writer, inbound, reader, trouble, .. } = further;
        let inbound = BufReader::new(inbound);
        UrgentSender {
            socket,
            writer,
            inbound,
            reader,
            trouble,
            ram,
            backlog,
            pacer,
            progress,
            turns,
        }
    }

    /// Serves until the destination has no more requests.
    pub(super) fn run(&mut self, ram_pages: u64) -> Result<(), ReadError> {
        loop {
            match self.reader.message(&mut self.inbound)? {
                Message::Request(runs) => {
                    check_runs(Kind::Request, &runs, ram_pages)?;
                    let ram = &mut self.ram;
                    self.backlog.take_requested(&runs, &mut |page| ram.add(page, 1));
                    self.send_taken()?;
                }
                Message::Finished => {
                    self.writer.send(&mut self.socket, &Message::Finished)?;
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
            self.turns.await_urgent();
            let most = self.ram.pending_bytes();
            self.trouble.suffer(&self.socket);
            let (writer, socket) = (&mut self.writer, &mut self.socket);
            let batch: BatchCount = match self.trouble.take_damage() {
                true => self.ram.send_batch(most, writer, &mut Damaging::new(socket))?,
                false => self.ram.send_batch(most, writer, socket)?,
            };
            self.turns.took_urgent(batch.wire_bytes);
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
