//! The typed scenario. Defaults are the values of a bare run: several passes, completion, a few seconds.

mod fault;
mod fault_channel;
mod fleet;
mod measure;
mod migration;
mod stream;
mod threshold;

use sterna_probe::Probes;
use sterna_units::{Bytes, Percent, Rate, Size, Span};
use sterna_workload::{Method, Pace, Pattern, Phases, Spec};

pub use fault::{Fault, FaultAction, FaultError, FaultMoment, FaultSide, Faults};
pub use fault_channel::FaultChannel;
pub use fleet::Fleet;
pub use measure::{Measure, MeasureSource, MeasureUnit};
pub use migration::{
    AutoConverge, DirtyLimit, Downtime, DowntimeSteps, Hold, Migration, Pause, Postcopy,
    SwitchoverDecision, Trigger,
};
pub use stream::{Compress, Compression, Multifd, Tls, TlsMode, Transport, Xbzrle, ZeroPage};
pub use threshold::{Bound, Relation, Threshold, ThresholdError, Thresholds};

use crate::{IdSet, PAGE_BYTES, Written, choice::choice};

/// One run, completely described: every default is filled in.
///
/// An optional part is `Some` exactly when it was asked for; its own fields then have defaults as well.
///
/// Guest memory is laid out as [workload | ballast | rest of zeros], in this order from the first page on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scenario {
    /// What to call the run in reports.
    pub name: Option<String>,
    /// What of memory is compared.
    pub verify: Verify,
    /// Who watches the guest from outside.
    pub probes: Probes,
    /// The virtual machine.
    pub guest: Guest,
    /// What the guest does with its memory.
    pub workload: Workload,
    /// How it is moved.
    pub migration: Migration,
    /// The wire to emulate; the plain network without it.
    pub link: Option<Link>,
    /// Several guests instead of one.
    pub fleet: Option<Fleet>,
    /// What goes wrong on purpose; nothing without it.
    pub faults: Option<Faults>,
    /// When to stop waiting.
    pub limits: Limits,
    /// What the numbers must keep to.
    pub slo: Slo,
    /// How long to watch, and how often.
    pub timing: Timing,
    /// Quantities as they were written.
    pub written: Written,
}

choice! {
    /// What of memory is compared after the migration.
    Verify ("check of memory") {
        /// The workload's pages, within the guest: each with what must be in it.
        #[default]
        Workload = "workload",
        /// Besides, all memory of one side with that of the other, while the guest runs on neither.
        AllMemory = "all-memory",
    }
}

/// The virtual machine that is migrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// Whether the guest is stopped while it is migrated, as by a user who paused it before.
    pub paused: bool,
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory, a multiple of the page size.
    pub memory: Bytes,
    /// Memory that holds data but is never written; use [`Scenario::ballast_bytes`] for the resolved amount.
    pub ballast: Size,
    /// The pages that back guest memory.
    pub huge_pages: HugePages,
    /// Whether all memory is populated before the run.
    pub prealloc: bool,
    /// Whether memory is locked against swapping.
    pub locked: bool,
    /// Where the source runs.
    pub source: Placement,
    /// Where the destination runs.
    pub destination: Placement,
}

/// The processors and memory nodes of one side; `None` leaves the choice to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The processors to run on.
    pub cpus: Option<IdSet>,
    /// The NUMA nodes to take memory from.
    pub numa_nodes: Option<IdSet>,
}

choice! {
    /// The pages that back guest memory.
    HugePages ("kind of pages") {
        /// 4 KiB pages.
        #[default]
        None = "none",
        /// Transparent huge pages, as far as the kernel gives them.
        Thp = "thp",
        /// Reserved pages of 2 MiB.
        Size2Mib = "2MiB",
        /// Reserved pages of 1 GiB.
        Size1Gib = "1GiB",
    }
}

/// What the guest writes; [`Scenario::workload_spec`] is the same with sizes resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// How much of guest memory is written.
    pub memory: Size,
    /// How many threads write; as many as virtual processors unless said otherwise.
    pub workers: u32,
    /// In which order pages are written.
    pub pattern: Pattern,
    /// What a write does to its page.
    pub method: Method,
    /// How fast, all workers together.
    pub rate: Pace,
    /// Decides page order and content. Fixed by default, so that a second run repeats the first.
    pub seed: u64,
    /// Whether each write is timed.
    pub latency: bool,
    /// Whether writes that a stall or a pause kept back are made up for in a burst.
    pub catch_up: bool,
    /// What to do instead at certain times.
    pub phases: Option<Phases>,
    /// Whether the phases begin again after the last.
    pub repeat: bool,
}

