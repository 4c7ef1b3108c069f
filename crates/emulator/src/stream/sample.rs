//! From what was counted to what is reported.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use sterna_report::dirty::LatencyCell;
use sterna_report::stream::{
    LaneWay, RequestTimes, StreamInterval, StreamLane, StreamSideSummary, StreamTcp, StreamTimes,
    ZeroCopyUse,
};
use sterna_sys::PAGE_BYTES;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::socket::{TcpInfo, tcp_info};
use sterna_wire::trial::{Part, Way};
use sterna_workload::Histogram;

use crate::transport::Socket;

use super::meter::{live_cpu_ns, of, snapshot};
use super::side::{LaneState, Side, WayState};

/// A smaller part of an interval is not told on its own.
const AFTERTHOUGHT: f64 = 0.1;

const GIB: f64 = (1u64 << 30) as f64;

/// Looks at a side from time to time.
pub struct Sampler {
    before: Look,
    tcp: TcpLooks,
}

/// All that has been counted until one moment.
#[derive(Clone, Default)]
struct Look {
    at_ns: u64,
    sent: u64,
    received: u64,
    moved: u64,
    answered: u64,
    awaited: Histogram,
    cpu_ns: Option<u64>,
    touched_pages: Option<u64>,
    retransmits: Option<u64>,
}

/// What connections told, over all looks.
#[derive(Default)]
struct TcpLooks {
    rtt_sum_ns: u64,
    rtt_count: u64,
    rtt_max_ns: u64,
    rtt_min_ns: Option<u64>,
    window_max_bytes: u64,
}

impl Sampler {
    /// From the beginning of a side on.
    pub fn new(side: &Side) -> Sampler {
        let at_ns = side.state.started_ns;
        let zero = |it: Option<u64>| it.map(|_| 0);
        let before = Look {
            at_ns,
            cpu_ns: zero(live_cpu_ns()),
            touched_pages: zero(side.touched_pages()),
            retransmits: tcp(side).map(|it| it.iter().map(|it| it.retransmits).sum()),
            ..Look::default()
        };
        Sampler { before, tcp: TcpLooks::default() }
    }

    /// What was seen since the last time.
    pub fn interval(&mut self, side: &Side) -> StreamInterval {
        let tcp = tcp(side);
        self.tcp.add(tcp.as_deref());
        let (now, before) = (Look::now(side, tcp.as_deref()), &self.before);
        let seconds = seconds(before.at_ns, now.at_ns);
        let (has_sent, has_received) = directions(side);
        let sent = has_sent.then(|| now.sent - before.sent);
        let received = has_received.then(|| now.received - before.received);
        let rate = |bytes: Option<u64>| bytes.and_then(|it| per(it as f64, seconds));
        let cpu_seconds = difference(now.cpu_ns, before.cpu_ns).map(|it| it / 1e9);
        let rtts = tcp.as_ref().map(|it| it.iter().map(|it| it.rtt_ns).collect::<Vec<_>>());
        let interval = StreamInterval {
            side: side.kind,
            start_seconds: self::seconds(side.state.started_ns, before.at_ns),
            end_seconds: self::seconds(side.state.started_ns, now.at_ns),
            sent_bytes: sent,
            sent_bytes_per_second: rate(sent),
            received_bytes: received,
            received_bytes_per_second: rate(received),
            answered_requests: answers(side).then(|| now.answered - before.answered),
            requests: asks(side).then(|| times(&now.awaited.since(&before.awaited))).flatten(),
            retransmits: difference(now.retransmits, before.retransmits).map(|it| it as u64),
            rtt_ns: rtts
                .filter(|it| !it.is_empty())
                .map(|it| it.iter().sum::<u64>() / it.len() as u64),
            congestion_window_bytes: tcp
                .map(|it| it.iter().map(|it| it.congestion_window_bytes).sum()),
            cpu_seconds,
            cpu_seconds_per_gib: cpu_seconds
                .and_then(|it| per(it, (now.moved - before.moved) as f64 / GIB)),
            touch_rate_bytes_per_second: difference(now.touched_pages, before.touched_pages)
                .and_then(|it| per(it * PAGE_BYTES as f64, seconds)),
        };
        self.before = now;
        interval
    }

