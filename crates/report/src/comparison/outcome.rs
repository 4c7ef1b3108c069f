//! How the runs of both sides ended: whether that became worse, and which of them can be compared.

use std::cmp::Reverse;

use super::{Change, Rules, matching::Group, types::Ruling};
use crate::{Report, Verdict};

/// All outcomes with their ranks: a worse one ranks higher.
const RANKS: [(Verdict, u8); 7] = [
    (Verdict::Completed, 0),
    (Verdict::CompletedForced, 1),
    (Verdict::Cancelled, 2),
    (Verdict::Unsupported, 3),
    (Verdict::Interrupted, 3),
    (Verdict::Failed, 4),
    (Verdict::Lost, 5),
];

fn rank(verdict: Verdict) -> u8 {
    RANKS.iter().find(|it| it.0 == verdict).map_or(u8::MAX, |it| it.1)
}

/// Each run's outcome as a number that is larger for a worse one.
pub(super) fn ranks(group: &Group) -> Vec<f64> {
    group.reports.iter().map(|it| f64::from(rank(it.summary.verdict))).collect()
}

/// The outcome that most runs of both sides have in common, of equally many the best.
///
/// Times of runs that ended differently cannot be compared: a migration that was cancelled after a
/// second took less time than one that completed after five, and is not better.
pub(super) fn in_common(a: &Group, b: &Group) -> Option<Verdict> {
    let shared = |verdict: Verdict| a.ended(verdict).min(b.ended(verdict));
    let all = RANKS.iter().map(|it| it.0).filter(|it| shared(*it) > 0);
    all.max_by_key(|it| (shared(*it), Reverse(rank(*it))))
}

/// What the numbers leave out, as a sentence; `None` where they leave out nothing.
pub(super) fn note(a: &Group, b: &Group, outcome: Option<Verdict>) -> Option<String> {
    let (of_a, of_b) = (a.reports.len(), b.reports.len());
    let title = a.title();
    let Some(outcome) = outcome else {
        return Some(format!(
            "{title}: no run of the candidate ended as one of the reference did, so no number is compared"
        ));
    };
    let (in_a, in_b) = (a.ended(outcome), b.ended(outcome));
    (in_a < of_a || in_b < of_b).then(|| {
        format!(
            "{title}: numbers are compared among the runs that ended {outcome} only, {in_a} of {of_a} in the reference and {in_b} of {of_b} in the candidate"
        )
    })
}

/// A lost guest is a regression at once, and so it is when all had completed and none does; for
/// everything between, the ranks of the outcomes are tested; `adjusted` is that test's p-value.
pub(super) fn outcome(a: &Group, b: &Group, adjusted: Option<f64>, rules: &Rules) -> Ruling {
    let is_done = |report: &&&Report| {
        matches!(report.summary.verdict, Verdict::Completed | Verdict::CompletedForced)
    };
    let done = |group: &Group| group.reports.iter().filter(is_done).count();
    let (of_a, of_b) = (a.reports.len(), b.reports.len());
    let (done_a, done_b) = (done(a), done(b));
    let lost = (a.ended(Verdict::Lost), b.ended(Verdict::Lost));
    let is_alike = RANKS.iter().all(|(it, _)| a.ended(*it) * of_b == b.ended(*it) * of_a);
    let is_real = adjusted.is_some_and(|it| it <= rules.alpha);
    let mean = |group: &Group| ranks(group).iter().sum::<f64>() / group.reports.len() as f64;
    let change = match () {
        () if lost.1 > 0 && lost.0 == 0 => Change::Regressed,
        () if done_a == of_a && done_b == 0 => Change::Regressed,
        () if done_a == 0 && done_b == of_b => Change::Improved,
        () if is_alike => Change::NoChange,
        () if is_real && mean(b) < mean(a) => Change::Improved,
        () if is_real => Change::Regressed,
        () => Change::TooNoisy,
    };
    let mut text = format!(
        "{done_a} of {of_a} completed in the reference, {done_b} of {of_b} in the candidate"
    );
    if let Some(forced) = forced(a, b) {
        text.push_str(&forced);
    }
    if lost.1 > 0 {
        text.push_str(&format!(", where {} lost the guest", lost.1));
    }
    Ruling { change, text }
}

fn forced(a: &Group, b: &Group) -> Option<String> {
    let forced = [a, b].map(|it| it.ended(Verdict::CompletedForced));
    (forced != [0, 0]).then(|| format!(" ({} and {} of them forced)", forced[0], forced[1]))
}
