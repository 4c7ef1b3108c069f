//! Guests and links that the evidence allows, drawn at random.
//!
//! Each draw is one possible world: a curve through windows that are off by their own scatter, a load that drifts
//! between measurement and migration, a link that is a little faster or slower, and content that compresses as it may.
//! All techniques fly the same draws, so that their difference is not the difference of luck.

use fastrand::Rng;
use sterna_model::{Content, DirtyProcess, Guest, Link};

use crate::evidence::{Evidence, Load};
use crate::fit::{Class, Curve, CurvePoint, Sweep, fit_random, fit_sweep};

/// One possible world.
#[derive(Clone, Debug)]
pub struct Draw {
    pub guest: Guest,
    pub link: Link,
    /// By which factor this migration takes longer than the model says.
    pub total_factor: f64,
    /// The same for the downtime.
    pub downtime_factor: f64,
    /// What the engine makes of the downtime limit: its estimates of bandwidth and of what pages take scatter.
    pub limit_factor: f64,
}

/// The error of the model itself (standard deviation of its logarithm): 40 random scenarios on the emulator had errors of
/// 2.1 % in the middle and 6.9 % in nine of ten for the total time (`cargo xtask bench foresight`).
const MODEL_ERROR: f64 = 0.04;

/// The same for the downtime, of which a moment's delay of a process is a large part.
const MODEL_DOWNTIME_ERROR: f64 = 0.35;

/// The scatter of a load between two migrations of the same guest (standard deviation of its logarithm).
const DRIFT: f64 = 0.05;

/// The same where only a rate is known, from an instrument and a moment that are not known.
const DRIFT_OF_FIGURES: f64 = 0.2;

/// No window is known better than this.
const LEAST_SCATTER: f64 = 0.02;

/// Pages of unknown content take from this share of their size on the wire to all of it, when compressed.
const SMALLEST_SHARE: f64 = 0.25;

/// A difference to an earlier copy takes from this share of the page.
const SMALLEST_DELTA: f64 = 0.05;

/// Draws `count` worlds; the same seed draws the same.
pub fn draw(evidence: &Evidence, count: u32, seed: u64) -> Vec<Draw> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| one(evidence, &mut rng)).collect()
}

fn one(evidence: &Evidence, rng: &mut Rng) -> Draw {
    let content_bytes = evidence.content_or_all() as f64;
    let curve = match &evidence.load {
        Load::Windows { points, fit, touch } => {
            let curve = scattered(points, fit, content_bytes, *touch, rng);
            curve.faster(scale(DRIFT, rng))
        }
        Load::Rate { bytes_per_second, working_set_bytes } => {
            let rate = bytes_per_second * scale(DRIFT_OF_FIGURES, rng);
            guessed(rate, *working_set_bytes, content_bytes, rng)
        }
    };
    let content = evidence.content.unwrap_or_else(|| unknown_content(rng));
    let rate = evidence.link_bytes_per_second.map(|it| it * scale(evidence.link_spread, rng));
    Draw {
        guest: Guest {
            vcpus: evidence.vcpus.unwrap_or(1).max(1),
            dirty: process(&curve, evidence.memory_bytes, content_bytes as u64, content),
        },
        link: Link { bytes_per_second: rate.map(|it| it.max(1.0) as u64), latency_ns: LATENCY_NS },
        total_factor: scale(MODEL_ERROR, rng),
        downtime_factor: scale(MODEL_DOWNTIME_ERROR, rng),
        limit_factor: scale(LIMIT_SCATTER, rng),
    }
}

/// The scatter of what fits under a downtime limit (standard deviation of its logarithm). Settings that complete at one
/// value of a limit and not at its neighbours stand at an edge, and are not advised.
const LIMIT_SCATTER: f64 = 0.15;

/// A way within one site.
const LATENCY_NS: u64 = 100_000;

/// The curve through the windows as they might have come out as well.
fn scattered(
    points: &[CurvePoint],
    fit: &crate::fit::Fit,
    content_bytes: f64,
    touch: Option<f64>,
    rng: &mut Rng,
) -> Curve {
    let scatter = fit.error.max(LEAST_SCATTER);
    let moved: Vec<CurvePoint> = points
        .iter()
        .map(|it| CurvePoint { bytes: it.bytes * scale(scatter, rng), ..*it })
        .collect();
    let is_sweep = match &fit.curve {
        _ if fit.is_ambiguous => rng.bool(),
        Curve::Sweep(_) => true,
        Curve::Random(_) => false,
    };
    if is_sweep {
        fit_sweep(&moved, content_bytes, touch)
    } else {
        fit_random(&moved, content_bytes)
    }
}

