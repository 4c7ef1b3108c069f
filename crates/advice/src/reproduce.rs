//! A scenario that shows the same migration without the guest: the same passes, from the report alone.
//!
//! The dirty curve becomes a workload: a sweep one in order, a mixture of rates one set of pages written at random, or a
//! hot set and the rest, the one that is nearer to the curve within the windows that were seen. Settings and limits are
//! those of the report.
//!
//! A migration takes the same time when memory, writes and bandwidth all become smaller by one factor, so a guest that
//! is too large for a test machine is made smaller that way; times and downtime limits stay.

use sterna_scenario::{Builder, Origin, Scenario, ScenarioError};
use sterna_units::{human_bytes, human_bytes_per_second};

use crate::evidence::{Evidence, Load};
use crate::fit::{Class, Curve, CurvePoint};

/// What shows the same migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// The scenario.
    pub scenario: Scenario,
    /// What it keeps of the guest and what not, in sentences.
    pub notes: Vec<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ReproduceError {
    /// No pass shows what the guest wrote.
    #[error(
        "The report has no two passes with a count of written pages, so its writes cannot be repeated: give a report with passes, or describe the guest in a scenario"
    )]
    NoWindows,
    /// What follows is no scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// A workload in the words of a scenario.
struct Writes {
    pattern: String,
    bytes: f64,
    bytes_per_second: f64,
}

/// A simpler workload is taken when it misses the windows by at most so much more.
const ABOUT_AS_WELL: f64 = 0.02;

/// A page is the least that is written.
const PAGE: f64 = 4096.0;

/// The scenario that shows the same migration in at most `most_bytes` of guest memory.
///
/// # Errors
/// The evidence has no windows.
pub fn reproduce(evidence: &Evidence, most_bytes: u64) -> Result<Reproduction, ReproduceError> {
    let Load::Windows { points, fit, touch } = &evidence.load else {
        return Err(ReproduceError::NoWindows);
    };
    let load = workload(&fit.curve, points, *touch);
    let factor = (evidence.memory_bytes as f64 / most_bytes.max(1) as f64).max(1.0);
    let mut notes = vec![format!(
        "The guest writes {} of its {} in pattern {}, {} in all",
        human_bytes(load.bytes),
        human_bytes(evidence.memory_bytes as f64),
        load.pattern,
        human_bytes_per_second(load.bytes_per_second)
    )];
    if factor > 1.0 {
        notes.push(format!(
            "Memory, writes and bandwidth are {factor:.2} times smaller than those of the guest, so all times stay"
        ));
    }
    if fit.is_ambiguous {
        notes.push("The passes do not tell whether the guest writes in order or at random; random was taken".to_owned());
    }
    let scenario = scenario(evidence, &load, factor)?;
    Ok(Reproduction { scenario, notes })
}

fn scenario(evidence: &Evidence, load: &Writes, factor: f64) -> Result<Scenario, ScenarioError> {
    let bytes = |bytes: f64| format!("{}B", (bytes / factor / PAGE).ceil() as u64 * PAGE as u64);
    let rate = |rate: f64| format!("{}B/s", (rate / factor).max(1.0) as u64);
    let memory = evidence.memory_bytes as f64;
    let content = evidence.content_bytes.map_or(memory, |it| it as f64);
    let written = load.bytes.min(memory);
    let mut base = Scenario {
        migration: evidence.scenario.migration.clone(),
        limits: evidence.scenario.limits.clone(),
        ..Scenario::default()
    };
    if let Some(own) = evidence.own.as_deref() {
        base.workload.method = own.workload.method;
        base.workload.seed = own.workload.seed;
        base.timing = own.timing.clone();
    }
    let vcpus = evidence.vcpus.unwrap_or(2).clamp(1, 4).to_string();
    let mut fields = vec![
        ("guest.vcpus", vcpus.clone()),
        ("guest.memory", bytes(memory)),
        ("guest.ballast", bytes((content - written).max(0.0))),
        ("workload.workers", vcpus),
        ("workload.memory", bytes(written.max(PAGE * 64.0))),
        ("workload.pattern", load.pattern.clone()),
        ("workload.rate", rate(load.bytes_per_second)),
    ];
    if let Some(limit) = base.migration.max_bandwidth {
        fields.push(("migration.max-bandwidth", rate(limit.bytes_per_second_f64())));
    } else if let Some(link) = evidence.link_bytes_per_second {
        fields.push(("link.bandwidth", rate(link)));
    }
    let mut builder = Builder::over(base);
    for (path, value) in fields {
        builder = builder.set(path, &value, Origin::Variable("the report".to_owned()))?;
    }
    builder.build()
}

fn workload(curve: &Curve, points: &[CurvePoint], touch: Option<f64>) -> Writes {
    match curve {
        Curve::Sweep(it) => Writes {
            pattern: "sequential".to_owned(),
            bytes: it.bytes,
            bytes_per_second: it.bytes_per_second,
        },
        Curve::Random(classes) => random(classes, points, touch),
    }
}

