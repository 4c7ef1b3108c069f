//! How far a workload has come: all that must be known to go on elsewhere, or to replay.

use crate::spec::{Pace, PhaseRate, Spec};

/// All that a workload carries with it from one host to another.
///
/// It is a list of numbers, so that whoever carries it need not know what they mean: first the writes made by each
/// worker since the beginning.
/// A spec with phases, or with a share of the unlimited rate, needs more; there follow for each worker its full speed
/// in pages per second (0 before it is found), its running time in ns, and its writes in each segment, of which the
/// first is the time without phases and the others are the phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrewState {
    /// The numbers, from the writes of worker 0 on.
    pub counts: Vec<u64>,
}

/// How far one worker has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerState {
    /// Pages written per second without a limit; 0 while not known.
    pub(crate) full_speed: u64,
    pub(crate) elapsed_ns: u64,
    /// Writes in each segment.
    pub(crate) writes: Vec<u64>,
}

impl CrewState {
    /// The state of a workload that has not begun, without phases; for any other, see [`CrewState::fresh_for`].
    pub fn fresh(workers: u32) -> CrewState {
        CrewState { counts: vec![0; workers as usize] }
    }

    /// The state of `spec` when it has not begun.
    pub fn fresh_for(spec: &Spec) -> CrewState {
        CrewState { counts: vec![0; numbers(spec)] }
    }

    pub(crate) fn of(spec: &Spec, workers: &[WorkerState]) -> CrewState {
        let mut counts: Vec<u64> =
            workers.iter().map(|worker| worker.writes.iter().sum()).collect();
        if !is_plain(spec) {
            for worker in workers {
                counts.extend([worker.full_speed, worker.elapsed_ns]);
                counts.extend(&worker.writes);
            }
        }
        CrewState { counts }
    }
}

/// Takes the numbers of a state apart; None if there are not as many as `spec` has.
///
/// A state of nothing but zeros may be short: it means that nothing was written yet.
pub(crate) fn workers(spec: &Spec, numbers_of_state: &[u64]) -> Option<Vec<WorkerState>> {
    let (workers, segments) = (spec.workers as usize, segments(spec));
    let blank = WorkerState { writes: vec![0; segments], ..WorkerState::default() };
    let is_fresh = numbers_of_state.iter().all(|number| *number == 0);
    if is_fresh && numbers_of_state.len() == workers {
        return Some(vec![blank; workers]);
    }
    if numbers_of_state.len() != numbers(spec) {
        return None;
    }
    let (counts, rest) = numbers_of_state.split_at(workers);
    if is_plain(spec) {
        let worker = |count: &u64| WorkerState { writes: vec![*count], ..WorkerState::default() };
        return Some(counts.iter().map(worker).collect());
    }
    let worker = |numbers: &[u64]| WorkerState {
        full_speed: numbers[0],
        elapsed_ns: numbers[1],
        writes: numbers[2..].to_vec(),
    };
    Some(rest.chunks_exact(2 + segments).map(worker).collect())
}

/// How many numbers a state of `spec` has.
pub(crate) fn numbers(spec: &Spec) -> usize {
    let more = if is_plain(spec) { 0 } else { 2 + segments(spec) };
    spec.workers as usize * (1 + more)
}

fn segments(spec: &Spec) -> usize {
    1 + spec.phases.all().len()
}

/// Whether the number of writes says everything.
fn is_plain(spec: &Spec) -> bool {
    spec.phases.is_empty() && !has_share(spec)
}

/// Whether some rate is a share of the unlimited one, which has to be found first.
fn has_share(spec: &Spec) -> bool {
    let is_share = |rate: PhaseRate| matches!(rate, PhaseRate::Steady(Pace::ShareOfUnlimited(_)));
    let phases = spec.phases.all().iter().filter_map(|phase| phase.rate);
    is_share(PhaseRate::Steady(spec.pace)) || phases.into_iter().any(is_share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_apart_as_they_were_put_together() {
        for text in [
            "memory=1MiB workers=3",
            "memory=1MiB workers=2 rate=25%",
            "memory=1MiB workers=2 phases=for=1s;for=2s,rate=idle",
        ] {
            let spec: Spec = text.parse().unwrap();
            let plain = is_plain(&spec);
            let states: Vec<WorkerState> = (1..=u64::from(spec.workers))
                .map(|worker| WorkerState {
                    full_speed: if plain { 0 } else { worker * 100 },
                    elapsed_ns: if plain { 0 } else { worker * 1000 },
                    writes: (0..segments(&spec) as u64).map(|n| worker + n).collect(),
                })
                .collect();
            let state = CrewState::of(&spec, &states);
            assert_eq!(state.counts.len(), numbers(&spec), "{text}");
            assert_eq!(workers(&spec, &state.counts), Some(states), "{text}");
            assert_eq!(workers(&spec, &state.counts[1..]), None);
            for fresh in [CrewState::fresh(spec.workers), CrewState::fresh_for(&spec)] {
                let blank = workers(&spec, &fresh.counts).unwrap();
                assert!(blank.iter().all(|worker| worker.writes == vec![0; segments(&spec)]));
            }
        }
    }
}
