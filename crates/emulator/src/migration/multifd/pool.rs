//! The source's channels as its main thread sees them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sterna_sys::region::Region;
use sterna_wire::control::{ChannelStatus, MultifdConfig, MultifdStatus};
use sterna_wire::stream::{Compression, PageRun};

use super::packet::{PacketBuffer, PacketOptions};
use super::sender::{ChannelSender, Order, Report, SendError};
use super::zero_copy::ZeroCopy;
use super::{CHANNEL_THREAD, MAX_CHANNELS};
use crate::link::Inbound;
use crate::migration::channels::Further;
use crate::migration::pacer::Pacer;
use crate::transport::Socket;

/// How the channels send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// What becomes of pages.
    pub packet: PacketOptions,
    /// Whether pages are sent from where they are.
    pub zero_copy: bool,
    /// How long the kernel may sit on pages that it was given.
    pub stall_limit: Duration,
}

/// Pages for one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// At most a packet's worth.
    pub runs: Vec<PageRun>,
    /// Damages the packet on purpose.
    pub is_damaged: bool,
}

/// Why a channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The migration was cancelled.
    #[error("Cancelled")]
    Cancelled,
    /// A connection failed.
    #[error("Channel {index} to the destination failed: {source}")]
    Channel {
        /// Which one.
        index: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// A thread has ended by itself.
    #[error("A channel has ended unexpectedly")]
    Gone,
}

/// The source's channels.
///
/// The main thread hands pages to those that have nothing to do, in turn; each channel may have one more packet waiting when no limit holds, so that it need not wait for the main thread to wake up.
/// Dropping it cuts the connections and ends the threads.
pub struct Pool {
    lines: Vec<Line>,
    reports: Receiver<Report>,
    next: usize,
    pages_under_way: usize,
    is_synced: bool,
    syncs: u32,
}

struct Line {
    orders: Option<Sender<Order>>,
    queued: usize,
    counts: ChannelStatus,
    socket: Socket,
    /// Nothing more comes from there, but what reads it would end the connection with itself.
    _inbound: Inbound,
    thread: Option<JoinHandle<()>>,
}

impl PoolOptions {
    /// The options in a host's configuration.
    ///
    /// # Errors
    /// A name or a number that the pilot should have refused.
    pub fn new(config: &MultifdConfig, stall_limit: Duration) -> Result<PoolOptions, String> {
        let compression = Compression::from_name(&config.compression)
            .ok_or_else(|| format!("Unknown compression `{}`", config.compression))?;
        if !(1..=MAX_CHANNELS).contains(&config.channels) {
            return Err(format!("{} channels; 1 to {MAX_CHANNELS} are possible", config.channels));
        }
        let MultifdConfig { level, finds_zero_pages, zero_copy, .. } = *config;
        let packet = PacketOptions { compression, level, finds_zero_pages };
        Ok(PoolOptions { packet, zero_copy, stall_limit })
    }
}

impl Job {
    /// Pages in it.
    pub fn pages(&self) -> usize {
        self.runs.iter().map(|it| usize::from(it.count)).sum()
    }
}

impl Pool {
    /// Starts a thread for each connection.
    ///
    /// # Errors
    /// No thread, compressor or zero-copy send can be had.
    pub fn start(
        connections: Vec<Further>,
        options: &PoolOptions,
        region: &Arc<Region>,
        pacer: &Arc<Pacer>,
    ) -> io::Result<Pool> {
        let (report, reports) = channel();
        let mut pool = Pool {
            lines: Vec::with_capacity(connections.len()),
            reports,
            next: 0,
            pages_under_way: 0,
            is_synced: true,
            syncs: 0,
        };
        for (index, connection) in connections.into_iter().enumerate() {
            let zero_copy = match options.zero_copy {
                true => Some(ZeroCopy::new(&connection.socket, options.stall_limit)?),
                false => None,
            };
            let socket = connection.socket.try_clone()?;
            let sender = ChannelSender {
                index,
                region: Arc::clone(region),
                socket: connection.socket,
                writer: connection.writer,
                pacer: Arc::clone(pacer),
                buffer: PacketBuffer::new(&options.packet)?,
                zero_copy,
                counts: ChannelStatus::default(),
                trouble: connection.trouble,
            };
            let (orders, mine) = channel();
            let report = report.clone();
            let thread = thread::Builder::new()
                .name(format!("{CHANNEL_THREAD}-{index}"))
                .spawn(move || sender.run(&mine, &report))?;
            pool.lines.push(Line {
                orders: Some(orders),
                queued: 0,
                counts: ChannelStatus::default(),
                socket,
                _inbound: connection.inbound,
                thread: Some(thread),
            });
        }
        Ok(pool)
    }

