//! The in-guest agent.
#![forbid(unsafe_code)]
fn main() {}
