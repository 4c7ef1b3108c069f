//! The longest time in which nothing in the guest made progress.

/// A stretch in which one worker had work to do and made no progress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// When progress stopped, in seconds on the pilot's clock.
    pub start_seconds: f64,
    /// From there to the next progress, in seconds.
    pub length_seconds: f64,
}

impl Gap {
    /// When progress went on, in seconds on the pilot's clock.
    pub fn end_seconds(self) -> f64 {
        self.start_seconds + self.length_seconds
    }
}

/// The stretches in which every worker was in a gap, in order of time; the longest is the blackout.
///
/// One worker that goes on means that the guest is not black: a single descheduled thread is no blackout.
/// Nothing is found where no gap is common to all, that is, when the blackout was shorter than what the logs record.
///
/// The logs need not be sorted, and gaps of one worker may touch or overlap: they are one gap then.
/// Empty without workers.
pub fn common_gaps(gaps_per_worker: &[Vec<Gap>]) -> Vec<Gap> {
    let mut logs = gaps_per_worker.iter().map(|gaps| merged(gaps));
    let Some(first) = logs.next() else { return Vec::new() };
    logs.fold(first, |common, log| intersection(&common, &log))
}

/// The gaps in order of time, with those that touch or overlap made one.
fn merged(gaps: &[Gap]) -> Vec<Gap> {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(|a, b| a.start_seconds.total_cmp(&b.start_seconds));
    let mut merged: Vec<Gap> = Vec::with_capacity(sorted.len());
    for gap in sorted {
        match merged.last_mut().filter(|last| gap.start_seconds <= last.end_seconds()) {
            Some(last) => {
                let end = last.end_seconds().max(gap.end_seconds());
                last.length_seconds = end - last.start_seconds;
            }
            None => merged.push(gap),
        }
    }
    merged
}

fn intersection(a: &[Gap], b: &[Gap]) -> Vec<Gap> {
    let (mut i, mut j) = (0, 0);
    let mut common = Vec::new();
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        let start_seconds = left.start_seconds.max(right.start_seconds);
        let end = left.end_seconds().min(right.end_seconds());
        if end > start_seconds {
            common.push(Gap { start_seconds, length_seconds: end - start_seconds });
        }
        if left.end_seconds() < right.end_seconds() { i += 1 } else { j += 1 }
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gaps(pairs: &[(f64, f64)]) -> Vec<Gap> {
        pairs
            .iter()
            .map(|&(start, end)| Gap { start_seconds: start, length_seconds: end - start })
            .collect()
    }

    /// `None` without workers.
    fn blackout_seconds(logs: &[Vec<Gap>]) -> Option<f64> {
        let lengths = common_gaps(logs).into_iter().map(|gap| gap.length_seconds);
        (!logs.is_empty()).then(|| lengths.fold(0.0, f64::max))
    }

    #[test]
    fn the_blackout_is_the_longest_gap_that_all_workers_share() {
        let table: [(&[Vec<Gap>], Option<f64>); 7] = [
            (&[], None),
            (&[gaps(&[])], Some(0.0)),
            (&[gaps(&[(1.0, 2.0), (5.0, 8.0)])], Some(3.0)),
            (&[gaps(&[(1.0, 4.0)]), gaps(&[(2.0, 9.0)])], Some(2.0)),
            (&[gaps(&[(1.0, 2.0)]), gaps(&[(2.0, 3.0)])], Some(0.0)),
            (&[gaps(&[(0.0, 9.0)]), gaps(&[])], Some(0.0)),
            (
                &[
                    gaps(&[(4.0, 8.0), (0.0, 1.0)]),
                    gaps(&[(0.5, 6.0)]),
                    gaps(&[(0.0, 5.5), (5.75, 9.0)]),
                ],
                Some(1.5),
            ),
        ];
        for (logs, expected) in table {
            assert_eq!(blackout_seconds(logs), expected, "{logs:?}");
        }
    }

    #[test]
    fn gaps_of_one_worker_that_touch_or_overlap_are_one() {
        let common =
            common_gaps(&[gaps(&[(3.0, 4.0), (1.0, 2.0), (2.0, 3.5), (1.25, 1.5), (6.0, 7.0)])]);
        assert_eq!(common, gaps(&[(1.0, 4.0), (6.0, 7.0)]));
    }

    #[test]
    fn one_long_gap_can_cover_several_short_ones() {
        let common =
            common_gaps(&[gaps(&[(0.0, 10.0)]), gaps(&[(1.0, 2.0), (3.0, 5.0), (9.0, 11.0)])]);
        assert_eq!(common, gaps(&[(1.0, 2.0), (3.0, 5.0), (9.0, 10.0)]));
    }

    proptest! {
        #[test]
        fn it_agrees_with_looking_at_each_tick(
            logs in prop::collection::vec(prop::collection::vec(any::<bool>(), 40), 1..4),
        ) {
            // Each worker is a row of ticks, true where it is in a gap.
            let as_gaps: Vec<Vec<Gap>> = logs.iter().map(|row| runs_of_true(row)).collect();
            let all: Vec<bool> = (0..40).map(|tick| logs.iter().all(|row| row[tick])).collect();
            let expected = runs_of_true(&all).iter().map(|gap| gap.length_seconds).fold(0.0, f64::max);
            prop_assert_eq!(blackout_seconds(&as_gaps), Some(expected));
        }
    }

    fn runs_of_true(row: &[bool]) -> Vec<Gap> {
        let mut runs: Vec<Gap> = Vec::new();
        for (tick, _) in row.iter().enumerate().filter(|(_, dark)| **dark) {
            match runs.last_mut().filter(|run| run.end_seconds() == tick as f64) {
                Some(run) => run.length_seconds += 1.0,
                None => runs.push(Gap { start_seconds: tick as f64, length_seconds: 1.0 }),
            }
        }
        runs
    }
}
