//! Fewer points that look the same.

/// At most about `most` points: of each stretch of equally many points the lowest and the highest, in
/// their order. Points without a value break a line and stay.
pub fn thin(points: Vec<(f64, f64)>, most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most.max(4) {
        return points;
    }
    let stretch = points.len().div_ceil((most / 2).max(2));
    points.chunks(stretch).flat_map(extremes).collect()
}

fn extremes(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let known = || points.iter().filter(|it| it.1.is_finite());
    let mut kept: Vec<(f64, f64)> = known().min_by(by_value).into_iter().copied().collect();
    kept.extend(known().max_by(by_value));
    kept.extend(points.iter().find(|it| !it.1.is_finite()));
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    kept.dedup();
    kept
}

/// At most so many of the rows, evenly chosen, the last among them.
pub fn evenly<T>(rows: &[T], most: usize) -> impl Iterator<Item = &T> {
    let step = rows.len().div_ceil(most.max(1)).max(1);
    let skip = rows.len().saturating_sub(1) % step;
    rows.iter().skip(skip).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_and_breaks_stay() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 5.0)).collect();
        points[1234].1 = 0.0;
        points[7777].1 = 99.0;
        points[5000].1 = f64::NAN;
        let thinned = thin(points, 100);
        assert!(thinned.len() <= 110, "{}", thinned.len());
        assert!(thinned.contains(&(1234.0, 0.0)) && thinned.contains(&(7777.0, 99.0)));
        assert!(thinned.iter().any(|it| it.1.is_nan()));
        assert!(thinned.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_short_series_stays_as_it_is() {
        let points = vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0)];
        assert_eq!(thin(points, 10).len(), 3);
    }

    #[test]
    fn even_rows_end_with_the_last() {
        let rows: Vec<u32> = (0..100).collect();
        let chosen: Vec<u32> = evenly(&rows, 7).copied().collect();
        assert_eq!(chosen.len(), 7);
        assert_eq!(chosen.last(), Some(&99));
        assert_eq!(evenly::<u32>(&[], 7).count(), 0);
    }
}
