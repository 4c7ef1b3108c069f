//! The flight itself.
//!
//! ```text
//!  check ─ boot ─ warm up ─ migrate ─ settle ─ cool down ─ verify ─ shut down
//!    │       │        │         │        │         │          │
//!    └───────┴────────┴─────────┴── any error or interrupt ───┘
//!                                            │
//!                                        end early
//! ```
//!
//! What happens on the error path is told in `ending`: what was seen is kept, the guest is put where it belongs and verified there, and everything is shut down.

mod ending;
mod formation;
mod postcopy;
mod watch;

use std::time::Duration;

use sterna_report::{EventSide, IntegrityDetail, Side};
use sterna_scenario::Scenario;

use crate::fleet::Seat;
use crate::record::RecordedEvent;
use crate::{Clock, EngineError, Hypervisor, Interrupt, Notice, Phase, Record, Unsupported};

/// Time between two fetches of samples; they are stamped where they are taken, so this is no resolution.
const FETCH_INTERVAL_NS: u64 = 200_000_000;

/// One flight of one scenario.
pub struct Pilot<'a> {
    /// What to do.
    pub scenario: &'a Scenario,
    /// With what.
    pub hypervisor: &'a mut dyn Hypervisor,
    /// In which time.
    pub clock: &'a dyn Clock,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
    /// Who is told.
    pub observer: &'a mut dyn FnMut(Notice),
}

impl Pilot<'_> {
    /// Flies one hop, and returns what was seen, however it ended. Nothing of the run is left behind.
    pub fn fly(mut self) -> Record {
        self.hop(Hop::ONLY, None).fly().0
    }

    /// The same for one guest of a fleet.
    pub fn fly_as(mut self, seat: Seat) -> Record {
        self.hop(Hop::ONLY, Some(seat)).fly().0
    }

    /// Flies all hops of the scenario, each from where the one before has brought the guest; the first that does not
    /// bring it on is the last.
    pub fn fly_hops(mut self) -> Vec<Record> {
        let count = self.scenario.migration.hops;
        let mut records = Vec::new();
        for number in 1..=count {
            let hop = Hop { number, is_last: number == count };
            let (record, goes_on) = self.hop(hop, None).fly();
            records.push(record);
            if !goes_on {
                break;
            }
        }
        records
    }

    fn hop(&mut self, hop: Hop, seat: Option<Seat>) -> Flight<'_> {
        let Pilot { scenario, hypervisor, clock, interrupt, observer } = self;
        let record = Record {
            scenario: scenario.clone(),
            began_ns: clock.now_ns(),
            is_simulated: hypervisor.is_simulated(),
            ..Record::default()
        };
        Flight {
            pilot: Pilot {
                scenario,
                hypervisor: &mut **hypervisor,
                clock: *clock,
                interrupt,
                observer: &mut **observer,
            },
            record,
            phase: Phase::Boot,
            hop,
            home: None,
            cancelled_ns: None,
            refused_ns: None,
            interrupted_in: None,
            seat,
        }
    }
}

/// One migration of a guest that may move several times.
#[derive(Clone, Copy)]
struct Hop {
    /// From 1.
    number: u32,
    is_last: bool,
}

impl Hop {
    const ONLY: Hop = Hop { number: 1, is_last: true };
}

/// A pilot in the air.
struct Flight<'a> {
    pilot: Pilot<'a>,
    record: Record,
    phase: Phase,
    hop: Hop,
    /// Where the guest is, once the migration has ended and that is known.
    home: Option<Side>,
    /// When a cancel was accepted.
    cancelled_ns: Option<u64>,
    /// When the engine first refused what a limit or the user wanted, which must end the migration nevertheless.
    refused_ns: Option<u64>,
    /// The phase that an interrupt ended, where it is not the present one.
    interrupted_in: Option<Phase>,
    /// Its place among others, in a fleet.
    seat: Option<Seat>,
}

/// Why a flight ends early.
enum Stop {
    Unsupported(String),
    Interrupted,
    Engine(EngineError),
    /// The migration was cancelled and does not end.
    Stuck,
    /// The scenario gives the guest up in post-copy, for this reason.
    Abandoned(String),
    /// The migration has to end, and the side that could end it does not answer; what was wanted, and why it could not be.
    Unheard(String),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Stop {
        match error {
            EngineError::Interrupted => Stop::Interrupted,
            EngineError::Unsupported(text) => Stop::Unsupported(text),
            error => Stop::Engine(error),
        }
    }
}

