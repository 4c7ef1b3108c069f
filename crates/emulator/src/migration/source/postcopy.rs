//! The source's half of a post-copy: see [`crate::migration::postcopy`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::Phase;
use sterna_wire::stream::{
    Kind, MAX_LIST_RUNS, Message, PAGE_BYTES, PageRun, ReadError, Role, check_runs,
};

use super::Stop;
use super::connection::{SLICE, STALL_TIMEOUT, unexpected};
use super::run::Run;
use super::urgent::UrgentSender;
use crate::host::session::URGENT_THREAD;
use crate::migration::breakage::{Defect, Moment};
use crate::migration::bucket::TokenBucket;
use crate::migration::channels::{self, Further};
use crate::migration::faults::Damaging;
use crate::migration::page_set::PageSet;
use crate::migration::pass::PassMeter;
use crate::migration::postcopy::{Backlog, hurry, is_link_lost};
use crate::migration::ram::RamSender;

/// Most pages that the background stream sends at once: what an urgent page waits for.
const BACKGROUND_PAGES: u64 = 32;

/// Parts of the quantum of a limit (10 ms) that the background sends at once: what it would send in a quarter of a millisecond, so that it disturbs nobody for longer.
const QUANTUM_PARTS: u64 = 40;

/// Most requests on the background's own connection that are answered in a row while the background is due.
const REQUESTS_IN_A_ROW: u32 = 4;

