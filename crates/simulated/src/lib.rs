//! The engine `model`: no guest and no machines, only simulated time.
//!
//! [`Simulated`] puts a flight of `sterna_model` under the pilot, which steers it as it steers every engine.
//! It needs the pilot's own simulated clock, and says when something changes next, so that the pilot sleeps from event to event.
#![forbid(unsafe_code)]

mod facts;
mod mapping;

use std::sync::Arc;

use sterna_model::{Flight, Host, Plan, Rules, Stage};
use sterna_pilot::{
    Action, Clock, ClockOffset, EngineError, GapSpan, GuestPoint, Hypervisor, Interrupt, Moments,
    Progress, Samples, Settled, SimulatedClock, Status, Unsupported,
};
use sterna_report::{Engine, IntegrityDetail, Side, Warning};
use sterna_scenario::Scenario;

/// The engine.
pub struct Simulated<'a> {
    clock: &'a SimulatedClock,
    host: Host,
    rules: Rules,
    guest: Option<Guest>,
}

/// A guest, before and while it moves.
struct Guest {
    plan: Arc<Plan>,
    booted_ns: u64,
    workers: u32,
    /// The flight, and when its command was accepted.
    flight: Option<(u64, Flight)>,
    /// Writes before the command.
    writes_before: f64,
    reported_passes: usize,
    points: Vec<GuestPoint>,
    gaps: Vec<GapSpan>,
    resumed: Option<(u64, f64)>,
}

impl Simulated<'_> {
    /// The emulator as this model knows it, in the time of `clock`.
    pub fn new(clock: &SimulatedClock) -> Simulated<'_> {
        Simulated { clock, host: Host::emulator(), rules: Rules::EMULATOR, guest: None }
    }

    fn guest(&mut self) -> Result<&mut Guest, EngineError> {
        self.guest.as_mut().ok_or_else(|| EngineError::Failed("there is no guest yet".to_owned()))
    }
}

impl Hypervisor for Simulated<'_> {
    fn name(&self) -> &'static str {
        "model"
    }

    fn unsupported(&self, scenario: &Scenario) -> Vec<Unsupported> {
        let unmodelled = sterna_model::unmodelled(scenario).into_iter();
        unmodelled
            .map(|it| Unsupported { field: it.field.to_owned(), reason: it.reason.to_owned() })
            .collect()
    }

    fn boot(
        &mut self,
        scenario: &Scenario,
        _: &Interrupt,
        _: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        let plan = Plan::of_scenario(scenario, self.host, self.rules).map_err(|refused| {
            let refused: Vec<String> =
                refused.iter().map(|it| format!("{}: {}", it.field, it.reason)).collect();
            EngineError::Unsupported(refused.join("; "))
        })?;
        self.guest = Some(Guest {
            plan: Arc::new(plan),
            booted_ns: self.clock.now_ns(),
            workers: scenario.workload.workers,
            flight: None,
            writes_before: 0.0,
            reported_passes: 0,
            points: Vec::new(),
            gaps: Vec::new(),
            resumed: None,
        });
        Ok(())
    }

    fn facts(&self) -> Engine {
        facts::facts(self.guest.as_ref().map(|it| &*it.plan), self.outcome())
    }

    fn clocks(&self) -> Vec<ClockOffset> {
        let same = |side| ClockOffset { side, offset_ns: 0, uncertainty_ns: 0 };
        vec![same(Side::Source), same(Side::Destination)]
    }

    fn migrate(&mut self) -> Result<u64, EngineError> {
        let now_ns = self.clock.now_ns();
        let guest = self.guest()?;
        guest.note(now_ns);
        guest.writes_before = guest.writes(now_ns);
        guest.flight = Some((now_ns, Flight::new(Arc::clone(&guest.plan))));
        Ok(now_ns)
    }

    fn status(&mut self) -> Result<Status, EngineError> {
        let now_ns = self.clock.now_ns();
        let guest = self.guest()?;
        guest.note(now_ns);
        let reported = guest.reported_passes;
        let Some((accepted_ns, flight)) = &guest.flight else {
            return Ok(Status { at_ns: now_ns, ..Status::default() });
        };
        let status = mapping::status(flight, *accepted_ns, now_ns, reported);
        guest.reported_passes += status.new_passes.len();
        Ok(status)
    }

    fn next_change_ns(&mut self) -> Option<u64> {
        let (accepted_ns, flight) = self.guest.as_mut()?.flight.as_mut()?;
        flight.next_change_ns().map(|it| accepted_ns.saturating_add(it))
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn act(&mut self, action: Action) -> Result<(), EngineError> {
        let now_ns = self.clock.now_ns();
        let guest = self.guest()?;
        guest.note(now_ns);
        let Some((_, flight)) = &mut guest.flight else {
            return Err(EngineError::Failed("no migration is under way".to_owned()));
        };
        flight.act(action).map_err(|refusal| EngineError::Failed(refusal.to_string()))
    }

    fn settle(&mut self) -> Result<Settled, EngineError> {
        let guest = self.guest()?;
        let moments = guest.flight.as_ref().map(|(at_ns, flight)| mapping::moments(flight, *at_ns));
        Ok(match moments.filter(|it| it.resumed_ns.is_some()) {
            Some(moments) => Settled::Running(Box::new(moments)),
            None => Settled::Lost("the model was asked in the middle of a switchover".to_owned()),
        })
    }

    fn samples(&mut self) -> Result<Samples, EngineError> {
        let now_ns = self.clock.now_ns();
        let guest = self.guest()?;
        guest.note(now_ns);
        Ok(Samples {
            guest: std::mem::take(&mut guest.points),
            gaps: std::mem::take(&mut guest.gaps),
            gap_resolution_ns: Some(1),
            ..Samples::default()
        })
    }

    fn verify(&mut self, _: Side, _: &Interrupt) -> Result<IntegrityDetail, EngineError> {
        Err(EngineError::Failed("the model has no memory to compare".to_owned()))
    }

    fn warnings(&mut self) -> Vec<Warning> {
        self.guest.as_ref().map_or_else(Vec::new, |it| facts::warnings(&it.plan))
    }

    fn shutdown(&mut self) {
        self.guest = None;
    }
}

