//! The destination's channels.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sterna_sys::crc32c;
use sterna_sys::region::Region;
use sterna_wire::compression::{DecompressError, Decompressor};
use sterna_wire::control::{ChannelStatus, MultifdStatus};
use sterna_wire::stream::{
    Compression, FrameError, HEADER_BYTES, Header, Kind, Message, PACKET_HEAD_BYTES, PACKET_PAGES,
    PAGE_BYTES, PacketHead, PacketPages, PageRun, RUN_BYTES, ReadError,
};

use super::CHANNEL_THREAD;
use super::rounds::{Broken, Rounds};
use crate::migration::channels::Further;
use crate::migration::progress::Progress;
use crate::transport::Socket;

/// The destination's channels: a thread each, which loads what comes.
///
/// Dropping it cuts the connections and ends the threads.
pub struct Receivers {
    rounds: Arc<Rounds>,
    sockets: Vec<Socket>,
    taken_bytes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a channel cannot go on.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> ReceiveError {
        ReceiveError::Read(error.into())
    }
}

impl From<io::Error> for ReceiveError {
    fn from(error: io::Error) -> ReceiveError {
        ReceiveError::Read(error.into())
    }
}

impl Receivers {
    /// Starts a thread for each connection; `delay` holds back the first packet of the first one, to show what the synchronisation is for.
    ///
    /// # Errors
    /// No thread or decompressor can be had.
    pub fn start(
        connections: Vec<Further>,
        region: &Arc<Region>,
        progress: &Arc<Progress>,
        silence_limit: Duration,
        delay: Option<Duration>,
    ) -> io::Result<Receivers> {
        let rounds = Arc::new(Rounds::new(connections.len() + 1));
        let channels = vec![ChannelStatus::default(); connections.len()];
        progress.update(|it| it.multifd = Some(MultifdStatus { syncs: 0, channels }));
        let taken_bytes = Arc::new(AtomicU64::new(0));
        let mut receivers = Receivers {
            rounds: Arc::clone(&rounds),
            sockets: Vec::new(),
            taken_bytes: Arc::clone(&taken_bytes),
            threads: Vec::new(),
        };
        for (index, mut connection) in connections.into_iter().enumerate() {
            connection.inbound.set_timeout(Some(silence_limit))?;
            receivers.sockets.push(connection.socket.try_clone()?);
            let receiver = ChannelReceiver {
                index,
                connection,
                region: Arc::clone(region),
                progress: Arc::clone(progress),
                rounds: Arc::clone(&rounds),
                decompressor: Decompressor::new()?,
                packed: Vec::new(),
                unpacked: Vec::new(),
                pages: PacketPages::default(),
                counts: ChannelStatus::default(),
                taken_bytes: Arc::clone(&taken_bytes),
                delay: delay.filter(|_| index == 0),
            };
            let thread = thread::Builder::new()
                .name(format!("{CHANNEL_THREAD}-{index}"))
                .spawn(move || receiver.run())?;
            receivers.threads.push(thread);
        }
        Ok(receivers)
    }

    /// The first connection has come to synchronisation `number`: waits until the others have, too.
    ///
    /// # Errors
    /// A channel has failed.
    pub fn meet(&self, number: u32) -> Result<(), Broken> {
        self.rounds.meet(self.sockets.len(), number)
    }

