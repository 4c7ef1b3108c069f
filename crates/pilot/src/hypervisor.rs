//! The mechanism, as the pilot sees it.
//!
//! All stamps are nanoseconds on the pilot's clock; an engine maps those taken elsewhere and says how well in [`ClockOffset`].

use std::collections::BTreeMap;

use sterna_converge::Action;
use sterna_probe::Seen;
use sterna_report::{Engine, IntegrityDetail, Latency, Side, Warning};
use sterna_scenario::Scenario;

use crate::{Interrupt, RecordedEvent};

/// An engine: something that can run a guest in one place and migrate it to another.
///
/// The pilot calls the methods in the order in which they stand here; `shutdown` comes last in every case, and nothing is asked after it.
///
/// # What a pilot relies on
///
/// - An error of any method but [`act`](Self::act) means that the engine cannot go on. The pilot then finds out what became of the guest, by `status`, `settle` and `verify`, each of which may fail in turn.
/// - A migration ends by itself when its peer is silent. Only two waits are bounded by the pilot: for the end after a cancel, and for an answer past the commit point.
/// - Neither `status` nor `samples` waits long for a side that does not answer, so that limits are held meanwhile.
/// - A cancel that was accepted is followed by a terminal state. Refusing it is for migrations past their commit point.
/// - What a status told once stays true: moments do not move, and counters do not fall.
pub trait Hypervisor {
    /// The engine's name in reports and messages.
    fn name(&self) -> &'static str;

    /// What of this scenario the engine cannot do; nothing has been started yet.
    fn unsupported(&self, scenario: &Scenario) -> Vec<Unsupported>;

    /// Builds both sides and starts the guest's workload on the source.
    fn boot(
        &mut self,
        scenario: &Scenario,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError>;

    /// The baseline begins: from now on an observer outside expects the guest to answer, and what it saw before, while the
    /// guest was booting, does not count. Engines without observers have nothing to do.
    fn baseline_begins(&mut self, _at_ns: u64) {}

    /// Facts about the engine and the two sides, as far as they are known by now; asked for just before `shutdown`.
    fn facts(&self) -> Engine;

    /// How the clocks of the two sides relate to the pilot's; asked for just before `shutdown`. A side that was never met is left out.
    fn clocks(&self) -> Vec<ClockOffset>;

    /// Stops the guest on the source, as a user does who pauses it; it stays stopped through the migration, on either
    /// side, until [`resume_guest`](Self::resume_guest). Returns when it stood still.
    fn pause_guest(&mut self) -> Result<u64, EngineError> {
        Err(EngineError::Unsupported(format!("guest.paused: the engine {} cannot", self.name())))
    }

    /// Lets a guest that was paused go on where it is now; returns when it went on.
    fn resume_guest(&mut self, _side: Side) -> Result<u64, EngineError> {
        Err(EngineError::Unsupported(format!("guest.paused: the engine {} cannot", self.name())))
    }

    /// The side that runs the guest becomes the source of the next hop, and the other place gets a new destination. All
    /// counts, clocks and moments of the hop before are over.
    fn turn(
        &mut self,
        _interrupt: &Interrupt,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        Err(EngineError::Unsupported(format!("migration.hops: the engine {} cannot", self.name())))
    }

    /// Prepares the destination and starts the migration; returns the moment of acceptance. After an error no migration is under way.
    fn migrate(&mut self) -> Result<u64, EngineError>;

    /// Where the migration stands. [`EngineError::Silent`] when the source does not answer in a moment; it is then asked again.
    fn status(&mut self) -> Result<Status, EngineError>;

    /// When something about the migration changes next by itself, where time is simulated and that is known; the pilot then sleeps until that moment instead of polling.
    fn next_change_ns(&mut self) -> Option<u64> {
        None
    }

    /// Whether there is no guest at all, only a model of one; then no memory is verified.
    fn is_simulated(&self) -> bool {
        false
    }

    /// The sides that owe an answer, and for how many seconds; most engines have none that could be out of reach.
    fn silent_sides(&self) -> Vec<(Side, f64)> {
        Vec::new()
    }

    /// Changes something about the running migration. [`EngineError::Failed`] is a refusal, and the migration goes on as if nobody had asked.
    fn act(&mut self, action: Action) -> Result<(), EngineError>;

    /// When the source cannot tell what became of the migration: finds out whether the destination runs the guest, and makes sure that it never will if it does not. The source may be dead.
    fn settle(&mut self) -> Result<Settled, EngineError>;

    /// Takes the samples gathered on both sides since the last time.
    fn samples(&mut self) -> Result<Samples, EngineError>;

    /// Stops the guest on a side and compares all of its memory with what it must hold; ends early, with [`EngineError::Interrupted`], when `interrupt` is requested.
    fn verify(&mut self, side: Side, interrupt: &Interrupt)
    -> Result<IntegrityDetail, EngineError>;

    /// The faults of the scenario that never struck, as texts; asked for just before `shutdown`. A fault of a side that
    /// has died, and can no longer say, is left out.
    fn waiting_faults(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Things the user should know about this run.
    fn warnings(&mut self) -> Vec<Warning>;

    /// Ends both sides and removes everything that belongs to the run. Never fails: what cannot be ended is killed.
    fn shutdown(&mut self);
}

/// Something an engine cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The scenario's field, dotted.
    pub field: String,
    /// Why not, and what to use in its place.
    pub reason: String,
}

/// How far a long step has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step, in a few words.
    pub what: String,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This machine lacks something the scenario needs.
    #[error("{0}")]
    Unsupported(String),
    /// The user asked to stop while the engine was busy.
    #[error("Interrupted")]
    Interrupted,
    /// A side on another machine could not be reached, or did not accept this run.
    #[error("{0}")]
    Connect(String),
    /// A side died or does not answer.
    #[error("{side} host: {reason}")]
    SideGone {
        /// Which one, `source` or `destination`.
        side: &'static str,
        /// What is known of it.
        reason: String,
    },
    /// The guest died of its own while it ran on the source, and its process ended with it.
    #[error("The guest itself died ({0})")]
    GuestDied(String),
    /// A side has not answered for a moment; it may answer yet.
    #[error("{side} host: No answer for {seconds:.1} s")]
    Silent {
        /// Which one.
        side: Side,
        /// For how long.
        seconds: f64,
    },
    /// Anything else, in the engine's own words.
    #[error("{0}")]
    Failed(String),
}

