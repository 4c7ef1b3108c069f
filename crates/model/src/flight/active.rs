//! Passes while the guest runs.

use super::{Busy, Flight, Plan, ns, seconds};
use crate::dirty::PAGE;
use crate::memory::Ahead;
use crate::outcome::Pass;

/// The estimate counts as steady when it is within this part of the present rate.
const STEADY: f64 = 0.001;

/// A batch takes at least this long. What is pending may be about as much as the threshold while the rule, which learns
/// with every page, does not allow the stop yet; without it time would go on by a nanosecond with each check.
const LEAST_BATCH_NS: u64 = 100_000;

/// A migration that has made this many passes does not converge, and each further one is stretched to a part of the
/// time so far: half an hour of passes of a fraction of a millisecond would be millions. What ends that state
/// (a limit, a step of the throttle, another phase) is seen late by that part at most.
const MANY_PASSES: u32 = 1_000;

/// Each further pass takes at least the time so far divided by this.
const STRETCH_PART: u64 = 500;

/// Pages that take less than this on the wire are found to be zero.
const EMPTY_BYTES: f64 = 16.0;

impl Flight {
    /// Goes on to the next event, at most to `to_ns`.
    pub(super) fn step_active(&mut self, to_ns: u64) {
        if let Some((busy, until_ns)) = self.busy {
            return self.be_busy(busy, until_ns, to_ns);
        }
        if self.slowdown.must_sync(self.now_ns) {
            return self.begin_sync();
        }
        let (memory, ran) = (&self.memory, self.ran);
        if self.slowdown.measure(self.now_ns, ran, |length| memory.distinct(length)) {
            self.note_throttle();
        }
        let is_held = self.is_held();
        let is_through = self.memory.pending() < 0.5;
        if is_through {
            self.observe(true);
        }
        let is_early = self.pass.number > MANY_PASSES && self.now_ns < self.next_sync_ns;
        let is_due = (is_through && !is_held && !is_early) || self.now_ns >= self.next_sync_ns;
        if is_due && self.is_check() && self.decision.may_stop(self.pending_bytes()) {
            return self.begin_sync();
        }
        match self.memory.ahead().filter(|_| !is_through) {
            Some(ahead) => self.send(ahead, to_ns),
            None => self.wait(to_ns),
        }
    }

    /// Nothing is pending, and no synchronisation is due yet.
    fn wait(&mut self, to_ns: u64) {
        let until_ns = self.next_sync_ns.max(self.now_ns + 1);
        self.run_guest(self.before_others(until_ns).min(to_ns));
        self.observe(true);
        self.enter_phase();
    }

    /// Sends up to the next event.
    fn send(&mut self, ahead: Ahead, to_ns: u64) {
        let cost = self.cost(ahead.region, ahead.is_first_round);
        let page_seconds = cost.seconds_at(self.limited_rate());
        if ahead.pending * ahead.pages < 1e-9 {
            self.memory.pass(ahead.pages, self.ran);
            return;
        }
        let is_empty = cost.wire_bytes < EMPTY_BYTES;
        let rate = cost.wire_bytes / page_seconds.max(1e-12);
        let position_seconds = ahead.pending * page_seconds;
        let end_ns = self.now_ns + ns(ahead.pages * position_seconds).max(1);
        let mut until_ns = end_ns.min(to_ns);
        if !self.is_steady(rate) {
            until_ns = until_ns.min(self.decision.next_window_ns().max(self.now_ns + 1));
        }
        if let Some(check_ns) = self.next_check_ns(page_seconds, is_empty) {
            until_ns = until_ns.min(check_ns.max(self.now_ns + 1));
        }
        until_ns = self.before_others(until_ns);
        let positions = match until_ns == end_ns {
            true => ahead.pages,
            false => (seconds(until_ns - self.now_ns) / position_seconds).min(ahead.pages),
        };
        self.run_guest(until_ns);
        let pages = self.memory.pass(positions, self.ran);
        self.count_pages(cost, pages, !ahead.is_first_round);
        self.decision.learn(pages.round() as u64, (pages * cost.wire_bytes).round() as u64);
        self.keep_copies(ahead, pages);
        self.follow_windows(rate);
        self.enter_phase();
    }

