//! The charts of one run, each made of the series of its report.

mod cpu;
mod guest;
mod heat;
mod latency;
mod latency_spread;
mod marks;
mod memory;
mod probes;
mod rates;
mod scale;
mod thin;

pub use cpu::cpu;
pub use guest::{guest, guest_total};
pub use latency::latency_heat;
pub use latency_spread::{latency_spread, latency_tail};
pub use marks::{marks, switchover};
pub use memory::memory;
pub use probes::probes;
pub use rates::{rates, wire_rate};
pub use scale::{Scale, largest};
pub use thin::{evenly, thin};