/// A guest of which a rate is known: bytes within one second. How many pages it goes through, and in which order, is not
/// known, so it is drawn.
fn guessed(rate: f64, working_set: Option<f64>, content_bytes: f64, rng: &mut Rng) -> Curve {
    // Within a second it wrote that much, so its working set is not smaller.
    let least = (1.05 * rate).min(content_bytes);
    let all = match working_set {
        Some(bytes) => bytes.clamp(least, content_bytes),
        None => least * (content_bytes / least).powf(rng.f64()),
    };
    if rate <= 0.0 || all <= 0.0 {
        return Curve::Random(Vec::new());
    }
    // Per page and second, so that D(1 s) is the rate; a guest that writes all it has within the second does so often.
    let often = |bytes: f64, part: f64| Class {
        bytes,
        rate_per_second: -(-(part / bytes).min(0.99)).ln_1p(),
    };
    match rng.u8(0..10) {
        0..3 => Curve::Sweep(Sweep { bytes_per_second: rate, bytes: all }),
        3..7 => Curve::Random(vec![often(all, rate)]),
        _ => {
            let hot = (0.1 * all).max(0.55 * rate).min(all);
            let cold = (all - hot).max(0.0);
            let in_hot = (0.5 * rate).min(0.95 * hot);
            let classes = [(hot, in_hot), (cold, rate - in_hot)];
            let classes = classes.into_iter().filter(|it| it.0 >= 4096.0);
            Curve::Random(classes.map(|(bytes, part)| often(bytes, part)).collect())
        }
    }
}

fn unknown_content(rng: &mut Rng) -> Content {
    let share = |least: f64, rng: &mut Rng| least.powf(rng.f64());
    let zstd = share(SMALLEST_SHARE, rng);
    Content {
        zero_share: 0.0,
        zstd_share: zstd,
        zlib_share: zstd,
        delta_share: share(SMALLEST_DELTA, rng),
    }
}

fn process(curve: &Curve, memory: u64, content_bytes: u64, content: Content) -> DirtyProcess {
    let whole = |bytes: f64| (bytes / 4096.0).round() as u64 * 4096;
    let (classes, sweep) = match curve {
        Curve::Random(classes) => {
            (classes.iter().map(|it| (whole(it.bytes), it.rate_per_second)).collect(), None)
        }
        Curve::Sweep(it) => (Vec::new(), Some((it.bytes_per_second as u64, whole(it.bytes)))),
    };
    let written =
        classes.iter().map(|it: &(u64, f64)| it.0).sum::<u64>() + sweep.map_or(0, |it| it.1);
    let idle = content_bytes.saturating_sub(written);
    let zero = memory.saturating_sub(content_bytes.max(written));
    DirtyProcess::observed(&classes, sweep, idle, zero, content)
}

/// A factor around 1 whose logarithm has this standard deviation.
fn scale(deviation: f64, rng: &mut Rng) -> f64 {
    // Box and Muller.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    (deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guessed_guest_writes_its_rate_within_a_second() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..200 {
            let curve = guessed(100e6, None, 16e9, &mut rng);
            let (is, most) = (curve.bytes(1.0), curve.working_set_bytes());
            assert!((is / 100e6 - 1.0).abs() < 0.05, "{is} of {curve:?}");
            assert!(most <= 16e9 * 1.001, "{most}");
        }
    }

    #[test]
    fn a_rate_above_all_memory_draws_a_guest_that_writes_all_of_it() {
        let mut rng = Rng::with_seed(2);
        for _ in 0..100 {
            let curve = guessed(5e9, None, 1e9, &mut rng);
            assert!(curve.bytes(5.0) > 0.9e9, "{curve:?}");
        }
    }

    #[test]
    fn an_idle_guest_is_drawn_as_one() {
        assert_eq!(guessed(0.0, None, 1e9, &mut Rng::with_seed(3)).bytes(10.0), 0.0);
    }

    #[test]
    fn drawn_memory_is_all_there() {
        let curve = Curve::Random(vec![Class { bytes: 64e6, rate_per_second: 1.0 }]);
        let process = process(&curve, 1 << 30, 512 << 20, Content::INCOMPRESSIBLE);
        assert_eq!(process.bytes(), 1 << 30);
    }
}
