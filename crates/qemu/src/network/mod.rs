//! The guest's network, with a station of ours on it that probes the guest.
//!
//! ```text
//!   source QEMU ──┐
//!                 ├── switch of ours, or a bridge of this machine ──── station
//!   dest.  QEMU ──┘
//! ```
//!
//! Either way the cut-over is real: a switch learns from what it hears where the guest is, and QEMU announces the move by a broadcast.

mod icmp;
mod packet;
mod station;
mod switch;
mod tap;
mod tcp;

pub(crate) use station::{NetworkError, Plug, Prober};
pub(crate) use tap::bridges;

use std::net::Ipv4Addr;

/// The guest's network card.
pub(crate) const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x53, 0x54, 0x01];
/// The station's.
const OUR_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x53, 0x54, 0xfe];

/// The guest's address; on a switch of ours it is nobody else's.
pub(crate) const GUEST_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 53, 54, 2), 24);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 53, 54, 1);

/// Where the agent echoes.
pub(crate) const ECHO_PORT: u16 = 7;
/// The first port of ours; each probe has its own.
const OUR_PORT: u16 = 40_007;

/// A frame that was heard, with its moment.
type Arrival = (u64, Vec<u8>);

/// Where frames go out.
trait Wire: Send + Sync {
    /// Sends a frame; what cannot be sent at once is lost.
    fn send(&self, frame: &[u8]);
}
