//! The clock of another machine against ours.

use std::collections::VecDeque;

use crate::Moment;

/// No clock that is kept in order runs faster or slower by more: 500 millionths is what NTP may slew.
const MOST_DRIFT_PER_MILLION: i128 = 500;

/// A difference is judged by the sharpest look of so many before.
const REMEMBERED: usize = 64;

/// Looks that are kept for the drift.
const MOST_LOOKS: usize = 4096;

/// How the clock of a responder ran against our CLOCK_MONOTONIC.
///
/// Each exchange says when a question left and when its answer came, and what the other clock said in between.
/// So the difference of the clocks is known to half a round trip, and nothing is assumed about how that was split.
/// A clock has jumped when a difference cannot be that of any look before, even if it drifted by 500 millionths since.
#[derive(Clone, Debug, Default)]
pub struct ClockTrack {
    looks: VecDeque<Look>,
    /// For the drift: thinned out while they are too many.
    kept: Vec<Look>,
    stride: usize,
    count: usize,
    jumps: Vec<Jump>,
    last: Option<Reading>,
    backwards: u64,
    sharpest_ns: Option<u64>,
}

/// One difference, theirs less ours.
#[derive(Clone, Copy, Debug)]
struct Look {
    at_ns: u64,
    offset_ns: i128,
    uncertainty_ns: u64,
}

/// A stamp with its place in the responder's own order.
#[derive(Clone, Copy, Debug)]
struct Reading {
    heard: u64,
    clock_ns: u64,
}

/// A step of the other clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// When it was first seen, on our clock.
    pub at_ns: u64,
    /// How far; positive is forward.
    pub by_ns: i64,
    /// By how much that may be wrong.
    pub uncertainty_ns: u64,
}

/// How much faster the other clock ran than ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// In millionths; positive is faster.
    pub per_million: f64,
    /// By how much that may be wrong.
    pub uncertainty_per_million: f64,
}

impl ClockTrack {
    /// An exchange: our clock at both ends, theirs in between, and the responder's count.
    pub fn look(&mut self, sent_ns: u64, received_ns: u64, clock_ns: u64, heard: u64) {
        self.check_order(Reading { heard, clock_ns });
        let middle_ns = sent_ns + received_ns.saturating_sub(sent_ns) / 2;
        let look = Look {
            at_ns: middle_ns,
            offset_ns: i128::from(clock_ns) - i128::from(middle_ns),
            uncertainty_ns: received_ns.saturating_sub(sent_ns).div_ceil(2),
        };
        if let Some(jump) = self.jump(look) {
            self.jumps.push(jump);
            self.looks.clear();
            self.kept.clear();
            (self.stride, self.count) = (0, 0);
        }
        let sharpest = self.sharpest_ns.get_or_insert(look.uncertainty_ns);
        *sharpest = look.uncertainty_ns.min(*sharpest);
        self.looks.push_back(look);
        if self.looks.len() > REMEMBERED {
            self.looks.pop_front();
        }
        self.keep(look);
    }

    /// A responder's answers have an order of their own, whatever the network does with them.
    fn check_order(&mut self, now: Reading) {
        let Some(last) = self.last else {
            self.last = Some(now);
            return;
        };
        // A count that falls by much is a responder that began anew.
        let is_anew = now.heard + 1000 < last.heard;
        if now.heard > last.heard || is_anew {
            self.backwards += u64::from(!is_anew && now.clock_ns < last.clock_ns);
            self.last = Some(now);
        }
    }

    /// The jump between any look before and this one, by the pair that shows it most sharply.
    fn jump(&self, now: Look) -> Option<Jump> {
        let before = self.looks.iter().min_by_key(|it| may_be_off(it, &now))?;
        let by_ns = now.offset_ns - before.offset_ns;
        let uncertainty_ns = may_be_off(before, &now);
        let is_jump = by_ns.unsigned_abs() > u128::from(uncertainty_ns);
        is_jump.then(|| Jump {
            at_ns: now.at_ns,
            by_ns: i64::try_from(by_ns).unwrap_or(if by_ns < 0 { i64::MIN } else { i64::MAX }),
            uncertainty_ns,
        })
    }

    fn keep(&mut self, look: Look) {
        let stride = self.stride.max(1);
        if self.count.is_multiple_of(stride) {
            self.kept.push(look);
        }
        self.count += 1;
        if self.kept.len() == MOST_LOOKS {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride = stride * 2;
        }
    }

    /// The newest difference, theirs less ours, and how far it may be off.
    pub fn offset(&self) -> Option<(i64, u64)> {
        let newest = self.looks.back()?;
        let sharpest = self.looks.iter().min_by_key(|it| may_be_off(it, newest))?;
        let offset_ns = i64::try_from(sharpest.offset_ns).ok()?;
        Some((offset_ns, may_be_off(sharpest, newest) - newest.uncertainty_ns))
    }

