//! False alarms and misses over many simulated comparisons.

use super::judge::claims;
use super::{Change, Metric, Rules, Span, evidence::Pair};

/// A small generator, so that each simulation is the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Mostly near 1, and without a mean: the share above x falls as 1/x.
    fn heavy_tailed(&mut self) -> f64 {
        1.0 / self.uniform()
    }

    /// Two out of ten are ten times as large as the others.
    fn bimodal(&mut self) -> f64 {
        let middle = if self.uniform() < 0.2 { 10.0 } else { 1.0 };
        middle * (1.0 + 0.03 * self.normal())
    }

    fn near_one(&mut self) -> f64 {
        1.0 + 0.03 * self.normal()
    }
}

type Shape = fn(&mut Random) -> f64;

/// The claims about these metrics, each with its values drawn in this shape; `change` may change those
/// of the candidate.
fn compared(
    random: &mut Random,
    count: usize,
    metrics: &[(&str, Shape)],
    change: impl Fn(&str, usize) -> f64,
) -> Vec<(String, Option<Change>)> {
    let drawn: Vec<(&Metric, [Vec<Span>; 2])> = metrics
        .iter()
        .map(|(name, shape)| {
            let mut side = |is_candidate: bool| {
                let factor = |run| if is_candidate { change(name, run) } else { 1.0 };
                // Large enough that the least difference that matters plays no part.
                (0..count).map(|run| Span::exact(1e9 * shape(random) * factor(run))).collect()
            };
            let reference = side(false);
            (Metric::named(name).unwrap(), [reference, side(true)])
        })
        .collect();
    let pairs: Vec<Pair> =
        drawn.iter().map(|(metric, [a, b])| Pair::new(metric, a, b, true)).collect();
    let completed = [vec![0.0; count], vec![0.0; count]];
    let found = claims(&pairs, &completed, &Rules::default());
    metrics.iter().map(|it| it.0.to_owned()).zip(found).collect()
}

#[test]
fn equal_sides_raise_at_most_one_false_alarm_in_a_hundred() {
    let metrics: [(&str, Shape); 4] = [
        ("total-time", Random::heavy_tailed),
        ("downtime", Random::bimodal),
        ("lost-work", Random::heavy_tailed),
        ("wire-bytes", Random::near_one),
    ];
    for (count, seed) in [(5, 42), (10, 43), (20, 44)] {
        for metrics in [&metrics[..], &metrics[1..2]] {
            let mut random = Random(seed);
            let is_alarm = |_: &u32| {
                compared(&mut random, count, metrics, |_, _| 1.0).iter().any(|it| it.1.is_some())
            };
            let alarms = (0..2_000_u32).filter(is_alarm).count();
            assert!(
                alarms <= 20,
                "{alarms} of 2000 with {count} runs and {} metrics",
                metrics.len()
            );
        }
    }
}

#[test]
fn eight_of_twenty_runs_ten_times_slower_are_found_whatever_else_is_compared() {
    let one: [(&str, Shape); 1] = [("total-time", Random::near_one)];
    let all: [(&str, Shape); 8] = [
        ("total-time", Random::near_one),
        ("downtime", Random::near_one),
        ("blackout", Random::near_one),
        ("outage", Random::bimodal),
        ("lost-work", Random::heavy_tailed),
        ("guest-throughput", Random::near_one),
        ("wire-bytes", Random::near_one),
        ("migration-cpu", Random::heavy_tailed),
    ];
    for metrics in [&one[..], &all[..]] {
        for slow in ["total-time", "downtime", "blackout"] {
            if !metrics.iter().any(|it| it.0 == slow) {
                continue;
            }
            let mut random = Random(9);
            let is_found = |_: &u32| {
                let ten_times = |name: &str, run| if name == slow && run < 8 { 10.0 } else { 1.0 };
                let found = compared(&mut random, 20, metrics, ten_times);
                found.contains(&(slow.to_owned(), Some(Change::Regressed)))
            };
            let found = (0..200_u32).filter(is_found).count();
            assert!(found >= 190, "{found} of 200: {slow} of {} metrics", metrics.len());
        }
    }
}
