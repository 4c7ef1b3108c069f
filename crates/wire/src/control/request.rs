//! What the pilot asks of a host, and what a host answers.

use serde::{Deserialize, Serialize};

use super::{HostSamples, HostStatus, MultifdConfig, Techniques, Verified};

/// Which end of a migration a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where the guest runs first.
    Source,
    /// Where it shall run.
    Destination,
}

/// What the pilot wants of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Opens the connection; refused when the token or the version does not fit.
    Hello {
        /// Newest control version of the pilot.
        version: u16,
        /// Oldest control version of the pilot; 0 where it speaks one alone.
        #[serde(default, skip_serializing_if = "is_zero")]
        oldest_version: u16,
        /// The secret that the host was started with.
        token: String,
    },
    /// Reads the host's monotonic clock.
    Clock,
    /// Builds the guest: memory, content, workers (not yet running).
    Prepare(Box<HostConfig>),
    /// Starts the workers, on the side that has the guest.
    Start,
    /// Stops the workers (source only); they stay stopped, here and on the destination, until `Start`.
    Pause,
    /// The side that a migration has brought the guest to becomes the source of the next one, with fresh counters.
    Turn,
    /// Opens the migration socket (destination only).
    Listen {
        /// Where, and how.
        endpoint: Endpoint,
        /// The migration that may connect.
        session: [u8; 16],
    },
    /// Starts migrating to an address (source only).
    Migrate {
        /// Where the destination listens.
        endpoint: Endpoint,
        /// Names this migration to the destination.
        session: [u8; 16],
    },
    /// Changes something about a running migration (source only).
    Act(Act),
    /// Reads the state of the migration, with what is new since `passes_seen`.
    Status {
        /// Pass records that the pilot already has.
        passes_seen: usize,
    },
    /// Takes the samples gathered since the last time.
    Samples,
    /// Reads how often a page of the workload was written, by what it holds.
    PageWrites {
        /// Which page.
        page: u64,
    },
    /// Stops the workers and compares every page with what it must hold.
    Verify,
    /// Ends the host process.
    Shutdown,
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// Answer to `Hello`.
    Welcome(Welcome),
    /// Answer to `Clock`.
    Clock {
        /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
        now_ns: u64,
    },
    /// A long request is under way; the answer follows.
    Progress {
        /// What is being done.
        what: String,
        /// Units done so far.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Answer to `Prepare`.
    Prepared(Prepared),
    /// Answer to `Listen`.
    Listening {
        /// Where the source may connect.
        endpoint: Endpoint,
    },
    /// Answer to `Start`, `Migrate`, `Act`, `Shutdown`: done, at this moment of the host's clock.
    Done {
        /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
        at_ns: u64,
    },
    /// Answer to `Status`.
    Status(Box<HostStatus>),
    /// Answer to `Samples`.
    Samples(HostSamples),
    /// Answer to `PageWrites`.
    PageWrites {
        /// Writes it has had; `None` when it holds what no number of writes leaves, as before it was sent.
        writes: Option<u64>,
    },
    /// Answer to `Verify`.
    Verified(Verified),
    /// In place of any answer: the host process has died, and this is how. The last on its connection.
    Gone {
        /// For people.
        reason: String,
    },
    /// The request cannot be met; the text says why.
    Refused {
        /// Why, for people.
        error: String,
        /// Whether this machine lacks something, so that the scenario is unsupported here rather than wrong.
        unsupported: bool,
    },
}

/// Who a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Welcome {
    /// The control version that both speak from here on.
    pub version: u16,
    /// Process id on its machine.
    pub pid: u32,
    /// The release of Sterna.
    pub release: Option<String>,
    /// What tells running machines apart; hosts on the same one share its memory and its clock.
    pub machine: Option<String>,
    /// The host's own address on the connection by which the pilot came; `None` when it did not come over a network.
    pub address: Option<String>,
    /// The pilot's address on that connection.
    pub pilot_address: Option<String>,
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "transport", content = "address")]
pub enum Endpoint {
    /// `host:port`; port 0 lets the destination choose.
    Tcp(String),
    /// A path; empty lets the destination choose.
    Unix(String),
}