impl Simulated<'_> {
    fn outcome(&self) -> Option<&sterna_model::Outcome> {
        self.guest.as_ref()?.flight.as_ref().map(|it| it.1.outcome())
    }
}

impl Guest {
    /// Lets time pass up to `now_ns` and notes what the guest has done by then.
    fn note(&mut self, now_ns: u64) {
        if let Some((accepted_ns, flight)) = &mut self.flight {
            flight.advance(now_ns.saturating_sub(*accepted_ns));
        }
        let moments = self.moments();
        if let (Some(stopped_ns), Some(resumed_ns), None) =
            (moments.stopped_ns, moments.resumed_ns, self.resumed)
        {
            let writes = self.writes(now_ns);
            self.resumed = Some((resumed_ns, writes));
            let gap = |worker| GapSpan {
                side: Side::Destination,
                worker,
                start_ns: stopped_ns,
                end_ns: resumed_ns,
            };
            self.gaps.extend((0..self.workers).map(gap));
        }
        let writes = self.writes(now_ns);
        let is_there = self.resumed.is_some_and(|it| now_ns >= it.0);
        let side = if is_there { Side::Destination } else { Side::Source };
        self.point(side, now_ns, writes);
    }

    fn point(&mut self, side: Side, at_ns: u64, writes: f64) {
        if self.points.last().is_some_and(|it| it.at_ns == at_ns && it.side == side) {
            return;
        }
        let each = (writes / f64::from(self.workers.max(1))) as u64;
        self.points.push(GuestPoint {
            side,
            at_ns,
            counts: vec![each; self.workers as usize],
            checking_ns: 0,
            latency: None,
            latency_half_octaves: Vec::new(),
        });
    }

    fn moments(&self) -> Moments {
        let flight = self.flight.as_ref();
        flight.map_or_else(Moments::default, |(at_ns, flight)| mapping::moments(flight, *at_ns))
    }

    /// Writes since the boot.
    fn writes(&self, now_ns: u64) -> f64 {
        let process = &self.plan.guest.dirty;
        let rate = process.writes_per_second();
        let Some((accepted_ns, flight)) = &self.flight else {
            return rate * (now_ns.saturating_sub(self.booted_ns)) as f64 / 1e9;
        };
        let end_ns = accepted_ns.saturating_add(flight.now_ns());
        let is_free = matches!(flight.stage(), Stage::Completed | Stage::Cancelled);
        let since_ns = if is_free { now_ns.saturating_sub(end_ns) } else { 0 };
        self.writes_before + flight.guest_writes() + rate * since_ns as f64 / 1e9
    }
}
