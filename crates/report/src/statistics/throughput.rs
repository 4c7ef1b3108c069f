//! The guest's throughput as a function of time.

use crate::{GuestSample, Side};

/// Gaps between two samples up to this length come from mapping one clock to another, not from a
/// missing sample; the sample before is taken to last that much longer.
const BRIDGED_GAP_SECONDS: f64 = 0.005;

/// Mean page writes per second during warm-up: samples that ended at or before 0.
///
/// A sample that straddles 0 is left out, because the tracker may have been on in a part of it.
/// `None` without such samples.
pub fn baseline(samples: &[GuestSample]) -> Option<f64> {
    let warmup = samples.iter().filter(|sample| sample.t_seconds <= 0.0 && is_usable(sample));
    let (pages, seconds) = warmup.fold((0, 0.0), |(pages, seconds), sample| {
        (pages + pages_of(sample), seconds + working_seconds(sample))
    });
    (seconds > 0.0).then(|| pages as f64 / seconds)
}

/// The guest's page writes per second as a step function of time.
///
/// Samples cover time unevenly, and what an uncovered stretch means depends on where it is:
///
/// * Between the last sample of the source and the first of the destination the guest stood still.
///   Nobody could sample it there, and its throughput was truly 0.
/// * Anywhere else a sample is missing. The guest probably ran, but nobody knows how fast, so the
///   stretch is unknown: a mean leaves it out, and lost work becomes a lower bound.
///
/// Where samples of both sides overlap (a stopped source that still reports zeros), they add up,
/// since a worker runs on one side at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throughput {
    /// In order of time, without overlap.
    segments: Vec<Segment>,
}

/// A stretch of time with one known throughput.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) pages_per_second: f64,
}

impl Throughput {
    /// The throughput that the samples show; samples without length are left out.
    pub fn new(samples: &[GuestSample]) -> Throughput {
        let source = segments_of(samples, Side::Source);
        let destination = segments_of(samples, Side::Destination);
        let standstill = source.last().zip(destination.first()).and_then(|(last, first)| {
            (first.start > last.end).then_some(Segment {
                start: last.end,
                end: first.start,
                pages_per_second: 0.0,
            })
        });
        Throughput { segments: add_up(&[source, destination, standstill.into_iter().collect()]) }
    }

    /// Mean page writes per second over the known part of the time between `from_seconds` and
    /// `to_seconds`. `None` when no part of it is known.
    pub fn mean(&self, from_seconds: f64, to_seconds: f64) -> Option<f64> {
        let (mut pages, mut seconds) = (0.0, 0.0);
        for segment in self.between(from_seconds, to_seconds) {
            let length = segment.end - segment.start;
            pages += length * segment.pages_per_second;
            seconds += length;
        }
        (seconds > 0.0).then(|| pages / seconds)
    }

    /// End of the last sample; `None` without samples.
    pub fn end_seconds(&self) -> Option<f64> {
        self.segments.last().map(|segment| segment.end)
    }

    /// The known segments, cut to the time between `from` and `to`.
    pub(super) fn between(&self, from: f64, to: f64) -> impl Iterator<Item = Segment> + '_ {
        let first = self.segments.partition_point(|segment| segment.end <= from);
        self.segments[first..].iter().take_while(move |segment| segment.start < to).map(
            move |segment| Segment {
                start: segment.start.max(from),
                end: segment.end.min(to),
                ..*segment
            },
        )
    }
}

fn is_usable(sample: &GuestSample) -> bool {
    sample.interval_seconds.is_finite()
        && sample.interval_seconds > 0.0
        && sample.t_seconds.is_finite()
        && working_seconds(sample) > 0.0
}

/// The interval without what workers spent on checking, which is work for the measurement and not for the guest.
fn working_seconds(sample: &GuestSample) -> f64 {
    sample.interval_seconds - sample.checking_seconds.unwrap_or(0.0)
}

fn pages_of(sample: &GuestSample) -> u64 {
    sample.counts_per_worker.iter().sum()
}

/// The samples of one side as segments in order of time, small gaps bridged.
fn segments_of(samples: &[GuestSample], side: Side) -> Vec<Segment> {
    let of_this_side = samples.iter().filter(|sample| sample.side == side && is_usable(sample));
    let mut segments: Vec<Segment> = of_this_side
        .map(|sample| Segment {
            start: sample.t_seconds - sample.interval_seconds,
            end: sample.t_seconds,
            pages_per_second: pages_of(sample) as f64 / working_seconds(sample),
        })
        .collect();
    segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    for i in 1..segments.len() {
        let next_start = segments[i].start;
        let overlaps = segments[i - 1].end > next_start;
        let nearly_touches = next_start - segments[i - 1].end <= BRIDGED_GAP_SECONDS;
        if overlaps || nearly_touches {
            segments[i - 1].end = next_start;
        }
    }
    segments
}

