//! Several flights that wait for each other.
//!
//! ```text
//!  boot ─ all booted ─ warm up ─ turn ─ migrate ─ all over ─ cool down ─ verify ─ shut down
//!             │                    │        │         │
//!             └ barrier            │        │         └ barrier: nobody is verified while another migrates
//!                                  └────────┴ at most `parallel` at the same time, in the order of their numbers
//! ```
//!
//! A flight that ends early leaves its seat, and nobody waits for it any longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

use sterna_scenario::{Fleet, Scenario};

use crate::{Clock, Hypervisor, Interrupt, Notice, Pilot, Record};

/// One flight's place among the others.
#[derive(Debug)]
pub struct Seat {
    table: Arc<Mutex<Vec<Stage>>>,
    parallel: usize,
    index: usize,
}

/// How far a flight is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Booting,
    Ready,
    Migrating,
    /// Its migration is over, or will not be.
    Over,
    /// It ended before its guest worked, so that the fleet is not what was asked for.
    Missing,
}

/// Flies all guests of a fleet, each by an engine of its own and in a thread of its own, and returns what was seen of each.
///
/// # Errors
/// There are not enough threads.
pub fn fly_fleet(
    scenario: &Scenario,
    fleet: Fleet,
    engine: &(dyn Fn() -> Box<dyn Hypervisor> + Sync),
    clock: &(dyn Clock + Sync),
    interrupt: &Interrupt,
    observer: &Mutex<dyn FnMut(u32, Notice) + Send + '_>,
) -> std::io::Result<Vec<Record>> {
    let seats = Seat::all(fleet);
    let fly = |(index, seat): (u32, Seat)| {
        let scenario = scenario.of_guest(index);
        // The engine's processes are bound to the thread that starts them.
        let mut engine = engine();
        let pilot = Pilot {
            scenario: &scenario,
            hypervisor: engine.as_mut(),
            clock,
            interrupt,
            observer: &mut |notice| {
                (observer.lock().unwrap_or_else(PoisonError::into_inner))(index, notice);
            },
        };
        pilot.fly_as(seat)
    };
    std::thread::scope(|scope| {
        let fly = &fly;
        let spawn = |it| std::thread::Builder::new().spawn_scoped(scope, move || fly(it));
        // Where a thread cannot be had its seat is left, and the others end early.
        let threads: Vec<_> = (0..).zip(seats).map(spawn).collect();
        threads.into_iter().map(|it| Ok(joined(it?))).collect()
    })
}

/// A flight that panics is a defect, which must not pass for a guest that was not there.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Seat {
    /// One for each guest.
    pub fn all(fleet: Fleet) -> Vec<Seat> {
        let guests = fleet.guests as usize;
        let table = Arc::new(Mutex::new(vec![Stage::Booting; guests]));
        let parallel = fleet.parallel as usize;
        (0..guests).map(|index| Seat { table: Arc::clone(&table), parallel, index }).collect()
    }

    /// The guest works.
    pub(crate) fn booted(&self) {
        self.table()[self.index] = Stage::Ready;
    }

    /// Whether all guests work; the number of one that never will.
    pub(crate) fn are_all_booted(&self) -> Result<bool, usize> {
        let table = self.table();
        match table.iter().position(|it| *it == Stage::Missing) {
            Some(missing) => Err(missing),
            None => Ok(table.iter().all(|it| *it >= Stage::Ready)),
        }
    }

    /// Begins to migrate, if it is this guest's turn.
    pub(crate) fn begin(&self) -> bool {
        let mut table = self.table();
        let under_way = table.iter().filter(|it| **it == Stage::Migrating).count();
        let is_next = table[..self.index].iter().all(|it| *it > Stage::Ready);
        let may_begin = is_next && under_way < self.parallel;
        if may_begin {
            table[self.index] = Stage::Migrating;
        }
        may_begin
    }

    /// The migration is over.
    pub(crate) fn end(&self) {
        let mut table = self.table();
        let stage = &mut table[self.index];
        *stage = match *stage {
            Stage::Booting | Stage::Missing => Stage::Missing,
            _ => Stage::Over,
        };
    }

    /// Whether nobody migrates any more, or will.
    pub(crate) fn are_all_over(&self) -> bool {
        self.table().iter().all(|it| *it >= Stage::Over)
    }

    fn table(&self) -> MutexGuard<'_, Vec<Stage>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(guests: u32, parallel: u32) -> Vec<Seat> {
        Seat::all(Fleet { guests, parallel })
    }

    #[test]
    fn guests_begin_in_order_and_no_more_than_allowed() {
        let seats = seats(3, 2);
        seats.iter().for_each(Seat::booted);
        assert!(!seats[1].begin(), "it is the first one's turn");
        assert!(seats[0].begin());
        assert!(seats[1].begin());
        assert!(!seats[2].begin(), "two are under way");
        seats[1].end();
        assert!(seats[2].begin());
        assert!(!seats[0].are_all_over());
        seats[0].end();
        seats[2].end();
        assert!(seats[0].are_all_over());
    }

    #[test]
    fn nobody_waits_for_a_flight_that_has_left() {
        let mut seats = seats(3, 1);
        seats.iter().for_each(Seat::booted);
        assert_eq!(seats[0].are_all_booted(), Ok(true));
        drop(seats.remove(0));
        assert!(seats[0].begin());
        drop(seats.remove(0));
        assert!(seats[0].begin());
    }

    #[test]
    fn a_guest_that_never_worked_is_missed() {
        let mut seats = seats(2, 1);
        seats[1].booted();
        assert_eq!(seats[1].are_all_booted(), Ok(false));
        drop(seats.remove(0));
        assert_eq!(seats[0].are_all_booted(), Err(0));
    }
}