impl Flight<'_> {
    /// Returns what was seen, and whether the guest can go on from where it is; if not, all is shut down.
    fn fly(mut self) -> (Record, bool) {
        let phases = self.phases();
        let is_sound = self.record.verified.as_ref().is_none_or(IntegrityDetail::is_sound);
        let is_there = phases.is_ok() && self.home == Some(Side::Destination) && is_sound;
        if let Err(stop) = phases {
            self.end_early(stop);
        }
        self.leave_way();
        let goes_on = is_there && !self.hop.is_last;
        if !goes_on {
            self.enter(Phase::Shutdown);
        }
        // After the shutdown, and after the next hop has begun, none of this can be asked.
        let hypervisor = &mut self.pilot.hypervisor;
        self.record.engine = hypervisor.facts();
        self.record.clocks = hypervisor.clocks();
        self.record.warnings = hypervisor.warnings();
        let waiting_faults = hypervisor.waiting_faults();
        if !goes_on {
            hypervisor.shutdown();
        }
        self.note_waiting(waiting_faults);
        (self.record, goes_on)
    }

    /// A fault that never struck has tested nothing, which the user must see.
    fn note_waiting(&mut self, faults: Vec<String>) {
        let Some(ended_ns) = self.record.moments.ended_ns.or(self.record.accepted_ns) else {
            return;
        };
        for fault in &faults {
            let text = format!("The migration ended before this fault was due: {fault}");
            self.note(ended_ns, "fault-never-struck", text);
        }
        self.record.waiting_faults = faults;
    }

    fn phases(&mut self) -> Result<(), Stop> {
        if self.hop.number == 1 {
            self.check()?;
            self.boot()?;
        } else {
            self.turn()?;
        }
        self.warm_up()?;
        self.pause()?;
        self.migrate()?;
        self.leave_way();
        self.settle();
        // A guest that no side can run has nothing more to show.
        let Some(side) = self.home else { return Ok(()) };
        self.resume(side)?;
        self.cool_down()?;
        self.verify(side)
    }

    fn check(&mut self) -> Result<(), Stop> {
        let Pilot { hypervisor, scenario, .. } = &self.pilot;
        let mut unsupported = hypervisor.unsupported(scenario);
        if scenario.fleet.is_some() && self.seat.is_none() {
            unsupported.push(Unsupported {
                field: "fleet".to_owned(),
                reason: "it flies one guest at a time; use the emulator, or drop [fleet]"
                    .to_owned(),
            });
        }
        if unsupported.is_empty() {
            return Ok(());
        }
        let say = |it: &Unsupported| format!("{}: {}", it.field, it.reason);
        let list = unsupported.iter().map(say).collect::<Vec<_>>().join("; ");
        let name = hypervisor.name();
        Err(Stop::Unsupported(format!("The engine {name} cannot do this scenario. {list}")))
    }

    fn boot(&mut self) -> Result<(), Stop> {
        self.enter(Phase::Boot);
        let Pilot { hypervisor, observer, scenario, interrupt, .. } = &mut self.pilot;
        hypervisor.boot(scenario, interrupt, &mut |it| observer(Notice::Progress(it)))?;
        self.record.booted_ns = Some(self.now_ns());
        self.await_others()
    }

    fn turn(&mut self) -> Result<(), Stop> {
        self.enter(Phase::Boot);
        let Pilot { hypervisor, observer, interrupt, .. } = &mut self.pilot;
        hypervisor.turn(interrupt, &mut |it| observer(Notice::Progress(it)))?;
        self.record.booted_ns = Some(self.now_ns());
        Ok(())
    }

    /// A guest that is to be migrated as its user left it, paused.
    fn pause(&mut self) -> Result<(), Stop> {
        if self.pilot.scenario.guest.paused {
            let paused_ns = self.pilot.hypervisor.pause_guest()?;
            self.record.paused_ns = Some(paused_ns);
            self.note(paused_ns, "guest-paused", "The guest was paused on the source".to_owned());
        }
        Ok(())
    }

    fn resume(&mut self, side: Side) -> Result<(), Stop> {
        if self.record.paused_ns.is_some() {
            let resumed_ns = self.pilot.hypervisor.resume_guest(side)?;
            if side == Side::Destination {
                self.record.moments.stopped_ns = self.record.paused_ns;
                self.record.moments.resumed_ns = Some(resumed_ns);
            }
            let text = format!("The guest was resumed on the {}", side_word(side));
            self.note(resumed_ns, "guest-resumed", text);
        }
        Ok(())
    }

    fn warm_up(&mut self) -> Result<(), Stop> {
        self.enter(Phase::WarmUp);
        let began_ns = self.now_ns();
        self.pilot.hypervisor.baseline_begins(began_ns);
        self.watch_guest(self.pilot.scenario.timing.warmup.0)?;
        self.record.warmup_ns = self.seat.as_ref().map(|_| (began_ns, self.now_ns()));
        self.await_turn()
    }

    fn cool_down(&mut self) -> Result<(), Stop> {
        self.enter(Phase::CoolDown);
        self.await_end_of_others()?;
        self.watch_guest(self.pilot.scenario.timing.cooldown.0)
    }

    /// Lets time pass and fetches samples.
    fn watch_guest(&mut self, length: Duration) -> Result<(), Stop> {
        let end_ns = self.now_ns() + length.as_nanos() as u64;
        loop {
            if self.pilot.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            self.fetch()?;
            let now_ns = self.now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            self.pilot.clock.sleep_until_ns(end_ns.min(now_ns + FETCH_INTERVAL_NS));
        }
    }

    fn verify(&mut self, side: Side) -> Result<(), Stop> {
        if self.pilot.hypervisor.is_simulated() {
            return Ok(());
        }
        self.enter(Phase::Verify);
        let interrupt = self.pilot.interrupt.next();
        self.record.verified = Some(self.pilot.hypervisor.verify(side, &interrupt)?);
        // The last samples and gaps of the guest, which has now been stopped; the verification stands without them.
        let _ = self.fetch();
        Ok(())
    }

    fn fetch(&mut self) -> Result<(), EngineError> {
        match self.pilot.hypervisor.samples() {
            Ok(samples) => self.record.add_samples(samples),
            // They are taken later; whoever never answers again is gone before long.
            Err(EngineError::Silent { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn note(&mut self, at_ns: u64, kind: &'static str, text: String) {
        let elapsed_seconds = self.record.accepted_ns.map(|it| seconds_between(it, at_ns));
        (self.pilot.observer)(Notice::Event { elapsed_seconds, kind, text: text.clone() });
        let (side, kind) = (EventSide::Pilot, kind.to_owned());
        self.record.events.push(RecordedEvent { at_ns, side, kind, text });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        (self.pilot.observer)(Notice::Phase(phase));
    }

    fn now_ns(&self) -> u64 {
        self.pilot.clock.now_ns()
    }
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

fn seconds_between(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns as f64 - from_ns as f64) / 1e9
}
