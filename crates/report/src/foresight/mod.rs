//! What will happen, and what to set: predictions, and settings that follow from a goal.
//!
//! These are shapes only; where the numbers come from is the business of the crate `advice`.

mod advice;
mod prediction;

pub use advice::{
    ADVICE_SCHEMA_NAME, ADVICE_SCHEMA_VERSION, AdviceDocument, Choice, Command, Goal, Nearest,
    Shortfall,
};
pub use prediction::{
    CurveShape, DirtyWindow, Evidence, EvidenceKind, Interval, LinkEvidence,
    PREDICTION_SCHEMA_NAME, PREDICTION_SCHEMA_VERSION, Prediction, TechniqueOutcome,
};
