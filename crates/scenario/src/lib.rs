//! What to run: one scenario as typed values, its TOML form, its defaults, and what cannot be asked for.
//!
//! A scenario is put together from layers, each of which wins over those before it: defaults, file, variables of
//! the environment, flags. [`Builder`] applies them; [`settings`] is the one table of everything that can be set,
//! from which files are read and written, flags and variables are named, and documents are made.
//!
//! ```
//! use sterna_scenario::{Builder, Origin};
//!
//! let file = "[migration]\nmax-bandwidth = \"10Gbit/s\"\n";
//! let scenario = Builder::new()
//!     .file("run.toml", file)?
//!     .set("guest.memory", "1GiB", Origin::Flag("--memory".into()))?
//!     .build()?;
//! assert_eq!(scenario.workload_bytes().to_string(), "256MiB");
//! # Ok::<(), sterna_scenario::ScenarioError>(())
//! ```
//!
//! This crate never runs anything, reads no file and looks at no environment.
#![forbid(unsafe_code)]

mod builder;
mod choice;
mod document;
mod error;
mod file;
mod ids;
mod json;
mod nearest;
mod print;
mod settings;
mod suite;
mod tables;
mod types;
mod validate;
mod value;
mod words;
mod written;

pub use builder::Builder;
pub use error::{Origin, Problem, ScenarioError};
pub use ids::{IdSet, IdSetError};
pub use settings::{Setting, settings};
pub use suite::{Suite, SuiteError, SuiteRun, SuiteTable};
pub use tables::{Table, tables};
pub use types::{
    AutoConverge, Bound, Compress, Compression, DirtyLimit, Downtime, DowntimeSteps, Fault,
    FaultAction, FaultChannel, FaultError, FaultMoment, FaultSide, Faults, Fleet, Guest, Hold,
    HugePages, LimitAction, Limits, Link, Measure, MeasureSource, MeasureUnit, Migration, Multifd,
    Pause, Placement, Postcopy, Relation, Scenario, Slo, SwitchoverDecision, Threshold,
    ThresholdError, Thresholds, Timing, Tls, TlsMode, Transport, Trigger, Verify, Workload, Xbzrle,
    ZeroPage,
};
pub use value::{Kind, ValueError};
pub use written::Written;

/// What every size of guest memory is a multiple of. A tracker may work in larger pages, but amounts are counted in
/// these.
pub const PAGE_BYTES: u64 = 4096;