    /// What was seen since the last time, of a side whose threads have ended; `None` when that is no more than an afterthought, which stands in the summary.
    pub fn last(&mut self, side: &Side) -> Option<StreamInterval> {
        let is_first = self.before.at_ns == side.state.started_ns;
        let interval = self.interval(side);
        let least = side.state.plan.test.interval_ns as f64 / 1e9 * AFTERTHOUGHT;
        (is_first || interval.end_seconds - interval.start_seconds >= least).then_some(interval)
    }

    /// What was seen in all, of a side whose threads have ended.
    pub fn summary(mut self, side: &Side) -> StreamSideSummary {
        let tcp = tcp(side);
        self.tcp.add(tcp.as_deref());
        let now = Look::now(side, tcp.as_deref());
        let (has_sent, has_received) = directions(side);
        let (sent, received) = (has_sent.then_some(now.sent), has_received.then_some(now.received));
        let rate = |bytes: Option<u64>, is_source: bool| {
            per(bytes? as f64, seconds(side.state.started_ns, last_bulk_ns(side, is_source)))
        };
        let duration_seconds = seconds(side.state.started_ns, now.at_ns);
        let cpu_seconds =
            now.cpu_ns.map(|_| side.state.cpu_done_ns.load(Ordering::Relaxed) as f64 / 1e9);
        let wire = |of: fn(&LaneState) -> u64| side.lanes.iter().map(|it| of(it)).sum();
        StreamSideSummary {
            duration_seconds,
            sent_bytes: sent,
            sent_bytes_per_second: rate(sent, true),
            received_bytes: received,
            received_bytes_per_second: rate(received, false),
            wire_sent_bytes: wire(|it| of(&it.meter.wire_sent)),
            wire_received_bytes: wire(|it| of(&it.meter.wire_received)),
            answered_requests: answers(side).then_some(now.answered),
            requests: asks(side).then(|| requests(side)),
            tcp: tcp.as_ref().map(|it| self.tcp.told(it)),
            cpu_seconds,
            cpu_seconds_per_gib: cpu_seconds.and_then(|it| per(it, now.moved as f64 / GIB)),
            touch_rate_bytes_per_second: now
                .touched_pages
                .and_then(|it| per(it as f64 * PAGE_BYTES as f64, duration_seconds)),
            zero_copy: zero_copy(side),
            lanes: side.lanes.iter().map(|it| lane(it)).collect(),
            error: side.state.failure(),
        }
    }
}

impl Look {
    fn now(side: &Side, tcp: Option<&[TcpInfo]>) -> Look {
        let mut look = Look { at_ns: monotonic_ns(), ..Look::default() };
        for lane in &side.lanes {
            let bulk = of(&lane.meter.bulk_bytes);
            match is_source(side, lane) {
                true => look.sent += bulk,
                false => look.received += bulk,
            }
            look.moved += bulk + of(&lane.meter.page_bytes);
            look.answered += of(&lane.meter.answered);
        }
        for way in &side.ways {
            look.awaited.merge(&snapshot(&way.requests.awaited));
        }
        look.cpu_ns = live_cpu_ns().map(|it| it + side.state.cpu_done_ns.load(Ordering::Relaxed));
        look.touched_pages = side.touched_pages();
        look.retransmits = tcp.map(|it| it.iter().map(|it| it.retransmits).sum());
        look
    }
}

impl TcpLooks {
    fn add(&mut self, tcp: Option<&[TcpInfo]>) {
        let Some(tcp) = tcp else { return };
        for info in tcp {
            self.rtt_sum_ns += info.rtt_ns;
            self.rtt_count += 1;
            self.rtt_max_ns = self.rtt_max_ns.max(info.rtt_ns);
            let known = info.min_rtt_ns.filter(|it| *it > 0 && *it < u64::from(u32::MAX) * 1000);
            self.rtt_min_ns = self.rtt_min_ns.into_iter().chain(known).min();
        }
        let window = tcp.iter().map(|it| it.congestion_window_bytes).sum();
        self.window_max_bytes = self.window_max_bytes.max(window);
    }

    fn told(&self, last: &[TcpInfo]) -> StreamTcp {
        StreamTcp {
            retransmits: last.iter().map(|it| it.retransmits).sum(),
            rtt_mean_ns: self.rtt_sum_ns.checked_div(self.rtt_count),
            rtt_max_ns: (self.rtt_count > 0).then_some(self.rtt_max_ns),
            rtt_min_ns: self.rtt_min_ns,
            congestion_window_max_bytes: (self.rtt_count > 0).then_some(self.window_max_bytes),
        }
    }
}

