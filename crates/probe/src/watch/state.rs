//! What the thread of a probe writes down, and others read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_sys::clock::monotonic_ns;

use super::{ArpSeen, Connections, DiskSeen, Failure, Flag, HttpSeen, Moment64, Plan, Task};
use crate::clock_track::Clocks;
use crate::metrics::MetricsSeen;
use crate::one_way::Delays;
use crate::playout::Player;
use crate::{Freeze, Log, OneWay, Schedule, Seen};

/// Notes beyond these are dropped.
const MOST_NOTES: usize = 1_000;

/// What a probe and its observers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub state: Mutex<State>,
    /// When nothing more is sent.
    pub end_ns: Moment64,
    /// When nothing more is waited for.
    pub over_ns: Moment64,
    pub is_over: Flag,
    interval_ns: u64,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct State {
    pub log: Log,
    pub schedule: Schedule,
    pub ways: OneWay,
    pub clocks: Clocks,
    pub extra: Extra,
    pub notes: Vec<Note>,
    pub failure: Option<Failure>,
    /// Messages that were sent, also before the first answer.
    pub sent: u64,
    /// The last thing that the system complained about.
    pub complaint: Option<String>,
    /// Whether a responder counts, and tells its clocks.
    pub is_counted: Option<bool>,
    player: Option<Player>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// What.
    pub text: String,
}

/// What only some kinds see.
#[derive(Clone, Debug, Default)]
pub enum Extra {
    /// Nothing more.
    #[default]
    None,
    /// Connections and how they ended.
    Tcp(Connections),
    /// Who answered on the link.
    Arp(ArpSeen),
    /// What was answered to requests.
    Http(HttpSeen),
    /// What was written.
    Disk(DiskSeen),
    /// What was scraped.
    Metrics(Box<MetricsSeen>),
}

/// What a viewer saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayoutSeen {
    /// Frames that came, each counted once.
    pub frames: u64,
    /// Frames that came again.
    pub duplicates: u64,
    /// Frames that were never shown.
    pub skipped: u64,
    /// Frames that came after a newer one was shown.
    pub dropped: u64,
    /// Frames that were shown after their moment.
    pub late: u64,
    /// Times in which the picture stood still.
    pub freezes: Vec<Freeze>,
}

/// Everything that a probe has seen at one moment.
#[derive(Debug)]
pub struct Look {
    /// Messages, their answers and the silences; `None` before it has begun.
    pub seen: Option<Seen>,
    /// Messages that were sent, also before the first answer.
    pub sent: u64,
    /// How late the probe itself was at most with a message.
    pub latest_ns: u64,
    /// One-way times, where a responder tells its clock.
    pub delays: Option<Delays>,
    /// The responder's clocks.
    pub clocks: Clocks,
    /// Silences, or freezes, up to this length are no outages.
    pub resolution_ns: u64,
    /// What a viewer saw.
    pub playout: Option<PlayoutSeen>,
    /// What only this kind sees.
    pub extra: Extra,
    /// What happened.
    pub notes: Vec<Note>,
    /// Whether the other end counts; `None` before the first answer, and where nobody can.
    pub is_counted: Option<bool>,
}

impl Shared {
    pub fn new(plan: &Plan) -> Shared {
        let interval_ns = u64::try_from(plan.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let player = match &plan.task {
            Task::Playout { buffer, .. } => {
                Some(Player::new(interval_ns, buffer.as_nanos() as u64))
            }
            _ => None,
        };
        let state = State {
            log: Log::new(interval_ns),
            schedule: Schedule::new(interval_ns, monotonic_ns()),
            ways: OneWay::default(),
            clocks: Clocks::default(),
            extra: Extra::None,
            notes: Vec::new(),
            failure: None,
            sent: 0,
            complaint: None,
            is_counted: None,
            player,
        };
        Shared {
            state: Mutex::new(state),
            end_ns: AtomicU64::new(u64::MAX),
            over_ns: AtomicU64::new(u64::MAX),
            is_over: AtomicBool::new(false),
            interval_ns,
        }
    }

    /// Silences, or freezes, up to this length are no outages.
    pub fn resolution_ns(&self) -> u64 {
        self.lock().resolution_ns()
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the thread of the probe: before others, and on time.
    pub fn begin(&self) {
        let _ = sterna_sys::cpu::raise_priority();
        let _ = sterna_sys::cpu::set_timer_slack_ns(1_000);
        let mut state = self.lock();
        let now_ns = monotonic_ns();
        state.schedule = Schedule::new(self.interval_ns, now_ns);
        // Who is looked at is expected to answer from the beginning.
        state.log.count_from(now_ns);
        if let Some(player) = &mut state.player {
            player.count_from(now_ns);
        }
    }

    /// Whether anything is still to be sent.
    pub fn sends(&self, now_ns: u64) -> bool {
        now_ns < self.end_ns.load(Ordering::Relaxed)
    }

    /// Whether anything is still waited for.
    pub fn hears(&self, now_ns: u64) -> bool {
        now_ns < self.over_ns.load(Ordering::Relaxed)
    }

    pub fn fail(&self, failure: Failure) {
        self.lock().failure.get_or_insert(failure);
    }

    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.take()
    }

    /// How many outages have ended, or `None` when that cannot be had without keeping the probe waiting.
    pub fn ended_outages(&self) -> Option<usize> {
        let state = self.state.try_lock().ok()?;
        let freezes = state.player.as_ref().map_or(0, Player::ended_freezes);
        Some(state.log.ended_outages() + freezes)
    }

    /// Since when nothing comes, or `None` when nothing ever did, or when that cannot be had without keeping the probe waiting.
    pub fn silent_since_ns(&self) -> Option<u64> {
        let state = self.state.try_lock().ok()?;
        match &state.player {
            Some(player) => player.due_ns(),
            None => state.log.silent_since_ns(),
        }
    }

    pub fn look(&self, now_ns: u64) -> Look {
        let state = self.lock();
        // After the end nothing is missed any more.
        let now_ns = now_ns.min(self.end_ns.load(Ordering::Relaxed));
        Look {
            seen: state.log.seen(now_ns),
            sent: state.sent,
            latest_ns: state.schedule.latest_ns(),
            resolution_ns: state.resolution_ns(),
            delays: state.ways.delays(),
            clocks: state.clocks.clone(),
            playout: state.player.as_ref().map(|it| played(it, now_ns)),
            extra: state.extra.clone(),
            notes: state.notes.clone(),
            is_counted: state.is_counted,
        }
    }
}

impl State {
    pub fn note(&mut self, at_ns: u64, text: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(Note { at_ns, text });
        }
    }

    /// Takes the numbers of all messages that are due.
    pub fn take_due(&mut self, now_ns: u64, into: &mut Vec<u64>) {
        while self.schedule.take(now_ns) {
            into.push(self.log.sent(now_ns));
            self.sent += 1;
        }
    }

    fn resolution_ns(&self) -> u64 {
        self.player.as_ref().map_or(self.log.resolution_ns(), Player::resolution_ns)
    }

    pub fn player(&mut self) -> Option<&mut Player> {
        self.player.as_mut()
    }
}

fn played(player: &Player, now_ns: u64) -> PlayoutSeen {
    PlayoutSeen {
        frames: player.frames(),
        duplicates: player.duplicates(),
        skipped: player.skipped(),
        dropped: player.dropped(),
        late: player.late(),
        freezes: player.freezes(now_ns),
    }
}
