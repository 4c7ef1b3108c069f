//! What is known of a guest, its link and its hosts.

mod figures;
mod link;
mod passes;

use std::time::Duration;

use sterna_model::{Content, Host, Rules};
use sterna_report::foresight::{self, CurveShape, DirtyWindow, EvidenceKind, LinkEvidence};
use sterna_scenario::{Builder, Origin, Scenario, ScenarioError};
use sterna_units::Span;

pub use figures::Figures;
pub use link::{LinkError, MeasuredLink};

use crate::fit::{Curve, CurvePoint, Fit, fit};

/// What a prediction starts from.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub(crate) kind: EvidenceKind,
    pub(crate) file: Option<String>,
    /// The settings of the migration; what it says of guest and workload is not used.
    pub(crate) scenario: Scenario,
    /// The whole scenario of a guest of Sterna's own, which can be run again.
    pub(crate) own: Option<Box<Scenario>>,
    pub(crate) memory_bytes: u64,
    pub(crate) content_bytes: Option<u64>,
    pub(crate) vcpus: Option<u32>,
    pub(crate) load: Load,
    /// What pages hold, where that is known.
    pub(crate) content: Option<Content>,
    /// What the link carries without a limit; `None` for more than one connection can send.
    pub(crate) link_bytes_per_second: Option<f64>,
    pub(crate) link_is_measured: bool,
    pub(crate) link_spread: f64,
    pub(crate) host: Host,
    pub(crate) rules: Rules,
    pub(crate) assumptions: Vec<String>,
}

/// How the guest writes, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Windows with what was written in them, and the curve through them.
    Windows {
        /// Shortest first.
        points: Vec<CurvePoint>,
        /// The best curve.
        fit: Fit,
        /// The rate of all writes, repeats included, in bytes a second, where the report has it.
        touch: Option<f64>,
    },
    /// Distinct bytes written within a second, and of what memory, where that is known.
    Rate {
        /// Bytes.
        bytes_per_second: f64,
        /// All memory that is ever written.
        working_set_bytes: Option<f64>,
    },
}

/// Why nothing can be predicted from it.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A simulation is no evidence for another.
    #[error(
        "This report was made by the model, and a simulation is no evidence: give the report of a real migration, or figures with --memory, --dirty-rate and --link-bandwidth"
    )]
    Simulated,
    /// Several guests.
    #[error(
        "This report has a fleet of {guests} guests: a prediction is for one guest; give the report of one"
    )]
    Fleet {
        /// How many.
        guests: usize,
    },
    /// A measurement by an instrument that saw no migration.
    #[error(
        "The file holds no migration: {measured}. Give the report, `query-migrate` answer or log of a migration, or figures with --memory, --dirty-rate and --link-bandwidth"
    )]
    NoMigration {
        /// What it holds, as "iperf3 measured a stream".
        measured: String,
    },
    /// The report does not say how much memory the guest has.
    #[error(
        "The report does not say how much memory the guest has: add --memory, as in --memory 16GiB"
    )]
    NoMemory,
    /// No pass shows what the guest wrote.
    #[error(
        "The report has no complete pass with a count of written pages, so nothing is known of the guest's writes: add --dirty-rate, as in --dirty-rate 200MB/s"
    )]
    NoPass,
    /// Nothing is known of the link.
    #[error("Nothing is known of the link: add --link-bandwidth, as in --link-bandwidth 10Gbit/s")]
    NoLink,
    /// A figure that cannot be.
    #[error("{field} of {value} is not possible: {reason}")]
    Figure {
        /// The flag.
        field: &'static str,
        /// Its value.
        value: String,
        /// Why, and the way out.
        reason: &'static str,
    },
    /// Settings that cannot be.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// Longer migrations count as not completing, where nothing else limits them.
const LONGEST: Span = Span(Duration::from_secs(30 * 60));

const SHOWN_WINDOWS: [f64; 7] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

