//! Holding the guest back while it writes faster than can be sent, and letting it go again.
//!
//! ```text
//!               a step is due                    migration over, however it ends
//!  full speed ────────────────► held back, more ────────────────────────────────► full speed
//!                                with each step
//! ```

use sterna_converge::{AutoConverge, DirtyLimit, Strikes, SyncTimer};
use sterna_scenario::AutoConverge as Steps;
use sterna_sys::PAGE_BYTES;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{AutoConvergeConfig, LimitedWorker, TechniqueStatus, Techniques};
use sterna_workload::Spec;
use sterna_workload::partition::partition;

use super::Stop;
use super::run::Run;
use crate::migration::breakage::Defect;
use crate::migration::page_set::PageSet;

/// What holds the guest back, if anything does.
#[derive(Debug)]
pub(super) struct Slowdown {
    way: Way,
    strikes: Strikes,
    timer: SyncTimer,
    syncs: u64,
    forced_syncs: u64,
    peak_percent: f64,
    /// Pages found between synchronisations, which the next one takes over.
    collected: PageSet,
}

#[derive(Debug)]
enum Way {
    None,
    Converge(AutoConverge),
    Limit(DirtyLimit),
}

impl Slowdown {
    /// The first synchronisation is being made.
    pub(super) fn new(techniques: &Techniques, spec: &Spec, pages: usize) -> Slowdown {
        let now_ns = monotonic_ns();
        let way = match (techniques.auto_converge, techniques.dirty_limit_bytes_per_second) {
            (Some(config), _) => Way::Converge(AutoConverge::new(steps(config))),
            (None, Some(limit)) => {
                let pages = (0..spec.workers).map(|worker| partition(spec, worker));
                Way::Limit(DirtyLimit::new(limit, pages))
            }
            (None, None) => Way::None,
        };
        Slowdown {
            way,
            strikes: Strikes::new(now_ns),
            timer: SyncTimer::new(now_ns),
            syncs: 1,
            forced_syncs: 0,
            peak_percent: 0.0,
            collected: PageSet::new(pages),
        }
    }

    /// For the status.
    pub(super) fn tell(&self, status: &mut TechniqueStatus) {
        let percent = match &self.way {
            Way::None => return,
            Way::Converge(it) => f64::from(it.percent()),
            Way::Limit(it) => it.throttle_percent(),
        };
        status.throttle_percent = Some(percent);
        status.peak_throttle_percent = Some(self.peak_percent);
        status.forced_syncs = self.forced_syncs;
        if let Way::Limit(limit) = &self.way {
            let workers = limit.workers().iter().filter_map(|it| {
                Some(LimitedWorker {
                    bytes_per_second: it.bytes_per_second?,
                    throttle_percent: it.throttle_percent(),
                })
            });
            status.limited_workers = workers.collect();
        }
    }

    /// Counts what a synchronisation has found.
    pub(super) fn found(&mut self, first: usize, count: usize) {
        if let Way::Limit(limit) = &mut self.way {
            limit.found(first, count);
        }
        if !self.collected.is_empty() {
            self.collected.insert_range(first..first + count);
        }
    }

    /// Hands over what was found between this synchronisation and the one before; how many pages that and its own finds are together, if there was something.
    pub(super) fn take_collected(&mut self, mut take: impl FnMut(usize)) -> Option<u64> {
        let pages = self.collected.len() as u64;
        let mut from = 0;
        while let Some(page) = self.collected.next_from(from) {
            self.collected.remove(page);
            take(page);
            from = page;
        }
        (pages > 0).then_some(pages)
    }
}

fn steps(config: AutoConvergeConfig) -> Steps {
    let AutoConvergeConfig { initial, increment, max, tail_slow } = config;
    Steps { initial, increment, max, tail_slow }
}

impl Run<'_> {
    /// Whether a synchronisation must be made that nothing else calls for.
    pub(super) fn must_sync(&mut self) -> bool {
        let it = &mut self.slowdown;
        let is_due =
            matches!(it.way, Way::Converge(_)) && it.timer.is_due(monotonic_ns(), it.syncs);
        it.forced_syncs += u64::from(is_due);
        is_due
    }

    /// A synchronisation has made `new_bytes` pending; holds the guest back more if that is too much.
    pub(super) fn slow_down(&mut self, new_bytes: u64) {
        let sent_bytes = self.pacer.sent_bytes();
        let now_ns = monotonic_ns();
        let it = &mut self.slowdown;
        it.syncs += 1;
        let Some(period) = it.strikes.synced(now_ns, new_bytes, sent_bytes) else { return };
        match &mut it.way {
            Way::None => {}
            Way::Converge(converge) => {
                let percent = converge.step(period);
                it.peak_percent = it.peak_percent.max(f64::from(percent));
                self.crew.set_throttle(percent);
            }
            Way::Limit(limit) => limit.begin(now_ns),
        }
    }

    /// Measures the workers under a dirty limit once a second, and adjusts how long they rest.
    pub(super) fn measure_workers(&mut self) -> Result<(), Stop> {
        let Slowdown { way: Way::Limit(limit), collected, .. } = &mut self.slowdown else {
            return Ok(());
        };
        if !limit.is_due(monotonic_ns()) {
            return Ok(());
        }
        let looked = self.guest.tracker().sync(&mut |first, count| {
            limit.found(first, count);
            collected.insert_range(first..first + count);
        });
        looked.map_err(|error| Stop::Failed(error.to_string()))?;
        let rests_ns = limit.adjust(monotonic_ns(), PAGE_BYTES as u64);
        self.crew.set_rests(&rests_ns);
        self.slowdown.peak_percent = match &self.slowdown.way {
            Way::Limit(limit) => self.slowdown.peak_percent.max(limit.throttle_percent()),
            _ => self.slowdown.peak_percent,
        };
        Ok(())
    }

    /// Lets the guest run at full speed again, however the migration ended.
    pub(super) fn end_slowdown(&self) {
        let is_held_back = !matches!(self.slowdown.way, Way::None);
        if is_held_back && !self.defects.contains(&Defect::KeepThrottle) {
            self.crew.set_throttle(0);
            self.progress.update(|it| {
                it.techniques.throttle_percent = Some(0.0);
            });
        }
    }
}
