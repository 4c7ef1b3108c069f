//! The charts of one run, each made of the series of its report.

mod cpu;
mod guest;
mod latency;
mod marks;
mod memory;
mod probes;
mod rates;
mod scale;
mod thin;

pub use cpu::cpu;
pub use guest::{guest, guest_total};
pub use latency::{latency_heat, latency_tail};
pub use marks::{marks, switchover};
pub use memory::memory;
pub use probes::probes;
pub use rates::{rates, wire_rate};
pub use scale::Scale;
pub use thin::{evenly, thin};
