//! The guest's network: an Ethernet switch inside Sterna, with a probe as the only other station.
//!
//! QEMU's network card is plugged into it by a Unix socket, so no privilege and no device of the machine is needed.
//! The cut-over is real all the same: the switch learns from what it hears where the guest is, as any switch does, and QEMU announces the move by a broadcast.

mod packet;
mod probe;
mod switch;

pub(crate) use probe::Prober;

use std::net::Ipv4Addr;

/// The guest's network card.
pub(crate) const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x53, 0x54, 0x01];
/// The probe's.
const OUR_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x53, 0x54, 0xfe];

/// The guest's address; the network ends at the switch, so it is nobody else's.
pub(crate) const GUEST_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 53, 54, 2), 24);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 53, 54, 1);

/// Where the agent echoes.
pub(crate) const ECHO_PORT: u16 = 7;
const OUR_PORT: u16 = 40_007;
