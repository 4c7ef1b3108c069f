//! `sterna stream`: what a link carries of a migration, tried with the same sockets, pages and limits, and without a guest.
//!
//! ```text
//!  source                                          destination
//!    bulk thread ── block ─┐                      ┌─ receiving thread ── drops or places pages
//!                          ├─► lane (Main) ─────► │        │ a page that was asked for: its time is taken,
//!  answering thread ─ page ┘        ▲             │        ▼ and the next one is asked for
//!         ▲                         └── requests ─┴────────┘
//!         └── requests, most urgent first
//! ```
//!
//! Each direction in which pages travel has its own lanes: [`Part::Main`](sterna_wire::trial::Part) ones for bulk, of which the first also carries requests and their pages, unless these have a lane of their own (`preempt`).
//! Requests are answered by the thread that has read them, and the next one is sent by the thread that has read the page: a handover between threads would cost more than the way over a fast link.
//! Between two blocks, whoever has a requested page goes first; see `line::Line`.
//!
//! [`client`] and [`server`] are the two programs; what both do once all lanes are there is a `side::Side`.
//! The protocol, with its diagram, is in [`sterna_wire::trial`].

mod answer;
mod ask;
mod bulk;
pub mod client;
mod connect;
pub mod estimate;
mod lanes;
mod line;
mod meter;
mod packer;
mod plan;
mod reader;
mod receive;
mod sample;
pub mod server;
mod side;
mod store;

pub use client::{ClientError, ClientOptions, Event, Family, Outcome};
pub use plan::PlanError;
pub use server::{Notice, ServeOptions, StreamServer};

/// Where a server listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 12324;

/// Longest time without a byte on a connection that should have some.
const STALL: std::time::Duration = std::time::Duration::from_secs(30);