/// Cuts time wherever a segment of any track begins or ends, and adds the tracks up.
fn add_up(tracks: &[Vec<Segment>]) -> Vec<Segment> {
    let all = tracks.iter().flatten();
    let mut cuts: Vec<f64> = all.flat_map(|segment| [segment.start, segment.end]).collect();
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    let mut cursors = vec![0; tracks.len()];
    let mut sums = Vec::with_capacity(cuts.len());
    for cut in cuts.windows(2) {
        let (start, end) = (cut[0], cut[1]);
        let mut sum = None;
        for (track, cursor) in tracks.iter().zip(&mut cursors) {
            while track.get(*cursor).is_some_and(|segment| segment.end <= start) {
                *cursor += 1;
            }
            if let Some(segment) = track.get(*cursor).filter(|segment| segment.start <= start) {
                *sum.get_or_insert(0.0) += segment.pages_per_second;
            }
        }
        sums.extend(sum.map(|pages_per_second| Segment { start, end, pages_per_second }));
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::testing::{destination, sample, source};

    #[test]
    fn the_baseline_takes_only_whole_samples_of_the_warmup() {
        let table: [(&[GuestSample], Option<f64>); 5] = [
            (&[], None),
            (&[source(0.5, 0.5, 100)], None),
            (&[source(0.05, 0.1, 100)], None),
            (&[source(-0.1, 0.1, 100), source(0.0, 0.1, 300), source(0.1, 0.1, 9)], Some(2000.0)),
            (&[source(-1.0, 0.0, 100)], None),
        ];
        for (samples, expected) in table {
            assert_eq!(baseline(samples), expected, "{samples:?}");
        }
    }

    #[test]
    fn the_baseline_of_an_idle_guest_is_a_measured_zero() {
        assert_eq!(baseline(&[source(-1.0, 1.0, 0)]), Some(0.0));
    }

    #[test]
    fn a_mean_weighs_by_time_and_adds_up_the_workers() {
        let samples = [sample(Side::Source, 1.0, 1.0, &[50, 50]), source(4.0, 3.0, 900)];
        let throughput = Throughput::new(&samples);
        let table = [
            (0.0, 1.0, Some(100.0)),
            (0.5, 2.0, Some(350.0 / 1.5)),
            (0.0, 4.0, Some(250.0)),
            (3.5, 9.0, Some(300.0)),
            (4.0, 9.0, None),
            (2.0, 2.0, None),
            (3.0, 2.0, None),
        ];
        for (from, to, expected) in table {
            assert_eq!(throughput.mean(from, to), expected, "{from} to {to}");
        }
        assert_eq!(throughput.end_seconds(), Some(4.0));
    }

    #[test]
    fn between_the_sides_the_guest_stands_still_but_elsewhere_a_gap_is_unknown() {
        let switched = Throughput::new(&[source(1.0, 1.0, 100), destination(4.0, 1.0, 100)]);
        assert_eq!(switched.mean(0.0, 4.0), Some(50.0));
        let missing = Throughput::new(&[source(1.0, 1.0, 100), source(4.0, 1.0, 100)]);
        assert_eq!(missing.mean(0.0, 4.0), Some(100.0));
        assert_eq!(missing.mean(1.0, 3.0), None);
    }

    #[test]
    fn a_stopped_source_that_still_reports_does_not_hide_the_destination() {
        let samples = [
            source(1.0, 1.0, 100),
            source(2.0, 1.0, 0),
            source(3.0, 1.0, 0),
            destination(3.0, 1.5, 150),
        ];
        let throughput = Throughput::new(&samples);
        assert_eq!(throughput.mean(1.0, 1.5), Some(0.0));
        assert_eq!(throughput.mean(1.5, 3.0), Some(100.0));
    }

    #[test]
    fn gaps_of_clock_mapping_are_bridged() {
        let throughput = Throughput::new(&[source(1.0, 1.0, 100), source(2.0, 0.998, 100)]);
        let known: f64 = throughput.between(0.0, 2.0).map(|s| s.end - s.start).sum();
        assert!((known - 2.0).abs() < 1e-9, "{known}");
    }

    #[test]
    fn nothing_is_known_without_samples() {
        let throughput = Throughput::new(&[]);
        assert_eq!(throughput.mean(0.0, 1.0), None);
        assert_eq!(throughput.end_seconds(), None);
    }

    proptest! {
        #[test]
        fn no_page_is_lost_or_invented(counts in prop::collection::vec(0..1000u64, 1..60)) {
            let samples: Vec<GuestSample> =
                counts.iter().enumerate().map(|(i, &n)| source((i + 1) as f64 / 10.0, 0.1, n)).collect();
            let throughput = Throughput::new(&samples);
            let end = throughput.end_seconds().unwrap();
            let pages = throughput.mean(0.0, end).unwrap() * end;
            let expected = counts.iter().sum::<u64>() as f64;
            prop_assert!((pages - expected).abs() <= 1e-6 * expected.max(1.0), "{pages} {expected}");
        }
    }
}