/// Where a migration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Accepted, nothing sent yet.
    #[default]
    Setup,
    /// Memory moves while the guest runs.
    Active,
    /// The guest is stopped; the rest moves.
    Switchover,
    /// Past the commit point, no answer yet.
    Committed,
    /// Past the commit point: the guest runs on the destination, and the rest of its memory follows.
    Postcopy,
    /// In post-copy the link is lost: the guest runs on the destination as far as its memory goes, and both sides wait for a new link.
    PostcopyPaused,
    /// The guest runs on the destination.
    Completed,
    /// Given up on request; the guest runs on the source.
    Cancelled,
    /// Broken before the commit point.
    Failed,
    /// Past the commit point, and the connection is gone.
    Undecided,
}

impl State {
    /// Whether nothing more will happen by itself.
    pub fn is_terminal(self) -> bool {
        use State::{Cancelled, Completed, Failed, Undecided};
        matches!(self, Completed | Cancelled | Failed | Undecided)
    }

    /// The word for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Setup => "setup",
            State::Active => "active",
            State::Switchover => "switchover",
            State::Committed => "committed",
            State::Postcopy => "postcopy",
            State::PostcopyPaused => "postcopy-paused",
            State::Completed => "completed",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
            State::Undecided => "undecided",
        }
    }
}

/// One answer to a status poll. `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// When the values were taken.
    pub at_ns: u64,
    /// Where the migration stands.
    pub state: State,
    /// Why it ended, in the engine's own words.
    pub reason: Option<String>,
    /// Pass under way, from 1.
    pub pass: Option<u64>,
    /// Raw bytes still to be sent.
    pub remaining_bytes: Option<u64>,
    /// Bytes on the wire so far.
    pub transferred_bytes: Option<u64>,
    /// The engine's bandwidth estimate.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// The engine's dirty rate of the last pass.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// Pending bytes under which the guest may be stopped.
    pub threshold_bytes: Option<u64>,
    /// What the downtime would be now.
    pub expected_downtime_seconds: Option<f64>,
    /// How much the guest is held back; `None` when the engine does not throttle.
    pub throttle_percent: Option<f64>,
    /// Pages sent with content so far.
    pub pages_sent: Option<u64>,
    /// Zero pages so far.
    pub zero_pages: Option<u64>,
    /// Pages sent again before the stop.
    pub pages_resent: Option<u64>,
    /// Passes completed since the last poll, then the final phase. One that was cut off may be left out; the report then has what the counters tell.
    pub new_passes: Vec<PassRow>,
    /// The moments known by now.
    pub moments: Moments,
}

/// One completed pass, or the final phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassRow {
    /// From 1; the final phase carries the next number.
    pub number: u64,
    /// Whether this is the final phase, which is not a pass.
    pub is_final: bool,
    /// When its synchronisation began.
    pub started_ns: u64,
    /// When the next one began; for the final phase, the last byte sent, which the report replaces by [`Moments::ready_ns`]. `None` when it was cut off.
    pub ended_ns: Option<u64>,
    /// Length of the opening synchronisation.
    pub sync_ns: Option<u64>,
    /// Distinct pages that it found dirty.
    pub dirty_pages: Option<u64>,
    /// Pages sent with content.
    pub pages_sent: Option<u64>,
    /// Zero pages.
    pub zero_pages: Option<u64>,
    /// Pages sent before.
    pub pages_resent: Option<u64>,
    /// Bytes sent.
    pub wire_bytes: Option<u64>,
    /// Raw bytes pending at its end.
    pub remaining_bytes: Option<u64>,
    /// Page writes of the guest within it, repeats included.
    pub guest_writes: Option<u64>,
}

