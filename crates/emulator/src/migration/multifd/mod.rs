//! Pages through parallel connections.
//!
//! ```text
//!  source                                                  destination
//!    main: scans, hands out ──► channel 0: copies, packs, sends ──► channel 0: checks, unpacks, loads ─┐
//!      │      (to idle ones)──► channel 1: …                    ──► channel 1: …                       ├─ rounds
//!      └────── first connection: passes, flushes, state ──────────► main ──────────────────────────────┘
//! ```
//!
//! Nothing orders what travels on two connections.
//! So a page may be sent again only after a synchronisation: a mark on each connection, none of which the destination passes before it has met all of them.
//! As in QEMU there is one for each pass, and one before the guest's state.

mod packet;
mod pool;
mod receiver;
mod rounds;
mod sender;
pub(crate) mod zero_copy;

pub use packet::PacketOptions;
pub use pool::{Job, Pool, PoolError, PoolOptions};
pub use receiver::Receivers;

/// Most connections: each costs two threads and its buffers, and none has shown more than 16 to be of use.
pub const MAX_CHANNELS: u8 = 64;

/// The first part of the name of channel threads, and the class of their CPU time.
pub const CHANNEL_THREAD: &str = "multifd";
