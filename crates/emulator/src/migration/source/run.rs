//! What all phases of one migration share.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_converge::Decision;
use sterna_scenario::{FaultAction, FaultChannel};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{HostConfig, Phase};
use sterna_wire::stream::{Kind, MAX_PAGES, PAGE_BYTES};
use sterna_workload::Crew;

use super::connection::{Connection, Dialer, SLICE};
use super::rules::{self, rule};
use super::slowdown::Slowdown;
use super::turns::Turns;
use super::{Source, Stop};
use crate::host::guest::Guest;
use crate::migration::breakage::{Defect, Moment, strike};
use crate::migration::channels::Further;
use crate::migration::device;
use crate::migration::faults::{Damaging, FaultPlan, Reached};
use crate::migration::gate::Gate;
use crate::migration::multifd::Pool;
use crate::migration::pacer::Pacer;
use crate::migration::page_set::PageSet;
use crate::migration::pass::{Opening, PassMeter};
use crate::migration::postcopy::Backlog;
use crate::migration::progress::Progress;
use crate::migration::ram::{BatchCount, RamSender};
use crate::migration::trouble::Troubles;
use crate::migration::xbzrle::Xbzrle;

/// One migration under way.
pub(super) struct Run<'a> {
    pub(super) ram: RamSender,
    /// Parallel connections, once they are open.
    pub(super) pool: Option<Pool>,
    /// What of their work is in the books.
    pub(super) booked: BatchCount,
    pub(super) dialer: &'a Dialer<'a>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) decision: Decision,
    /// What the destination has forgotten already, since it will come after a switch to post-copy.
    pub(super) discarded: PageSet,
    /// What follows after a switch to post-copy.
    pub(super) backlog: Option<Arc<Backlog>>,
    /// The connection for pages that were asked for.
    pub(super) urgent: Option<Further>,
    pub(super) turns: Arc<Turns>,
    pub(super) slowdown: Slowdown,
    pub(super) connection: &'a mut Connection,
    pub(super) guest: &'a Guest,
    pub(super) crew: &'a Crew,
    pub(super) progress: &'a Progress,
    pub(super) gate: &'a Gate,
    pub(super) config: &'a HostConfig,
    pub(super) session: [u8; 16],
    /// The device state that the guest has.
    pub(super) device: Vec<u8>,
    pub(super) defects: Vec<Defect>,
    pub(super) faults: FaultPlan,
    pub(super) troubles: Troubles,
    /// Whether the next frame is to be damaged on its way.
    pub(super) is_damaging: bool,
}

impl<'a> Run<'a> {
    /// One that has done nothing yet.
    pub(super) fn new(
        source: &'a Source,
        crew: &'a Crew,
        faults: FaultPlan,
        pacer: Arc<Pacer>,
        connection: &'a mut Connection,
        dialer: &'a Dialer<'a>,
    ) -> Run<'a> {
        let Source { guest, progress, gate, config, session, defects, .. } = source;
        let rule = rule(config.techniques.switchover_rule);
        let mut run = Run {
            ram: RamSender::new(Arc::clone(&guest.region), config.zero_page),
            pacer,
            decision: Decision::new(rule, gate.downtime_limit_ns(), monotonic_ns()),
            slowdown: Slowdown::new(&config.techniques, &guest.spec, guest.region.pages()),
            connection,
            dialer,
            pool: None,
            discarded: PageSet::new(guest.region.pages()),
            backlog: None,
            urgent: None,
            turns: Arc::new(Turns::new(config.link_bytes_per_second)),
            booked: BatchCount::default(),
            guest,
            crew,
            progress,
            gate,
            config,
            session: *session,
            device: device::state(config.device_state_bytes, guest.spec.seed),
            defects: defects.clone(),
            faults,
            troubles: Troubles::default(),
            is_damaging: false,
        };
        run.prepare_xbzrle();
        run
    }
}

