//! Everything two Sterna processes say to each other.
//!
//! - [`stream`]: the migration stream between a source and a destination host.
//! - `control`: the connection over which the pilot steers a host. Behind the feature of that name, since it brings a
//!   JSON library that the agent in a guest has no room for.
//! - `compression`: packing page content. Behind the feature of that name, since it brings zlib and zstd.
//! - [`mux`]: several streams over one, for a session with another machine; and `keeper`, what is said in it about a QEMU there, behind the same feature as `control`.
//! - [`clock`]: how a stamp taken by another process is mapped to our own clock.
//! - [`guest_line`]: what an engine and the agent in a guest say to each other.
//! - [`guest_disk`]: what that agent tells of records that it writes to a disk.
//! - `tls`: encrypted connections on which both ends show a certificate, and how such certificates are made. Behind the feature of that name.
//! - [`trial`]: what `sterna stream` and its server say to each other to try a link.
//! - [`guest_config`]: what the agent is told before that.
//!
//! Encoding and decoding are pure: bytes in, values out, and a peer that lies gets an error and never an allocation of its choosing.
//! Policy and timing live elsewhere.
#![forbid(unsafe_code)]

pub mod clock;
#[cfg(feature = "compression")]
pub mod compression;
#[cfg(feature = "control")]
pub mod control;
pub mod guest_config;
pub mod guest_disk;
pub mod guest_line;
#[cfg(feature = "control")]
pub mod keeper;
pub mod mux;
pub mod stream;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trial;