/// What a host is to build and how it shall migrate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostConfig {
    /// Which end this is.
    pub side: Side,
    /// Whether the guest is paused when it is migrated, so that it is not released by the migration; false from a pilot
    /// that does not know it.
    #[serde(default)]
    pub paused: bool,
    /// Guest RAM.
    pub memory_bytes: u64,
    /// Idle, non-zero memory behind the workload's.
    pub ballast_bytes: u64,
    /// The workload in its compact text form.
    pub workload: String,
    /// Page size behind the memory: none, thp, 2MiB, 1GiB.
    pub huge_pages: String,
    /// Touch all memory before the start.
    pub prealloc: bool,
    /// Lock the memory.
    pub locked: bool,
    /// CPUs the workers are bound to; empty for all.
    pub cpus: Vec<usize>,
    /// NUMA nodes the memory comes from; empty for all.
    pub numa_nodes: Vec<usize>,
    /// Which dirty tracker: auto, wp-async, cooperative.
    pub tracker: String,
    /// Time between guest samples.
    pub sample_interval_ns: u64,
    /// Most bytes per second while the guest runs; `None` for no limit.
    pub max_bandwidth_bytes_per_second: Option<u64>,
    /// Whether the limit holds during the switchover too.
    pub limit_in_switchover: bool,
    /// Longest acceptable downtime, for the switchover decision.
    pub downtime_limit_ns: u64,
    /// Whether zero pages are found and sent as a mark.
    pub zero_page: bool,
    /// Parallel connections; `None` sends everything on one.
    #[serde(default)]
    pub multifd: Option<MultifdConfig>,
    /// What both sides need to know for a switch to post-copy; `None` when none is prepared for.
    #[serde(default)]
    pub postcopy: Option<PostcopyConfig>,
    /// Bytes of stand-in device state.
    pub device_state_bytes: u64,
    /// Emulated wire: one-way delay.
    pub link_latency_ns: u64,
    /// Emulated wire: bytes per second; `None` for none.
    pub link_bytes_per_second: Option<u64>,
    /// What makes a hard migration end.
    #[serde(default)]
    pub techniques: Techniques,
    /// Whether the guest has a network on which it answers probes, for programs of the host's machine.
    #[serde(default)]
    pub answers_probes: bool,
    /// What goes wrong on purpose, as a scenario writes it; empty for nothing.
    pub faults: String,
    /// The name that the destination is known by, where the migration's connections are encrypted; `None` where they are not.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// A defect to commit on purpose, so that a test sees the claim fail.
    pub breakage: Option<String>,
}

/// How a migration goes on after a switch to post-copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PostcopyConfig {
    /// Whether requested pages travel on a connection of their own.
    pub preempt: bool,
    /// Whether a connection that is lost then may be made anew.
    #[serde(default)]
    pub recover: bool,
    /// Most bytes per second of pages that nobody waits for; `None` for no limit.
    pub max_bandwidth_bytes_per_second: Option<u64>,
}

/// What a host built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prepared {
    /// The dirty tracker in use.
    pub tracker: String,
    /// Why that one.
    pub tracker_reason: String,
    /// Bytes that one tracked write dirties.
    pub tracking_page_bytes: u64,
    /// Things the pilot should tell the user.
    pub warnings: Vec<String>,
    /// Where the guest answers probes, once it runs here; `None` when it shall not.
    #[serde(default)]
    pub probe_address: Option<String>,
}

/// A change to a running migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// Give up; the guest runs on at the source.
    Cancel,
    /// Stop the guest now and finish.
    Pause,
    /// Stop the guest now and let it go on at the destination before its memory is there.
    StartPostcopy,
    /// Let post-copy send without a limit on its bandwidth.
    LiftPostcopyLimit,
    /// Make the connection anew that was lost in post-copy.
    Recover,
    /// A migration that is held may finish from now on.
    Release,
    /// Change the downtime limit.
    SetDowntimeLimit {
        /// The new limit.
        ns: u64,
    },
    /// Change the bandwidth limit.
    SetMaxBandwidth {
        /// The new limit; `None` for no limit.
        bytes_per_second: Option<u64>,
    },
}

fn is_zero(version: &u16) -> bool {
    *version == 0
}