    /// Whether a channel can take pages, when each may have `depth` packets; waits at most `limit` for one.
    pub fn has_room(&mut self, depth: usize, limit: Duration) -> Result<bool, PoolError> {
        self.collect()?;
        if !self.lines.iter().any(|it| it.queued < depth) {
            self.wait(limit)?;
        }
        Ok(self.lines.iter().any(|it| it.queued < depth))
    }

    /// Hands pages to the next channel that has least to do.
    pub fn hand_out(&mut self, job: Job) -> Result<(), PoolError> {
        let channels = self.lines.len();
        let in_turn = (self.next..self.next + channels).map(|it| it % channels);
        let index = in_turn.min_by_key(|it| self.lines[*it].queued).ok_or(PoolError::Gone)?;
        self.next = (index + 1) % channels;
        self.pages_under_way += job.pages();
        self.is_synced = false;
        self.order(index, Order::Pages(job))
    }

    /// Pages that were handed out and are not sent yet.
    pub fn pages_under_way(&self) -> usize {
        self.pages_under_way
    }

    /// Whether nothing was handed out since the last synchronisation.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Whether all channels have done what they were told; waits at most `limit` for a change.
    pub fn is_idle(&mut self, limit: Duration) -> Result<bool, PoolError> {
        self.collect()?;
        if self.lines.iter().any(|it| it.queued > 0) {
            self.wait(limit)?;
        }
        Ok(self.lines.iter().all(|it| it.queued == 0))
    }

    /// Tells all channels to put the mark of the next synchronisation on their connections; returns its number, which the first connection must carry too. `marked: false` leaves the marks out.
    pub fn sync(&mut self, marked: bool) -> Result<u32, PoolError> {
        let number = self.syncs + 1;
        for index in 0..self.lines.len() {
            self.order(index, Order::Sync(marked.then_some(number)))?;
        }
        self.syncs += u32::from(marked);
        self.is_synced = true;
        Ok(number)
    }

    /// Takes what the channels have reported, without waiting.
    pub fn collect(&mut self) -> Result<(), PoolError> {
        while let Ok(report) = self.reports.try_recv() {
            self.note(report)?;
        }
        Ok(())
    }

    /// What has been sent so far.
    pub fn status(&self) -> MultifdStatus {
        let channels = self.lines.iter().map(|it| it.counts.clone()).collect();
        MultifdStatus { syncs: self.syncs, channels }
    }

    /// Cuts one connection on purpose.
    pub fn cut(&self, index: usize) {
        if let Some(line) = self.lines.get(index) {
            line.socket.shut_down();
        }
    }

    fn order(&mut self, index: usize, order: Order) -> Result<(), PoolError> {
        let line = &mut self.lines[index];
        line.queued += 1;
        let sent = line.orders.as_ref().map(|it| it.send(order));
        if matches!(sent, Some(Ok(()))) {
            return Ok(());
        }
        // It has ended with an error, which it has reported.
        self.collect()?;
        Err(PoolError::Gone)
    }

    fn wait(&mut self, limit: Duration) -> Result<(), PoolError> {
        match self.reports.recv_timeout(limit) {
            Ok(report) => self.note(report)?,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(PoolError::Gone),
        }
        self.collect()
    }

    fn note(&mut self, report: Report) -> Result<(), PoolError> {
        let Report { index, finished_pages, result } = report;
        let line = &mut self.lines[index];
        line.queued = line.queued.saturating_sub(1);
        self.pages_under_way = self.pages_under_way.saturating_sub(finished_pages);
        match result {
            Ok(counts) => {
                line.counts = counts;
                Ok(())
            }
            Err(SendError::Cancelled) => Err(PoolError::Cancelled),
            Err(SendError::Io(source)) => Err(PoolError::Channel { index, source }),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for line in &mut self.lines {
            line.orders = None;
            line.socket.shut_down();
        }
        for line in &mut self.lines {
            if let Some(thread) = line.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
