//! Sterna on another machine: how it is named, and how it is started there by ssh.
//!
//! - [`Address`] is what `--destination` takes.
//! - [`Session`] is a Sterna over there: copied when it is not there already, with one stream in each direction, gone when we are.
//! - [`served`] is the other end of a session.
//! - [`Mux`] makes several streams of it, for those who need more than one.
//!
//! Nothing is installed, and no configuration is changed, neither here nor there: the system's `ssh` is used with the user's own keys and configuration, and all that is left on the other machine after a session is a line in its log.
#![forbid(unsafe_code)]

mod address;
mod bootstrap;
mod error;
mod mux;
mod serve;
mod session;

pub use address::{Address, AddressError, Target};
pub use error::RemoteError;
pub use mux::{Mux, NoMessage};
pub use serve::{DIRECTORY_VARIABLE, Served, served};
pub use session::{Program, Session, Ssh};
