//! Mapping another process's clock to ours.
//!
//! The asker notes its clock before and after, the answerer notes its own in between.
//! The answer was taken somewhere in the round trip, so the offset is known to within half of it; the shortest of several round trips tells most.
//! (The method is NTP's, RFC 5905 section 8, without its filters.)

mod alignment;

pub use alignment::Alignment;

/// One question and answer, in nanoseconds of the two monotonic clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Our clock when the question left.
    pub asked_ns: u64,
    /// The other clock when it answered.
    pub answered_ns: u64,
    /// Our clock when the answer arrived.
    pub received_ns: u64,
}

/// How another clock relates to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Their clock minus ours, in nanoseconds.
    pub offset_ns: i64,
    /// The true offset lies within this many nanoseconds of `offset_ns`.
    pub uncertainty_ns: u64,
}

impl Offset {
    /// The offset from the exchange with the shortest round trip; `None` without exchanges.
    pub fn from_exchanges(exchanges: &[Exchange]) -> Option<Offset> {
        let round_trip = |it: &Exchange| it.received_ns.saturating_sub(it.asked_ns);
        let best = exchanges.iter().min_by_key(|it| round_trip(it))?;
        let middle = best.asked_ns + round_trip(best) / 2;
        Some(Offset {
            offset_ns: best.answered_ns.wrapping_sub(middle) as i64,
            uncertainty_ns: round_trip(best).div_ceil(2),
        })
    }

    /// A stamp of the other clock, on ours.
    pub fn to_ours(self, theirs_ns: u64) -> u64 {
        theirs_ns.saturating_add_signed(self.offset_ns.saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_round_trip_decides() {
        let slow = Exchange { asked_ns: 0, answered_ns: 5_900, received_ns: 1_000 };
        let fast = Exchange { asked_ns: 2_000, answered_ns: 7_050, received_ns: 2_100 };
        let found = Offset::from_exchanges(&[slow, fast]).unwrap();
        assert_eq!(found, Offset { offset_ns: 5_000, uncertainty_ns: 50 });
        assert_eq!(found.to_ours(7_050), 2_050);
        assert_eq!(Offset::from_exchanges(&[]), None);
    }

    proptest! {
        #[test]
        fn the_truth_lies_within_the_stated_uncertainty(
            truth in -1_000_000_000i64..1_000_000_000,
            trips in prop::collection::vec((0u64..1_000_000, 0u64..1_000_000), 1..8),
        ) {
            let mut now = 10_000_000_000u64;
            let exchanges: Vec<Exchange> = trips
                .into_iter()
                .map(|(there, back)| {
                    let asked_ns = now;
                    now += there + back + 1_000;
                    let answered_ns = (asked_ns + there).checked_add_signed(truth).unwrap();
                    Exchange { asked_ns, answered_ns, received_ns: asked_ns + there + back }
                })
                .collect();
            let found = Offset::from_exchanges(&exchanges).unwrap();
            prop_assert!(found.offset_ns.abs_diff(truth) <= found.uncertainty_ns + 1);
        }
    }
}
