//! The agent, embedded.
#![forbid(unsafe_code)]