/// One set of pages written at random, or two of them: the simplest that goes through the windows about as well as any.
fn random(classes: &[Class], points: &[CurvePoint], touch: Option<f64>) -> Writes {
    let mut classes = classes.to_vec();
    classes.sort_by(|a, b| b.rate_per_second.total_cmp(&a.rate_per_second));
    let longest = points.last().map_or(1.0, |it| it.window_seconds);
    let by_touch = points.last().zip(touch).and_then(|(last, touch)| uniform(last, touch));
    let one = by_touch.into_iter().chain([merged(&classes, longest)]).map(|it| vec![it]);
    let two = (1..classes.len()).map(|at| {
        let (hot, cold) = classes.split_at(at);
        vec![merged(hot, longest), merged(cold, longest)]
    });
    let all: Vec<(f64, Vec<Class>)> = one.chain(two).map(|it| (off(&it, points), it)).collect();
    let least = all.iter().map(|it| it.0).fold(f64::INFINITY, f64::min);
    let best = all.into_iter().find(|it| it.0 <= least + ABOUT_AS_WELL);
    let best = best.map_or_else(Vec::new, |it| it.1);
    let bytes: f64 = best.iter().map(|it| it.bytes).sum();
    let rates: Vec<f64> = best.iter().map(|it| it.bytes * it.rate_per_second).collect();
    let all: f64 = rates.iter().sum();
    let pattern = match best.as_slice() {
        [hot, cold] if cold.bytes >= PAGE && all > 0.0 => format!(
            "hot-set({:.2}%,{:.2}%)",
            (100.0 * hot.bytes / bytes).clamp(0.01, 99.99),
            (100.0 * rates[0] / all).clamp(0.01, 99.99)
        ),
        _ => "random".to_owned(),
    };
    // The fastest class of a fit writes more often than windows can show; the rate of all writes is not exceeded.
    Writes { pattern, bytes, bytes_per_second: touch.map_or(all, |it| all.min(it)) }
}

/// Root of the mean squared relative error over the windows.
fn off(classes: &[Class], points: &[CurvePoint]) -> f64 {
    let squares = points
        .iter()
        .map(|it| (grown(classes, it.window_seconds) / it.bytes.max(PAGE) - 1.0).powi(2));
    (squares.sum::<f64>() / points.len().max(1) as f64).sqrt()
}

/// Pages that all writes hit alike: as many as make this rate of writes write these distinct bytes within the window.
fn uniform(point: &CurvePoint, touch: f64) -> Option<Class> {
    let written = touch * point.window_seconds;
    if written <= point.bytes {
        return None;
    }
    let distinct = |bytes: f64| -bytes * (-written / bytes).exp_m1();
    // Distinct bytes grow with the pages there are, up to every write; what is beyond a thousand times is every write.
    let (mut low, mut high) = (point.bytes, 1000.0 * written);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if distinct(middle) < point.bytes { low = middle } else { high = middle }
    }
    Some(Class { bytes: low, rate_per_second: touch / low })
}

/// The class that writes as much within the longest window and has as many pages.
fn merged(classes: &[Class], longest: f64) -> Class {
    let bytes: f64 = classes.iter().map(|it| it.bytes).sum();
    let share = (grown(classes, longest) / bytes.max(1.0)).clamp(1e-9, 1.0 - 1e-9);
    Class { bytes, rate_per_second: -(-share).ln_1p() / longest }
}

fn grown(classes: &[Class], window: f64) -> f64 {
    classes.iter().map(|it| -it.bytes * (-it.rate_per_second * window).exp_m1()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn points(classes: &[Class]) -> Vec<CurvePoint> {
        let windows = [0.05, 0.2, 0.5, 1.0];
        let point =
            |window_seconds| CurvePoint { window_seconds, bytes: grown(classes, window_seconds) };
        windows.map(point).to_vec()
    }

    #[test]
    fn one_rate_becomes_random_writes_and_two_a_hot_set() {
        let one = [Class { bytes: 100.0 * MIB, rate_per_second: 2.0 }];
        let load = random(&one, &points(&one), None);
        assert_eq!(load.pattern, "random");
        assert!((load.bytes_per_second / (200.0 * MIB) - 1.0).abs() < 0.01);
        let hot = Class { bytes: 10.0 * MIB, rate_per_second: 18.0 };
        let cold = Class { bytes: 90.0 * MIB, rate_per_second: 0.2 };
        let load = random(&[cold, hot], &points(&[cold, hot]), None);
        assert!(load.pattern.starts_with("hot-set(10.00%,"), "{}", load.pattern);
    }

    #[test]
    fn the_rate_of_all_writes_says_how_many_pages_there_are_behind_one_window() {
        let point = CurvePoint { window_seconds: 0.41, bytes: 33.3 * MIB };
        let found = uniform(&point, 229.0 * MIB).unwrap();
        assert!((found.bytes / (36.0 * MIB) - 1.0).abs() < 0.01, "{found:?}");
        assert_eq!(uniform(&point, 10.0 * MIB), None);
    }

    #[test]
    fn a_sweep_stays_one() {
        let sweep = crate::fit::Sweep { bytes_per_second: 7.0 * MIB, bytes: 50.0 * MIB };
        let load = workload(&Curve::Sweep(sweep), &[], None);
        assert_eq!((load.pattern.as_str(), load.bytes), ("sequential", 50.0 * MIB));
    }
}
