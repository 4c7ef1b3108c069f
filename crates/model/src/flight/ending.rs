//! From the stop of the guest to the end.

use std::sync::Arc;

use super::{Busy, Flight, Plan, Stage, ns, seconds};
use crate::dirty::PAGE;
use crate::outcome::{End, Pass};

impl Flight {
    /// Stops the guest and sends all that is left.
    pub(super) fn stop(&mut self) {
        self.switches = false;
        self.begin_switchover();
        let rate = match self.plan.settings.limit_in_switchover {
            true => self.limited_rate(),
            false => self.plan.link.bytes_per_second.map(|it| it as f64),
        };
        let sending = self.send_all(rate);
        self.next_stage_ns = self.now_ns + self.still_ns() + ns(sending);
        self.pass.ended_ns = self.now_ns + ns(sending);
    }

    /// Lets the guest go on at the destination, and what is pending follow.
    pub(super) fn switch(&mut self) {
        self.switches = true;
        match self.plan.rules.discards_before_stop {
            true => self.busy = Some((Busy::Prepare, self.now_ns + self.discard_ns())),
            false => self.switch_now(),
        }
    }

    /// How long the destination needs to discard what is pending.
    fn discard_ns(&self) -> u64 {
        let gib = self.memory.pending() * PAGE / f64::from(1 << 30);
        (self.plan.host.discard_ns_per_gib as f64 * gib) as u64
    }

    pub(super) fn switch_now(&mut self) {
        let is_late = !self.plan.rules.discards_before_stop;
        let within_ns = if is_late { self.discard_ns() } else { 0 };
        self.begin_switchover();
        self.pass.ended_ns = self.now_ns + within_ns;
        self.next_stage_ns = self.now_ns + self.still_ns() + within_ns;
    }

    pub(super) fn cancel(&mut self) {
        if let Some(stopped_ns) = self.stopped_ns {
            self.outcome.lost_work_seconds += seconds(self.now_ns - stopped_ns);
        }
        self.outcome.passes.retain(|it| !it.is_final);
        self.finish(End::Cancelled, Stage::Cancelled);
    }

    /// Time passes without anything to decide.
    pub(super) fn step_ending(&mut self, to_ns: u64) {
        if self.next_stage_ns > to_ns {
            return self.pass_time(to_ns);
        }
        self.pass_time(self.next_stage_ns);
        match self.stage {
            Stage::Switchover if self.resumed_ns.is_none() => self.resume(),
            _ => self.finish(End::Completed, Stage::Completed),
        }
    }

    fn pass_time(&mut self, to_ns: u64) {
        let length = seconds(to_ns.saturating_sub(self.now_ns));
        if self.resumed_ns.is_some() {
            let share = 1.0 - self.stalled_share();
            self.writes += length * share * self.memory.writes_per_second();
            self.ran += length * share;
        }
        self.now_ns = to_ns;
    }

    /// The part of its time that the guest waits for pages in post-copy, on average.
    fn stalled_share(&self) -> f64 {
        let (Some(stall), Some(length)) = (self.outcome.stall_seconds, self.outcome.postcopy_ns)
        else {
            return 0.0;
        };
        if length == 0 { 0.0 } else { (stall / seconds(length)).min(1.0) }
    }

    fn begin_switchover(&mut self) {
        let started_ns = self.now_ns;
        self.busy = None;
        self.close_pass(started_ns);
        let found = self.memory.sync(self.ran);
        self.outcome.syncs += 1;
        self.stage = Stage::Switchover;
        self.stopped_ns = Some(started_ns);
        self.pass = Pass {
            number: self.pass.number + 1,
            is_final: true,
            started_ns,
            sync_ns: self.sync_ns(),
            dirty_pages: found.written,
            new_pages: found.new,
            pending_pages: self.memory.pending(),
            ..Pass::default()
        };
    }

    /// Downtime without the memory that is sent in it.
    fn still_ns(&self) -> u64 {
        let Plan { host, link, .. } = &*self.plan;
        // The state, READY and GO each travel once.
        self.sync_ns() + host.fixed_downtime_ns + 3 * link.latency_ns
    }

    /// Sends everything that is pending; how long that takes, in seconds.
    fn send_all(&mut self, rate: Option<f64>) -> f64 {
        let mut length = 0.0;
        let is_first_round = self.memory.is_first_round();
        for (region, pages) in self.memory.take_pending() {
            let cost = self.cost(region, is_first_round);
            length += pages * cost.seconds_at(rate);
            self.count_pages(cost, pages, true);
        }
        length
    }

