//! What `sterna probe` saw: its report, and the events that it tells on the way.

mod kinds;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Host, Tool};

pub use kinds::{
    ArpDetail, ClockDetail, ClockJump, ClockRun, DiskDetail, GapDetail, HttpDetail,
    LabelChangeDetail, MetricsDetail, PlayoutDetail, Reconnection, ResetDetail, TcpDetail,
};

/// What stands in the field `schema` of every report of `sterna probe`.
pub const PROBE_SCHEMA_NAME: &str = "sterna-probe";

/// The version of their shape, as `major.minor`.
pub const PROBE_SCHEMA_VERSION: &str = "1.0";

/// One run of `sterna probe`: what was looked at, and what was seen.
///
/// Unknown values are null, never 0. Times named `start_seconds` and `t_seconds` count from the
/// beginning of the run, on one monotonic clock for all probes. Within a major version of the schema
/// fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    /// What was about to begin.
    #[serde(flatten)]
    pub start: ProbeStart,
    /// Why it ended.
    pub ended_by: ProbeEnding,
    /// From the beginning to the end, in seconds.
    pub duration_seconds: f64,
    /// The longest outage of all probes, in seconds; 0 when there was none, null when a target never
    /// answered.
    pub longest_outage_seconds: Option<f64>,
    /// Whether no outage was longer than `max_outage_seconds`; false too when a target never answered, since
    /// then nothing shows that it was there. Null without that limit.
    pub is_within_limit: Option<bool>,
    /// How late this process itself ran.
    pub noise: NoiseReport,
    /// What each probe saw, in the order in which they were given.
    pub probes: Vec<ProbeResult>,
    /// What happened, of all probes together, in order of time.
    pub timeline: Vec<TimelineEvent>,
    /// What does not hold for the numbers above, as sentences.
    pub warnings: Vec<String>,
}

/// A run that is about to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeStart {
    /// Always `sterna-probe`; tells this document from other JSON.
    #[schemars(extend("const" = PROBE_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The machine on which it ran.
    pub host: Host,
    /// When the first probe began, as RFC 3339 text in UTC.
    pub started_at: String,
    /// The outage beyond which the run fails, in seconds; null without one.
    pub max_outage_seconds: Option<f64>,
}

impl ProbeStart {
    /// Of this version's shape.
    pub fn new(tool: Tool, host: Host, started_at: String, max_outage: Option<f64>) -> ProbeStart {
        ProbeStart {
            schema: PROBE_SCHEMA_NAME.to_owned(),
            schema_version: PROBE_SCHEMA_VERSION.to_owned(),
            tool,
            host,
            started_at,
            max_outage_seconds: max_outage,
        }
    }
}

/// A line of the stream of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum ProbeEvent {
    /// The first line: the probes have begun.
    Start(Box<ProbeStart>),
    /// An outage has lasted for a second and goes on; it is told again when it is over.
    Silence(Box<NamedOutage>),
    /// An outage is over.
    Outage(Box<NamedOutage>),
    /// The last line: it is over.
    Report(Box<ProbeReport>),
}

/// An outage with the name of the probe that saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamedOutage {
    /// The probe's name.
    pub probe: String,
    /// What it saw.
    #[serde(flatten)]
    pub outage: ProbeOutage,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeEnding {
    /// Its time was over.
    Duration,
    /// A signal came, and no time had been given.
    Signal,
    /// A signal came before its time was over.
    Interrupted,
    /// No probe could go on.
    Failed,
    /// Nobody read its output any more.
    Unread,
}

/// How late this process itself ran, as a thread saw that does nothing but sleep.
///
/// An outage is judged by when messages were really sent and by the kernel's stamps of what came, so
/// that this noise makes no outage; it is told so that anybody can see how much there was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoiseReport {
    /// How the threads of the probes were preferred to others.
    pub priority: ThreadPriority,
    /// Time between two looks at the clock, in seconds.
    pub interval_seconds: f64,
    /// Half of the time the thread woke up at most so late, in nanoseconds.
    pub late_p50_ns: u64,
    /// 99 % of the time, in nanoseconds.
    pub late_p99_ns: u64,
    /// 99.9 % of the time, in nanoseconds.
    pub late_p99_9_ns: u64,
    /// The latest, in nanoseconds.
    pub late_max_ns: u64,
    /// Every time that it was later than 2 ms; at most 10,000.
    pub stalls: Vec<NoiseStall>,
}

/// How a thread is preferred to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadPriority {
    /// Before all ordinary threads of the machine.
    RealTime,
    /// Before most.
    Raised,
    /// As everybody; the noise is then that of an ordinary program.
    Normal,
}

/// A time in which this process should have run and did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoiseStall {
    /// When it should have run.
    pub start_seconds: f64,
    /// How much later it did, in seconds.
    pub length_seconds: f64,
}

