//! From the stop of the guest to the commit point, and what follows it.

use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::Phase;
use sterna_wire::stream::{Message, State};

use super::Stop;
use super::connection::{ANSWER_TIMEOUT, STALL_TIMEOUT, unexpected};
use super::run::Run;
use super::standstill::patience;
use crate::migration::breakage::{Defect, Moment};
use crate::migration::pass::PassMeter;

/// How long a defect waits for a guest that writes nothing.
const LONGEST_IDLE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Stops the guest and sends all that is left, or at a switch to post-copy what there is to know of it.
    pub(super) fn send_rest(&mut self, mut last: PassMeter) -> Result<(), Stop> {
        if self.defects.iter().any(|it| matches!(it, Defect::SkipFinalSync | Defect::LosePage)) {
            self.await_writes();
        }
        let stopped_ns = self.crew.pause();
        let edges = self.crew.last_write_ns();
        self.progress.stamp(|it, _| {
            it.stopped_ns = Some(stopped_ns);
            it.worker_edge_ns = edges;
        });
        self.progress.update(|it| it.phase = Phase::Switchover);
        // From here on the limit of the switchover holds, also for what was handed out before.
        self.pacer.set_limited(self.config.limit_in_switchover);
        self.settle(&mut last, false)?;
        let opening = self.open_pass(|run| match run.defects.contains(&Defect::SkipFinalSync) {
            true => Ok(0),
            false => run.sync(),
        })?;
        self.progress.stamp(|it, now_ns| it.final_sync_done_ns = Some(now_ns));
        if let Some(xbzrle) = self.ram.xbzrle() {
            xbzrle.begin_last_stage();
        }
        let number = last.number() + 1;
        self.finish_pass(last, opening);
        if self.defects.contains(&Defect::LosePage) {
            self.ram.lose_one_page();
        }
        let mut pass = PassMeter::begin(number, true, opening);
        if self.gate.wants_postcopy() {
            self.send_discards(&mut pass)?;
        }
        while self.ram.pending_bytes() > 0 {
            self.check_cancel()?;
            self.connection.check()?;
            self.send_batch(&mut pass, self.config.limit_in_switchover)?;
            self.tell();
        }
        self.settle(&mut pass, true)?;
        self.send_state(&mut pass)?;
        self.progress.stamp(|it, now_ns| it.final_sent_ns = Some(now_ns));
        self.final_pass_done(pass);
        Ok(())
    }

    /// Until the guest has written again, so that there is something to lose.
    fn await_writes(&self) {
        let before = self.crew.counts();
        let deadline = Instant::now() + LONGEST_IDLE;
        while self.crew.counts() == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send_state(&mut self, pass: &mut PassMeter) -> Result<(), Stop> {
        let mut device = std::mem::take(&mut self.device);
        if self.defects.contains(&Defect::WrongDevice)
            && let Some(byte) = device.last_mut()
        {
            *byte ^= 1;
        }
        let state = State { counts: self.crew.state().counts, device };
        let last = if self.backlog.is_some() { Message::Listen } else { Message::Finished };
        let bytes = self.connection.send(&Message::State(state))? + self.connection.send(&last)?;
        pass.count_bytes(bytes);
        self.pacer.take(bytes);
        self.tell();
        Ok(())
    }

    fn final_pass_done(&self, pass: PassMeter) {
        // Its end is READY, which the pilot takes from the stamps; until then, the last byte sent.
        let encryption_bytes = self.dialer.connections.encryption_bytes();
        self.progress.finish_pass(pass.finish(monotonic_ns(), 0, self.writes(), encryption_bytes));
    }

    pub(super) fn await_ready(&mut self) -> Result<(), Stop> {
        match self.connection.wait(self.patience(), "READY", &|| self.check_cancel())? {
            Message::Ready => {
                self.progress.stamp(|it, now_ns| it.ready_ns = Some(now_ns));
                self.strike(Moment::Ready);
                Ok(())
            }
            other => Err(unexpected(&other, "READY")),
        }
    }

    /// How long an answer may take that needs work over there: as long as the watch over standstills grants, if that is more.
    pub(super) fn patience(&self) -> Duration {
        STALL_TIMEOUT.max(patience(self.config, self.gate.downtime_limit_ns()))
    }

    /// GO. See [`Gate`].
    pub(super) fn commit(&mut self) -> Result<(), Stop> {
        for defect in &self.defects {
            if let Defect::LateGo(delay) = defect {
                std::thread::sleep(*delay);
            }
        }
        // A destination that died after READY is noticed here rather than after the point of no return.
        self.connection.check()?;
        let sent = self.gate.commit(|| self.connection.send(&Message::Go).map(|_| ()));
        sent.ok_or(Stop::Cancelled)??;
        // Before anything else may go wrong: the workers are stopped, and must stay so.
        self.gate.note_writes_at_go(self.writes());
        self.progress.update(|it| it.phase = Phase::Committed);
        self.progress.stamp(|it, now_ns| it.go_ns = Some(now_ns));
        if self.defects.contains(&Defect::RunOn) {
            self.crew.resume();
        }
        Ok(())
    }

    pub(super) fn await_running(&mut self) -> Result<(), Stop> {
        match self.connection.wait(ANSWER_TIMEOUT, "RUNNING", &|| Ok(()))? {
            Message::Running { .. } => {
                self.progress.stamp(|it, now_ns| it.running_ns = Some(now_ns));
                Ok(())
            }
            other => Err(unexpected(&other, "RUNNING")),
        }
    }
}