/// An emulated wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// How long each byte is under way, in one direction.
    pub latency: Span,
    /// What the wire carries; `None` for as much as the real one does.
    pub bandwidth: Option<Rate>,
}

/// When a migration has taken long enough, and what happens then. The limit that is reached first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Total time at which to act; `None` never.
    pub max_time: Option<Span>,
    /// Number of completed passes at which to act; `None` never.
    pub max_passes: Option<u32>,
    /// What to do.
    pub then: LimitAction,
    /// Time in post-copy after which the guest is given up, and so lost; `None` never.
    pub abandon_postcopy_after: Option<Span>,
}

choice! {
    /// What happens when a limit is reached.
    LimitAction ("action at a limit") {
        /// Give up: the guest stays on the source, unharmed.
        #[default]
        Cancel = "cancel",
        /// Stop the guest, so that the rest can be sent.
        Pause = "pause",
        /// Switch to post-copy.
        Postcopy = "postcopy",
    }
}

/// What the numbers of a run must keep to; they are looked at when it is over, and change nothing in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slo {
    /// Sentences of which none may be true.
    pub fail_if: Option<Thresholds>,
}

/// How long to watch, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long the guest is watched before the migration, which gives the baseline. Without it, lost work is
    /// unknown.
    pub warmup: Span,
    /// How long the guest is watched after the migration.
    pub cooldown: Span,
    /// The time between two samples of the guest.
    pub sample_interval: Span,
}

impl Scenario {
    /// The memory that the workload writes: whole pages, from the beginning of guest memory.
    pub fn workload_bytes(&self) -> Bytes {
        whole_pages(self.workload.memory.of(self.guest.memory))
    }

    /// The memory that holds data but is never written: whole pages, right behind the workload.
    pub fn ballast_bytes(&self) -> Bytes {
        whole_pages(self.guest.ballast.of(self.guest.memory))
    }

    /// The workload with its size resolved, in the form that every engine takes.
    pub fn workload_spec(&self) -> Spec {
        let Workload { workers, pattern, method, seed, latency, catch_up, .. } = self.workload;
        let (memory, pace) = (self.workload_bytes(), self.workload.rate);
        let phases = self.workload.phases.clone().unwrap_or_default();
        // Validation refuses to repeat nothing.
        let phases = phases.clone().repeated(self.workload.repeat).unwrap_or(phases);
        Spec { memory, workers, pattern, method, pace, seed, latency, catch_up, phases }
    }
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            paused: false,
            vcpus: 2,
            memory: Bytes::from_mib(256),
            ballast: Size::Bytes(Bytes(0)),
            huge_pages: HugePages::None,
            prealloc: true,
            locked: false,
            source: Placement::default(),
            destination: Placement::default(),
        }
    }
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            memory: Size::Percent(const { Percent::new(25).expect("25 is at most 100") }),
            workers: Guest::default().vcpus,
            pattern: Pattern::Random,
            method: Method::Counter,
            rate: Pace::BytesPerSecond(Rate::from_bytes_per_second(32 << 20)),
            seed: 1,
            latency: true,
            catch_up: false,
            phases: None,
            repeat: false,
        }
    }
}

/// Five minutes without a limit on passes: a run in a pipeline ends by itself, and a slow one is not cut short.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_time: Some(Span::from_secs(300)),
            max_passes: None,
            then: LimitAction::Cancel,
            abandon_postcopy_after: None,
        }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            warmup: Span::from_secs(2),
            cooldown: Span::from_secs(2),
            sample_interval: Span::from_millis(100),
        }
    }
}

impl HugePages {
    /// What guest memory must be a multiple of.
    pub(crate) fn granularity_bytes(self) -> u64 {
        match self {
            HugePages::None | HugePages::Thp => PAGE_BYTES,
            HugePages::Size2Mib => 2 << 20,
            HugePages::Size1Gib => 1 << 30,
        }
    }
}

fn whole_pages(bytes: Bytes) -> Bytes {
    Bytes(bytes.0 - bytes.0 % PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_resolve_to_whole_pages() {
        let mut scenario = Scenario::default();
        scenario.guest.memory = Bytes(10 * PAGE_BYTES);
        scenario.guest.ballast = "9000".parse().unwrap();
        assert_eq!(scenario.workload_bytes(), Bytes(2 * PAGE_BYTES));
        assert_eq!(scenario.ballast_bytes(), Bytes(2 * PAGE_BYTES));
        assert_eq!(scenario.workload_spec().memory, scenario.workload_bytes());
    }

    #[test]
    fn the_default_workload_in_its_text_form() {
        assert_eq!(
            Scenario::default().workload_spec().to_string(),
            "memory=64MiB workers=2 pattern=random method=counter rate=32MiB/s seed=1 latency=on"
        );
    }
}
