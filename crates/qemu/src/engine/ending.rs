//! How a migration ends when it does not end well, and who has the guest then.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_pilot::{EngineError, Settled, State, Status};
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;

use super::Qemu;
use crate::place::Place;
use crate::process::QemuProcess;
use crate::transport;

/// How long a destination may take to run the guest after the source has sent all.
const RESUME_TIMEOUT_NS: u64 = 10_000_000_000;

/// How long a destination may take to run the guest once the source is gone.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a destination may take to say that it lacks nothing, once the source is gone.
const LAST_PAGE_TIMEOUT: Duration = Duration::from_millis(300);

impl Qemu {
    /// The source is gone, and the guest with it, unless the destination runs it by now.
    pub(super) fn without_source(&mut self, error: EngineError) -> Result<Status, EngineError> {
        match error {
            EngineError::SideGone { .. } => {
                let words = self.console(Side::Source);
                Ok(self.undecided(format!("{error}{words}")))
            }
            error => Err(error),
        }
    }

    pub(super) fn undecided(&mut self, reason: String) -> Status {
        let at_ns = monotonic_ns();
        let status = self.trace.poll(at_ns, &json!({ "status": "unknown" }));
        Status { state: State::Undecided, reason: Some(reason), ..status }
    }

    /// The source has written everything, and has the guest until the destination runs it.
    pub(super) fn await_load(
        &mut self,
        path: &Path,
        status: &mut Status,
    ) -> Result<(), EngineError> {
        let since_ns = *self.completed_since_ns.get_or_insert(status.at_ns);
        status.state = State::Switchover;
        if !self.is_file_loading {
            self.is_file_loading = true;
            if self.is_broken("short-file") {
                let _ = File::options().write(true).open(path).and_then(|it| it.set_len(1 << 20));
            }
            let length = std::fs::metadata(path).map(|it| it.len());
            self.evidence.see_file(length.ok());
            if let Err(error) = transport::load(path, &mut self.sides()?.destination) {
                return self.take_back(error.to_string(), status);
            }
        }
        let limit_ns = RESUME_TIMEOUT_NS + (self.scenario.guest.memory.0 >> 24) * 1_000_000_000;
        let destination = &mut self.sides()?.destination;
        if let Some(end) = destination.is_gone() {
            return self.take_back(format!("destination: {end}"), status);
        }
        if status.at_ns.saturating_sub(since_ns) > limit_ns {
            return self.take_back("The destination does not run the guest".to_owned(), status);
        }
        self.start_if_paused()
    }

    /// The destination is ended for certain, then the source goes on.
    fn take_back(&mut self, reason: String, status: &mut Status) -> Result<(), EngineError> {
        self.sides()?.destination.kill();
        self.run_source()?;
        self.drain_events();
        let failed = json!({ "status": "failed", "error-desc": reason });
        *status = self.trace.poll(monotonic_ns(), &failed);
        Ok(())
    }

    /// The source has sent everything; the guest runs when the destination says so. A guest that we paused is started by us.
    pub(super) fn await_resume(&mut self, status: &mut Status) -> Result<(), EngineError> {
        let since_ns = *self.completed_since_ns.get_or_insert(status.at_ns);
        let destination = &mut self.sides()?.destination;
        if let Some(end) = destination.is_gone() {
            *status = self.undecided(format!("destination: {end}"));
            return Ok(());
        }
        self.start_if_paused()?;
        if status.at_ns.saturating_sub(since_ns) > RESUME_TIMEOUT_NS {
            *status = self.undecided("The destination does not run the guest".to_owned());
        }
        Ok(())
    }

    /// A guest that arrives paused stays so, and one whose memory is compared arrives paused.
    fn start_if_paused(&mut self) -> Result<(), EngineError> {
        let is_compared = self.sides()?.whole_memory.is_some() && self.compared.is_none();
        let is_waiting = self.is_paused_by_us || is_compared;
        if !is_waiting || !is_loaded(&mut self.sides()?.destination)? {
            return Ok(());
        }
        self.compare_memory()?;
        self.sides()?.destination.execute("cont", Value::Null)?;
        self.is_paused_by_us = false;
        // What follows has its own time.
        self.completed_since_ns = Some(monotonic_ns());
        Ok(())
    }

    /// Compares all memory of both sides, where that was asked for. Neither runs the guest: the source has sent all, and the destination waits.
    fn compare_memory(&mut self) -> Result<(), EngineError> {
        let is_broken = self.is_broken("flip-bit");
        let Some([source, destination]) = &self.sides()?.whole_memory else { return Ok(()) };
        let failed =
            |error| EngineError::Failed(format!("The memories cannot be compared: {error}"));
        if is_broken {
            destination.flip_bit().map_err(failed)?;
        }
        let compared = source.compare(destination).map_err(failed)?;
        if is_broken {
            destination.flip_bit().map_err(failed)?;
        }
        self.compared = Some(compared);
        Ok(())
    }

    /// In post-copy a link that breaks leaves both sides waiting for each other.
    pub(super) fn check_postcopy(&mut self, status: &mut Status) -> Result<(), EngineError> {
        let destination = &mut self.sides()?.destination;
        if let Some(end) = destination.is_gone() {
            *status = self.undecided(format!("destination: {end}"));
        }
        Ok(())
    }

