//! CPU time and memory of the two processes.

use crate::{ClassCpu, CpuSample, ResidentPeak, Side};

/// CPU time by class of threads that one side used between two moments, in order of class.
///
/// A moment between two samples takes its share of what was used between them. Two classes are not
/// divided: one that had used nothing by the sample before `from_seconds` began after it, and one that uses
/// nothing after the sample behind `to_seconds` had ended by then; both lie within as a whole. Where there
/// is no sample before or after, it is measured from the first and to the last. A class that a sample does
/// not have is 0. Empty without two samples at different times.
pub fn cpu_by_class(
    samples: &[CpuSample],
    side: Side,
    from_seconds: f64,
    to_seconds: f64,
) -> Vec<ClassCpu> {
    let mut samples: Vec<&CpuSample> = samples.iter().filter(|it| it.side == side).collect();
    samples.sort_by(|a, b| a.t_seconds.total_cmp(&b.t_seconds));
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let (from, to) = (from_seconds.max(first.t_seconds), to_seconds.min(last.t_seconds));
    let seconds = to - from;
    if seconds <= 0.0 {
        return Vec::new();
    }
    let used = |class: &String| {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .map(|it| (it.t_seconds, it.classes.get(class).copied().unwrap_or(0.0)))
            .collect();
        let cpu_seconds = (at_end(&points, to) - at_begin(&points, from)).max(0.0);
        ClassCpu { class: class.clone(), cpu_seconds, cores_mean: Some(cpu_seconds / seconds) }
    };
    last.classes.keys().map(used).collect()
}

/// What a class had used at the beginning.
fn at_begin(points: &[(f64, f64)], from: f64) -> f64 {
    let before = points.iter().rfind(|it| it.0 <= from).map_or(0.0, |it| it.1);
    if before == 0.0 { 0.0 } else { between(points, from) }
}

/// What a class had used at the end.
fn at_end(points: &[(f64, f64)], to: f64) -> f64 {
    let mut after = points.iter().filter(|it| it.0 >= to).map(|it| it.1);
    match (after.next(), after.next()) {
        (Some(used), Some(later)) if later == used => used,
        _ => between(points, to),
    }
}

/// On the line between the samples around `t`.
fn between(points: &[(f64, f64)], t: f64) -> f64 {
    let next = points.partition_point(|it| it.0 < t);
    match (next.checked_sub(1).map(|it| points[it]), points.get(next)) {
        (Some((t0, used0)), Some(&(t1, used1))) => used0 + (used1 - used0) * (t - t0) / (t1 - t0),
        (Some((_, used)), None) | (None, Some(&(_, used))) => used,
        (None, None) => 0.0,
    }
}

/// Highest resident memory of each side over all samples; `None` for a side that was not seen.
pub fn resident_peak(samples: &[CpuSample]) -> ResidentPeak {
    let peak = |side| {
        samples
            .iter()
            .filter(|sample| sample.side == side)
            .filter_map(|sample| sample.resident_bytes)
            .max()
    };
    ResidentPeak { source: peak(Side::Source), destination: peak(Side::Destination) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(
        t_seconds: f64,
        side: Side,
        classes: &[(&str, f64)],
        resident: Option<u64>,
    ) -> CpuSample {
        CpuSample {
            t_seconds,
            side,
            classes: classes.iter().map(|&(class, seconds)| (class.to_owned(), seconds)).collect(),
            resident_bytes: resident,
        }
    }

    fn check(samples: &[CpuSample], from: f64, to: f64, expected: &[(&str, f64, f64)]) {
        let seen = cpu_by_class(samples, Side::Source, from, to);
        let seen: Vec<_> = seen
            .iter()
            .map(|cpu| (cpu.class.as_str(), cpu.cpu_seconds, cpu.cores_mean.unwrap()))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn cpu_time_is_the_difference_around_the_migration() {
        let samples = [
            sample(-1.0, Side::Source, &[("workload", 1.0)], None),
            sample(0.0, Side::Source, &[("workload", 2.0)], None),
            sample(1.0, Side::Destination, &[("workload", 9.0)], None),
            sample(2.0, Side::Source, &[("migration", 0.5), ("workload", 5.0)], None),
            sample(4.0, Side::Source, &[("migration", 1.0), ("workload", 6.0)], None),
        ];
        check(&samples, 0.0, 2.0, &[("migration", 0.5, 0.25), ("workload", 3.0, 1.5)]);
        // Both go on after the end, so what they used between 0 and 2 s is divided.
        check(&samples, 0.0, 1.5, &[("migration", 0.375, 0.25), ("workload", 2.25, 1.5)]);
        check(&samples, -0.5, 2.0, &[("migration", 0.5, 0.2), ("workload", 3.5, 1.4)]);
        check(&samples, -9.0, 9.0, &[("migration", 1.0, 0.2), ("workload", 5.0, 1.0)]);
    }

    #[test]
    fn threads_that_only_lived_within_are_counted_as_a_whole_and_others_by_their_share() {
        let at = |t: f64, workload: f64, migration: f64| {
            sample(t, Side::Source, &[("migration", migration), ("workload", workload)], None)
        };
        let samples = [
            at(-0.05, 1.0, 0.0),
            at(0.05, 1.1, 0.02),
            at(0.95, 2.0, 0.5),
            at(1.05, 2.1, 0.54),
            at(1.15, 2.2, 0.54),
        ];
        let seen = cpu_by_class(&samples, Side::Source, 0.0, 1.0);
        let rounded: Vec<f64> = seen.iter().map(|it| (it.cpu_seconds * 1e6).round()).collect();
        // All that the migration used; of the workload a second of one core, and not 1.1.
        assert_eq!(rounded, [540_000.0, 1_000_000.0]);
    }

    #[test]
    fn one_sample_says_nothing() {
        check(&[], 0.0, 1.0, &[]);
        check(&[sample(0.0, Side::Source, &[("workload", 1.0)], None)], 0.0, 1.0, &[]);
    }

    #[test]
    fn the_peak_of_a_side_that_was_not_seen_is_unknown() {
        let samples = [
            sample(0.0, Side::Source, &[], Some(5)),
            sample(1.0, Side::Source, &[], Some(7)),
            sample(2.0, Side::Source, &[], None),
            sample(2.0, Side::Destination, &[], None),
        ];
        assert_eq!(resident_peak(&samples), ResidentPeak { source: Some(7), destination: None });
        assert_eq!(resident_peak(&[]), ResidentPeak::default());
    }
}