    /// Bytes that all channels have taken.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Why a channel has failed, if one has.
    pub fn failure(&self) -> Option<String> {
        self.rounds.failure()
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.rounds.close();
        for socket in &self.sockets {
            socket.shut_down();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct ChannelReceiver {
    index: usize,
    connection: Further,
    region: Arc<Region>,
    progress: Arc<Progress>,
    rounds: Arc<Rounds>,
    decompressor: Decompressor,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    pages: PacketPages,
    counts: ChannelStatus,
    /// Of all channels.
    taken_bytes: Arc<AtomicU64>,
    delay: Option<Duration>,
}

impl ChannelReceiver {
    fn run(mut self) {
        if let Err(error) = self.receive() {
            self.rounds.fail(format!("Channel {}: {error}", self.index));
        }
    }

    fn receive(&mut self) -> Result<(), ReceiveError> {
        loop {
            let Further { inbound, reader, socket, trouble, .. } = &mut self.connection;
            trouble.suffer(socket);
            let header = reader.header(inbound)?;
            if header.kind == Kind::Packet {
                self.load(&header)?;
                let bytes = HEADER_BYTES as u64 + u64::from(header.body_bytes);
                self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.tell();
                continue;
            }
            match reader.body(inbound, &header)? {
                Message::Sync(number) => {
                    self.counts.wire_bytes += (HEADER_BYTES + header.body_bytes as usize) as u64;
                    self.tell();
                    self.rounds.meet(self.index, number)?;
                    self.progress.update(|it| {
                        if let Some(multifd) = &mut it.multifd {
                            multifd.syncs = number;
                        }
                    });
                }
                other => {
                    let expected = "packets";
                    return Err(FrameError::Unexpected { found: other.kind(), expected }.into());
                }
            }
        }
    }

    fn load(&mut self, header: &Header) -> Result<(), ReceiveError> {
        let mut front = [0; PACKET_HEAD_BYTES + PACKET_PAGES * RUN_BYTES];
        let Some(front) = front.get_mut(..PACKET_HEAD_BYTES + usize::from(header.runs) * RUN_BYTES)
        else {
            let detail = format!("{} runs, at most {PACKET_PAGES} are allowed", header.runs);
            return Err(FrameError::Malformed { kind: Kind::Packet, detail }.into());
        };
        self.connection.inbound.read_exact(front)?;
        let ram_pages = self.region.pages() as u64;
        let head = PacketHead::decode(header, front, ram_pages, &mut self.pages)?;
        if let Some(delay) = self.delay.take() {
            thread::sleep(delay);
        }
        if head.compression == Compression::None {
            let content_crc = self.load_content(&head)?;
            header.check(crc32c(content_crc, front))?;
        } else {
            let content_crc = self.read_packed(&head)?;
            header.check(crc32c(content_crc, front))?;
            self.unpack(head.compression)?;
        }
        for page in pages_of(&self.pages.zero) {
            self.region.zero(page);
        }
        self.counts.packets += 1;
        self.counts.pages += pages_of(&self.pages.content).count() as u64;
        self.counts.zero_pages += pages_of(&self.pages.zero).count() as u64;
        self.counts.wire_bytes += (HEADER_BYTES + header.body_bytes as usize) as u64;
        self.counts.content_bytes += u64::from(head.content_bytes);
        self.counts.compressed_packets += u64::from(head.compression != Compression::None);
        Ok(())
    }

    /// Reads content to where it belongs; gives its checksum, or 0 when it is not summed up.
    fn load_content(&mut self, head: &PacketHead) -> Result<u32, ReceiveError> {
        let region = &self.region;
        if !self.pages.content.is_empty() {
            self.connection.inbound.read_pages(region, &self.pages.content)?;
        }
        if !head.is_summed {
            return Ok(0);
        }
        let sum =
            |crc, run: &PageRun| region.crc32c(run.first as usize, usize::from(run.count), crc);
        Ok(self.pages.content.iter().fold(0, sum))
    }

    /// Reads packed content; gives its checksum, or 0 when it is not summed up.
    fn read_packed(&mut self, head: &PacketHead) -> Result<u32, ReceiveError> {
        self.packed.resize(head.content_bytes as usize, 0);
        self.connection.inbound.read_exact(&mut self.packed)?;
        Ok(if head.is_summed { crc32c(0, &self.packed) } else { 0 })
    }

    fn unpack(&mut self, compression: Compression) -> Result<(), ReceiveError> {
        let raw_bytes = pages_of(&self.pages.content).count() * PAGE_BYTES;
        self.unpacked.resize(raw_bytes, 0);
        self.decompressor.decompress(compression, &self.packed, &mut self.unpacked)?;
        let mut at = 0;
        for run in &self.pages.content {
            let bytes = usize::from(run.count) * PAGE_BYTES;
            self.region.copy_in(run.first as usize, &self.unpacked[at..at + bytes]);
            at += bytes;
        }
        Ok(())
    }

    fn tell(&self) {
        self.progress.update(|it| {
            let channels = it.multifd.as_mut().map(|it| &mut it.channels);
            if let Some(mine) = channels.and_then(|it| it.get_mut(self.index)) {
                *mine = self.counts.clone();
            }
        });
    }
}

fn pages_of(runs: &[PageRun]) -> impl Iterator<Item = usize> + '_ {
    runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)).map(|it| it as usize)
}