    /// The next moment at which a check can find a synchronisation due, at this speed.
    fn next_check_ns(&self, page_seconds: f64, is_empty: bool) -> Option<u64> {
        let threshold = self.decision.threshold_bytes()? as f64 / PAGE;
        let left = (self.memory.pending() - threshold).max(0.0);
        // Pages that take next to nothing leave in batches, and no check comes in the middle of one.
        let batch = self.plan.rules.zero_batch_pages;
        let (left, batch_ns) = match is_empty && batch > 0.0 {
            true => ((left / batch).ceil() * batch, ns(batch * page_seconds)),
            false => (left, 0),
        };
        let crossed_ns = (self.now_ns + ns(left * page_seconds)).max(self.next_sync_ns);
        let check_ns = match is_empty {
            true => self.on_grid(crossed_ns),
            false => self.on_grid(self.on(self.plan.rules.batch_ns, crossed_ns)),
        };
        Some(check_ns.max(self.now_ns + batch_ns.max(LEAST_BATCH_NS)))
    }

    /// Checks are made on a grid, which begins with the migration.
    fn on_grid(&self, at_ns: u64) -> u64 {
        self.on(self.plan.rules.check_ns, at_ns)
    }

    fn on(&self, grid_ns: u64, at_ns: u64) -> u64 {
        let grid_ns = grid_ns.max(1);
        let origin_ns = self.plan.host.setup_ns;
        at_ns.saturating_sub(origin_ns).div_ceil(grid_ns) * grid_ns + origin_ns
    }

    fn is_check(&self) -> bool {
        self.memory.pending() < 0.5 || self.on_grid(self.now_ns) == self.now_ns
    }

    /// `at_ns`, or what comes by the clock before it.
    fn before_others(&self, at_ns: u64) -> u64 {
        let others = [self.slowdown.next_moment_ns(), self.next_phase_ns()];
        let others = others.into_iter().flatten().filter(|it| *it > self.now_ns);
        others.fold(at_ns, u64::min)
    }

    fn is_steady(&self, rate: f64) -> bool {
        self.steady.is_some_and(|it| (it - rate).abs() <= STEADY * rate)
    }

    /// Looks at the window of the bandwidth estimate after bytes have left at `rate`.
    fn follow_windows(&mut self, rate: f64) {
        if self.is_steady(rate) {
            self.decision.observe_steady(self.sent_bytes as u64, rate as u64, self.now_ns);
            return;
        }
        self.steady = None;
        if self.now_ns >= self.decision.next_window_ns() {
            self.observe(false);
            let estimate = self.decision.measured_bytes_per_second().unwrap_or(0) as f64;
            self.steady = Some(rate).filter(|it| (it - estimate).abs() <= STEADY * it);
        }
    }

    fn observe(&mut self, nothing_left: bool) {
        self.decision.observe(self.sent_bytes as u64, nothing_left, self.now_ns);
    }

    fn be_busy(&mut self, busy: Busy, until_ns: u64, to_ns: u64) {
        let phase_ns = self.next_phase_ns().unwrap_or(u64::MAX).max(self.now_ns + 1);
        self.run_guest(until_ns.min(to_ns).min(phase_ns).max(self.now_ns));
        self.enter_phase();
        if self.now_ns < until_ns {
            return;
        }
        self.busy = None;
        match busy {
            Busy::Sync(started_ns, before) => self.next_pass(started_ns, before),
            Busy::Prepare => self.switch_now(),
        }
    }

    fn begin_sync(&mut self) {
        let busy = Busy::Sync(self.now_ns, self.memory.pending());
        self.busy = Some((busy, self.now_ns + self.sync_ns()));
    }

    /// Ends a pass by a synchronisation and begins the next; or stops the guest, if what is pending then fits.
    fn next_pass(&mut self, started_ns: u64, before: f64) {
        self.close_pass(started_ns);
        let found = self.memory.sync(self.ran);
        self.outcome.syncs += 1;
        let number = self.pass.number;
        self.pass = Pass {
            number: number + 1,
            started_ns,
            sync_ns: self.now_ns - started_ns,
            dirty_pages: found.written,
            new_pages: found.new,
            pending_pages: self.memory.pending(),
            ..Pass::default()
        };
        let pending_bytes = self.pending_bytes();
        self.decision.synced(number, pending_bytes, self.now_ns);
        let new_bytes = ((self.memory.pending() - before).max(0.0) * PAGE) as u64;
        if self.slowdown.synced(self.now_ns, self.ran, new_bytes, self.sent_bytes as u64) {
            self.note_throttle();
        }
        self.enter_phase();
        if !self.is_held() && self.decision.may_stop(pending_bytes) {
            return self.stop();
        }
        let spacing_ns = self.plan.rules.sync_spacing_ns;
        let is_many = self.pass.number > MANY_PASSES;
        let stretched_ns = if is_many { self.now_ns / STRETCH_PART } else { 0 };
        self.next_sync_ns = self.now_ns + spacing_ns.max(stretched_ns);
    }