impl Run<'_> {
    /// Has the destination forget what will come after the switch as long as the guest still runs: that takes it a while.
    ///
    /// Nothing is sent between this and the stop, so what is pending now is pending then.
    pub(super) fn prepare_switch(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        // A page under way on a parallel connection would come back behind its discard.
        self.settle(pass, false)?;
        let pending = self.ram.widen_pending(self.unit_pages()).clone();
        self.send_discard(&pending, pass)?;
        self.connection.send(&Message::Prepare)?;
        match self
            .connection
            .wait(self.patience(), "that it is prepared", &|| self.check_cancel())?
        {
            Message::Prepared => {}
            other => return Err(unexpected(&other, "that it is prepared")),
        }
        self.discarded = pending;
        Ok(())
    }

    /// Tells the destination what else it must forget, since it comes later.
    pub(super) fn send_discards(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        self.ram.widen_pending(self.unit_pages());
        let (mut pending, cursor) = self.ram.take_pending();
        self.send_discard(&pending.without(&self.discarded), pass)?;
        if self.defects.contains(&Defect::WithholdPage)
            && let Some(page) = pending.next_from(0)
        {
            pending.remove(page);
        }
        let backlog = Arc::new(Backlog::new(pending, cursor, self.unit_pages()));
        self.progress.watch_backlog(Arc::clone(&backlog));
        self.backlog = Some(backlog);
        Ok(())
    }

    fn send_discard(&mut self, pages: &PageSet, pass: &mut PassMeter) -> Result<(), Stop> {
        for runs in pages.runs().chunks(MAX_LIST_RUNS) {
            self.check_cancel()?;
            let bytes = self.connection.send(&Message::Discard(runs.to_vec()))?;
            pass.count_bytes(bytes);
            self.pacer.take(bytes);
        }
        Ok(())
    }

    /// Pages that can only be there or missing together.
    fn unit_pages(&self) -> usize {
        self.guest.region.page_bytes() as usize / PAGE_BYTES
    }

    /// Opens the connection for requested pages, if there shall be one.
    pub(super) fn open_urgent(&mut self) -> Result<(), Stop> {
        if !self.config.postcopy.as_ref().is_some_and(|it| it.preempt) {
            return Ok(());
        }
        let latency = Duration::from_nanos(self.config.link_latency_ns);
        let connect = &mut || self.dialer.dial();
        let opened = channels::open(self.session, Role::Urgent, 1, latency, connect);
        let opened = opened.map_err(|error| Stop::Cut(error.to_string()))?;
        self.watch_troubles(&opened)?;
        self.urgent = opened.into_iter().next();
        Ok(())
    }

    /// Sends what the destination lacks until all of it has arrived, over as many links as it takes.
    pub(super) fn serve(&mut self, backlog: &Backlog) -> Result<(), Stop> {
        // What still travels on parallel connections was waited for before the stop.
        self.pool = None;
        self.pacer.set_limited(false);
        self.faults.begin_postcopy(monotonic_ns());
        self.ram = RamSender::idle(Arc::clone(&self.guest.region), self.config.zero_page);
        let mut served = self.await_running().and_then(|()| {
            self.progress.update(|it| it.phase = Phase::Postcopy);
            self.commit_defects(backlog);
            self.serve_link(backlog)
        });
        while let Err(Stop::Cut(why)) = served {
            served = self.recover(why, backlog).and_then(|()| self.serve_link(backlog));
        }
        served
    }

    /// Sends what the destination asks for, and everything else in between, until all of it has arrived or the link is lost.
    fn serve_link(&mut self, backlog: &Backlog) -> Result<(), Stop> {
        match self.urgent.take() {
            None => self.serve_both(backlog),
            Some(urgent) => self.serve_with(urgent, backlog),
        }
    }

    /// Requests are served by a thread and a connection of their own.
    fn serve_with(&mut self, urgent: Further, backlog: &Backlog) -> Result<(), Stop> {
        let (region, pacer, progress) =
            (&self.guest.region, Arc::clone(&self.pacer), self.progress);
        let main = self.connection.socket.try_clone()?;
        let its_socket = urgent.socket.try_clone()?;
        let turns = Arc::clone(&self.turns);
        let mut sender =
            UrgentSender::new(urgent, region, self.config, backlog, &pacer, progress, &turns);
        let ram_pages = region.pages() as u64;
        let has_given_up = AtomicBool::new(false);
        let (served, urgent_served) = std::thread::scope(|scope| {
            let serve_urgent = || {
                hurry();
                sender.run(ram_pages).inspect_err(|_| {
                    // Whoever gives up first ends the other, and tells why.
                    if !has_given_up.swap(true, Ordering::AcqRel) {
                        main.shut_down();
                    }
                })
            };
            let thread = std::thread::Builder::new().name(URGENT_THREAD.to_owned());
            let thread = thread.spawn_scoped(scope, serve_urgent)?;
            let served = self.serve_both(backlog);
            let is_first = served.is_err() && !has_given_up.swap(true, Ordering::AcqRel);
            its_socket.shut_down();
            let urgent_served = thread.join().unwrap_or(Ok(()));
            Ok::<_, Stop>(if is_first { (served, Ok(())) } else { (served, urgent_served) })
        })?;
        if served.is_err() {
            urgent_served.map_err(|error| lost_on("for requested pages", error))?;
        }
        served
    }

    /// The background stream, and the requests that come on its own connection.
    fn serve_both(&mut self, backlog: &Backlog) -> Result<(), Stop> {
        let rate = self.config.postcopy.as_ref().and_then(|it| it.max_bandwidth_bytes_per_second);
        let mut background = TokenBucket::new(rate);
        let (mut finished_at, mut in_a_row) = (None, 0);
        loop {
            if self.gate.is_postcopy_limit_lifted() {
                background.set_rate(None);
            }
            let wait = self.until_background(&background, backlog, finished_at);
            let is_due = wait.is_zero() && in_a_row >= REQUESTS_IN_A_ROW;
            let message = if is_due { None } else { self.connection.next(wait)? };
            in_a_row = if message.is_some() { in_a_row + 1 } else { 0 };
            match message {
                Some(Message::Request(runs)) => self.send_requested(backlog, &runs)?,
                Some(Message::Loaded) if finished_at.is_some() => return Ok(()),
                Some(other) => return Err(unexpected(&other, "a request")),
                None if !wait.is_zero() => {}
                None if backlog.is_empty() => {
                    self.connection.send(&Message::Finished)?;
                    finished_at = Some(Instant::now());
                }
                None => self.send_background(&mut background, backlog)?,
            }
            if finished_at.is_some_and(|it| it.elapsed() > STALL_TIMEOUT) {
                return Err(Stop::Cut(format!(
                    "The destination has not said within {} s that all memory has arrived",
                    STALL_TIMEOUT.as_secs()
                )));
            }
        }
    }

    fn commit_defects(&mut self, backlog: &Backlog) {
        if self.defects.contains(&Defect::WrongPage) {
            // The guest is gone from here, so its memory is only what will be sent.
            let ram = &mut self.ram;
            backlog.take_next(1, &mut |page| {
                self.guest.region.page(page)[9].fetch_xor(u64::MAX, Ordering::Relaxed);
                ram.add(page, 1);
            });
        }
    }

    /// How long requests have the connection for themselves.
    fn until_background(
        &self,
        background: &TokenBucket,
        backlog: &Backlog,
        finished_at: Option<Instant>,
    ) -> Duration {
        if finished_at.is_some() {
            return SLICE;
        }
        if backlog.is_empty() {
            return Duration::ZERO;
        }
        let wait = Duration::from_nanos(background.wait_ns(monotonic_ns()));
        wait.max(self.turns.background_wait(self.pacer.wire_wait())).min(SLICE)
    }

    fn send_requested(&mut self, backlog: &Backlog, runs: &[PageRun]) -> Result<(), Stop> {
        let ram_pages = self.guest.region.pages() as u64;
        check_runs(Kind::Request, runs, ram_pages)
            .map_err(|error| Stop::Failed(error.to_string()))?;
        let ram = &mut self.ram;
        backlog.take_requested(runs, &mut |page| ram.add(page, 1));
        // On this connection they are behind what has left before.
        std::thread::sleep(self.pacer.wire_wait());
        self.send_taken(backlog)?;
        self.tell_remaining(backlog);
        Ok(())
    }

    fn send_background(
        &mut self,
        background: &mut TokenBucket,
        backlog: &Backlog,
    ) -> Result<(), Stop> {
        self.suffer(0)?;
        let page_bytes = PAGE_BYTES as u64;
        let (least, most) = (page_bytes, page_bytes * BACKGROUND_PAGES);
        let wire = self.pacer.quantum_bytes(least * QUANTUM_PARTS, most * QUANTUM_PARTS);
        let part = background.quantum_bytes(least * QUANTUM_PARTS, wire) / QUANTUM_PARTS;
        let pages = (part / page_bytes) as usize;
        let had_to_wait = self.pacer.wire_wait();
        let ram = &mut self.ram;
        backlog.take_next(pages, &mut |page| ram.add(page, 1));
        let bytes = self.send_taken(backlog)?;
        background.take(bytes, monotonic_ns());
        self.turns.took_background(bytes, had_to_wait);
        self.tell_remaining(backlog);
        self.strike(Moment::Postcopy);
        Ok(())
    }

    /// Sends the pages that were taken from the backlog.
    fn send_taken(&mut self, backlog: &Backlog) -> Result<u64, Stop> {
        let mut bytes = 0;
        while self.ram.pending_bytes() > 0 {
            let most = self.ram.pending_bytes();
            let (socket, writer) = self.connection.outlet();
            let batch = match std::mem::take(&mut self.is_damaging) {
                true => self.ram.send_batch(most, writer, &mut Damaging::new(socket))?,
                false => self.ram.send_batch(most, writer, socket)?,
            };
            bytes += batch.wire_bytes;
            self.progress.update(|it| {
                it.pages_sent += batch.pages;
                it.zero_pages += batch.zero_pages;
            });
        }
        self.pacer.take(bytes);
        backlog.count_bytes(bytes);
        Ok(bytes)
    }

    fn tell_remaining(&mut self, backlog: &Backlog) {
        let sent_bytes = self.pacer.sent_bytes();
        // The estimate of pre-copy says nothing about post-copy, which has a limit of its own.
        self.decision.observe(sent_bytes, false, monotonic_ns());
        let rate = self.decision.measured_bytes_per_second();
        self.progress.update(|it| {
            it.remaining_bytes = (backlog.len() * PAGE_BYTES) as u64;
            it.transferred_bytes = sent_bytes;
            it.bandwidth_bytes_per_second = rate;
        });
    }
}

fn lost_on(what: &str, error: ReadError) -> Stop {
    let stop = if is_link_lost(&error) { Stop::Cut } else { Stop::Failed };
    stop(match error {
        ReadError::Closed => format!("The destination closed the connection {what}"),
        ReadError::Frame(error) => format!("Destination, on the connection {what}: {error}"),
        ReadError::Io(error) => format!("The connection {what} failed: {error}"),
    })
}
