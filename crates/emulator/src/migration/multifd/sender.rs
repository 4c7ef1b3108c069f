//! A channel's thread on the source.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use sterna_sys::region::Region;
use sterna_wire::control::ChannelStatus;
use sterna_wire::stream::{Message, MessageWriter};

use super::packet::PacketBuffer;
use super::pool::Job;
use super::zero_copy::ZeroCopy;
use crate::migration::pacer::{Cancelled, Pacer};
use crate::migration::trouble::Trouble;
use crate::transport::Socket;

/// What a channel is told to do.
pub enum Order {
    /// Send these pages.
    Pages(Job),
    /// Put the mark of synchronisation with this number on the connection; `None` only finishes what is under way.
    Sync(Option<u32>),
}

/// What a channel has done.
pub struct Report {
    /// Which channel.
    pub index: usize,
    /// Pages that are no longer under way.
    pub finished_pages: usize,
    /// What it has sent so far, or why it cannot go on.
    pub result: Result<ChannelStatus, SendError>,
}

/// Why a channel cannot go on.
#[derive(Debug)]
pub enum SendError {
    /// The migration was cancelled while it waited for the limit.
    Cancelled,
    /// The connection failed.
    Io(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> SendError {
        SendError::Io(error)
    }
}

impl From<Cancelled> for SendError {
    fn from(_: Cancelled) -> SendError {
        SendError::Cancelled
    }
}

/// One channel: it copies pages, finds the empty ones, packs and sends.
pub struct ChannelSender {
    pub index: usize,
    pub region: Arc<Region>,
    pub socket: Socket,
    pub writer: MessageWriter,
    pub pacer: Arc<Pacer>,
    pub buffer: PacketBuffer,
    pub zero_copy: Option<ZeroCopy>,
    pub counts: ChannelStatus,
    pub trouble: Arc<Trouble>,
}

impl ChannelSender {
    /// Does what it is told until nobody tells any more, or an error.
    pub fn run(mut self, orders: &Receiver<Order>, reports: &Sender<Report>) {
        for order in orders {
            self.trouble.suffer(&self.socket);
            let (finished_pages, done) = match order {
                Order::Pages(job) => (job.pages(), self.send_pages(&job)),
                Order::Sync(number) => (0, self.sync(number)),
            };
            let is_last = done.is_err();
            let result = done.map(|()| self.counts.clone());
            let report = Report { index: self.index, finished_pages, result };
            if reports.send(report).is_err() || is_last {
                return;
            }
        }
    }

    fn send_pages(&mut self, job: &Job) -> Result<(), SendError> {
        let buffer = &mut self.buffer;
        let packet = match self.zero_copy {
            Some(_) => buffer.refer(&self.region, &job.runs, &mut self.writer),
            None => buffer.copy(&self.region, &job.runs, &mut self.writer),
        };
        let content_bytes = packet.content_bytes;
        let is_compressed = packet.is_compressed;
        let front_bytes = packet.bytes.len();
        let wire_bytes = front_bytes + if self.zero_copy.is_some() { content_bytes } else { 0 };
        if (job.is_damaged || self.trouble.take_damage())
            && let Some(last) = packet.bytes.last_mut()
        {
            *last ^= 1;
        }
        self.pacer.acquire(wire_bytes as u64)?;
        self.socket.write_all(packet.bytes)?;
        if let Some(zero_copy) = &mut self.zero_copy {
            let runs = buffer.content_runs();
            let counts = &mut self.counts;
            zero_copy.send(&self.socket, &self.region, &runs, content_bytes, counts)?;
        }
        self.counts.packets += 1;
        self.counts.pages += buffer.pages() as u64;
        self.counts.zero_pages += buffer.zero_pages() as u64;
        self.counts.wire_bytes += wire_bytes as u64;
        self.counts.content_bytes += content_bytes as u64;
        self.counts.compressed_packets += u64::from(is_compressed);
        Ok(())
    }

    fn sync(&mut self, number: Option<u32>) -> Result<(), SendError> {
        if let Some(zero_copy) = &mut self.zero_copy {
            zero_copy.flush(&self.socket, &mut self.counts)?;
        }
        let Some(number) = number else { return Ok(()) };
        let bytes = self.writer.send(&mut self.socket, &Message::Sync(number))?;
        self.pacer.take(bytes);
        self.counts.wire_bytes += bytes;
        Ok(())
    }
}