    /// How the clock ran since its last jump: between the sharpest looks of the first and of the last third. `None` before there are enough.
    pub fn drift(&self) -> Option<Drift> {
        let third = self.kept.len() / 3;
        let sharpest = |looks: &[Look]| looks.iter().min_by_key(|it| it.uncertainty_ns).copied();
        let first = sharpest(self.kept.get(..third)?)?;
        let last = sharpest(self.kept.get(self.kept.len() - third..)?)?;
        let span_ns = last.at_ns.checked_sub(first.at_ns).filter(|it| *it > 0)? as f64;
        Some(Drift {
            per_million: (last.offset_ns - first.offset_ns) as f64 / span_ns * 1e6,
            uncertainty_per_million: (first.uncertainty_ns + last.uncertainty_ns) as f64 / span_ns
                * 1e6,
        })
    }

    /// All steps.
    pub fn jumps(&self) -> &[Jump] {
        &self.jumps
    }

    /// How often a stamp was smaller than one that the responder had given before.
    pub fn backwards(&self) -> u64 {
        self.backwards
    }

    /// Half of the fastest round trip: no single difference is known better.
    pub fn sharpest_ns(&self) -> Option<u64> {
        self.sharpest_ns
    }
}

/// How far apart two looks at a clock that never jumped can be.
fn may_be_off(before: &Look, now: &Look) -> u64 {
    let apart_ns = i128::from(now.at_ns.abs_diff(before.at_ns));
    let drift_ns = (apart_ns * MOST_DRIFT_PER_MILLION / 1_000_000) as u64;
    before.uncertainty_ns + now.uncertainty_ns + drift_ns
}

/// Both clocks of a responder.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// Its CLOCK_MONOTONIC.
    pub monotonic: ClockTrack,
    /// Its CLOCK_REALTIME.
    pub realtime: ClockTrack,
}

impl Clocks {
    /// An exchange with a responder that counted.
    pub fn look(&mut self, sent_ns: u64, received_ns: u64, moment: Moment, heard: u64) {
        self.monotonic.look(sent_ns, received_ns, moment.monotonic_ns, heard);
        self.realtime.look(sent_ns, received_ns, moment.realtime_ns, heard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A clock that is read each 10 ms over round trips of 1 to 5 ms; `clock` turns our time into its own.
    fn watched(until_ms: u64, clock: impl Fn(u64) -> u64) -> ClockTrack {
        let mut track = ClockTrack::default();
        for (heard, at_ms) in (0..until_ms).step_by(10).enumerate() {
            let there = MS * (1 + heard as u64 % 3) / 2;
            let back = MS * (1 + heard as u64 * 7 % 5) / 2;
            let sent_ns = 1000 * MS + at_ms * MS;
            let theirs = clock(sent_ns + there);
            track.look(sent_ns, sent_ns + there + back, theirs, heard as u64 + 1);
        }
        track
    }

    #[test]
    fn a_steady_clock_neither_jumps_nor_drifts() {
        let track = watched(60_000, |ours| ours + 5_000 * MS);
        assert_eq!((track.jumps(), track.backwards()), (&[][..], 0));
        let (offset_ns, uncertainty_ns) = track.offset().unwrap();
        assert!(offset_ns.abs_diff(5_000 * MS as i64) <= uncertainty_ns, "{offset_ns}");
        let drift = track.drift().unwrap();
        assert!(drift.per_million.abs() <= drift.uncertainty_per_million, "{drift:?}");
        assert!(drift.uncertainty_per_million < 50.0);
    }

    #[test]
    fn a_clock_that_stood_still_has_jumped_back_by_that_long() {
        let track = watched(10_000, |ours| if ours < 5_000 * MS { ours } else { ours - 300 * MS });
        let [jump] = track.jumps() else { panic!("{:?}", track.jumps()) };
        assert!(jump.by_ns.abs_diff(-300 * MS as i64) <= jump.uncertainty_ns, "{jump:?}");
        assert!(jump.uncertainty_ns < 3 * MS, "{jump:?}");
        assert!((4_990 * MS..5_020 * MS).contains(&jump.at_ns));
        assert_eq!(track.backwards(), 1);
    }

    #[test]
    fn a_clock_that_was_set_forward_went_never_backwards() {
        let track = watched(10_000, |ours| if ours < 5_000 * MS { ours } else { ours + 7 * MS });
        assert_eq!((track.jumps().len(), track.backwards()), (1, 0));
        assert!(track.jumps()[0].by_ns > 0);
    }

    #[test]
    fn drift_is_found_and_is_no_jump() {
        let track = watched(60_000, |ours| ours + ours / 10_000);
        assert_eq!(track.jumps(), []);
        let drift = track.drift().unwrap();
        let off = (drift.per_million - 100.0).abs();
        assert!(off <= drift.uncertainty_per_million, "{drift:?}");
    }

    #[test]
    fn answers_that_overtake_each_other_are_no_clock_that_runs_backwards() {
        let mut track = ClockTrack::default();
        for (heard, clock) in [(1, 100), (3, 300), (2, 200), (4, 400)] {
            track.look(1000, 900_000, clock, heard);
        }
        assert_eq!(track.backwards(), 0);
        track.look(1000, 900_000, 399, 5);
        assert_eq!(track.backwards(), 1);
        assert!(ClockTrack::default().drift().is_none());
    }
}
