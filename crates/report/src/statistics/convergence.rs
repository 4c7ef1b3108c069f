//! The point from which a migration was sure to end.

use crate::{Pass, Poll};

/// The synchronisation after which the pending amount stayed under the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convergence {
    /// Number of the pass that it opened.
    pub pass: u64,
    /// When it began, in seconds on the pilot's clock.
    pub seconds: f64,
}

/// The convergence point of a migration whose vCPUs stopped at `stopped_seconds` of its own accord.
///
/// It is the first synchronisation after the last poll that saw the pending amount at or above the
/// threshold. Do not ask for a forced switchover: nothing converged there. `None` without a poll
/// that knows both amounts, and without a synchronisation after the last high one.
pub fn convergence(passes: &[Pass], polls: &[Poll], stopped_seconds: f64) -> Option<Convergence> {
    let mut last_high = None;
    let mut known = false;
    for poll in polls.iter().filter(|poll| poll.t_seconds <= stopped_seconds) {
        let (Some(remaining), Some(threshold)) = (poll.remaining_bytes, poll.threshold_bytes)
        else {
            continue;
        };
        known = true;
        if remaining >= threshold {
            last_high = Some(poll.t_seconds);
        }
    }
    if !known {
        return None;
    }
    passes
        .iter()
        .find(|pass| last_high.is_none_or(|high| pass.started_seconds > high))
        .map(|pass| Convergence { pass: pass.number, seconds: pass.started_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PassKind,
        statistics::testing::{pass, poll},
    };

    fn polls(points: &[(f64, u64, u64)]) -> Vec<Poll> {
        points
            .iter()
            .map(|&(t, remaining, threshold)| Poll {
                remaining_bytes: Some(remaining),
                threshold_bytes: Some(threshold),
                ..poll(t)
            })
            .collect()
    }

    fn check(points: &[(f64, u64, u64)], expected: Option<(u64, f64)>) {
        let passes = [
            pass(1, PassKind::Pass, 0.1, 1.0),
            pass(2, PassKind::Pass, 1.1, 1.0),
            pass(3, PassKind::Pass, 2.1, 0.1),
            pass(4, PassKind::Final, 2.2, 0.1),
        ];
        let seen = convergence(&passes, &polls(points), 2.2).map(|c| (c.pass, c.seconds));
        assert_eq!(seen, expected, "{points:?}");
    }

    #[test]
    fn convergence_is_the_first_sync_after_the_last_high_poll() {
        // Below the threshold just before a sync does not count: the sync adds to it again.
        check(
            &[(0.5, 90, 10), (1.0, 9, 10), (1.5, 50, 10), (2.0, 9, 10), (2.15, 5, 10)],
            Some((3, 2.1)),
        );
        check(&[(0.5, 90, 10), (1.2, 9, 10), (2.0, 5, 10)], Some((2, 1.1)));
        check(&[(0.5, 9, 10), (2.0, 9, 10)], Some((1, 0.1)));
    }

    #[test]
    fn polls_after_the_stop_do_not_matter() {
        check(&[(0.5, 9, 10), (3.0, 50, 10)], Some((1, 0.1)));
    }

    #[test]
    fn without_knowledge_there_is_no_convergence_point() {
        check(&[], None);
        assert_eq!(convergence(&[pass(1, PassKind::Pass, 0.0, 1.0)], &[poll(0.5)], 1.0), None);
        assert_eq!(convergence(&[], &polls(&[(0.5, 9, 10)]), 1.0), None);
    }
}
