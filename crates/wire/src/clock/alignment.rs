//! Following a clock that runs at another speed than ours.

use super::{Exchange, Offset};

/// Exchanges that are looked at together: the shortest round trip of so many tells enough.
const WINDOW: usize = 16;

/// How another clock relates to ours over a run.
///
/// Two quartzes part by some 10 microseconds a second, so an offset that was measured once is off by milliseconds after minutes.
/// Each answer that carries its time is an exchange for free; when the best of some contradicts the offset in use, that one holds from then on.
/// A stamp is mapped by the offset that held when it was taken, so it does not move when it is told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// From which moment of the other clock on which offset holds; never empty.
    steps: Vec<(u64, Offset)>,
    bound_ns: u64,
    window: Vec<Exchange>,
}

impl Alignment {
    /// Begins with a measurement.
    pub fn new(first: Offset) -> Alignment {
        Alignment { steps: vec![(0, first)], bound_ns: first.uncertainty_ns, window: Vec::new() }
    }

    /// Learns from an exchange that happened on the way.
    pub fn observe(&mut self, exchange: Exchange) {
        self.window.push(exchange);
        if self.window.len() < WINDOW {
            return;
        }
        let seen = Offset::from_exchanges(&self.window);
        let from_ns = self.window.last().map_or(0, |it| it.answered_ns);
        self.window.clear();
        let Some(seen) = seen else { return };
        // Within the bounds of what was seen, the offset in use may well be the truth.
        if self.apart_ns(seen) > seen.uncertainty_ns {
            self.widen(seen);
            self.steps.push((from_ns, seen));
        }
    }

    /// Checks the offset in use against a careful measurement at the end: so far stamps may be off.
    pub fn close(&mut self, last: Offset) {
        self.widen(last);
    }

    /// A stamp of the other clock, on ours.
    pub fn to_ours(&self, theirs_ns: u64) -> u64 {
        let step = self.steps.iter().rev().find(|it| it.0 <= theirs_ns);
        step.map_or(theirs_ns, |it| it.1.to_ours(theirs_ns))
    }

    /// The offset that holds now, and how far any stamp may be off.
    pub fn offset(&self) -> Offset {
        Offset { offset_ns: self.current().offset_ns, uncertainty_ns: self.bound_ns }
    }

    fn widen(&mut self, seen: Offset) {
        let bound_ns = self.apart_ns(seen).saturating_add(seen.uncertainty_ns);
        self.bound_ns = self.bound_ns.max(bound_ns);
    }

    fn apart_ns(&self, seen: Offset) -> u64 {
        seen.offset_ns.abs_diff(self.current().offset_ns)
    }

    fn current(&self) -> Offset {
        self.steps.last().map_or(Offset { offset_ns: 0, uncertainty_ns: u64::MAX }, |it| it.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A clock that is `ahead_ns` ahead and gains `ppm`, asked over a path of 100 µs each way.
    fn exchange(at_ns: u64, ahead_ns: u64, ppm: u64) -> Exchange {
        let answered_ns = at_ns + 100_000 + ahead_ns + at_ns / 1_000_000 * ppm;
        Exchange { asked_ns: at_ns, answered_ns, received_ns: at_ns + 200_000 }
    }

    fn begin(ahead_ns: u64, ppm: u64) -> Alignment {
        Alignment::new(Offset::from_exchanges(&[exchange(0, ahead_ns, ppm)]).unwrap())
    }

    #[test]
    fn a_clock_that_keeps_pace_is_left_alone() {
        let mut alignment = begin(5 * SECOND, 0);
        for at in 1..1000 {
            alignment.observe(exchange(at * SECOND / 20, 5 * SECOND, 0));
        }
        alignment.close(Offset::from_exchanges(&[exchange(60 * SECOND, 5 * SECOND, 0)]).unwrap());
        assert_eq!(alignment.steps.len(), 1);
        assert_eq!(alignment.offset().uncertainty_ns, 100_000);
    }

    #[test]
    fn a_clock_that_gains_is_followed_and_the_bound_is_true() {
        let (ahead, ppm) = (7 * SECOND, 50);
        let mut alignment = begin(ahead, ppm);
        let mut worst = 0;
        let mut earlier = Vec::new();
        for poll in 1..6000 {
            let at = poll * SECOND / 20;
            let now = exchange(at, ahead, ppm);
            alignment.observe(now);
            let found = alignment.to_ours(now.answered_ns);
            worst = worst.max(found.abs_diff(at + 100_000));
            earlier.push((now.answered_ns, found));
        }
        // Without following, 300 s at 50 ppm are 15 ms.
        assert!(worst < 300_000, "{worst}");
        assert!(worst <= alignment.offset().uncertainty_ns);
        for (theirs, ours) in earlier {
            assert_eq!(alignment.to_ours(theirs), ours, "a stamp has moved");
        }
    }

    #[test]
    fn the_end_tells_how_far_stamps_may_be_off() {
        let mut alignment = begin(0, 0);
        alignment.close(Offset { offset_ns: 2_000_000, uncertainty_ns: 50_000 });
        let expected = Offset { offset_ns: 0, uncertainty_ns: 2_050_000 };
        assert_eq!(alignment.offset(), expected);
    }
}
