//! QMP, the JSON language in which one speaks with a QEMU.
//!
//! The client is tolerant: what it does not know (fields, enum values, events, whole messages) passes through or is left aside, so that a QEMU newer than this code works.
//! Every text of QEMU's errors is kept word for word, since it is what people search for.

mod client;
mod error;
mod message;
mod schema;

pub use client::{Client, Stamps};
pub use error::QmpError;
pub use message::{Event, Greeting};
pub use schema::Schema;
