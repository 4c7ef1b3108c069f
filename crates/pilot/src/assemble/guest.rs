//! The guest's samples, from what both sides told.

use sterna_report::{GuestSample, LatencyHistogram, Side, Verdict};

use super::{Time, resumed_ns};
use crate::{GuestPoint, Record};

/// Progress of the guest, sampled where it ran.
///
/// # The switchover
///
/// Both sides tell points all the time: a source goes on after its workers have stopped, and a destination may begin before its workers are released.
/// Those are no samples of the guest, and they are dropped.
///
/// What remains is an interval on each side of the switchover that is the guest's only in part.
/// Kept whole, it would spread the guest's work over a time in which it stood still: the source's last interval would show a slump before the stop, and the standstill between the sides would look shorter by up to two intervals, in which lost work would then be counted at half price.
/// But nothing needs to be guessed there, because the counts are cumulative and go on over both sides.
/// A stopped worker's count is exact, whenever it is read, so:
///
/// - the source's last interval ends at the stop, with the counts of any point after it;
/// - the destination's first interval begins at the resumption, with those same counts.
///
/// Between them no time is covered, and the guest's throughput was 0.
/// All samples together hold exactly the writes that the guest made.
///
/// A source that told nothing after the stop (it died with the counts) leaves one interval that cannot be divided.
/// It stays whole, from the source's last point to the destination's first, on the destination: the writes and the time are right, only their distribution is unknown.
///
/// A guest that is lost has no samples after the stop, for there is no guest.
pub(super) fn samples(record: &Record, time: Time) -> Vec<GuestSample> {
    let (source, destination) = runs(record);
    let mut samples: Vec<GuestSample> = [source, destination]
        .iter()
        .flat_map(|run| run.windows(2))
        .filter_map(|pair| sample(&pair[0], &pair[1], time))
        .collect();
    samples.sort_by(|a, b| a.t_seconds.total_cmp(&b.t_seconds));
    samples
}

/// The points at which the guest was seen, on the source and on the destination.
fn runs(record: &Record) -> (Vec<GuestPoint>, Vec<GuestPoint>) {
    let source = points(record, Side::Source);
    let resumed_ns = resumed_ns(record);
    let stopped_ns = record.moments.stopped_ns;
    let has_left = resumed_ns.is_some() || record.verdict == Verdict::Lost;
    let Some(stopped_ns) = stopped_ns.filter(|_| has_left) else { return (source, Vec::new()) };

    let (mut before, after): (Vec<_>, Vec<_>) =
        source.into_iter().partition(|it| it.at_ns < stopped_ns);
    // The last of them: its counts are right even if its stamp is a little off.
    let at_stop = after.last().map(|last| GuestPoint {
        at_ns: stopped_ns,
        latency: after.first().and_then(|it| it.latency),
        latency_half_octaves: after
            .first()
            .map_or(Vec::new(), |it| it.latency_half_octaves.clone()),
        ..last.clone()
    });
    let destination = match resumed_ns {
        Some(resumed_ns) => arrived(record, resumed_ns, at_stop.as_ref().or(before.last())),
        None => Vec::new(),
    };
    before.extend(at_stop);
    (before, destination)
}

/// The points of the destination from the resumption on, after one that says where the source stopped.
fn arrived(record: &Record, resumed_ns: u64, left: Option<&GuestPoint>) -> Vec<GuestPoint> {
    let is_exact = left.is_some_and(|it| Some(it.at_ns) == record.moments.stopped_ns);
    let first = left.map(|left| GuestPoint {
        side: Side::Destination,
        at_ns: if is_exact { resumed_ns } else { left.at_ns },
        ..left.clone()
    });
    let seen = points(record, Side::Destination).into_iter().filter(|it| it.at_ns > resumed_ns);
    first.into_iter().chain(seen).collect()
}

/// What a side told once its workers were working, in order of time.
fn points(record: &Record, side: Side) -> Vec<GuestPoint> {
    let since_ns = record.booted_ns.unwrap_or(0);
    let is_ours = |it: &&GuestPoint| it.side == side && it.at_ns >= since_ns;
    let mut points: Vec<GuestPoint> =
        record.guest.iter().filter(is_ours).filter(|it| !it.counts.is_empty()).cloned().collect();
    points.sort_by_key(|it| it.at_ns);
    points
}

/// What a worker spent on checking on average; less than the interval, since each check is followed by a write.
fn checking_seconds(before: &GuestPoint, now: &GuestPoint, interval_seconds: f64) -> Option<f64> {
    let all_ns = now.checking_ns.saturating_sub(before.checking_ns);
    let each_seconds = all_ns as f64 / now.counts.len() as f64 / 1e9;
    (each_seconds > 0.0 && each_seconds < interval_seconds).then_some(each_seconds)
}

/// Cumulative counts to writes within the interval since the point before.
fn sample(before: &GuestPoint, now: &GuestPoint, time: Time) -> Option<GuestSample> {
    let interval_seconds = (now.at_ns as f64 - before.at_ns as f64) / 1e9;
    if interval_seconds <= 0.0 || before.counts.len() != now.counts.len() {
        return None;
    }
    let counts_per_worker: Vec<u64> = now
        .counts
        .iter()
        .zip(&before.counts)
        .map(|(now, before)| now.saturating_sub(*before))
        .collect();
    let total: u64 = counts_per_worker.iter().sum();
    Some(GuestSample {
        t_seconds: time.seconds(now.at_ns),
        side: now.side,
        interval_seconds,
        counts_per_worker,
        writes_per_second: total as f64 / interval_seconds,
        checking_seconds: checking_seconds(before, now, interval_seconds),
        latency: now.latency,
        latency_histogram: LatencyHistogram::of(&now.latency_half_octaves),
    })
}