/// What one probe saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// Its name: what was given, or its kind and target.
    pub name: String,
    /// What it did, for example `udp`.
    pub kind: String,
    /// What it looked at.
    pub target: String,
    /// Time between two messages, requests, records or frames, in seconds.
    pub interval_seconds: f64,
    /// Messages sent from the beginning to the last for which an answer could be expected; frames between
    /// the first and the last that were due.
    pub sent: u64,
    /// Messages that were answered, however late, each counted once; frames that came.
    pub received: u64,
    /// Messages that were never answered; frames that never came.
    pub lost: u64,
    /// Answers beyond the first to a message.
    pub duplicates: u64,
    /// Answers that came after the answer to a later message.
    pub reordered: u64,
    /// Of the lost messages, those that did not reach the responder; null where the responder does not count,
    /// and where it is not known of every lost message, as in a silence that lasts.
    pub lost_to_responder: Option<u64>,
    /// Of the lost messages, those that reached the responder and whose answer did not come; null where the
    /// other number is.
    pub lost_from_responder: Option<u64>,
    /// How often the responder began to count anew, as one does that was restarted; null where nobody counted there.
    pub responder_restarts: Option<u64>,
    /// How late this probe was at most with a message, in seconds.
    pub late_seconds: f64,
    /// How long messages were under way, there and back; null when none came back.
    pub round_trip: Option<ProbeTimes>,
    /// How long messages were under way in each direction; null where the responder told no clock.
    pub one_way: Option<OneWayTimes>,
    /// The longest outage, in seconds; 0 when there was none, null when nobody ever answered.
    pub longest_outage_seconds: Option<f64>,
    /// Silences up to this length are no outages, in seconds; for a stream of pictures, freezes up to this
    /// length.
    pub resolution_seconds: f64,
    /// Every stretch in which nothing came although something should have, the time before the first
    /// answer included; for a stream of pictures, every freeze.
    pub outages: Vec<ProbeOutage>,
    /// What only a stream of pictures shows.
    pub playout: Option<PlayoutDetail>,
    /// What only a connection shows.
    pub tcp: Option<TcpDetail>,
    /// What only a link shows.
    pub arp: Option<ArpDetail>,
    /// What only requests show.
    pub http: Option<HttpDetail>,
    /// What only a disk shows.
    pub disk: Option<DiskDetail>,
    /// What the responder's clocks did; null where it told none.
    pub clock: Option<ClockDetail>,
    /// What only metrics show.
    pub metrics: Option<MetricsDetail>,
    /// Why it ended before its time; null when it did not.
    pub failure: Option<String>,
}

/// Distribution of times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeTimes {
    /// The shortest.
    pub min_ns: u64,
    /// The mean of all that were measured.
    pub mean_ns: u64,
    /// Their standard deviation.
    pub deviation_ns: u64,
    /// Half took at most this long.
    pub p50_ns: u64,
    /// 90 % took at most this long.
    pub p90_ns: u64,
    /// 99 % took at most this long.
    pub p99_ns: u64,
    /// 99.9 % took at most this long.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Times in each direction, without a common clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OneWayTimes {
    /// To the responder.
    pub to_responder: WayTimes,
    /// From the responder.
    pub from_responder: WayTimes,
    /// By how much all times of one direction may be too long and those of the other too short, in
    /// nanoseconds: half of the fastest round trip of the worst two seconds. Differences within a
    /// direction are not touched by it.
    pub uncertainty_ns: u64,
}

/// Distribution of times in one direction, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayTimes {
    /// Half took at most this long.
    pub p50_ns: u64,
    /// 99 % took at most this long.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One stretch in which nothing came although something should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeOutage {
    /// The arrival of the last answer before it; or one interval before the first message that went
    /// unanswered, if the probe itself had been held up until then. At the beginning, the moment at which
    /// the first answer was due. For a freeze, the moment at which a new picture was due.
    pub start_seconds: f64,
    /// From there to the next arrival, without what the probe was late with the message that was
    /// answered; to the end of the run where `has_ended` is false. Longer than the true outage by up
    /// to one interval and a round trip.
    pub length_seconds: f64,
    /// Whether something came after it.
    pub has_ended: bool,
    /// Messages in it that were never answered; frames that were not shown.
    pub lost: u64,
    /// The way on which they went missing.
    pub direction: ProbeDirection,
    /// It is longer than this, in seconds: shorter silences cannot be distinguished from late answers.
    pub resolution_seconds: f64,
    /// How much of it this process itself did not run, in seconds.
    pub noise_seconds: f64,
}

/// A way of messages, seen from the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeDirection {
    /// All were lost before they reached it.
    ToResponder,
    /// All were lost after they had reached it.
    FromResponder,
    /// Some here, some there.
    Both,
    /// Nobody counted there, or none was lost, but all were late.
    Unknown,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEvent {
    /// When it was seen, in seconds since the probes began.
    pub t_seconds: f64,
    /// The name of the probe that saw it.
    pub probe: String,
    /// What it was.
    pub kind: TimelineKind,
    /// The same in words.
    pub text: String,
}

/// The sort of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimelineKind {
    /// The last sign of life before an outage.
    OutageStart,
    /// The first sign of life after one.
    OutageEnd,
    /// A connection broke.
    ConnectionBroken,
    /// There was a new one.
    ConnectionEstablished,
    /// The other clock jumped.
    ClockJump,
    /// A counter fell.
    CounterReset,
    /// A series had other labels than before.
    LabelChange,
    /// A series was missing.
    SeriesGap,
    /// Something else.
    Note,
}
