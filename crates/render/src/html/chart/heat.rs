//! Histograms of single intervals beside each other: a map of how long writes took, over time.

use sterna_report::{GuestSample, LatencyHistogram, Report};

use crate::html::{Detail, figure::Heat};

const MICROSECOND: f64 = 1000.0;
/// A cell of the map needs less room in a page than a point of a chart.
const CELLS_PER_POINT: usize = 4;
/// A screen has no room for more.
const MOST_COLUMNS: usize = 700;

/// The map of a report whose samples carry histograms; `None` without one.
///
/// Neighbours are put together where there would be too many columns, and no sample covers a time in which
/// the guest stood.
pub fn heat(report: &Report, detail: Detail) -> Option<Heat> {
    let samples: Vec<(&GuestSample, &LatencyHistogram)> =
        report.guest.iter().filter_map(|it| Some((it, it.latency_histogram.as_ref()?))).collect();
    let rows = rows(samples.iter().map(|it| it.1))?;
    let most = (detail.points_per_chart * CELLS_PER_POINT / rows.len()).clamp(20, MOST_COLUMNS);
    let mut heat = Heat { across: Vec::new(), up: bounds(&rows), shares: Vec::new() };
    for together in samples.chunks(samples.len().div_ceil(most).max(1)) {
        let Some(((first, _), (last, _))) = together.first().zip(together.last()) else { continue };
        let (begin, end) = (first.t_seconds - first.interval_seconds, last.t_seconds);
        if !begin.is_finite() || heat.across.last().is_some_and(|it| end <= *it) {
            continue;
        }
        match heat.across.last().copied() {
            None => heat.across.push(begin),
            // A column without anything, as wide as the time that no sample covers.
            Some(covered) if begin > covered + 1e-6 => {
                heat.across.push(begin);
                heat.shares.push(vec![None; rows.len()]);
            }
            Some(_) => {}
        }
        heat.across.push(end);
        heat.shares.push(column(together.iter().map(|it| it.1), &rows));
    }
    (!heat.shares.is_empty()).then_some(heat)
}

/// All cells between the shortest and the longest time, by where they begin.
fn rows<'a>(histograms: impl Iterator<Item = &'a LatencyHistogram>) -> Option<Vec<u64>> {
    let used = histograms.flat_map(LatencyHistogram::cells).filter(|it| it.2 > 0);
    let (least, most) = used.fold((u64::MAX, 0), |(a, b), it| (a.min(it.0), b.max(it.0)));
    if least > most {
        return None;
    }
    let next = |from: &u64| Some(LatencyHistogram::end_of(*from)).filter(|end| end > from);
    Some(std::iter::successors(Some(least), next).take_while(|it| *it <= most).collect())
}

/// Where rows begin, and where the last ends, in microseconds. The axis is logarithmic and has no zero.
fn bounds(rows: &[u64]) -> Vec<f64> {
    let end = rows.last().map(|it| LatencyHistogram::end_of(*it));
    let all = rows.iter().copied().chain(end);
    all.map(|it| (it as f64).max(0.5) / MICROSECOND).collect()
}

/// The share of the writes in each row.
fn column<'a>(
    histograms: impl Iterator<Item = &'a LatencyHistogram>,
    rows: &[u64],
) -> Vec<Option<f64>> {
    let mut counts = vec![0_u64; rows.len()];
    for (from, _, writes) in histograms.flat_map(LatencyHistogram::cells) {
        if let Ok(row) = rows.binary_search(&from) {
            counts[row] = counts[row].saturating_add(writes);
        }
    }
    let all: f64 = counts.iter().map(|it| *it as f64).sum();
    counts.into_iter().map(|it| (it > 0).then(|| it as f64 / all)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_report::{Engine, Host, Side, Tool};

    fn sample(t_seconds: f64, cells: &[(u64, u64)]) -> GuestSample {
        GuestSample {
            t_seconds,
            side: Side::Source,
            interval_seconds: 0.1,
            counts_per_worker: vec![1],
            writes_per_second: 10.0,
            checking_seconds: None,
            latency: None,
            latency_histogram: LatencyHistogram::of(cells),
        }
    }

    fn report(guest: Vec<GuestSample>) -> Report {
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        Report { guest, ..Report::new(tool, host, engine, String::new(), serde_json::Map::new()) }
    }

    const DETAIL: Detail = Detail { points_per_chart: 100, table_rows: 4 };

    #[test]
    fn a_standstill_is_a_column_without_anything() {
        let guest = vec![
            sample(0.1, &[(32, 3), (64, 1)]),
            sample(0.2, &[(32, 1)]),
            sample(1.0, &[(64, 1)]),
        ];
        let heat = heat(&report(guest), DETAIL).unwrap();
        let across: Vec<i64> = heat.across.iter().map(|it| (it * 10.0).round() as i64).collect();
        assert_eq!(across, [0, 1, 2, 9, 10]);
        assert_eq!(heat.up, [0.032, 0.048, 0.064, 0.096]);
        assert_eq!(heat.shares[0], [Some(0.75), None, Some(0.25)]);
        assert_eq!(heat.shares[2], [None; 3]);
        assert_eq!(heat.shares[3], [None, None, Some(1.0)]);
    }

    #[test]
    fn many_samples_are_put_together_and_none_is_lost() {
        let guest: Vec<GuestSample> =
            (1..=1000).map(|it| sample(0.1 * f64::from(it), &[(32, 1), (1 << 20, 1)])).collect();
        let heat = heat(&report(guest), DETAIL).unwrap();
        assert!(heat.shares.len() <= 20, "{}", heat.shares.len());
        assert!(heat.shares.iter().all(|it| it[0] == Some(0.5) && it.last() == Some(&Some(0.5))));
        assert!((heat.across.last().unwrap() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn samples_without_histograms_have_no_map_and_odd_ones_do_no_harm() {
        assert!(heat(&report(vec![sample(0.1, &[])]), DETAIL).is_none());
        let odd = [(5, 1), (u64::MAX, 7), (0, 0), (3, 2)];
        let heat = heat(&report(vec![sample(0.1, &odd), sample(0.05, &odd)]), DETAIL).unwrap();
        assert_eq!(heat.shares.len() + 1, heat.across.len());
        assert_eq!(heat.shares[0].len() + 1, heat.up.len());
    }
}
