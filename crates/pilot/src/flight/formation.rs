//! Where a flight of a fleet waits for the others; see [`crate::fleet`].

use super::{FETCH_INTERVAL_NS, Flight, Stop};
use crate::EngineError;

/// Time between two looks at the others.
const LOOK_NS: u64 = 10_000_000;

impl Flight<'_> {
    /// Waits until all guests work: a baseline that is taken while others boot is none.
    pub(super) fn await_others(&mut self) -> Result<(), Stop> {
        let Some(seat) = &self.seat else { return Ok(()) };
        seat.booted();
        self.wait_until(|flight| {
            let Some(seat) = &flight.seat else { return Ok(true) };
            seat.are_all_booted().map_err(|missing| {
                let text = format!(
                    "Guest {missing} of the fleet is missing, so the others did not migrate"
                );
                Stop::Engine(EngineError::Failed(text))
            })
        })
    }

    /// Waits until this guest may migrate.
    pub(super) fn await_turn(&mut self) -> Result<(), Stop> {
        self.wait_until(|flight| Ok(flight.seat.as_ref().is_none_or(|it| it.begin())))
    }

    /// Lets the next one migrate.
    pub(super) fn leave_way(&self) {
        self.seat.iter().for_each(|it| it.end());
    }

    /// Waits until no guest migrates: to compare memory would take time from those that do.
    pub(super) fn await_end_of_others(&mut self) -> Result<(), Stop> {
        self.wait_until(|flight| Ok(flight.seat.as_ref().is_none_or(|it| it.are_all_over())))
    }

    /// Watches the guest meanwhile.
    fn wait_until(
        &mut self,
        mut is_over: impl FnMut(&Self) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let mut next_fetch_ns = self.now_ns() + FETCH_INTERVAL_NS;
        while !is_over(self)? {
            if self.pilot.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            if self.now_ns() >= next_fetch_ns {
                next_fetch_ns = self.now_ns() + FETCH_INTERVAL_NS;
                self.fetch()?;
            }
            self.pilot.clock.sleep_until_ns(self.now_ns() + LOOK_NS);
        }
        Ok(())
    }
}