impl Evidence {
    /// The same guest under other settings: `path` is that of a scenario's field, or its flag without dashes.
    ///
    /// # Errors
    /// Unknown fields and values that they cannot have.
    pub fn what_if(&mut self, path: &str, value: &str) -> Result<(), EvidenceError> {
        let settings = sterna_scenario::settings().iter();
        let by_flag = settings.map(|it| (it.flag(), it.path())).find(|(flag, _)| flag == path);
        let path = by_flag.map_or(path, |(_, path)| path);
        let origin = Origin::Flag(format!("--what-if {path}={value}"));
        self.scenario = Builder::over(self.scenario.clone()).set(path, value, origin)?.build()?;
        Ok(())
    }

    /// The link as its owner knows it.
    pub fn set_link(&mut self, bytes_per_second: f64) {
        self.link_bytes_per_second = Some(bytes_per_second);
        self.link_is_measured = false;
    }

    /// Memory that holds content, in bytes; all of it where that is unknown.
    pub(crate) fn content_or_all(&self) -> u64 {
        self.content_bytes.unwrap_or(self.memory_bytes)
    }

    /// What a report says of it.
    pub(crate) fn document(&self) -> foresight::Evidence {
        let window = |window_seconds: f64, bytes: f64| DirtyWindow {
            window_seconds,
            bytes: bytes.max(0.0) as u64,
        };
        let (windows, dirty_curve, shape) = match &self.load {
            Load::Rate { .. } => (Vec::new(), Vec::new(), CurveShape::Unknown),
            Load::Windows { points, fit, .. } => (
                points.iter().map(|it| window(it.window_seconds, it.bytes)).collect(),
                SHOWN_WINDOWS.iter().map(|it| window(*it, fit.curve.bytes(*it))).collect(),
                shape(fit),
            ),
        };
        foresight::Evidence {
            kind: self.kind,
            file: self.file.clone(),
            memory_bytes: self.memory_bytes,
            content_bytes: self.content_bytes,
            vcpus: self.vcpus,
            windows,
            dirty_curve,
            shape,
            link: LinkEvidence {
                bytes_per_second: self.link_bytes_per_second,
                is_measured: self.link_is_measured,
                spread: self.link_spread,
            },
            assumptions: self.assumptions.clone(),
        }
    }

    /// These settings with guest, load, link and times of Sterna's own guest, so that a run of them is a run of that
    /// guest; as they are for any other guest, whose load is its owner's.
    pub(crate) fn runnable(&self, settings: &Scenario) -> Scenario {
        let Some(own) = self.own.as_deref().cloned() else { return settings.clone() };
        Scenario {
            migration: settings.migration.clone(),
            limits: settings.limits.clone(),
            name: None,
            faults: None,
            ..own
        }
    }

    /// Everything but the settings goes: what is simulated is this guest, not the scenario's.
    fn settle(mut self) -> Evidence {
        let mut scenario = Scenario::default();
        scenario.guest.memory = sterna_units::Bytes(whole_pages(self.memory_bytes));
        scenario.guest.vcpus = self.vcpus.unwrap_or(1).max(1);
        scenario.workload.workers = scenario.guest.vcpus;
        scenario.migration = sterna_scenario::Migration {
            hops: 1,
            transport: Default::default(),
            tls: None,
            hold: None,
            mapped_ram: false,
            direct_io: false,
            zero_copy: false,
            switchover_ack: false,
            compress: None,
            ..self.scenario.migration
        };
        scenario.limits = self.scenario.limits;
        if scenario.limits.max_time.is_none() {
            scenario.limits.max_time = Some(LONGEST);
            self.assumptions
                .push(format!("a migration that takes longer than {LONGEST} does not complete"));
        }
        Evidence { scenario, ..self }
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes - bytes % sterna_scenario::PAGE_BYTES
}

fn shape(fit: &Fit) -> CurveShape {
    match &fit.curve {
        _ if fit.is_ambiguous => CurveShape::Unknown,
        Curve::Random(_) => CurveShape::Random,
        Curve::Sweep(_) => CurveShape::Sweep,
    }
}

/// The load that these windows show; `None` where they show nothing.
fn load(points: Vec<CurvePoint>, content_bytes: u64, touch: Option<f64>) -> Option<Load> {
    let fit = fit(&points, content_bytes as f64, touch)?;
    Some(Load::Windows { points, fit, touch })
}