/// The moments that downtime and its parts are computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// The first pass began.
    pub setup_done_ns: Option<u64>,
    /// The last vCPU stopped on the source.
    pub stopped_ns: Option<u64>,
    /// The last bitmap was complete.
    pub final_sync_done_ns: Option<u64>,
    /// The source heard that the destination has loaded everything.
    pub ready_ns: Option<u64>,
    /// The vCPUs run on the destination.
    pub resumed_ns: Option<u64>,
    /// The terminal state was reached.
    pub ended_ns: Option<u64>,
    /// The vCPUs run on the source again after a failure or cancellation.
    pub restored_ns: Option<u64>,
    /// Downtime in the engine's own claim.
    pub claimed_downtime_ns: Option<u64>,
}

impl Moments {
    /// These moments, and those of `older` where nothing newer is known.
    pub(crate) fn or(self, older: &Moments) -> Moments {
        Moments {
            setup_done_ns: self.setup_done_ns.or(older.setup_done_ns),
            stopped_ns: self.stopped_ns.or(older.stopped_ns),
            final_sync_done_ns: self.final_sync_done_ns.or(older.final_sync_done_ns),
            ready_ns: self.ready_ns.or(older.ready_ns),
            resumed_ns: self.resumed_ns.or(older.resumed_ns),
            ended_ns: self.ended_ns.or(older.ended_ns),
            restored_ns: self.restored_ns.or(older.restored_ns),
            claimed_downtime_ns: self.claimed_downtime_ns.or(older.claimed_downtime_ns),
        }
    }
}

/// The answer to the question whether the destination runs the guest.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The destination runs the guest.
    Running(Box<Moments>),
    /// No side can run the guest; why.
    Lost(String),
    /// The guest died of its own before the commit point, as in this phrase.
    GuestDied(String),
}

/// How a side's clock relates to the pilot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Whose clock.
    pub side: Side,
    /// That clock minus the pilot's.
    pub offset_ns: i64,
    /// Bound of the error.
    pub uncertainty_ns: u64,
}

/// What was seen of the guest and its hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Progress of the workload.
    pub guest: Vec<GuestPoint>,
    /// CPU time and memory of the hosts.
    pub cpu: Vec<CpuPoint>,
    /// Standstills of single workers.
    pub gaps: Vec<GapSpan>,
    /// Gaps shorter than this are not told; `None` when gaps are not told at all.
    pub gap_resolution_ns: Option<u64>,
    /// Write latencies before and since the migrate command, by side; replaces what came before. Without a migrate command all are "before".
    pub latency: Vec<(Side, LatencyPair)>,
    /// Most resident memory so far, by side.
    pub resident_peak_bytes: Vec<(Side, u64)>,
    /// What the engine's own parts told, beyond what the pilot notes itself.
    pub events: Vec<RecordedEvent>,
    /// What probes have seen so far; replaces what came before.
    pub probes: Vec<ProbeSeen>,
}

/// One observer of the guest from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSeen {
    /// What it observes, for example `udp`.
    pub kind: String,
    /// Time between two messages.
    pub interval_ns: u64,
    /// How late it was itself at most with a message.
    pub latest_ns: u64,
    /// What it saw.
    pub seen: Seen,
}

/// The workload's progress at one moment.
///
/// A side may tell points at any time, also when the guest does not run there: a stopped source, a destination that waits. The report keeps those of the guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestPoint {
    /// Who tells.
    pub side: Side,
    /// When it was read.
    pub at_ns: u64,
    /// Writes of each worker since the guest first began, on whichever side: the destination goes on counting where the source stopped.
    pub counts: Vec<u64>,
    /// Time that the workers together have spent so far on checking pages before their first write after a resume.
    pub checking_ns: u64,
    /// Latencies since the point before.
    pub latency: Option<Latency>,
    /// The same as counts in half octaves, see [`sterna_report::LatencyHistogram`]; empty where an engine has none.
    pub latency_half_octaves: Vec<(u64, u64)>,
}

/// A host's cost at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuPoint {
    /// Whose process.
    pub side: Side,
    /// When it was read.
    pub at_ns: u64,
    /// CPU time since the process began, by thread class.
    pub classes: BTreeMap<String, u64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
}

/// A time in which a worker with work due made no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapSpan {
    /// Where the worker was when it went on.
    pub side: Side,
    /// Which worker.
    pub worker: u32,
    /// Its last progress before.
    pub start_ns: u64,
    /// Its first progress after.
    pub end_ns: u64,
}

/// Write latencies around the migrate command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyPair {
    /// Before it.
    pub before: WriteTimes,
    /// Since then, to the terminal state.
    pub since: WriteTimes,
}

/// Times of a guest's writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteTimes {
    /// What each write took.
    pub service: Option<Latency>,
    /// What passed until each write was done since its page was due; `None` without a rate.
    pub since_due: Option<Latency>,
}
