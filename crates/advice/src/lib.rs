//! Which settings: from what is known of a guest to what will happen, and from a goal to settings.
//!
//! ```text
//! report of a migration ─┐
//! figures (RAM, rate) ───┴► Evidence ──► draws of guest and link ──► model, once for each draw and technique
//!                                                                          │
//!                                     predict: intervals for each technique ┤
//!                                     advise: the simplest settings that keep a goal ──► QMP, virsh, MigrationPolicy, scenario
//! ```
//!
//! Nothing is printed here, and no file is read: a command gives a [`Report`](sterna_report::Report) or figures, and
//! gets a document of [`sterna_report::foresight`].
#![forbid(unsafe_code)]

mod advise;
mod commands;
mod diagnose;
mod draws;
mod evidence;
mod fit;
mod menu;
mod predict;
mod quantile;
mod reproduce;

pub use advise::{AdviseError, advise};
pub use commands::{Commands, Target, commands};
pub use diagnose::{Diagnosis, diagnose};
pub use evidence::{Evidence, EvidenceError, Figures, LinkError, MeasuredLink};
pub use predict::{Sampling, predict};
pub use reproduce::{ReproduceError, Reproduction, reproduce};
