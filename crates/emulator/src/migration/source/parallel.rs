//! Handing pages to parallel connections; see [`crate::migration::multifd`].

use std::time::Duration;

use sterna_wire::stream::{Message, PACKET_PAGES, PAGE_BYTES, Role};

use super::Stop;
use super::connection::{Connection, SLICE, STALL_TIMEOUT};
use super::run::Run;
use crate::migration::breakage::Defect;
use crate::migration::channels;
use crate::migration::multifd::{Job, Pool, PoolOptions};
use crate::migration::pass::PassMeter;
use crate::migration::ram::{BatchCount, send_zero_runs};

/// Bytes of a packet that no limit makes smaller.
const FULL_BYTES: u64 = (PACKET_PAGES * PAGE_BYTES) as u64;

impl Run<'_> {
    /// Opens the parallel connections that the greeting announced.
    pub(super) fn open_channels(&mut self) -> Result<(), Stop> {
        let Some(config) = &self.config.multifd else { return Ok(()) };
        let options = PoolOptions::new(config, STALL_TIMEOUT).map_err(Stop::Failed)?;
        let latency = Duration::from_nanos(self.config.link_latency_ns);
        let dial = &mut || self.dialer.dial();
        let connections =
            channels::open(self.session, Role::Multifd, config.channels, latency, dial)
                .map_err(|error| Stop::Failed(error.to_string()))?;
        self.watch_troubles(&connections)?;
        let pool = Pool::start(connections, &options, &self.guest.region, &self.pacer)
            .map_err(|error| Stop::Failed(format!("A channel cannot be set up: {error}")))?;
        self.pool = Some(pool);
        Ok(())
    }

    /// Raw bytes of pages that have not left yet, whoever has them.
    pub(super) fn pending_bytes(&self) -> u64 {
        let handed_out = self.pool.as_ref().map_or(0, Pool::pages_under_way);
        self.ram.pending_bytes() + (handed_out * PAGE_BYTES) as u64
    }

    /// Hands pages to a channel as soon as one has nothing to do.
    pub(super) fn hand_out(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        let max_bytes = self.pacer.quantum_bytes(PAGE_BYTES as u64, FULL_BYTES);
        // Under a limit a packet that waits behind another would only be older when it leaves.
        let depth = if max_bytes == FULL_BYTES { 2 } else { 1 };
        while !self.pool()?.has_room(depth, SLICE)? {
            self.check_cancel()?;
            self.connection.check()?;
        }
        let taken = self.ram.hand_out(max_bytes);
        let mut count = BatchCount {
            zero_pages: taken.zero_pages,
            resent: taken.resent,
            ..BatchCount::default()
        };
        if !taken.zero_runs.is_empty() {
            self.pacer.wait()?;
            let Connection { socket, writer, .. } = self.connection;
            count.wire_bytes = send_zero_runs(&taken.zero_runs, writer, socket)?;
            self.pacer.take(count.wire_bytes);
        }
        if !taken.runs.is_empty() {
            let is_damaged =
                self.take_defect(Defect::CorruptPacket) || std::mem::take(&mut self.is_damaging);
            self.pool()?.hand_out(Job { runs: taken.runs, is_damaged })?;
        }
        self.count(pass, count);
        self.book(pass);
        Ok(())
    }

    /// When all is handed out: gives the channels time to send it.
    pub(super) fn await_channels(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        if self.pool.is_some() {
            self.pool()?.is_idle(SLICE)?;
            self.book(pass);
        }
        Ok(())
    }

    /// Brings all connections to the same point: what is handed out from now on cannot be overtaken by what was handed out before.
    pub(super) fn settle(&mut self, pass: &mut PassMeter, is_last: bool) -> Result<(), Stop> {
        if self.pool.as_ref().is_none_or(Pool::is_synced) {
            return Ok(());
        }
        self.finish_orders()?;
        let marked = is_last || !self.defects.contains(&Defect::SkipChannelSync);
        let number = self.pool()?.sync(marked)?;
        self.finish_orders()?;
        self.book(pass);
        if marked {
            let bytes = self.connection.send(&Message::Flush(number))?;
            self.pacer.take(bytes);
            pass.count_bytes(bytes);
        }
        Ok(())
    }

    fn finish_orders(&mut self) -> Result<(), Stop> {
        while !self.pool()?.is_idle(SLICE)? {
            self.check_cancel()?;
            self.connection.check()?;
            self.tell();
        }
        Ok(())
    }

    /// Enters what the channels have sent since the last time.
    fn book(&mut self, pass: &mut PassMeter) {
        let Some(pool) = &self.pool else { return };
        let status = pool.status();
        let sum = |field: fn(&_) -> u64| status.channels.iter().map(field).sum::<u64>();
        let now = BatchCount {
            pages: sum(|it| it.pages),
            zero_pages: sum(|it| it.zero_pages),
            unchanged: 0,
            resent: 0,
            wire_bytes: sum(|it| it.wire_bytes),
        };
        let BatchCount { pages, zero_pages, wire_bytes, .. } = self.booked;
        let count = BatchCount {
            pages: now.pages - pages,
            zero_pages: now.zero_pages - zero_pages,
            unchanged: 0,
            resent: 0,
            wire_bytes: now.wire_bytes - wire_bytes,
        };
        self.booked = now;
        self.count(pass, count);
        self.progress.update(|it| it.multifd = Some(status));
    }

    fn take_defect(&mut self, defect: Defect) -> bool {
        let found = self.defects.iter().position(|it| *it == defect);
        found.map(|it| self.defects.swap_remove(it)).is_some()
    }

    fn pool(&mut self) -> Result<&mut Pool, Stop> {
        self.pool.as_mut().ok_or_else(|| Stop::Failed("No channel is open".to_owned()))
    }
}
