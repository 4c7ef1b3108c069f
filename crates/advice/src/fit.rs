//! From observed windows to a dirty curve: how much of memory is written at which rate.
//!
//! A pass of a migration is a window: it says how many distinct pages were written within its length.
//! The curve through these points is D(t) = Σ N_c (1 − e^(−λ_c t)), with a class of N_c bytes for each rate λ_c of a
//! grid, or a sweep, D(t) = min(R t, W), where the guest writes its pages in order. Every concave curve is a mixture
//! of such classes, so the grid is no assumption about the guest; which of the two kinds it is changes the answer by up
//! to two (throttling a sweep helps less), so both are fitted and the better one counts.
//!
//! The classes come from a least-squares fit without negative amounts, by coordinate descent. Residuals are relative to
//! the point, since windows span three orders of magnitude.

/// Distinct bytes that were written within one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Length of the window.
    pub window_seconds: f64,
    /// Distinct bytes written in it.
    pub bytes: f64,
}

/// Bytes of which each page is written at random moments, `rate_per_second` times a second on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// How much memory is in it.
    pub bytes: f64,
    /// Writes to each page per second.
    pub rate_per_second: f64,
}

/// A guest that writes its pages in order, again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sweep {
    /// Bytes written per second.
    pub bytes_per_second: f64,
    /// How much memory it goes through before it begins again.
    pub bytes: f64,
}

/// A fitted dirty curve.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// Pages written at random moments.
    Random(Vec<Class>),
    /// Pages written in order.
    Sweep(Sweep),
}

/// A curve and how well it goes through its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The curve.
    pub curve: Curve,
    /// Root of the mean squared relative error over the points.
    pub error: f64,
    /// Whether a sweep and random writes explain the points about equally well.
    pub is_ambiguous: bool,
}

/// Writes per second of the classes: from once in five minutes to a hundred times a second, a quarter of a decade apart.
const RATES: [f64; 19] = [
    0.00316, 0.00562, 0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.178, 0.316, 0.562, 1.0, 1.78, 3.16,
    5.62, 10.0, 17.8, 31.6, 56.2, 100.0,
];

/// A page that is written less often than this in the longest window shows too seldom to be counted as seen.
const LEAST_WRITES_SEEN: f64 = 0.3;

/// Neighbouring classes look alike, so the descent is slow; it ends early when a round changes next to nothing.
const ROUNDS: usize = 3000;
const SETTLED: f64 = 1e-7;

/// Halvings of the price of a byte; more change the sum by less than a part in ten thousand.
const PRICE_STEPS: u32 = 16;

/// One explanation wins where its error is below this share of the other's.
const CLEARLY_BETTER: f64 = 0.7;

/// No measured curve is better than this, whatever its points say.
const LEAST_ERROR: f64 = 0.01;

/// Windows that differ less than this in length show one place of the curve, through which curves of both kinds go.
const LEAST_SPAN: f64 = 3.0;

/// The curve through these points, within `content_bytes` of memory; `None` without a usable point. `touch` is the rate
/// of all writes, repeats included, in bytes a second, where it is known.
pub fn fit(points: &[CurvePoint], content_bytes: f64, touch: Option<f64>) -> Option<Fit> {
    let points: Vec<CurvePoint> = points.iter().copied().filter(is_usable).collect();
    if points.is_empty() || content_bytes <= 0.0 {
        return None;
    }
    let random = fit_random(&points, content_bytes);
    let random_error = error(&random, &points);
    let sweep = fit_sweep(&points, content_bytes, touch);
    let sweep_error = error(&sweep, &points);
    let windows = || points.iter().map(|it| it.window_seconds);
    let span = windows().fold(0.0, f64::max) / windows().fold(f64::INFINITY, f64::min);
    let can_tell = span >= LEAST_SPAN;
    let is_sweep = can_tell && sweep_error.max(LEAST_ERROR) < CLEARLY_BETTER * random_error;
    let is_random = can_tell && random_error.max(LEAST_ERROR) < CLEARLY_BETTER * sweep_error;
    let (curve, error) = if is_sweep { (sweep, sweep_error) } else { (random, random_error) };
    Some(Fit { curve, error, is_ambiguous: !is_sweep && !is_random })
}

impl Curve {
    /// All memory that it ever writes.
    #[cfg(test)]
    pub fn working_set_bytes(&self) -> f64 {
        match self {
            Curve::Random(classes) => classes.iter().map(|it| it.bytes).sum(),
            Curve::Sweep(it) => it.bytes,
        }
    }

    /// Distinct bytes written within a window of this length.
    pub fn bytes(&self, window_seconds: f64) -> f64 {
        match self {
            Curve::Random(classes) => classes
                .iter()
                .map(|it| it.bytes * -(-it.rate_per_second * window_seconds).exp_m1())
                .sum(),
            Curve::Sweep(it) => (it.bytes_per_second * window_seconds).min(it.bytes),
        }
    }

