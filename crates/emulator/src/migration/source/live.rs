//! Passes while the guest runs.

use std::time::Duration;

use sterna_converge::{Decision, SYNC_SPACING_NS};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::Phase;
use sterna_wire::stream::{
    Hello, HelloAck, Message, OLDEST_VERSION, PAGE_BYTES, VERSION, capability, negotiate,
};

use super::Stop;
use super::connection::{ANSWER_TIMEOUT, unexpected};
use super::rules::rule;
use super::run::Run;
use crate::migration::breakage::Moment;
use crate::migration::pass::{Opening, PassMeter};

/// How long a migration that is held sleeps when nothing is pending.
const HELD_SLICE: Duration = Duration::from_millis(5);

impl Run<'_> {
    /// Everything before the stop; returns the pass that the stop will end.
    pub(super) fn send_live(&mut self) -> Result<PassMeter, Stop> {
        self.greet()?;
        self.open_channels()?;
        self.open_urgent()?;
        let first = self.arm()?;
        self.iterate(first)
    }

    fn greet(&mut self) -> Result<(), Stop> {
        let capabilities = self.capabilities();
        self.connection.send(&Message::Hello(Hello {
            oldest_version: OLDEST_VERSION,
            version: VERSION,
            capabilities,
            session: self.session,
            page_bytes: PAGE_BYTES as u32,
            multifd_channels: self.config.multifd.as_ref().map_or(0, |it| it.channels),
            ram_bytes: self.guest.region.bytes(),
        }))?;
        let ours = (OLDEST_VERSION, VERSION);
        match self.connection.wait(ANSWER_TIMEOUT, "its greeting", &|| self.check_cancel())? {
            Message::HelloAck(HelloAck { version, capabilities: found })
                if found == capabilities && negotiate(ours, (version, version)).is_some() =>
            {
                Ok(())
            }
            Message::HelloAck(ack) => Err(Stop::Failed(format!(
                "The destination chose version {} with capabilities {:#x}; this source speaks {} to {}",
                ack.version, ack.capabilities, ours.0, ours.1
            ))),
            other => Err(unexpected(&other, "a greeting")),
        }
    }

    /// What the scenario needs of the stream.
    fn capabilities(&self) -> u32 {
        let preempts = self.config.postcopy.as_ref().is_some_and(|it| it.preempt);
        let recovers = self.config.postcopy.as_ref().is_some_and(|it| it.recover);
        let wanted = [
            (self.config.multifd.is_some(), capability::MULTIFD),
            (preempts, capability::URGENT),
            (self.config.techniques.xbzrle_cache_bytes.is_some(), capability::XBZRLE),
            (self.config.postcopy.is_some(), capability::POSTCOPY),
            (recovers, capability::RECOVER),
        ];
        wanted.into_iter().filter(|it| it.0).fold(0, |all, it| all | it.1)
    }

    /// Turns tracking on; from here on no write is missed, and pass 1 begins.
    fn arm(&mut self) -> Result<PassMeter, Stop> {
        let opening = self.open_pass(|run| {
            run.guest.tracker().arm(run.crew).map_err(|error| Stop::Failed(error.to_string()))?;
            Ok(run.guest.region.pages() as u64)
        })?;
        let rule = rule(self.config.techniques.switchover_rule);
        self.decision = Decision::new(rule, self.gate.downtime_limit_ns(), monotonic_ns());
        // Arming is the synchronisation that opens pass 1, and its time is in that pass.
        self.progress.stamp(|it, _| it.setup_done_ns = Some(opening.started_ns));
        self.progress.update(|it| {
            it.phase = Phase::Active;
            it.pass = 1;
        });
        Ok(PassMeter::begin(1, false, opening))
    }

    /// Passes, until so little is pending that the guest may be stopped, or a pause or post-copy is ordered.
    fn iterate(&mut self, first: PassMeter) -> Result<PassMeter, Stop> {
        let mut pass = first;
        let mut next_sync_ns = 0;
        loop {
            self.check_cancel()?;
            self.connection.check()?;
            self.strike(Moment::Pass(pass.number()));
            if self.ram.pending_bytes() == 0 {
                self.suffer(pass.number())?;
            }
            let switches = self.gate.wants_postcopy();
            if switches {
                self.prepare_switch(&mut pass)?;
            }
            if self.gate.wants_pause() || switches {
                return Ok(pass);
            }
            self.decision.set_downtime_limit_ns(self.gate.downtime_limit_ns());
            if self.must_sync() {
                pass = self.next_pass(pass)?;
            }
            self.measure_workers()?;
            let is_held = self.gate.is_held();
            let pending = self.pending_bytes();
            let is_due = (pending == 0 && !is_held) || monotonic_ns() >= next_sync_ns;
            if is_due && self.decision.may_stop(pending) {
                pass = self.next_pass(pass)?;
                if !is_held && self.decision.may_stop(self.pending_bytes()) {
                    // The exact amount fits: the pass that has just begun ends with the stop, before anything is sent in it.
                    return Ok(pass);
                }
                next_sync_ns = monotonic_ns() + SYNC_SPACING_NS;
            }
            if self.ram.pending_bytes() > 0 {
                self.send_batch(&mut pass, true)?;
            } else {
                self.await_channels(&mut pass)?;
                if is_held {
                    // It waits for the guest to write.
                    std::thread::sleep(HELD_SLICE);
                }
            }
            self.tell();
        }
    }

    /// Ends a pass by a synchronisation and begins the next.
    fn next_pass(&mut self, mut pass: PassMeter) -> Result<PassMeter, Stop> {
        self.settle(&mut pass, false)?;
        let opening = self.open_pass(Run::sync)?;
        let number = pass.number();
        let length_ns = self.finish_pass(pass, opening).max(1);
        let dirty_bytes = u128::from(opening.dirty_pages) * PAGE_BYTES as u128;
        let dirty_rate = (dirty_bytes * 1_000_000_000 / u128::from(length_ns)) as u64;
        self.progress.update(|it| {
            it.pass = number + 1;
            it.dirty_rate_bytes_per_second = Some(dirty_rate);
        });
        let pending_bytes = self.ram.pending_bytes();
        self.decision.synced(number, pending_bytes, monotonic_ns());
        self.slow_down(pending_bytes.saturating_sub(opening.pending_bytes));
        if let Some(xbzrle) = self.ram.xbzrle() {
            xbzrle.next_generation(monotonic_ns());
        }
        self.connection.send(&Message::PassEnd(number))?;
        Ok(PassMeter::begin(number + 1, false, opening))
    }

    /// Notes a pass that ended with the synchronisation which opened the next one; returns its length.
    pub(super) fn finish_pass(&self, pass: PassMeter, next: Opening) -> u64 {
        let record =
            pass.finish(next.started_ns, next.pending_bytes, next.writes, next.encryption_bytes);
        let length_ns = record.ended_ns.saturating_sub(record.started_ns);
        self.progress.finish_pass(record);
        length_ns
    }
}
