//! What a scenario lets go wrong, struck when it is due.

use std::io::{self, Write};
use std::time::Duration;

use sterna_scenario::{Fault, FaultError, FaultMoment, FaultSide, Faults};
use sterna_wire::control::Side;

/// The faults of one side that have not struck yet.
///
/// A fault is the user's, a [defect](super::breakage) is the tests': faults happen to any migration (a link, a process), while a defect is a mistake of ours that a claim must not survive.
/// Both sides ask between frames, so a fault strikes at a precise place in the stream, the same in each run, and not when a poll happens to see it.
#[derive(Debug)]
pub struct FaultPlan {
    waiting: Vec<Fault>,
    began_ns: u64,
    postcopy_ns: Option<u64>,
    /// How long each frame waits from now on.
    pub delay: Duration,
}

/// How far a side is when it asks.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// The pass under way.
    pub pass: u32,
    /// Bytes that the side has sent or taken.
    pub bytes: u64,
    /// The time.
    pub now_ns: u64,
}

impl FaultPlan {
    /// The plan of one side; `began_ns` is when the migration began there.
    pub fn new(faults: &str, side: Side, began_ns: u64) -> Result<FaultPlan, FaultError> {
        let side = match side {
            Side::Source => FaultSide::Source,
            Side::Destination => FaultSide::Destination,
        };
        let faults: Faults = faults.parse()?;
        let waiting = faults.of(side).copied().collect();
        Ok(FaultPlan { waiting, began_ns, postcopy_ns: None, delay: Duration::ZERO })
    }

    /// The guest goes on at the destination in post-copy.
    pub fn begin_postcopy(&mut self, now_ns: u64) {
        self.postcopy_ns.get_or_insert(now_ns);
    }

    /// Takes the faults that are due, in the order in which they were written.
    pub fn due(&mut self, reached: Reached) -> Vec<Fault> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (due, waiting) = self.waiting.iter().partition(|fault| self.is_due(fault, reached));
        self.waiting = waiting;
        due
    }

    /// Those that have not struck yet, as texts.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.iter().map(ToString::to_string).collect()
    }

    fn is_due(&self, fault: &Fault, reached: Reached) -> bool {
        let since = |start_ns: u64| Duration::from_nanos(reached.now_ns.saturating_sub(start_ns));
        match fault.moment {
            FaultMoment::Pass(number) => reached.pass >= number,
            FaultMoment::Bytes(bytes) => reached.bytes >= bytes.0,
            FaultMoment::Time(span) => since(self.began_ns) >= span.0,
            FaultMoment::Postcopy(span) => self.postcopy_ns.is_some_and(|at| since(at) >= span.0),
        }
    }
}

/// A writer that turns one bit around in whatever passes through it first.
#[derive(Debug)]
pub struct Damaging<'a, W> {
    to: &'a mut W,
    is_done: bool,
}

impl<'a, W: Write> Damaging<'a, W> {
    /// Damages the next thing written to `to`.
    pub fn new(to: &'a mut W) -> Damaging<'a, W> {
        Damaging { to, is_done: false }
    }
}

impl<W: Write> Write for Damaging<'_, W> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if self.is_done || from.is_empty() {
            return self.to.write(from);
        }
        self.is_done = true;
        let mut bytes = from.to_vec();
        // The last byte is content, or the text or number of a message; in a frame without either it belongs to the header.
        let last = bytes.len() - 1;
        bytes[last] ^= 0x10;
        self.to.write_all(&bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn faults_strike_once_and_at_their_moment() {
        let text = "at-pass=2,action=drop;at-bytes=1MiB,action=corrupt;at=3s,action=kill;\
                    at-postcopy=1s,action=stall;at-pass=1,side=destination,action=drop";
        let mut plan = FaultPlan::new(text, Side::Source, SECOND).unwrap();
        let mut due = |pass, bytes, now_ns| {
            let found = plan.due(Reached { pass, bytes, now_ns });
            if now_ns == 9 * SECOND {
                plan.begin_postcopy(now_ns);
            }
            found.iter().map(|it| it.action.name()).collect::<Vec<_>>()
        };
        assert!(due(1, (1 << 20) - 1, SECOND).is_empty());
        assert_eq!(due(1, 1 << 20, SECOND), ["corrupt"]);
        assert_eq!(due(3, 1 << 20, 4 * SECOND), ["drop", "kill"]);
        assert!(due(9, u64::MAX, 9 * SECOND).is_empty());
        assert!(due(9, u64::MAX, 10 * SECOND - 1).is_empty());
        assert_eq!(due(9, u64::MAX, 10 * SECOND), ["stall"]);
    }

    #[test]
    fn one_bit_is_damaged_once() {
        let mut wire = Vec::new();
        let mut damaging = Damaging::new(&mut wire);
        damaging.write_all(&[1, 2, 3]).unwrap();
        damaging.write_all(&[4]).unwrap();
        assert_eq!(wire, [1, 2, 3 ^ 0x10, 4]);
    }
}