    /// The same guest, writing `factor` times as fast.
    pub fn faster(&self, factor: f64) -> Curve {
        match self {
            Curve::Random(classes) => Curve::Random(
                classes
                    .iter()
                    .map(|it| Class { rate_per_second: it.rate_per_second * factor, ..*it })
                    .collect(),
            ),
            Curve::Sweep(it) => {
                Curve::Sweep(Sweep { bytes_per_second: it.bytes_per_second * factor, ..*it })
            }
        }
    }
}

fn is_usable(point: &CurvePoint) -> bool {
    point.window_seconds.is_finite()
        && point.window_seconds > 0.0
        && point.bytes.is_finite()
        && point.bytes >= 0.0
}

/// Points of no bytes count as one page, so that an idle guest has a relative error too.
fn scale(point: &CurvePoint) -> f64 {
    point.bytes.max(4096.0)
}

/// The curve of pages written at random moments that is nearest to the points.
pub fn fit_random(points: &[CurvePoint], content_bytes: f64) -> Curve {
    let longest = points.iter().map(|it| it.window_seconds).fold(0.0, f64::max);
    let rates: Vec<f64> =
        RATES.into_iter().filter(|rate| rate * longest >= LEAST_WRITES_SEEN).collect();
    // A longest window so short that it shows even the fastest class in part has at least that class.
    let rates = if rates.is_empty() { vec![RATES[RATES.len() - 1]] } else { rates };
    let share = |rate: f64, point: &CurvePoint| -(-rate * point.window_seconds).exp_m1();
    // Column by column, in units of the point, so that each row's target is its own bytes over its scale.
    let columns: Vec<Vec<f64>> = rates
        .iter()
        .map(|rate| points.iter().map(|it| share(*rate, it) / scale(it)).collect())
        .collect();
    let mut descent = Descent {
        left: points.iter().map(|it| it.bytes / scale(it)).collect(),
        amounts: vec![0.0; rates.len()],
        columns,
        content_bytes,
    };
    descent.within_content();
    let amounts = descent.amounts;
    // What is left of an excess by rounding goes from the slow classes, which are the least known.
    let mut room = content_bytes;
    let mut classes: Vec<Class> = Vec::new();
    for (rate_per_second, amount) in rates.into_iter().zip(amounts).rev() {
        let bytes = amount.min(room);
        room -= bytes;
        if bytes >= 4096.0 {
            classes.push(Class { bytes, rate_per_second });
        }
    }
    Curve::Random(classes)
}

/// Least squares without negative amounts and within the memory that there is, by coordinate descent.
struct Descent {
    columns: Vec<Vec<f64>>,
    amounts: Vec<f64>,
    /// What the amounts leave of each point.
    left: Vec<f64>,
    content_bytes: f64,
}

impl Descent {
    /// A price for each byte keeps the sum within the memory; the least that does is found by halving.
    ///
    /// Cutting the amounts off afterwards would leave slow classes where fast ones with less memory fit as well.
    fn within_content(&mut self) {
        self.descend(0.0);
        if self.amounts.iter().sum::<f64>() <= self.content_bytes {
            return;
        }
        let targets = || self.columns.iter().map(|it| it.iter().sum::<f64>());
        let (mut low, mut high) = (0.0, targets().fold(0.0, f64::max));
        for _ in 0..PRICE_STEPS {
            let price = 0.5 * (low + high);
            self.descend(price);
            if self.amounts.iter().sum::<f64>() > self.content_bytes {
                low = price;
            } else {
                high = price;
            }
        }
        self.descend(high);
    }

    fn descend(&mut self, price: f64) {
        for _ in 0..ROUNDS {
            let mut moved = 0.0_f64;
            for (column, amount) in self.columns.iter().zip(&mut self.amounts) {
                let norm: f64 = column.iter().map(|it| it * it).sum();
                let gradient: f64 = column.iter().zip(&self.left).map(|(a, r)| a * r).sum();
                let better = (*amount + (gradient - price) / norm).clamp(0.0, self.content_bytes);
                for (a, r) in column.iter().zip(&mut self.left) {
                    *r -= a * (better - *amount);
                }
                moved = moved.max((better - *amount).abs());
                *amount = better;
            }
            if moved <= SETTLED * self.content_bytes {
                break;
            }
        }
    }
}

/// The sweep with the least relative error, over the rates and working sets that the points suggest.
pub fn fit_sweep(points: &[CurvePoint], content_bytes: f64, touch: Option<f64>) -> Curve {
    // A sweep writes no page twice before it has been everywhere, so its speed is the rate of all writes.
    let candidates = points.iter().map(|it| touch.unwrap_or(it.bytes / it.window_seconds));
    let sizes = || points.iter().map(|it| it.bytes.min(content_bytes));
    let largest = sizes().fold(0.0, f64::max);
    let all = candidates.flat_map(|bytes_per_second| {
        sizes().chain([largest]).map(move |bytes| Curve::Sweep(Sweep { bytes_per_second, bytes }))
    });
    let best = all.min_by(|a, b| error(a, points).total_cmp(&error(b, points)));
    best.unwrap_or(Curve::Sweep(Sweep { bytes_per_second: 0.0, bytes: 0.0 }))
}

