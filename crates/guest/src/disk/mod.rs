//! Records on a disk of the guest for as long as it is migrated, for an engine that is too far away to write them itself.
//!
//! ```text
//!   /disk/begin ──► writer: removes what was left over, writes the first record ──► Begun, or why not
//!                   writer: a record every 10 ms, each made safe
//!   /disk/end   ──► writer: stops, lets the kernel forget, reads every record again, removes the file ──► Ended
//! ```
//!
//! A disk may hang for as long as it likes, and whoever touches it hangs with it.
//! So only the writer touches it, a thread of its own; who asks waits for the writer, and no longer than is bearable.

mod ledger;
mod target;
mod writer;

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_disk::{DiskEnded, DiskPage, DiskRefusal, DiskRefused};

use target::Target;
use writer::{Phase, Writer};

/// How long the first record may take.
const BEGIN_PATIENCE: Duration = Duration::from_secs(8);
/// How long what is due at the end, and reading it all again, may take.
const END_PATIENCE: Duration = Duration::from_secs(100);

/// Begins and ends records on the disk that the configuration names.
#[derive(Debug)]
pub struct Disk {
    target: Option<Target>,
    state: Mutex<State>,
    begin_patience: Duration,
    end_patience: Duration,
}

#[derive(Debug)]
enum State {
    Idle,
    /// What it tells at its end is told again to whoever did not hear it.
    Running(Writer),
}

impl Disk {
    pub fn of(config: &GuestConfig) -> Disk {
        let target = config.disk.as_ref().map(|it| Target::new(it, config.disk_is_mount));
        Disk {
            target,
            state: Mutex::new(State::Idle),
            begin_patience: BEGIN_PATIENCE,
            end_patience: END_PATIENCE,
        }
    }

    /// Begins, unless there are records already.
    pub fn begin(&self) -> DiskPage {
        self.try_begin().map_or_else(DiskPage::Refused, |run| DiskPage::Begun { run })
    }

    /// Ends, and tells what became of the records.
    pub fn end(&self) -> DiskPage {
        self.try_end().map_or_else(DiskPage::Refused, DiskPage::Ended)
    }

    fn try_begin(&self) -> Result<u64, DiskRefusal> {
        let (target, mut state) = self.free()?;
        if let State::Running(writer) = &*state
            && !writer.ended(Duration::ZERO).is_last()
        {
            let text = "Records are being written already; /disk/end ends them";
            return Err(refused(DiskRefused::Runs, text));
        }
        let writer = Writer::start(target.clone()).map_err(|error| {
            refused(DiskRefused::Broken, &format!("A thread cannot be started: {error}"))
        })?;
        let (run, phase) = (writer.run, writer.begun(self.begin_patience));
        match phase {
            Phase::Failed(reason) => {
                *state = State::Idle;
                return Err(refused(DiskRefused::Broken, &reason));
            }
            // Until it wakes up nothing else can begin.
            Phase::Beginning => writer.stop(),
            Phase::Writing | Phase::Ended(_) => {}
        }
        *state = State::Running(writer);
        if matches!(phase, Phase::Beginning) {
            let text = format!(
                "The disk at {} did not take a record within {} s",
                target.directory(),
                self.begin_patience.as_secs()
            );
            return Err(refused(DiskRefused::Broken, &text));
        }
        Ok(run)
    }

    fn try_end(&self) -> Result<Box<DiskEnded>, DiskRefusal> {
        let (_, state) = self.free()?;
        let State::Running(writer) = &*state else {
            let text = "No records were begun; /disk/begin does";
            return Err(refused(DiskRefused::NotBegun, text));
        };
        writer.stop();
        match writer.ended(self.end_patience) {
            Phase::Ended(ended) => Ok(ended),
            Phase::Failed(reason) => Err(refused(DiskRefused::NotBegun, &reason)),
            Phase::Beginning | Phase::Writing => Ok(writer.so_far(self.end_patience)),
        }
    }

    /// The directory, and the state if nobody else has it.
    fn free(&self) -> Result<(&Target, MutexGuard<'_, State>), DiskRefusal> {
        let without = "The agent's configuration has no line disk=DIRECTORY";
        let target = self.target.as_ref().ok_or_else(|| refused(DiskRefused::NoDisk, without))?;
        match self.state.try_lock() {
            Ok(state) => Ok((target, state)),
            Err(TryLockError::Poisoned(state)) => Ok((target, state.into_inner())),
            Err(TryLockError::WouldBlock) => {
                let text = "Somebody else is just being answered; try again in a while";
                Err(refused(DiskRefused::Busy, text))
            }
        }
    }
}

fn refused(why: DiskRefused, text: &str) -> DiskRefusal {
    DiskRefusal { why, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
