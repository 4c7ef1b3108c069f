//! Where the destination's connections wait for each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A meeting point that all connections pass together, again and again.
///
/// The first connection takes part, since zero pages may travel on it.
#[derive(Debug)]
pub struct Rounds {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The synchronisation that each has reached.
    reached: Vec<u32>,
    failure: Option<String>,
    is_closed: bool,
}

/// The meeting is off: a connection has failed, or the migration ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl Rounds {
    /// A meeting of this many.
    pub fn new(parties: usize) -> Rounds {
        let state = State { reached: vec![0; parties], failure: None, is_closed: false };
        Rounds { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Arrives at synchronisation `number` and waits for the others.
    ///
    /// # Errors
    /// The meeting is off, or `number` is not the next one.
    pub fn meet(&self, party: usize, number: u32) -> Result<(), Broken> {
        let mut state = self.lock();
        let due = state.reached[party].wrapping_add(1);
        if number != due {
            return Err(Broken(format!("Synchronisation {number} came where {due} was due")));
        }
        state.reached[party] = number;
        self.changed.notify_all();
        loop {
            state.check()?;
            if state.reached.iter().all(|it| *it >= number) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls the meeting off; the first reason counts.
    pub fn fail(&self, reason: String) {
        let mut state = self.lock();
        if !state.is_closed {
            state.failure.get_or_insert(reason);
        }
        self.changed.notify_all();
    }

    /// Ends the meeting for good: whatever fails from now on is of no interest.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Why the meeting is off, if it is.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), Broken> {
        match &self.failure {
            Some(reason) => Err(Broken(reason.clone())),
            None if self.is_closed => Err(Broken("The migration has ended".to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn nobody_passes_before_all_have_come() {
        let rounds = Rounds::new(4);
        let arrived = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for party in 0..4 {
                let (rounds, arrived) = (&rounds, &arrived);
                scope.spawn(move || {
                    for number in 1..=100 {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        rounds.meet(party, number).unwrap();
                        assert!(arrived.load(Ordering::SeqCst) >= 4 * number);
                    }
                });
            }
        });
    }

    #[test]
    fn a_failure_ends_the_wait_of_all_and_its_first_reason_stays() {
        let rounds = Rounds::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| rounds.meet(0, 1));
            rounds.fail("no".to_owned());
            rounds.fail("later".to_owned());
            assert_eq!(waiting.join().unwrap(), Err(Broken("no".to_owned())));
        });
        assert_eq!(rounds.failure().as_deref(), Some("no"));
    }

    #[test]
    fn after_the_end_nothing_is_a_failure() {
        let rounds = Rounds::new(2);
        rounds.close();
        rounds.fail("no".to_owned());
        assert_eq!(rounds.failure(), None);
        assert!(rounds.meet(0, 1).is_err());
    }

    #[test]
    fn a_round_out_of_turn_is_refused() {
        let rounds = Rounds::new(1);
        rounds.meet(0, 1).unwrap();
        assert!(rounds.meet(0, 1).is_err());
        assert!(rounds.meet(0, 3).is_err());
        assert!(rounds.meet(0, 2).is_ok());
    }
}
