//! The guest's throughput, from the time that each of its threads took for each GiB.

use std::collections::BTreeMap;

use super::shape::Timing;
use crate::{GuestSample, Side};

/// Pages in the GiB of which a line tells.
const PAGES: f64 = 262_144.0;

/// Length of the samples that are made.
const STEP_SECONDS: f64 = 1.0;

/// More than this is no run of guestperf, but a clock that jumped.
const MOST_SAMPLES: f64 = 100_000.0;

/// Holes between two lines of a thread up to this length are rounding.
const ROUNDING_SECONDS: f64 = 0.1;

/// Work and known time of one worker within one sample.
#[derive(Clone, Copy, Default)]
struct Cell {
    pages: f64,
    seconds: f64,
}

/// Samples of a second each, in which every worker is known for the whole second.
///
/// The lines of different threads end at different times, and samples of one side must not overlap:
/// so each GiB is spread evenly over the time that it took.
pub(super) fn samples(
    timings: &[Timing],
    began: f64,
    switched: Option<f64>,
) -> Result<Vec<GuestSample>, String> {
    let usable = |it: &&Timing| it.timestamp.is_finite() && it.value.is_finite() && it.value > 0.0;
    let mut by_worker: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
    for timing in timings.iter().filter(usable) {
        let end = timing.timestamp - began;
        by_worker.entry(timing.tid).or_default().push((end - timing.value / 1e3, end));
    }
    let ends = || by_worker.values().flatten();
    let first = ends().map(|it| it.0).fold(f64::INFINITY, f64::min).floor();
    let last = ends().map(|it| it.1).fold(f64::NEG_INFINITY, f64::max).ceil();
    if by_worker.is_empty() {
        return Ok(Vec::new());
    }
    if last - first > MOST_SAMPLES {
        return Err(format!(
            "The guest's timings span {:.0} s and were left out: its clock seems to have jumped",
            last - first
        ));
    }
    let count = ((last - first) / STEP_SECONDS) as usize;
    let cells: Vec<Vec<Cell>> =
        by_worker.into_values().map(|lines| spread(lines, first, count)).collect();
    let is_known = |row: &usize| cells.iter().all(|it| it[*row].seconds > 0.999 * STEP_SECONDS);
    let mut carries = vec![0.0; cells.len()];
    let sample = |row: usize| {
        let counts_per_worker: Vec<u64> = cells
            .iter()
            .zip(&mut carries)
            .map(|(cells, carry)| whole(cells[row].pages, carry))
            .collect();
        let t_seconds = first + (row + 1) as f64 * STEP_SECONDS;
        let is_over = switched.is_some_and(|it| t_seconds - STEP_SECONDS >= it);
        GuestSample {
            t_seconds,
            side: if is_over { Side::Destination } else { Side::Source },
            interval_seconds: STEP_SECONDS,
            writes_per_second: counts_per_worker.iter().sum::<u64>() as f64 / STEP_SECONDS,
            counts_per_worker,
            checking_seconds: None,
            latency: None,
            latency_histogram: None,
        }
    };
    Ok((0..count).filter(is_known).map(sample).collect())
}

/// Whole pages, the rest of which is kept for the next time.
fn whole(pages: f64, carry: &mut f64) -> u64 {
    let pages = pages + *carry;
    *carry = pages.fract();
    pages as u64
}

fn spread(mut lines: Vec<(f64, f64)>, first: f64, count: usize) -> Vec<Cell> {
    lines.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut cells = vec![Cell::default(); count];
    let mut done = f64::NEG_INFINITY;
    for (start, end) in lines {
        // A thread does one thing after the other.
        let is_near = start - done < ROUNDING_SECONDS;
        let start = if is_near { done } else { start };
        if end <= start {
            continue;
        }
        let per_second = PAGES / (end - start);
        let mut row = ((start - first) / STEP_SECONDS).floor().max(0.0) as usize;
        while row < count {
            let from = (first + row as f64 * STEP_SECONDS).max(start);
            let to = (first + (row + 1) as f64 * STEP_SECONDS).min(end);
            if from >= end {
                break;
            }
            let seconds = (to - from).max(0.0);
            cells[row].seconds += seconds;
            cells[row].pages += seconds * per_second;
            row += 1;
        }
        done = end;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tid: i64, timestamp: f64, value: f64) -> Timing {
        Timing { tid, timestamp, value }
    }

    #[test]
    fn each_gibibyte_is_spread_over_the_time_that_it_took() {
        // Two seconds for each GiB, then four.
        let timings = [line(1, 102.0, 2000.0), line(1, 104.0, 2000.0), line(1, 108.0, 4000.0)];
        let samples = samples(&timings, 102.0, Some(2.0)).unwrap();
        let seen: Vec<(f64, u64)> =
            samples.iter().map(|it| (it.t_seconds, it.counts_per_worker[0])).collect();
        let (fast, slow) = (131_072, 65_536);
        let expected = [
            (-1.0, fast),
            (0.0, fast),
            (1.0, fast),
            (2.0, fast),
            (3.0, slow),
            (4.0, slow),
            (5.0, slow),
            (6.0, slow),
        ];
        assert_eq!(seen, expected);
        let sides: Vec<Side> = samples.iter().map(|it| it.side).collect();
        assert_eq!(sides[3..5], [Side::Source, Side::Destination]);
    }

    #[test]
    fn a_second_in_which_a_worker_is_unknown_is_left_out() {
        let timings = [line(1, 4.0, 4000.0), line(2, 3.0, 2000.0)];
        let samples = samples(&timings, 0.0, None).unwrap();
        let seen: Vec<f64> = samples.iter().map(|it| it.t_seconds).collect();
        assert_eq!(seen, [2.0, 3.0]);
        assert_eq!(samples[0].counts_per_worker, [65_536, 131_072]);
    }

    #[test]
    fn a_clock_that_jumped_is_said_and_not_filled() {
        let jump = [line(1, 0.0, 100.0), line(1, 1e12, 100.0)];
        assert!(samples(&jump, 0.0, None).unwrap_err().contains("jumped"));
        assert_eq!(samples(&[line(1, f64::NAN, 1.0), line(1, 5.0, 0.0)], 0.0, None), Ok(vec![]));
    }
}