impl Run<'_> {
    /// Sends differences where the scenario asks for it.
    fn prepare_xbzrle(&mut self) {
        let Some(cache_bytes) = self.config.techniques.xbzrle_cache_bytes else { return };
        let mut xbzrle = Xbzrle::new(cache_bytes);
        if self.defects.contains(&Defect::LoseDifference) {
            xbzrle.lose_one_difference();
        }
        self.ram.set_xbzrle(Some(xbzrle));
    }

    pub(super) fn phases(&mut self) -> Result<(), Stop> {
        let rest = self.send_live().map_err(|stop| self.connection.explain(stop))?;
        self.send_rest(rest).map_err(|stop| self.connection.explain(stop))?;
        self.await_ready()?;
        self.commit()?;
        match self.backlog.take() {
            Some(backlog) => self.serve(&backlog),
            None => self.await_running(),
        }
    }

    pub(super) fn open_pass(
        &mut self,
        sync: impl FnOnce(&mut Self) -> Result<u64, Stop>,
    ) -> Result<Opening, Stop> {
        let (started_ns, writes) = (monotonic_ns(), self.writes());
        let pending_bytes = self.pending_bytes();
        let encryption_bytes = self.dialer.connections.encryption_bytes();
        let dirty_pages = sync(self)?;
        let sync_ns = monotonic_ns() - started_ns;
        Ok(Opening { started_ns, sync_ns, dirty_pages, pending_bytes, writes, encryption_bytes })
    }

    pub(super) fn sync(&mut self) -> Result<u64, Stop> {
        let Run { ram, slowdown, .. } = self;
        let mut resent_page = None;
        let synced = self.guest.tracker().sync(&mut |first, count| {
            resent_page =
                resent_page.or_else(|| (first..first + count).find(|it| ram.was_sent(*it)));
            slowdown.found(first, count);
            ram.add(first, count);
        });
        let found = synced.map_err(|error| Stop::Failed(error.to_string()))?;
        let pages = slowdown.take_collected(|page| ram.add(page, 1)).unwrap_or(found);
        if let Some(page) = resent_page {
            self.progress.update(|it| it.techniques.resent_page = Some(page as u64));
        }
        Ok(pages)
    }

    pub(super) fn send_batch(
        &mut self,
        pass: &mut PassMeter,
        is_limited: bool,
    ) -> Result<(), Stop> {
        self.suffer(pass.number())?;
        self.pacer.set_limited(is_limited);
        if self.pool.is_some() {
            return self.hand_out(pass);
        }
        self.pacer.wait()?;
        let max_bytes =
            self.pacer.quantum_bytes(PAGE_BYTES as u64, (MAX_PAGES * PAGE_BYTES) as u64);
        let Connection { socket, writer, .. } = self.connection;
        let batch = match std::mem::take(&mut self.is_damaging) {
            true => self.ram.send_batch(max_bytes, writer, &mut Damaging::new(socket))?,
            false => self.ram.send_batch(max_bytes, writer, socket)?,
        };
        self.pacer.take(batch.wire_bytes);
        self.count(pass, batch);
        Ok(())
    }

    /// Enters what was sent into the books.
    pub(super) fn count(&mut self, pass: &mut PassMeter, batch: BatchCount) {
        pass.count(batch);
        self.decision.learn(batch.pages + batch.zero_pages + batch.unchanged, batch.wire_bytes);
        let is_live = self.progress.phase() == Phase::Active;
        self.progress.update(|it| {
            it.pages_sent += batch.pages;
            it.zero_pages += batch.zero_pages;
            it.pages_resent += if is_live { batch.resent } else { 0 };
        });
    }

    /// Strikes with the faults that are due, and waits as they order.
    pub(super) fn suffer(&mut self, pass: u32) -> Result<(), Stop> {
        let reached = Reached { pass, bytes: self.pacer.sent_bytes(), now_ns: monotonic_ns() };
        let due = self.faults.due(reached);
        if !due.is_empty() {
            self.progress.note_waiting(&self.faults);
        }
        for fault in due {
            self.progress.note("fault", format!("On purpose: {fault}"));
            if fault.channel != FaultChannel::Main {
                self.troubles.strike(fault.channel, fault.action);
                continue;
            }
            match fault.action {
                FaultAction::Drop => self.connection.socket.shut_down(),
                FaultAction::Kill => std::process::abort(),
                FaultAction::Corrupt => self.is_damaging = true,
                FaultAction::Delay(span) => self.faults.delay = span.0,
                FaultAction::Stall(span) => self.idle(span.map(|it| it.0))?,
            }
        }
        self.idle(Some(self.faults.delay))
    }

    /// Lets faults strike these connections.
    pub(super) fn watch_troubles(&mut self, connections: &[Further]) -> io::Result<()> {
        connections.iter().try_for_each(|it| self.troubles.add(it))
    }

    /// Does nothing for a time, or until the migration is cancelled.
    fn idle(&self, length: Option<Duration>) -> Result<(), Stop> {
        let until = length.map(|it| Instant::now() + it);
        loop {
            let left = until.map_or(SLICE, |it| it.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            self.check_cancel()?;
            std::thread::sleep(left.min(SLICE));
        }
    }

    pub(super) fn tell(&mut self) {
        let remaining = self.pending_bytes();
        let sent_bytes = self.pacer.sent_bytes();
        self.decision.observe(sent_bytes, remaining == 0, monotonic_ns());
        let switchover = rules::to_status(&self.decision, remaining);
        let xbzrle = self.ram.xbzrle().map(|it| it.counters().clone());
        self.progress.update(|it| {
            self.slowdown.tell(&mut it.techniques);
            it.techniques.xbzrle = xbzrle;
            it.techniques.switchover = switchover;
            it.remaining_bytes = remaining;
            it.transferred_bytes = sent_bytes;
            it.bandwidth_bytes_per_second = self.decision.bytes_per_second();
            it.threshold_bytes = self.decision.threshold_bytes();
        });
    }

    pub(super) fn check_cancel(&self) -> Result<(), Stop> {
        if self.gate.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    pub(super) fn strike(&mut self, moment: Moment) {
        let Connection { socket, writer, .. } = self.connection;
        strike(&self.defects, moment, || socket.shut_down());
        if self.defects.contains(&Defect::CutChannel(moment))
            && let Some(pool) = &self.pool
        {
            pool.cut(0);
        }
        if self.defects.contains(&Defect::CorruptFrame) && moment == Moment::Pass(1) {
            self.defects.clear();
            // A header whose checksum does not fit its body.
            let header = writer.header(Kind::Ready, 0, 0);
            let _ = io::Write::write_all(socket, &header.encode());
        }
    }

    pub(super) fn writes(&self) -> u64 {
        self.crew.counts().iter().sum()
    }
}
