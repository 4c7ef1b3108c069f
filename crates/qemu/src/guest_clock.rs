//! The guest's clock against ours.
//!
//! It stands still while the guest is stopped, so it has one relation to ours before the switchover and another after it; the difference is how long the guest was frozen, told by its own clock.
//! Under emulation it also runs a little fast or slow, so a relation is worth less the older it is.

use sterna_wire::clock::{Exchange, Offset};

/// By how much a guest's clock may run away from ours: 1 ns in 2000. Emulated timers are calibrated by a kernel that is interrupted meanwhile.
const DRIFT_DIVISOR: u64 = 2_000;

/// Exchanges kept; older ones are of no use to later stamps.
const MOST_POINTS: usize = 4096;

/// The guest's clock while it is on one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestClock {
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    guest_ns: u64,
    offset: Offset,
}

impl GuestClock {
    /// Takes in one question and answer.
    pub fn add(&mut self, exchange: Exchange) {
        let Some(offset) = Offset::from_exchanges(&[exchange]) else { return };
        if self.points.len() == MOST_POINTS {
            self.points.remove(0);
        }
        self.points.push(Point { guest_ns: exchange.answered_ns, offset });
    }

    /// How many exchanges there were.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Forgets everything: the guest stood still.
    pub fn clear(&mut self) {
        self.points.clear();
    }

    /// The relation that serves a stamp best.
    pub fn at(&self, guest_ns: u64) -> Option<Offset> {
        let by = |point: &Point| {
            let age_ns = point.guest_ns.abs_diff(guest_ns);
            point.offset.uncertainty_ns.saturating_add(age_ns / DRIFT_DIVISOR)
        };
        let best = self.points.iter().min_by_key(|it| by(it))?;
        Some(Offset { uncertainty_ns: by(best), ..best.offset })
    }

    /// The relation by the last exchange.
    pub fn newest(&self) -> Option<Offset> {
        self.points.last().and_then(|it| self.at(it.guest_ns))
    }

    /// A stamp of the guest on our clock.
    pub fn to_ours(&self, guest_ns: u64) -> Option<u64> {
        self.at(guest_ns).map(|it| it.to_ours(guest_ns))
    }

    /// What the guest's clock showed at a moment of ours.
    pub fn to_guest(&self, ours_ns: u64) -> Option<u64> {
        let near =
            self.points.iter().min_by_key(|it| it.offset.to_ours(it.guest_ns).abs_diff(ours_ns))?;
        let guess = ours_ns.saturating_add_signed(near.offset.offset_ns);
        self.at(guess).map(|it| ours_ns.saturating_add_signed(it.offset_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(asked_ns: u64, trip_ns: u64, offset_ns: u64) -> Exchange {
        let answered_ns = asked_ns + trip_ns / 2 + offset_ns;
        Exchange { asked_ns, answered_ns, received_ns: asked_ns + trip_ns }
    }

    #[test]
    fn a_near_or_precise_exchange_wins() {
        let mut clock = GuestClock::default();
        assert_eq!(clock.to_ours(5), None);
        clock.add(exchange(1_000_000_000, 100_000, 7_000));
        // Precise but long ago, against less precise and now.
        clock.add(exchange(9_000_000_000, 400_000, 9_000));
        assert_eq!(clock.to_ours(1_000_000_000), Some(1_000_000_000 - 7_000));
        assert_eq!(clock.to_ours(9_000_000_000), Some(9_000_000_000 - 9_000));
        // A useless one changes nothing.
        clock.add(exchange(9_000_000_000, 800_000_000, 55_000));
        assert_eq!(clock.to_ours(9_000_000_000), Some(9_000_000_000 - 9_000));
        assert_eq!(clock.to_guest(8_999_000_000), Some(8_999_009_000));
        clock.clear();
        assert_eq!(clock.len(), 0);
    }
}
