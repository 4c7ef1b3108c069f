//! What the migration cost the guest.

use super::Throughput;
use crate::{GuestSample, Resumption, Side};

/// The guest is back when a mean over this time reaches [`BACK_SHARE`] of the baseline.
const BACK_WINDOW_SECONDS: f64 = 1.0;
const BACK_SHARE: f64 = 0.95;

/// A dip at a synchronisation is looked for until this long after its end: writes fault on first
/// touch after it, and samples are not aligned with it.
const DIP_TAIL_SECONDS: f64 = 0.1;

/// Unknown time below this does not make lost work a lower bound; it is rounding.
const NEGLIGIBLE_SECONDS: f64 = 1e-3;

/// Work that the guest did not get done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LostWork {
    /// In seconds of the guest at its baseline.
    pub seconds: f64,
    /// Whether the true loss may be larger: the guest was not seen to come back, or samples are missing.
    pub lower_bound: bool,
}

/// The integral of max(0, 1 - throughput / baseline) from 0 until the guest is back at 95 % of the
/// baseline (a 1 s mean), else until the samples end.
///
/// A return counts from `settled_seconds` on: the moment that the vCPUs ran on the destination or,
/// where there was no switchover, the terminal state. A good second before that is only a pause in
/// the trouble. `None` without a baseline above 0 or without samples after 0.
pub fn lost_work(
    throughput: &Throughput,
    baseline_pages_per_second: Option<f64>,
    settled_seconds: f64,
) -> Option<LostWork> {
    let baseline = usable(baseline_pages_per_second)?;
    let last = throughput.end_seconds().filter(|&end| end > 0.0)?;
    let back = back_at(throughput, baseline, settled_seconds);
    let end = back.unwrap_or(last);
    let (mut lost, mut known) = (0.0, 0.0);
    for segment in throughput.between(0.0, end) {
        let length = segment.end - segment.start;
        lost += length * (1.0 - segment.pages_per_second / baseline).max(0.0);
        known += length;
    }
    Some(LostWork {
        seconds: lost,
        lower_bound: back.is_none() || end - known > NEGLIGIBLE_SECONDS,
    })
}

/// How long after `running_seconds`, the moment that the vCPUs ran on the destination, the guest
/// showed its first write there and was back at 95 % of the baseline.
pub fn resumption(
    samples: &[GuestSample],
    baseline_pages_per_second: Option<f64>,
    running_seconds: f64,
) -> Resumption {
    let first = samples
        .iter()
        .filter(|sample| sample.side == Side::Destination && sample.t_seconds >= running_seconds)
        .filter(|sample| sample.counts_per_worker.iter().any(|&count| count > 0))
        .map(|sample| sample.t_seconds)
        .min_by(f64::total_cmp);
    let back = usable(baseline_pages_per_second)
        .and_then(|baseline| back_at(&Throughput::new(samples), baseline, running_seconds));
    Resumption {
        first_sample_seconds: first.map(|t| t - running_seconds),
        at_95_percent_seconds: back.map(|t| t - running_seconds),
    }
}

/// How far the throughput fell at a synchronisation, in percent of the baseline: 0 not at all, 100
/// to a standstill, negative when it rose. `None` without a baseline above 0 or without samples.
pub fn dip_percent(
    throughput: &Throughput,
    baseline_pages_per_second: Option<f64>,
    sync_started_seconds: f64,
    sync_length_seconds: f64,
) -> Option<f64> {
    let baseline = usable(baseline_pages_per_second)?;
    let end = sync_started_seconds + sync_length_seconds + DIP_TAIL_SECONDS;
    let mean = throughput.mean(sync_started_seconds, end)?;
    Some(100.0 * (1.0 - mean / baseline))
}

/// A baseline that something can be divided by. An idle guest has none: it cannot lose work.
fn usable(baseline: Option<f64>) -> Option<f64> {
    baseline.filter(|pages_per_second| pages_per_second.is_finite() && *pages_per_second > 0.0)
}