    /// Ends a migration whose destination is gone.
    ///
    /// A source may not notice: not before TCP does when the other machine is out of reach, which takes a quarter of an hour, and not at all while it waits for an order.
    pub(super) fn miss_destination(&mut self, status: &mut Status) -> Result<(), EngineError> {
        let is_under_way = !self.is_cancelled_by_us
            && matches!(status.state, State::Setup | State::Active | State::Switchover);
        if is_under_way && self.lost_destination.is_none() && !self.trace.has_postcopy_begun() {
            self.lost_destination = self.is_destination_gone();
            if self.lost_destination.is_some() {
                // A migration that has ended meanwhile has nothing to cancel.
                match self.source()?.execute("migrate_cancel", Value::Null) {
                    Ok(_) | Err(EngineError::Failed(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        // The source may have met it by itself in the meantime; then its words come first.
        if let (State::Cancelled | State::Failed, Some(reason)) =
            (status.state, &self.lost_destination)
        {
            let words = status.reason.take().map(|it| format!("{it}; ")).unwrap_or_default();
            status.reason = Some(format!("{words}{reason}"));
            status.state = State::Failed;
        }
        Ok(())
    }

    /// How the destination ended, if it has; it is asked only when there is reason to.
    fn is_destination_gone(&mut self) -> Option<String> {
        if let Some(Place::There(keeper)) = self.places.get(Side::Destination as usize)
            && let Some(reason) = keeper.is_lost()
        {
            return Some(format!("The destination's machine is out of reach: {reason}"));
        }
        let destination = &mut self.sides.as_mut()?.destination;
        if !destination.has_hung_up() {
            return None;
        }
        destination.is_gone().map(|end| format!("The destination is gone: {end}"))
    }

    /// Adds what the destination knows, and makes sure that the guest runs on.
    pub(super) fn explain_failure(&mut self, status: &mut Status) -> Result<(), EngineError> {
        if self.trace.has_postcopy_begun() {
            let reason = status.reason.clone().unwrap_or_default();
            *status = self.undecided(reason);
            return Ok(());
        }
        if self.lost_destination.is_some() {
            return self.run_source();
        }
        let sides = self.sides()?;
        let end = sides.destination.is_gone().or_else(|| error_of(&mut sides.destination));
        let complaint = sides.destination.complaints().pop().filter(|_| end.is_none());
        if let Some(theirs) = end.or(complaint) {
            let ours = status.reason.take().unwrap_or_else(|| "The migration failed".to_owned());
            status.reason = Some(format!("{ours}; destination: {theirs}"));
        }
        self.run_source()
    }

    /// A guest that was paused for a migration which did not happen goes on.
    pub(super) fn run_source(&mut self) -> Result<(), EngineError> {
        let source = self.source()?;
        let answer = source.execute("query-status", Value::Null)?;
        if answer["running"] == false {
            source.execute("cont", Value::Null)?;
        }
        Ok(())
    }

    /// The destination alone can tell. If it does not run the guest, it is killed: a guest that might run is worse than one that is lost for certain.
    pub(super) fn settle_both(&mut self) -> Result<Settled, EngineError> {
        if let Some(how) = self.how_guest_died() {
            self.sides()?.destination.kill();
            return Ok(Settled::GuestDied(how));
        }
        let reason = match self.trace.has_postcopy_begun() {
            true => self.await_last_page(),
            false => self.await_guest(),
        };
        match reason {
            None => Ok(Settled::Running(Box::new(self.trace.moments().clone()))),
            Some(reason) => {
                self.sides()?.destination.kill();
                Ok(Settled::Lost(format!("no side can run the guest: {reason}")))
            }
        }
    }

    /// What the guest on the source died of by itself, if it did: QEMU said that the guest switched itself off, which is what a panic ends in.
    pub(super) fn how_guest_died(&mut self) -> Option<String> {
        self.drain_events();
        let has_moved = self.trace.moments().resumed_ns.is_some();
        if !self.has_guest_shut_down || has_moved {
            return None;
        }
        let console = &self.sides.as_ref()?.consoles[Side::Source as usize];
        Some(console.panic().unwrap_or_else(|| "it switched itself off".to_owned()))
    }

    /// In post-copy a destination that runs still lacks memory that only the source has, unless it has said that it lacks nothing. It is not asked, for it might wait for that memory itself.
    fn await_last_page(&mut self) -> Option<String> {
        let deadline = Instant::now() + LAST_PAGE_TIMEOUT;
        loop {
            self.drain_events();
            if self.trace.is_destination_done() {
                return None;
            }
            if Instant::now() >= deadline {
                return Some(
                    "the rest of its memory can no longer reach the destination".to_owned(),
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn await_guest(&mut self) -> Option<String> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            self.drain_events();
            let sides = self.sides.as_mut()?;
            match sides.destination.execute("query-status", Value::Null) {
                Ok(answer) if answer["running"] == true => return None,
                Ok(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Ok(_) => {
                    return Some(
                        "the destination does not run the guest and was killed".to_owned(),
                    );
                }
                Err(error) => return Some(error.to_string()),
            }
        }
    }
}

/// Whether a destination has loaded everything and waits for `cont`.
fn is_loaded(qemu: &mut QemuProcess) -> Result<bool, EngineError> {
    let answer = qemu.execute("query-status", Value::Null)?;
    Ok(answer["status"] != "inmigrate")
}

fn error_of(qemu: &mut QemuProcess) -> Option<String> {
    let answer = qemu.execute("query-migrate", Value::Null).ok()?;
    answer["error-desc"].as_str().map(str::to_owned)
}