fn error(curve: &Curve, points: &[CurvePoint]) -> f64 {
    let squares = points.iter().map(|it| {
        let off = (curve.bytes(it.window_seconds) - it.bytes) / scale(it);
        off * off
    });
    (squares.sum::<f64>() / points.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;
    const WINDOWS: [f64; 9] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0];

    fn points(curve: &Curve) -> Vec<CurvePoint> {
        WINDOWS
            .into_iter()
            .map(|window_seconds| CurvePoint { window_seconds, bytes: curve.bytes(window_seconds) })
            .collect()
    }

    #[track_caller]
    fn check_comes_back(curve: &Curve) {
        let fit = fit(&points(curve), 1024.0 * MIB, None).unwrap();
        for window in [0.15, 0.7, 3.0, 15.0, 30.0] {
            let (is, should) = (fit.curve.bytes(window), curve.bytes(window));
            assert!((is / should - 1.0).abs() < 0.05, "D({window}) is {is}, not {should}");
        }
    }

    #[test]
    fn points_of_random_writes_give_the_same_curve() {
        check_comes_back(&Curve::Random(vec![Class { bytes: 64.0 * MIB, rate_per_second: 0.5 }]));
        check_comes_back(&Curve::Random(vec![
            Class { bytes: 16.0 * MIB, rate_per_second: 20.0 },
            Class { bytes: 200.0 * MIB, rate_per_second: 0.05 },
        ]));
    }

    #[test]
    fn points_of_a_sweep_give_a_sweep() {
        let curve = Curve::Sweep(Sweep { bytes_per_second: 60.0 * MIB, bytes: 128.0 * MIB });
        check_comes_back(&curve);
        let fit = fit(&points(&curve), 1024.0 * MIB, None).unwrap();
        assert!(matches!(fit.curve, Curve::Sweep(_)), "{fit:?}");
        assert!(!fit.is_ambiguous);
    }

    #[test]
    fn one_point_cannot_tell_a_sweep_from_random_writes() {
        let one = CurvePoint { window_seconds: 10.0, bytes: 100.0 * MIB };
        assert!(fit(&[one], 1024.0 * MIB, None).unwrap().is_ambiguous);
    }

    #[test]
    fn nearly_all_memory_within_a_short_window_is_written_often_and_not_cut_off() {
        let near = CurvePoint { window_seconds: 0.41, bytes: 33.3 * MIB };
        let curve = fit_random(&[near], 36.0 * MIB);
        assert!((curve.bytes(0.41) / near.bytes - 1.0).abs() < 0.02, "{curve:?}");
        assert!(curve.working_set_bytes() <= 36.0 * MIB, "{curve:?}");
    }

    #[test]
    fn windows_of_one_length_tell_no_shape_and_a_known_rate_of_writes_rules_a_slow_sweep_out() {
        let near = [0.40, 0.41, 0.42]
            .map(|window_seconds| CurvePoint { window_seconds, bytes: 33.0 * MIB });
        let alone = fit(&near, 36.0 * MIB, None).unwrap();
        assert!(alone.is_ambiguous, "{alone:?}");
        // It wrote three times as much as it has, so a sweep went through all of it in each window.
        let Curve::Sweep(sweep) = fit_sweep(&near, 36.0 * MIB, Some(240.0 * MIB)) else { panic!() };
        assert_eq!(sweep, Sweep { bytes_per_second: 240.0 * MIB, bytes: 33.0 * MIB });
    }

    #[test]
    fn nothing_fits_without_points() {
        assert_eq!(fit(&[], MIB, None), None);
        let odd = CurvePoint { window_seconds: f64::NAN, bytes: 1.0 };
        assert_eq!(fit(&[odd], MIB, None), None);
    }

    #[test]
    fn memory_that_no_window_can_show_is_not_invented() {
        let short = CurvePoint { window_seconds: 1.0, bytes: 10.0 * MIB };
        let Curve::Random(classes) = fit_random(&[short], 1e12) else { panic!() };
        assert!(classes.iter().all(|it| it.rate_per_second >= 0.3), "{classes:?}");
    }

    #[test]
    fn a_curve_never_writes_more_than_there_is() {
        let many = CurvePoint { window_seconds: 10.0, bytes: 100.0 * MIB };
        let fit = fit(&[many], 64.0 * MIB, None).unwrap();
        assert!(fit.curve.working_set_bytes() <= 64.0 * MIB);
    }
}
