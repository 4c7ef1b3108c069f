//! What holds the guest back.

use sterna_converge::{AutoConverge, DirtyLimit, Strikes, SyncTimer};

use super::Plan;
use crate::dirty::PAGE;

#[derive(Clone, Debug)]
pub(super) struct Slowdown {
    way: Way,
    strikes: Strikes,
    timer: SyncTimer,
    syncs: u64,
    forces_syncs: bool,
    workers: u32,
    measured_ran: f64,
}

#[derive(Clone, Debug)]
enum Way {
    None,
    Converge(AutoConverge),
    Limit(DirtyLimit),
}

impl Slowdown {
    pub(super) fn new(plan: &Plan) -> Slowdown {
        let settings = &plan.settings;
        let workers = plan.guest.vcpus.max(1);
        let way = match (&settings.auto_converge, settings.dirty_limit_bytes_per_second) {
            (Some(steps), _) => Way::Converge(AutoConverge::new(steps.clone())),
            (None, Some(limit)) => Way::Limit(DirtyLimit::new(limit, (0..workers).map(|_| 0..0))),
            (None, None) => Way::None,
        };
        Slowdown {
            way,
            strikes: Strikes::new(0),
            timer: SyncTimer::new(0),
            syncs: 1,
            forces_syncs: plan.rules.forces_syncs,
            workers,
            measured_ran: 0.0,
        }
    }

    /// The first synchronisation is being made.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.strikes = Strikes::new(now_ns);
        self.timer = SyncTimer::new(now_ns);
    }

    /// The part of its time that the guest runs.
    pub(super) fn running_share(&self) -> f64 {
        1.0 - self.percent().unwrap_or(0.0) / 100.0
    }

    pub(super) fn percent(&self) -> Option<f64> {
        match &self.way {
            Way::None => None,
            Way::Converge(it) => Some(f64::from(it.percent())),
            Way::Limit(it) => Some(it.throttle_percent()),
        }
    }

    /// The next moment at which something is due by the clock alone.
    pub(super) fn next_moment_ns(&self) -> Option<u64> {
        match &self.way {
            Way::None => None,
            Way::Converge(_) => self.forces_syncs.then(|| self.timer.next_look_ns()),
            Way::Limit(it) => it.next_measure_ns(),
        }
    }

    /// Whether a synchronisation must be made that nothing else calls for.
    pub(super) fn must_sync(&mut self, now_ns: u64) -> bool {
        let is_timed = self.forces_syncs && matches!(self.way, Way::Converge(_));
        is_timed && self.timer.is_due(now_ns, self.syncs)
    }

    /// A synchronisation was made; whether it changed how much the guest is held back.
    pub(super) fn synced(&mut self, now_ns: u64, ran: f64, new_bytes: u64, sent: u64) -> bool {
        self.syncs += 1;
        let Some(period) = self.strikes.synced(now_ns, new_bytes, sent) else { return false };
        match &mut self.way {
            Way::None => false,
            Way::Converge(it) => {
                let before = it.percent();
                it.step(period) != before
            }
            Way::Limit(it) => {
                if !it.is_limiting() {
                    self.measured_ran = ran;
                }
                it.begin(now_ns);
                false
            }
        }
    }

    /// Measures the workers under a dirty limit once a second: `distinct` says how many pages all of them dirty in a running time. Whether something changed.
    pub(super) fn measure(&mut self, now_ns: u64, ran: f64, distinct: impl Fn(f64) -> f64) -> bool {
        let Way::Limit(limit) = &mut self.way else { return false };
        if !limit.is_due(now_ns) {
            return false;
        }
        let pages = distinct(ran - self.measured_ran) / f64::from(self.workers);
        (0..self.workers).for_each(|worker| limit.found_by(worker as usize, pages as u64));
        self.measured_ran = ran;
        limit.adjust(now_ns, PAGE as u64);
        true
    }
}
