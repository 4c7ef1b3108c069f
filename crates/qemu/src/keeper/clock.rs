//! The clocks of another machine against ours.

use std::collections::VecDeque;

use sterna_wire::clock::{Exchange, Offset};

/// Exchanges kept; there is one each second, so that what the two clocks run apart meanwhile is far below a round trip.
const MOST_EXCHANGES: usize = 32;

/// Both clocks of another machine.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    monotonic: VecDeque<Exchange>,
    realtime: VecDeque<Exchange>,
}

impl Clocks {
    /// Takes in one question and answer.
    pub fn add(&mut self, asked_ns: u64, received_ns: u64, monotonic_ns: u64, realtime_ns: u64) {
        let stamps = [monotonic_ns, realtime_ns];
        for (list, answered_ns) in [&mut self.monotonic, &mut self.realtime].into_iter().zip(stamps)
        {
            if list.len() == MOST_EXCHANGES {
                list.pop_front();
            }
            list.push_back(Exchange { asked_ns, answered_ns, received_ns });
        }
    }

    /// Its monotonic clock against ours.
    pub fn monotonic(&self) -> Option<Offset> {
        Offset::from_exchanges(&self.monotonic.iter().copied().collect::<Vec<_>>())
    }

    /// Its wall clock against our monotonic one.
    pub fn realtime(&self) -> Option<Offset> {
        Offset::from_exchanges(&self.realtime.iter().copied().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_the_last_exchanges_counts() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.monotonic(), None);
        clocks.add(1_000, 1_010, 5_005, 900_005);
        for asked_ns in (2_000..).step_by(1_000).take(31) {
            clocks.add(asked_ns, asked_ns + 900, asked_ns + 4_700, asked_ns + 899_000);
        }
        let best = clocks.monotonic().unwrap();
        assert_eq!((best.offset_ns, best.uncertainty_ns), (4_000, 5));
        assert_eq!(clocks.realtime().unwrap().to_ours(900_000), 1_000);
        clocks.add(90_000, 90_800, 94_400, 0);
        assert_eq!(clocks.monotonic().unwrap().uncertainty_ns, 400);
    }
}