    fn note_throttle(&mut self) {
        let percent = self.slowdown.percent().unwrap_or(0.0);
        if self.outcome.throttle.last().is_none_or(|it| it.1 != percent) {
            self.outcome.throttle.push((self.now_ns, percent));
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.pass.number <= self.plan.settings.hold_passes
    }

    pub(super) fn sync_ns(&self) -> u64 {
        let gib = self.plan.guest.memory_bytes() as f64 / f64::from(1 << 30);
        (self.plan.host.sync_ns_per_gib as f64 * gib) as u64
    }

    /// What bytes may leave at while the limit holds.
    pub(super) fn limited_rate(&self) -> Option<f64> {
        let Plan { settings, rules, link, .. } = &*self.plan;
        let channels = settings.multifd.map_or(0.0, |it| f64::from(it.channels));
        let overshoot = channels * rules.channel_overshoot_bytes_per_second;
        let limit = settings.max_bytes_per_second.map(|it| it as f64 + overshoot);
        let wire = link.bytes_per_second.map(|it| it as f64);
        limit.into_iter().chain(wire).reduce(f64::min)
    }

    /// Pages that were sent again are in the cache of former contents as far as that has room.
    fn keep_copies(&mut self, ahead: Ahead, pages: f64) {
        let Some(bytes) = self.plan.settings.xbzrle_cache_bytes else { return };
        if ahead.is_first_round {
            return;
        }
        let regions = &self.plan.guest.dirty.regions;
        let is_written = |region: usize| {
            let it = &regions[region].activity;
            it.sweep.is_some() || it.rates.iter().any(|it| *it > 0.0)
        };
        let written = (0..regions.len()).filter(|it| is_written(*it));
        let written: f64 = written.map(|it| regions[it].pages()).sum();
        let room = (bytes as f64 / PAGE / written.max(1.0)).min(1.0);
        let cached = &mut self.cached[ahead.region];
        let share = pages / regions[ahead.region].pages().max(1.0);
        *cached = (*cached + share * (room - *cached).max(0.0)).min(room);
    }

    /// The phase of the workload that holds now, taken up if it is another than before.
    pub(super) fn enter_phase(&mut self) {
        let process = &self.plan.guest.dirty;
        if process.phases.is_empty() {
            return;
        }
        let phase = process.phase_at(self.ran);
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        let activities = process.activities(phase);
        self.memory.change(&activities, self.ran);
    }

    /// When the workload changes next, if it runs on as it does.
    fn next_phase_ns(&self) -> Option<u64> {
        let next = self.plan.guest.dirty.next_change(self.ran)?;
        let share = self.slowdown.running_share();
        (share > 0.0).then(|| self.now_ns + ns((next - self.ran) / share).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sterna_scenario::Scenario;

    use super::*;
    use crate::{Host, Rules};

    #[test]
    fn a_threshold_that_is_reached_while_the_rule_does_not_allow_the_stop_does_not_hold_time_up() {
        let text = "[guest]\nmemory = \"64MiB\"\n[workload]\nmemory = \"70%\"\nrate = \"140MB/s\"\n\
                    [migration]\nmax-bandwidth = \"500Mbit/s\"\ndowntime-limit = \"98ms\"\n\
                    [migration.xbzrle]\n[limits]\nmax-time = \"20s\"";
        let scenario = Scenario::from_toml(text, "test.toml").unwrap();
        let plan = Plan::of_scenario(&scenario, Host::emulator(), Rules::EMULATOR).unwrap();
        let mut flight = Flight::new(Arc::new(plan));
        let (horizon_ns, mut steps) = (20_000_000_000, 0_u32);
        while !flight.is_over() && flight.now_ns() < horizon_ns {
            flight.step(horizon_ns);
            steps += 1;
            assert!(steps < 1_000_000, "it is still at {} ns", flight.now_ns());
        }
    }

    #[test]
    fn half_an_hour_of_tiny_passes_is_a_few_thousand_of_them_and_ends_as_its_limit_says() {
        let text = "[guest]\nmemory = \"32MiB\"\n[workload]\nmemory = \"1MiB\"\nrate = \"unlimited\"\n\
                    [migration]\nmax-bandwidth = \"20Gbit/s\"\ndowntime-limit = \"1us\"\n\
                    [limits]\nmax-time = \"30m\"";
        let scenario = Scenario::from_toml(text, "test.toml").unwrap();
        let plan = Plan::of_scenario(&scenario, Host::emulator(), Rules::EMULATOR).unwrap();
        let policy = sterna_converge::Policy::new(&scenario);
        let outcome = crate::fly(&Arc::new(plan), policy);
        assert_eq!(outcome.end, crate::End::Cancelled);
        let passes = outcome.completed_passes();
        assert!((1_000..10_000).contains(&passes), "{passes} passes");
        assert_eq!(outcome.total_ns, 1_800_000_000_000);
    }
}
