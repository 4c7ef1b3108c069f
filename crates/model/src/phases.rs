//! Which phase of a workload holds when.

use crate::dirty::{Activity, DirtyProcess, Phase};

/// A moment that was rounded down is still that moment.
const SLACK: f64 = 1e-9;

impl DirtyProcess {
    /// The phase at a running time since the migration began, if any holds.
    pub(crate) fn phase_at(&self, ran: f64) -> Option<usize> {
        let within = self.within(ran) + SLACK;
        let holds = |it: &Phase| {
            within >= it.start_seconds && within < it.start_seconds + it.length_seconds
        };
        self.phases.iter().position(holds)
    }

    /// The next running time after `ran` at which a phase begins or ends.
    pub(crate) fn next_change(&self, ran: f64) -> Option<f64> {
        let within = self.within(ran);
        let edges = self.phases.iter();
        let edges = edges.flat_map(|it| [it.start_seconds, it.start_seconds + it.length_seconds]);
        let later = edges.filter(|it| *it > within + SLACK).reduce(f64::min)?;
        Some(ran + later - within)
    }

    /// The activity of each region in a phase, or outside of all.
    pub(crate) fn activities(&self, phase: Option<usize>) -> Vec<Activity> {
        match phase.and_then(|it| self.phases.get(it)) {
            Some(phase) => phase.activities.clone(),
            None => self.regions.iter().map(|it| it.activity.clone()).collect(),
        }
    }

    /// The running time within the present round of phases.
    fn within(&self, ran: f64) -> f64 {
        let elapsed = self.elapsed_seconds + ran;
        let round = self.phases.last().map_or(0.0, |it| it.start_seconds + it.length_seconds);
        match self.repeats && round > 0.0 {
            true => (elapsed + SLACK).rem_euclid(round),
            false => elapsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_repeat_and_end_at_their_edges() {
        let phase = |start_seconds, length_seconds| Phase {
            start_seconds,
            length_seconds,
            activities: Vec::new(),
        };
        let phases = vec![phase(1.0, 2.0), phase(3.0, 1.0)];
        let once = DirtyProcess { phases, elapsed_seconds: 2.0, ..DirtyProcess::default() };
        let at = |process: &DirtyProcess| -> Vec<Option<usize>> {
            [0.0, 0.9, 1.0, 2.0, 3.0].into_iter().map(|it| process.phase_at(it)).collect()
        };
        assert_eq!(at(&once), [Some(0), Some(0), Some(1), None, None]);
        assert_eq!((once.next_change(0.0), once.next_change(2.0)), (Some(1.0), None));
        let again = DirtyProcess { repeats: true, ..once };
        assert_eq!(at(&again), [Some(0), Some(0), Some(1), None, Some(0)]);
        assert!((again.next_change(2.0).unwrap() - 3.0).abs() < 1e-6);
    }
}
