//! CPU time and memory of the two processes.

use crate::{ClassCpu, CpuSample, ResidentPeak, Side};

/// CPU time by class of threads that one side used between two moments, in order of class.
///
/// It is measured from the last sample at or before `from_seconds` to the first at or after
/// `to_seconds`; where there is none, from the first and to the last sample. A class that the
/// earlier sample does not have began at 0. Empty without two samples at different times.
pub fn cpu_by_class(
    samples: &[CpuSample],
    side: Side,
    from_seconds: f64,
    to_seconds: f64,
) -> Vec<ClassCpu> {
    let of_side = || samples.iter().filter(|sample| sample.side == side);
    let begin = of_side().rfind(|s| s.t_seconds <= from_seconds).or_else(|| of_side().next());
    let end = of_side().find(|s| s.t_seconds >= to_seconds).or_else(|| of_side().next_back());
    let (Some(begin), Some(end)) = (begin, end) else { return Vec::new() };
    let seconds = end.t_seconds - begin.t_seconds;
    if seconds <= 0.0 {
        return Vec::new();
    }
    let used = |(class, total): (&String, &f64)| {
        let cpu_seconds = (total - begin.classes.get(class).unwrap_or(&0.0)).max(0.0);
        ClassCpu { class: class.clone(), cpu_seconds, cores_mean: Some(cpu_seconds / seconds) }
    };
    end.classes.iter().map(used).collect()
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
        check(&samples, 0.0, 1.5, &[("migration", 0.5, 0.25), ("workload", 3.0, 1.5)]);
        check(&samples, -9.0, 9.0, &[("migration", 1.0, 0.2), ("workload", 5.0, 1.0)]);
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
