//! Dirties memory in a known way, and can say afterwards what every word of it must be.

#![forbid(unsafe_code)]

pub mod spec;

pub use spec::{Method, Pace, Pattern, Spec, SpecError, UnknownName};