    fn resume(&mut self) {
        let stopped_ns = self.stopped_ns.unwrap_or(self.now_ns);
        let downtime_ns = self.now_ns - stopped_ns;
        self.resumed_ns = Some(self.now_ns);
        self.outcome.downtime_ns = Some(downtime_ns);
        self.outcome.lost_work_seconds += seconds(downtime_ns);
        self.outcome.passes.push(self.pass);
        if self.switches {
            return self.begin_postcopy();
        }
        // The source hears of it.
        self.next_stage_ns = self.now_ns + self.plan.link.latency_ns;
        if self.plan.link.latency_ns == 0 {
            self.finish(End::Completed, Stage::Completed);
        }
    }

    fn begin_postcopy(&mut self) {
        self.stage = Stage::Postcopy;
        let plan = Arc::clone(&self.plan);
        let Plan { link, settings, .. } = &*plan;
        let wire = link.bytes_per_second.map(|it| it as f64);
        let limit = settings.postcopy_bytes_per_second.map(|it| it as f64);
        let missing = self.memory.missing();
        self.backlog_bytes = self.pending_bytes();
        let rate = limit.into_iter().chain(wire).reduce(f64::min);
        let length = self.send_all(rate);
        let stall = self.stall(&missing, length).min(length);
        self.outcome.stall_seconds = Some(stall);
        self.outcome.lost_work_seconds += stall;
        self.outcome.postcopy_ns = Some(ns(length));
        self.backlog_since_ns = self.now_ns;
        self.backlog_length_ns = ns(length);
        self.next_stage_ns = self.now_ns + ns(length) + link.latency_ns;
    }

    /// The rest of the backlog follows at the rate of the link.
    pub(super) fn lift_postcopy_limit(&mut self) {
        let Plan { link, settings, .. } = &*self.plan;
        let Some(limit) = settings.postcopy_bytes_per_second else { return };
        let wire = link.bytes_per_second.unwrap_or(u64::MAX).max(1);
        let left_bytes = self.backlog_left_bytes();
        let end_ns = self.next_stage_ns.saturating_sub(link.latency_ns);
        let left_ns = end_ns.saturating_sub(self.now_ns) as f64;
        let left_ns = (left_ns * (limit as f64 / wire as f64).min(1.0)) as u64;
        self.next_stage_ns = self.now_ns + left_ns + link.latency_ns;
        self.outcome.postcopy_ns =
            Some(left_ns + self.now_ns.saturating_sub(self.resumed_ns.unwrap_or(self.now_ns)));
        self.backlog_bytes = left_bytes;
        self.backlog_since_ns = self.now_ns;
        self.backlog_length_ns = left_ns;
    }

    /// What of the backlog has not arrived yet; it comes evenly.
    pub(super) fn backlog_left_bytes(&self) -> u64 {
        let length_ns = self.backlog_length_ns.max(1);
        let since_ns = self.now_ns.saturating_sub(self.backlog_since_ns);
        let left = 1.0 - (since_ns as f64 / length_ns as f64).min(1.0);
        (self.backlog_bytes as f64 * left) as u64
    }

    /// How long each processor waits for pages that it touches before the background has brought them within `length` seconds.
    ///
    /// A page comes at a moment that is even over that time; touched at rate `r`, it is asked for before with probability `1 - (1 - exp(-r T)) / (r T)`.
    fn stall(&self, missing: &[(f64, f64)], length: f64) -> f64 {
        let Plan { host, link, guest, settings, .. } = &*self.plan;
        let page_seconds = link.bytes_per_second.map_or(0.0, |it| PAGE / it.max(1) as f64);
        // Without a connection of its own a requested page waits for half of a batch of 128 KiB.
        let queue = if settings.postcopy_preempts { 0.0 } else { 16.0 * page_seconds };
        let wait = queue + seconds(host.fault_ns + 2 * link.latency_ns) + page_seconds;
        let asked = |&(pages, rate): &(f64, f64)| {
            let product = (rate * length).max(1e-9);
            pages * (1.0 + (-product).exp_m1() / product)
        };
        missing.iter().map(asked).sum::<f64>() * wait / f64::from(guest.vcpus.max(1))
    }
}
