//! Bandwidth over time, from the counter of bytes sent.

use crate::Poll;

/// Length of the windows over which the least and the greatest bandwidth are taken: that of the
/// token budget and the bandwidth estimate in QEMU, and two polls at 20 Hz.
pub const BANDWIDTH_WINDOW_SECONDS: f64 = 0.1;

/// Bandwidth in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// Slowest window; `None` when the transfer was shorter than one.
    pub min: Option<f64>,
    /// Bytes over the whole time.
    pub mean: f64,
    /// Fastest window; `None` when the transfer was shorter than one.
    pub max: Option<f64>,
}

/// Bandwidth between two moments, from the polls' `transferred_bytes`.
///
/// The windows lie end to end from `from_seconds`; a shorter rest belongs to the last of them, so that
/// the mean lies between the slowest and the fastest.
///
/// `from_seconds` is the beginning of the transfer and `to_seconds` its end: before the one the counter
/// is what the last poll before it says, or at 0, and from the other on at what the first poll at
/// or after it says. In between it is taken to grow evenly from poll to poll. Time after the last poll
/// that knows the counter is not looked at. `None` when no poll that knows it lies after the beginning.
pub fn bandwidth(polls: &[Poll], from_seconds: f64, to_seconds: f64) -> Option<Bandwidth> {
    let counter = Counter::new(polls, from_seconds, to_seconds);
    let (from, to) = counter.span()?;
    if to <= from {
        return None;
    }
    let rate = |start: f64, end: f64| (counter.at(end) - counter.at(start)) / (end - start);
    // A hair more than exact, so that 0.3 s are three windows of 0.1 s in binary too.
    let windows = ((to - from) / BANDWIDTH_WINDOW_SECONDS + 1e-9).floor() as usize;
    let edge = |i: usize| from + i as f64 * BANDWIDTH_WINDOW_SECONDS;
    let end = |i: usize| if i + 1 == windows { to } else { edge(i + 1) };
    let rates = || (0..windows).map(|i| rate(edge(i), end(i)));
    Some(Bandwidth {
        min: rates().min_by(f64::total_cmp),
        mean: rate(from, to),
        max: rates().max_by(f64::total_cmp),
    })
}

/// Bytes sent as a function of time, linear between polls.
struct Counter {
    /// Time and bytes, with rising times.
    points: Vec<(f64, f64)>,
}

impl Counter {
    fn new(polls: &[Poll], from_seconds: f64, to_seconds: f64) -> Counter {
        let mut points: Vec<(f64, f64)> = polls
            .iter()
            .filter_map(|poll| Some((poll.t_seconds, poll.transferred_bytes? as f64)))
            .filter(|(t, _)| t.is_finite())
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0);
        let before = points.iter().rfind(|it| it.0 <= from_seconds).map_or(0.0, |it| it.1);
        // Nothing is sent after the end, so a later poll says what was sent by then; to draw a line to that poll would
        // take away a part of what it counts.
        let end = points.iter().find(|it| it.0 >= to_seconds).map(|it| (to_seconds, it.1));
        points.retain(|it| it.0 > from_seconds && it.0 < to_seconds);
        points.extend(end);
        if !points.is_empty() {
            points.insert(0, (from_seconds, before));
        }
        Counter { points }
    }

    fn span(&self) -> Option<(f64, f64)> {
        Some((self.points.first()?.0, self.points.last()?.0))
    }

    /// Only called within the span; outside it would go on with the nearest known value.
    fn at(&self, t: f64) -> f64 {
        let next = self.points.partition_point(|point| point.0 < t);
        match (next.checked_sub(1).map(|i| self.points[i]), self.points.get(next)) {
            (Some((t0, b0)), Some(&(t1, b1))) => b0 + (b1 - b0) * (t - t0) / (t1 - t0),
            (Some((_, bytes)), None) | (None, Some(&(_, bytes))) => bytes,
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::testing::poll;

    fn polls(points: &[(f64, u64)]) -> Vec<Poll> {
        points
            .iter()
            .map(|&(t, bytes)| Poll { transferred_bytes: Some(bytes), ..poll(t) })
            .collect()
    }

    /// Compares in whole bytes per second; the windows' edges are not exact in binary.
    fn check(
        points: &[(f64, u64)],
        from: f64,
        to: f64,
        expected: Option<(Option<f64>, f64, Option<f64>)>,
    ) {
        let seen = bandwidth(&polls(points), from, to)
            .map(|b| (b.min.map(f64::round), b.mean.round(), b.max.map(f64::round)));
        assert_eq!(seen, expected, "{points:?}");
    }

    #[test]
    fn windows_lie_end_to_end_and_the_last_takes_the_rest() {
        let points = [(0.0, 0), (0.1, 100), (0.2, 400), (0.3, 400), (0.35, 900)];
        check(&points, 0.0, 0.3, Some((Some(0.0), 1333.0, Some(3000.0))));
        check(&points, 0.0, 0.35, Some((Some(1000.0), 2571.0, Some(3333.0))));
    }

    #[test]
    fn the_counter_grows_evenly_between_polls() {
        check(&[(0.0, 0), (1.0, 1000)], 0.0, 1.0, Some((Some(1000.0), 1000.0, Some(1000.0))));
    }

    #[test]
    fn a_transfer_shorter_than_a_window_has_only_a_mean() {
        check(&[(0.0, 0), (0.05, 100)], 0.0, 0.05, Some((None, 2000.0, None)));
    }

    #[test]
    fn time_after_the_last_poll_is_not_looked_at() {
        check(&[(0.1, 100), (0.2, 200)], 0.0, 5.0, Some((Some(1000.0), 1000.0, Some(1000.0))));
    }

    #[test]
    fn a_poll_after_the_end_counts_for_the_end() {
        // All 1000 bytes were sent by 0.25 s; the next poll was late.
        let points = [(0.0, 0), (0.1, 400), (0.2, 800), (0.4, 1000)];
        check(&points, 0.0, 0.25, Some((Some(4000.0), 4000.0, Some(4000.0))));
        check(&[(0.0, 0), (9.0, 1000)], 0.0, 0.5, Some((Some(2000.0), 2000.0, Some(2000.0))));
    }

    #[test]
    fn before_the_beginning_nothing_was_sent() {
        // The first poll that counted came when all was over.
        check(&[(0.5, 1000), (0.6, 1000)], 0.1, 0.5, Some((Some(2500.0), 2500.0, Some(2500.0))));
        // What was said on the connection before the first pass is no transfer.
        let points = [(0.0, 50), (0.2, 1050)];
        check(&points, 0.1, 0.2, Some((Some(10_000.0), 10_000.0, Some(10_000.0))));
    }

    #[test]
    fn without_two_moments_there_is_no_bandwidth() {
        check(&[], 0.0, 1.0, None);
        check(&[(0.0, 100)], 0.0, 1.0, None);
        check(&[(0.0, 0), (1.0, 100)], 2.0, 3.0, None);
        check(&[(0.0, 0), (1.0, 100)], 1.0, 1.0, None);
        assert_eq!(bandwidth(&[poll(0.0), poll(1.0)], 0.0, 1.0), None);
    }
}
