//! Everything two Sterna processes say to each other.
//!
//! - [`stream`]: the migration stream between a source and a destination host.
//! - [`control`]: the connection over which the pilot steers a host.
//! - [`clock`]: how a stamp taken by another process is mapped to our own clock.
//!
//! Encoding and decoding are pure: bytes in, values out, and a peer that lies gets an error and never an allocation of its choosing.
//! Policy and timing live elsewhere.
#![forbid(unsafe_code)]

pub mod clock;
pub mod control;
pub mod stream;
