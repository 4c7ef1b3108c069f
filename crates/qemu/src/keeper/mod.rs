//! A QEMU on another machine, and the keeper that looks after it there.
//!
//! The keeper is this very program, started there by ssh.
//! It starts QEMU as its child, so that QEMU dies with it, and it ends when its standard input does, which it does when we end, die, or lose the network.
//! Over the one stream that ssh gives travel questions and answers, QEMU's monitor, the guest line, and the guest's network.
//! The guest's memory does not: QEMU sends it to QEMU directly.
//!
//! ```text
//!  here                                       there
//!   engine ── questions ──────────────────── keeper ── starts, kills, samples
//!      ├───── monitor ───────┐     ┌───────────┤           │
//!      ├───── guest line ────┤ ssh ├───────────┤         QEMU
//!   switch ── network ───────┘     └───────────┘           │
//!   QEMU ═════════════ the guest's memory ═════════════════╛
//! ```

mod client;
mod clock;
mod serve;

pub(crate) use client::Keeper;
pub use serve::serve;

/// The subcommand, hidden, that runs a keeper.
pub const SUBCOMMAND: &str = "keep-qemu";