/// Beginning of the first fully known window at or after `from` whose mean is back, to the
/// resolution of the samples.
///
/// A window begins with a sample that is itself back. Otherwise a guest that stops for a while and
/// then makes up for it would be back before it moved, and its standstill would be no lost work.
fn back_at(throughput: &Throughput, baseline: f64, from: f64) -> Option<f64> {
    let later = throughput.between(from, f64::INFINITY);
    let mut starts = later
        .filter(|segment| segment.pages_per_second >= BACK_SHARE * baseline)
        .map(|segment| segment.start);
    starts.find(|&start| {
        let (mut pages, mut known) = (0.0, 0.0);
        for segment in throughput.between(start, start + BACK_WINDOW_SECONDS) {
            let length = segment.end - segment.start;
            pages += length * segment.pages_per_second;
            known += length;
        }
        known >= BACK_WINDOW_SECONDS - NEGLIGIBLE_SECONDS && pages / known >= BACK_SHARE * baseline
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::testing::{destination, source};

    /// One sample a second: each number is a count of pages, `from` is the first one's beginning.
    fn seconds(side: Side, from: f64, counts: &[u64]) -> Vec<GuestSample> {
        let make = if side == Side::Source { source } else { destination };
        counts.iter().enumerate().map(|(i, &n)| make(from + (i + 1) as f64, 1.0, n)).collect()
    }

    fn check_lost(
        samples: &[GuestSample],
        baseline: Option<f64>,
        settled: f64,
        expected: Option<(f64, bool)>,
    ) {
        let lost = lost_work(&Throughput::new(samples), baseline, settled);
        let expected = expected.map(|(seconds, lower_bound)| LostWork { seconds, lower_bound });
        assert_eq!(lost, expected, "{samples:?}");
    }

    #[test]
    fn an_unharmed_guest_loses_nothing() {
        let samples =
            [seconds(Side::Source, -2.0, &[100; 4]), seconds(Side::Destination, 2.0, &[100; 2])]
                .concat();
        check_lost(&samples, Some(100.0), 2.0, Some((0.0, false)));
    }

    #[test]
    fn time_spent_on_checking_is_no_lost_work() {
        // Of the first second after the resume a quarter went into checks, and the rest was worked at full speed.
        let mut samples =
            [seconds(Side::Source, -2.0, &[100; 4]), seconds(Side::Destination, 2.0, &[75, 100])]
                .concat();
        check_lost(&samples, Some(100.0), 2.0, Some((0.25, false)));
        samples[4].checking_seconds = Some(0.25);
        check_lost(&samples, Some(100.0), 2.0, Some((0.0, false)));
        let resumption = resumption(&samples, Some(100.0), 2.0);
        assert_eq!(resumption.at_95_percent_seconds, Some(0.0));
    }

    #[test]
    fn half_speed_and_a_standstill_add_up_and_fast_seconds_pay_nothing_back() {
        // 2 s at half speed, 1 s faster than before, 1 s between the sides, then back.
        let samples = [
            seconds(Side::Source, 0.0, &[50, 50, 150]),
            seconds(Side::Destination, 4.0, &[100, 100]),
        ]
        .concat();
        check_lost(&samples, Some(100.0), 4.0, Some((2.0, false)));
    }

    #[test]
    fn the_integral_ends_when_the_guest_is_back() {
        // The slow second at the end comes after the return and is not the migration's fault.
        let samples =
            [seconds(Side::Source, 0.0, &[0]), seconds(Side::Destination, 1.0, &[25, 96, 0])]
                .concat();
        check_lost(&samples, Some(100.0), 1.0, Some((1.75, false)));
    }

    #[test]
    fn a_guest_that_never_comes_back_gives_a_lower_bound() {
        let samples =
            [seconds(Side::Source, 0.0, &[100]), seconds(Side::Destination, 1.0, &[90, 90])]
                .concat();
        let lost = lost_work(&Throughput::new(&samples), Some(100.0), 1.0).unwrap();
        assert!((lost.seconds - 0.2).abs() < 1e-9, "{lost:?}");
        assert!(lost.lower_bound);
    }

    #[test]
    fn a_standstill_after_the_resumption_is_lost_work_also_when_it_is_made_up_for() {
        // 50 ms of standstill in a second whose mean is back; then 0.61 s that a burst makes up for.
        for (still, then) in [(0.05, 1.0), (0.61, 2.6)] {
            let samples = [
                source(1.0, 1.0, 1000),
                destination(1.0 + still, still, 0),
                destination(3.0, 2.0 - still, ((2.0 - still) * 1000.0 * then) as u64),
            ];
            let throughput = Throughput::new(&samples);
            let lost = lost_work(&throughput, Some(1000.0), 1.0).unwrap();
            assert!((lost.seconds - still).abs() < 2e-3, "{still}: {lost:?}");
            let seen = resumption(&samples, Some(1000.0), 1.0);
            let back = seen.at_95_percent_seconds.unwrap();
            assert!((back - still).abs() < 1e-9, "{still}: {seen:?}");
        }
    }

    #[test]
    fn a_good_second_before_the_end_of_the_migration_is_no_return() {
        let samples = seconds(Side::Source, 0.0, &[100, 50, 100]);
        check_lost(&samples, Some(100.0), 2.0, Some((0.5, false)));
    }

    #[test]
    fn missing_samples_make_a_lower_bound() {
        let samples = [source(1.0, 1.0, 50), source(3.0, 1.0, 100), source(4.0, 1.0, 100)];
        check_lost(&samples, Some(100.0), 2.0, Some((0.5, true)));
    }

    #[test]
    fn lost_work_is_unknown_without_baseline_or_samples() {
        check_lost(&[], Some(100.0), 0.0, None);
        check_lost(&seconds(Side::Source, -2.0, &[100, 100]), Some(100.0), 0.0, None);
        check_lost(&seconds(Side::Source, 0.0, &[100]), None, 0.0, None);
        check_lost(&seconds(Side::Source, 0.0, &[100]), Some(0.0), 0.0, None);
        check_lost(&seconds(Side::Source, 0.0, &[100]), Some(f64::NAN), 0.0, None);
    }

    #[test]
    fn resumption_counts_from_the_moment_the_destination_runs() {
        let samples = [
            destination(10.1, 0.1, 0),
            destination(10.2, 0.1, 3),
            destination(11.0, 0.8, 8),
            destination(12.0, 1.0, 100),
        ];
        let seen = resumption(&samples, Some(100.0), 10.0);
        assert!((seen.first_sample_seconds.unwrap() - 0.2).abs() < 1e-9, "{seen:?}");
        assert!((seen.at_95_percent_seconds.unwrap() - 1.0).abs() < 1e-9, "{seen:?}");
    }

    #[test]
    fn resumption_is_unknown_where_it_was_not_seen() {
        let none = Resumption::default();
        assert_eq!(resumption(&[], Some(100.0), 10.0), none);
        assert_eq!(resumption(&[source(11.0, 1.0, 100)], None, 10.0), none);
        // Half a second of good samples is not enough to say that a 1 s mean is back.
        let short = resumption(&[destination(10.5, 0.5, 50)], Some(100.0), 10.0);
        assert_eq!(short.at_95_percent_seconds, None);
        assert_eq!(short.first_sample_seconds, Some(0.5));
    }

    #[test]
    fn a_dip_is_a_share_of_the_baseline() {
        let samples = [source(1.0, 1.0, 100), source(1.5, 0.5, 10), source(2.0, 0.5, 100)];
        let throughput = Throughput::new(&samples);
        let table = [
            (0.0, 0.5, Some(100.0), Some(0.0)),
            (1.0, 0.4, Some(100.0), Some(80.0)),
            (1.6, 0.2, Some(100.0), Some(-100.0)),
            (5.0, 0.1, Some(100.0), None),
            (1.0, 0.4, None, None),
            (1.0, 0.4, Some(0.0), None),
        ];
        for (start, length, baseline, expected) in table {
            let dip = dip_percent(&throughput, baseline, start, length);
            assert_eq!(dip.map(f64::round), expected, "{start} {length} {baseline:?}");
        }
    }
}
