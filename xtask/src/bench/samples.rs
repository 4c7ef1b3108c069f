//! Numbers of one kind, and what can be said of them without a model: the middle and the spread.

use sterna_report::statistics::median;

/// Values measured again and again.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The ratio of each value to the one measured beside it; what slowed both down drops out.
    pub fn ratios(&self, to: &Samples) -> Samples {
        self.0.iter().zip(&to.0).map(|(ours, theirs)| ours / theirs).collect()
    }

    /// The differences to others, pair by pair.
    pub fn minus(&self, others: &Samples) -> Samples {
        Samples(self.0.iter().zip(&others.0).map(|(ours, theirs)| ours - theirs).collect())
    }

    /// The same in another unit.
    pub fn scaled(&self, by: f64) -> Samples {
        self.0.iter().map(|it| it * by).collect()
    }

    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value of one measurement.
    pub fn get(&self, number: usize) -> Option<f64> {
        self.0.get(number).copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// NaN without values, so that it is seen in print and meets no target.
    pub fn median(&self) -> f64 {
        median(&self.0).unwrap_or(f64::NAN)
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// Median absolute deviation, as a share of the median: half of all values lie within so much
    /// of it. A single wild value does not move it.
    pub fn relative_mad(&self) -> f64 {
        let middle = self.median();
        let distances: Vec<f64> = self.0.iter().map(|it| (it - middle).abs()).collect();
        median(&distances).unwrap_or(f64::NAN) / middle
    }

    /// The cells of a table: median, minimum, maximum and deviation.
    pub fn cells(&self, decimals: usize) -> Vec<String> {
        let shown = |value: f64| format!("{value:.decimals$}");
        let mad = format!("{:.1} %", self.relative_mad() * 100.0);
        vec![shown(self.median()), shown(self.min()), shown(self.max()), mad]
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Samples {
        Samples(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_value_moves_only_the_extremes() {
        let samples: Samples = [10.0, 11.0, 12.0, 9.0, 1000.0].into_iter().collect();
        assert_eq!(samples.cells(1), ["11.0", "9.0", "1000.0", "9.1 %"]);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        let none = Samples::default();
        assert!(none.median().is_nan() && none.min().is_nan() && none.relative_mad().is_nan());
    }

    #[test]
    fn ratios_are_of_neighbours() {
        let ours: Samples = [1.0, 6.0].into_iter().collect();
        let theirs: Samples = [2.0, 3.0].into_iter().collect();
        assert_eq!(ours.ratios(&theirs).0, [0.5, 2.0]);
    }
}
