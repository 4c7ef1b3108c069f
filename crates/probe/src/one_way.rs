//! How long messages were under way in each direction.

use hdrhistogram::Histogram;

/// Differences of clocks are taken anew after so long: clocks drift, by 100 µs in this time when they differ by 50 millionths.
const WINDOW_NS: u64 = 2_000_000_000;

const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// One-way times without a common clock.
///
/// What is measured in each direction is the delay plus or minus the difference of the two clocks.
/// Neither delay is negative, so the smallest sum in each direction bounds that difference from one side; the middle of the bounds is taken for it.
/// That would be exact if the fastest message took as long there as back.
/// In general each one-way time is off by at most half of the fastest round trip, all in the same way: what is added on one way is missing on the other.
/// Differences between messages of one direction are not touched by it.
#[derive(Clone, Debug)]
pub struct OneWay {
    window: Vec<(i64, i64)>,
    began_ns: Option<u64>,
    to: Histogram<u32>,
    from: Histogram<u32>,
    uncertainty_ns: u64,
    base_ns: Option<i64>,
}

/// Times in one direction, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Half of the messages took at most this.
    pub p50_ns: u64,
    /// 99 % of them.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

/// Times in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// To the responder.
    pub to_responder: Delay,
    /// From it.
    pub from_responder: Delay,
    /// By how much both may be off, in opposite ways.
    pub uncertainty_ns: u64,
}

impl Default for OneWay {
    fn default() -> OneWay {
        let empty = Histogram::new_with_bounds(1_000, LONGEST_NS, DIGITS)
            .expect("these bounds and digits are within what a histogram can have");
        OneWay {
            window: Vec::new(),
            began_ns: None,
            to: empty.clone(),
            from: empty,
            uncertainty_ns: 0,
            base_ns: None,
        }
    }
}

impl OneWay {
    /// A message that came back: our clock at both ends, the responder's in between.
    pub fn note(&mut self, sent_ns: u64, received_ns: u64, theirs_ns: u64) {
        let difference_ns = theirs_ns.wrapping_sub(sent_ns).cast_signed();
        let there_ns = difference_ns.wrapping_sub(*self.base_ns.get_or_insert(difference_ns));
        let back_ns = (received_ns.saturating_sub(sent_ns)).cast_signed().wrapping_sub(there_ns);
        let began_ns = *self.began_ns.get_or_insert(received_ns);
        let has_jumped = self.window.last().is_some_and(|last| {
            // Neither way can have become shorter than nothing.
            let (a, b) = self.fastest(*last);
            there_ns.saturating_add(b) < 0 || back_ns.saturating_add(a) < 0
        });
        if received_ns.saturating_sub(began_ns) > WINDOW_NS || has_jumped {
            self.close();
            self.began_ns = Some(received_ns);
        }
        self.window.push((there_ns, back_ns));
    }

    fn fastest(&self, among: (i64, i64)) -> (i64, i64) {
        self.window.iter().fold(among, |(a, b), it| (a.min(it.0), b.min(it.1)))
    }

    /// Turns what was gathered into times.
    fn close(&mut self) {
        let Some(first) = self.window.first() else { return };
        let (there, back) = self.fastest(*first);
        // The sum is the fastest round trip that the two ways allow.
        let half_ns = (there.saturating_add(back)).max(0) / 2;
        self.uncertainty_ns = self.uncertainty_ns.max(half_ns.cast_unsigned());
        for (to, from) in std::mem::take(&mut self.window) {
            let excess = |it: i64, fastest: i64| (it - fastest + half_ns).max(0).cast_unsigned();
            self.to.saturating_record(excess(to, there));
            self.from.saturating_record(excess(from, back));
        }
    }

    /// All so far; `None` before there are any.
    pub fn delays(&self) -> Option<Delays> {
        let mut all = self.clone();
        all.close();
        let of = |it: &Histogram<u32>| Delay {
            p50_ns: it.value_at_percentile(50.0),
            p99_ns: it.value_at_percentile(99.0),
            max_ns: it.max(),
        };
        (!all.to.is_empty()).then(|| Delays {
            to_responder: of(&all.to),
            from_responder: of(&all.from),
            uncertainty_ns: all.uncertainty_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    /// Messages each ms; `way` gives the times there and back in µs, `clock` what the other clock says.
    fn noted(count: u64, way: impl Fn(u64) -> (u64, u64), clock: impl Fn(u64) -> u64) -> Delays {
        let mut ways = OneWay::default();
        for number in 0..count {
            let (there, back) = way(number);
            let sent_ns = 1_000_000_000 + number * 1000 * US;
            let heard_ns = sent_ns + there * US;
            ways.note(sent_ns, heard_ns + back * US, clock(heard_ns));
        }
        ways.delays().unwrap()
    }

    #[test]
    fn delay_on_one_way_is_told_on_that_way() {
        let slow_there = |number| if number % 10 == 0 { (5_000, 100) } else { (100, 100) };
        let clocks: [fn(u64) -> u64; 3] =
            [|ours| ours, |ours| ours + 77_000_000_000, |ours| ours - 900_000_000];
        for clock in clocks {
            let delays = noted(5_000, slow_there, clock);
            assert!(delays.to_responder.p99_ns.abs_diff(5_000 * US) < 20 * US, "{delays:?}");
            assert!(delays.from_responder.max_ns.abs_diff(100 * US) < 2 * US, "{delays:?}");
            assert_eq!(delays.uncertainty_ns, 100 * US);
        }
    }

    #[test]
    fn a_path_that_is_slower_one_way_is_off_by_no_more_than_is_said() {
        let delays = noted(1_000, |_| (900, 100), |ours| ours + 5);
        let error = delays.to_responder.p50_ns.abs_diff(900 * US);
        assert!(error <= delays.uncertainty_ns + US, "{delays:?}");
    }

    #[test]
    fn a_clock_that_drifts_or_jumps_does_not_turn_into_delay() {
        let drifts = noted(20_000, |_| (100, 100), |ours| ours + ours / 20_000);
        assert!(drifts.to_responder.max_ns < 300 * US, "{drifts:?}");
        let jumps = noted(
            2_000,
            |_| (100, 100),
            |ours| {
                if ours < 1_500_000_000 { ours } else { ours - 400_000_000 }
            },
        );
        assert!(jumps.to_responder.max_ns < 300 * US, "{jumps:?}");
        assert!(OneWay::default().delays().is_none());
    }
}
