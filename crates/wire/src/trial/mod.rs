//! A trial of a link: what `sterna stream` and its server say to each other.
//!
//! ```text
//!  client                                   server
//!    │  control: Hello (version, token)        │  as to a host; see `control`
//!    │ ──────────────────────────────────────► │
//!    │                     Welcome or Refused  │
//!    │ ◄────────────────────────────────────── │
//!    │  control: Test (what is to be tried)    │
//!    │ ──────────────────────────────────────► │  memory, limits
//!    │                    Prepared or Refused  │
//!    │ ◄────────────────────────────────────── │
//!    │  each data connection: Lane             │  names the session and its part in it
//!    │ ──────────────────────────────────────► │
//!    │                          one byte: yes  │
//!    │ ◄────────────────────────────────────── │
//!    │  control: Begin            … Begun      │
//!    │ ◄─────────────────────────────────────► │
//!    │  lanes: Bulk, Page ─► ◄─ Request, End   │  pages one way, requests the other
//!    │ ◄─────────────────────────────────────► │
//!    │  control: Stop (if it ends early)       │
//!    │ ──────────────────────────────────────► │
//!    │          Interval …          and  Done  │
//!    │ ◄────────────────────────────────────── │
//! ```
//!
//! The control connection carries [`Ask`](ask::Ask) and [`Tell`](ask::Tell) in the frames of `control`, after the greeting that a host takes as well.
//! A lane carries [`Head`]s, each with the content that it announces.
//!
//! Content has no checksum: it is known to TCP alone, as with every tool that measures links, and what is measured is the link and not a processor's way with sums.
//!
//! # Layout
//! Little-endian. Kind 0 is invalid, unknown kinds and flags are refused, and the length is checked against the bound of its kind before anything is read or allocated.

#[cfg(feature = "control")]
pub mod ask;
mod head;
mod lane;

pub use head::{HEAD_BYTES, Head, HeadError, Kind, MAX_BLOCK_BYTES, Urgency};
pub use lane::{LANE_BYTES, Lane, LaneError, MAGIC, Part, Way, YES};

/// The version of a trial that this build speaks; another one is refused.
pub const VERSION: u16 = 1;

/// Most lanes that carry bulk in one direction.
pub const MAX_CHANNELS: u16 = 256;

/// Most requests that wait at once.
pub const MAX_VCPUS: u16 = 1024;

/// Most pages that are asked for ahead of a request.
pub const MAX_PREFETCH: u16 = 64;
