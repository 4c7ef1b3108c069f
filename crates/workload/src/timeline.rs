//! What one worker has to do when: which segment, and how fast.

use std::sync::atomic::Ordering::Relaxed;

use crate::meter::Meter;
use crate::pace::{Pacer, Speed};
use crate::spec::{Pace, PhaseRate, Phases, Spec};

/// A worker's way through the phases.
///
/// It counts running time: the time of the workload without its pauses, which goes on where it stopped after a
/// migration.
/// A worker looks here only when [`Timeline::next_change_ns`] has come, which without phases it never does.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) pacer: Pacer,
    phases: Phases,
    base: PhaseRate,
    catches_up: bool,
    worker: u32,
    workers: u32,
    /// CLOCK_MONOTONIC at which the running time would have been 0.
    origin_ns: u64,
    /// Which segment it is, and the running times at which it began and ends.
    segment: usize,
    began_ns: u64,
    ends_ns: u64,
    /// The next running time at which something changes.
    next_ns: u64,
    search: Search,
}

/// The search for a worker's full speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// There is none: it is known, or not needed.
    Off,
    /// Caches and clocks warm up until this running time.
    WarmUp(u64),
    /// Writes are counted, from this number on and this running time on.
    Count { writes: u64, since_ns: u64 },
}

/// A ramp is a stair of steps so small that no window of 10 ms shows them.
const STEP_NS: u64 = 5_000_000;

const WARM_UP_NS: u64 = 20_000_000;
const SEARCH_NS: u64 = 80_000_000;

/// The end of time, which stays there whatever is added to it.
const NEVER: u64 = u64::MAX;

impl Timeline {
    /// The way of `worker` through the phases of `spec`, from where its meter says that it is.
    pub(crate) fn new(spec: &Spec, worker: u32, meter: &Meter, now_ns: u64) -> Timeline {
        let mut timeline = Timeline {
            pacer: Pacer::new(Speed::IDLE, spec.catch_up, (worker, spec.workers), now_ns),
            phases: spec.phases.clone(),
            base: PhaseRate::Steady(spec.pace),
            catches_up: spec.catch_up,
            worker,
            workers: spec.workers,
            origin_ns: now_ns.saturating_sub(meter.elapsed_ns.load(Relaxed)),
            segment: 0,
            began_ns: 0,
            ends_ns: NEVER,
            next_ns: NEVER,
            search: Search::Off,
        };
        timeline.enter(now_ns, meter);
        timeline
    }

    /// The segment that is on.
    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    /// The running time at `now_ns`.
    pub(crate) fn elapsed_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.origin_ns)
    }

    /// When to call [`Timeline::change`], on CLOCK_MONOTONIC.
    #[inline]
    pub(crate) fn next_change_ns(&self) -> u64 {
        self.origin_ns.saturating_add(self.next_ns)
    }

    /// Does what is to change at `now_ns`.
    pub(crate) fn change(&mut self, now_ns: u64, meter: &Meter) {
        let elapsed_ns = self.elapsed_ns(now_ns);
        if elapsed_ns >= self.ends_ns {
            return self.enter(now_ns, meter);
        }
        match self.search {
            Search::Off => self.pacer.change(self.speed(elapsed_ns, meter), now_ns),
            Search::WarmUp(_) => {
                let writes = meter.writes.load(Relaxed);
                self.search = Search::Count { writes, since_ns: elapsed_ns };
            }
            Search::Count { writes, since_ns } => {
                let count = meter.writes.load(Relaxed) - writes;
                let ns = u128::from(elapsed_ns - since_ns).max(1);
                let found = u128::from(count) * 1_000_000_000 / ns;
                meter.full_speed.store(u64::try_from(found).unwrap_or(u64::MAX).max(1), Relaxed);
                self.search = Search::Off;
                self.start(now_ns, meter);
            }
        }
        self.plan(elapsed_ns);
    }

    /// Takes a pause out of the running time and, unless it is to be made up for, out of the schedule.
    pub(crate) fn end_pause(&mut self, since_ns: u64, now_ns: u64, meter: &Meter) {
        let pause_ns = now_ns.saturating_sub(since_ns);
        self.origin_ns = self.origin_ns.saturating_add(pause_ns);
        self.pacer.move_by(pause_ns);
        if self.search != Search::Off {
            self.start(now_ns, meter);
        }
    }

    /// Takes time that the worker spent on checking out of the running time and the schedule; returns how much.
    ///
    /// A worker that makes up for every lag makes up for this one as well, so there it counts as any other time.
    pub(crate) fn excuse(&mut self, ns: u64) -> u64 {
        if self.catches_up || ns == 0 {
            return 0;
        }
        self.origin_ns = self.origin_ns.saturating_add(ns);
        self.pacer.move_by(ns);
        ns
    }

    /// Begins what is on at `now_ns`.
    fn enter(&mut self, now_ns: u64, meter: &Meter) {
        let moment = self.phases.at(self.elapsed_ns(now_ns));
        self.segment = moment.phase.map_or(0, |phase| phase + 1);
        (self.began_ns, self.ends_ns) = (moment.began_ns, moment.ends_ns);
        self.start(now_ns, meter);
    }

    /// Starts a schedule for what is on.
    fn start(&mut self, now_ns: u64, meter: &Meter) {
        let elapsed_ns = self.elapsed_ns(now_ns);
        let is_share = matches!(self.rate(), PhaseRate::Steady(Pace::ShareOfUnlimited(_)));
        let is_unknown = meter.full_speed.load(Relaxed) == 0;
        self.search = match is_share && is_unknown {
            true => Search::WarmUp(elapsed_ns.saturating_add(WARM_UP_NS)),
            false => Search::Off,
        };
        let speed = self.speed(elapsed_ns, meter);
        self.pacer = Pacer::new(speed, self.catches_up, (self.worker, self.workers), now_ns);
        self.plan(elapsed_ns);
    }

    fn rate(&self) -> PhaseRate {
        let phase = self.segment.checked_sub(1).and_then(|phase| self.phases.all().get(phase));
        phase.and_then(|phase| phase.rate).unwrap_or(self.base)
    }

    fn speed(&self, elapsed_ns: u64, meter: &Meter) -> Speed {
        match self.rate() {
            _ if self.search != Search::Off => Speed::Unlimited,
            PhaseRate::Steady(pace) => {
                Speed::of(pace, self.workers, meter.full_speed.load(Relaxed))
            }
            PhaseRate::Ramp { from, to } => {
                let [from, to] = [from, to].map(|rate| rate.bits_per_second() as f64);
                let middle_ns = elapsed_ns.saturating_sub(self.began_ns) + STEP_NS / 2;
                let part = middle_ns as f64 / self.ends_ns.saturating_sub(self.began_ns) as f64;
                Speed::bits((from + (to - from) * part.min(1.0)) as u64, self.workers)
            }
        }
    }

    /// Sets when the next change is.
    fn plan(&mut self, elapsed_ns: u64) {
        let inner_ns = match (self.search, self.rate()) {
            (Search::WarmUp(until_ns), _) => until_ns,
            (Search::Count { since_ns, .. }, _) => since_ns.saturating_add(SEARCH_NS),
            (Search::Off, PhaseRate::Ramp { .. }) => elapsed_ns.saturating_add(STEP_NS),
            (Search::Off, PhaseRate::Steady(_)) => NEVER,
        };
        self.next_ns = inner_ns.min(self.ends_ns);
    }
}