/// A distribution in a few numbers; `None` when it is empty.
fn times(histogram: &Histogram) -> Option<StreamTimes> {
    let count = histogram.count();
    (count > 0).then(|| StreamTimes {
        count,
        mean_ns: histogram.mean_ns(),
        p50_ns: histogram.percentile_ns(50.0),
        p90_ns: histogram.percentile_ns(90.0),
        p99_ns: histogram.percentile_ns(99.0),
        p99_9_ns: histogram.percentile_ns(99.9),
        max_ns: histogram.max_ns(),
    })
}

fn requests(side: &Side) -> RequestTimes {
    let (mut awaited, mut ahead) = (Histogram::default(), Histogram::default());
    let mut unanswered = 0;
    for way in side.ways.iter().filter(|it| !it.is_source) {
        awaited.merge(&snapshot(&way.requests.awaited));
        ahead.merge(&snapshot(&way.requests.ahead));
        unanswered += of(&way.requests.outstanding);
    }
    let cells =
        awaited.cells().map(|(from_ns, to_ns, count)| LatencyCell { from_ns, to_ns, count });
    let cells = cells.collect();
    RequestTimes { awaited: times(&awaited), ahead: times(&ahead), cells, unanswered }
}

fn zero_copy(side: &Side) -> Option<ZeroCopyUse> {
    let counts = side
        .lanes
        .iter()
        .filter_map(|it| it.meter.zero_copy.lock().unwrap_or_else(PoisonError::into_inner).clone());
    counts.fold(None, |sum: Option<ZeroCopyUse>, it| {
        let sum = sum.unwrap_or_default();
        Some(ZeroCopyUse {
            sends: sum.sends + it.zero_copy_sends,
            copied: sum.copied + it.zero_copy_copied,
            refused: sum.refused + it.zero_copy_refused,
        })
    })
}

fn lane(lane: &LaneState) -> StreamLane {
    let info = info(&lane.socket);
    let congestion = info.and_then(|_| rustix::net::sockopt::tcp_congestion(&lane.socket).ok());
    StreamLane {
        way: match lane.way {
            Way::Up => LaneWay::Up,
            Way::Down => LaneWay::Down,
        },
        index: lane.index,
        urgent: lane.part == Part::Urgent,
        bytes: of(&lane.meter.bulk_bytes) + of(&lane.meter.page_bytes),
        retransmits: info.map(|it| it.retransmits),
        rtt_ns: info.map(|it| it.rtt_ns),
        congestion_window_bytes: info.map(|it| it.congestion_window_bytes),
        segment_bytes: info.map(|it| it.segment_bytes),
        congestion,
    }
}

fn tcp(side: &Side) -> Option<Vec<TcpInfo>> {
    let infos: Vec<_> = side.lanes.iter().filter_map(|it| info(&it.socket)).collect();
    (!infos.is_empty()).then_some(infos)
}

fn info(socket: &Socket) -> Option<TcpInfo> {
    tcp_info(socket).ok()
}

fn is_source(side: &Side, lane: &LaneState) -> bool {
    side.ways.iter().any(|it| it.way == lane.way && it.is_source)
}

/// Whether bulk is sent from here, and whether it is received here.
fn directions(side: &Side) -> (bool, bool) {
    let has_bulk = side.state.plan.test.bulk;
    let any = |wanted: bool| has_bulk && side.ways.iter().any(|it| it.is_source == wanted);
    (any(true), any(false))
}

fn answers(side: &Side) -> bool {
    side.state.plan.test.requests && side.ways.iter().any(|it| it.is_source)
}

fn asks(side: &Side) -> bool {
    side.state.plan.test.requests
        && side.ways.iter().any(|it: &std::sync::Arc<WayState>| !it.is_source)
}

fn last_bulk_ns(side: &Side, wants_source: bool) -> u64 {
    let lanes = side.lanes.iter().filter(|it| is_source(side, it) == wants_source);
    lanes.map(|it| of(&it.meter.last_bulk_ns)).max().unwrap_or(0)
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn per(amount: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| amount / of)
}

fn difference(now: Option<u64>, before: Option<u64>) -> Option<f64> {
    Some(now?.saturating_sub(before?) as f64)
}
