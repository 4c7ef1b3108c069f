//! The migration stream: one TCP or Unix connection from the source host to the destination host.
//!
//! ```text
//!  source                                destination
//!    │  Hello (versions, RAM size, pages)     │
//!    │ ─────────────────────────────────────► │  checks before a byte of memory moves
//!    │                      HelloAck | Error  │
//!    │ ◄───────────────────────────────────── │
//!    │  each further connection: Channel      │
//!    │ ─────────────────────────────────────► │  those that the greeting announced, in any order
//!    │             on each: ChannelAck, Error │
//!    │ ◄───────────────────────────────────── │
//!    │  Pages, Zero … PassEnd … Pages, Zero   │  the guest runs on the source
//!    │ ─────────────────────────────────────► │
//!    │            (source stops its workers)  │
//!    │  Pages, Zero, State, Finished          │
//!    │ ─────────────────────────────────────► │  loads everything
//!    │                         Ready | Error  │
//!    │ ◄───────────────────────────────────── │
//!    │  Go          ── the commit point ──    │  before it the source may run the guest again,
//!    │ ─────────────────────────────────────► │  after it never
//!    │                               Running  │
//!    │ ◄───────────────────────────────────── │
//! ```
//!
//! At a switch to post-copy the guest goes on before its memory is there:
//!
//! ```text
//!  source                                destination
//!    │  Discard …, Prepare                    │  the guest runs on the source
//!    │ ─────────────────────────────────────► │  forgets what it has of pages that will come later
//!    │                              Prepared  │
//!    │ ◄───────────────────────────────────── │
//!    │            (source stops its workers)  │
//!    │  Discard …, State, Listen              │
//!    │ ─────────────────────────────────────► │  forgets what it has of these pages, and is ready for faults
//!    │                         Ready | Error  │
//!    │ ◄───────────────────────────────────── │
//!    │  Go          ── the commit point ──    │
//!    │ ─────────────────────────────────────► │
//!    │                               Running  │  the guest runs and waits for each page that it lacks
//!    │ ◄───────────────────────────────────── │
//!    │                         Request …      │  pages that it waits for, while
//!    │ ◄───────────────────────────────────── │
//!    │  Pages, Zero …                         │  these come first, and the others in between
//!    │ ─────────────────────────────────────► │
//!    │  Finished                              │  every discarded page was sent
//!    │ ─────────────────────────────────────► │
//!    │                        Loaded | Error  │  every discarded page has arrived
//!    │ ◄───────────────────────────────────── │
//! ```
//!
//! A request for a page that is on its way already is answered by that page alone.
//! `Prepare` and what comes before it keep the downtime short, and may be left out; a source without [`capability::POSTCOPY`] never sends them.
//!
//! When the connection is lost between `Go` and `Loaded`, each side keeps what it has.
//! With [`capability::RECOVER`] the source may then come back:
//!
//! ```text
//!  source                                destination
//!    │  Resume (session), on a new connection │
//!    │ ─────────────────────────────────────► │  ends the one before, if it has not noticed
//!    │  further connection: Channel           │
//!    │ ─────────────────────────────────────► │  as after a greeting, where there was one
//!    │                            ChannelAck  │
//!    │ ◄───────────────────────────────────── │
//!    │                  Received … | Error    │  one mark for each page of the guest, in order
//!    │ ◄───────────────────────────────────── │
//!    │                         Request …      │  all that is waited for, asked for again
//!    │ ◄───────────────────────────────────── │
//!    │  Pages, Zero … Finished                │  every discarded page that was not marked
//!    │ ─────────────────────────────────────► │
//! ```
//!
//! What was under way on the lost connection and did not arrive is not marked, so it is sent again.
//!
//! `Error` may come from the destination in place of any answer, `Abort` from the source in place of any frame before `Go`.
//!
//! # Further connections
//! A greeting with the right [`capability`] announces further connections of a [`Role`].
//! The source opens them when its greeting was acknowledged; the first frame on each is a [`Channel`] that names the session, the role and a number.
//! A connection of another session is refused on that connection and does no harm to the migration.
//!
//! ## Parallel connections
//! With [`Role::Multifd`] pages travel in [`Kind::Packet`]s on all of them at once, so that nothing orders two packets on different connections.
//! Before a page may be sent again, the source puts a [`Kind::Sync`] on each of them and a [`Kind::Flush`] on the first connection, and the destination lets none of them pass until it has met all.
//! So an older copy of a page never overwrites a newer one.
//! The last one comes before `Finished`: all pages are there then.
//!
//! # Layout
//! Little-endian. Every frame starts with a 16-byte [`Header`]: kind, flags, run count, body length, CRC-32C, sequence.
//! Kind 0 is invalid, so that a run of zero bytes is never a frame; unknown kinds and flags are refused.
//! The length is checked against the bound of its kind before anything is read or allocated.
//! The CRC covers the whole body and the header (its own field taken as zero).
//!
//! # Versions
//! A build speaks [`VERSION`] and, from the second version on, the one before it.
//! `Hello` carries the range its sender speaks, and [`negotiate`] picks the newest that both know.

mod channel;
mod delta;
mod frame;
mod hello;
mod message;
mod packet;
mod pieces;
mod resume;
mod runs;
mod state;
mod transport;

pub use channel::{Channel, Role, capability};
pub use delta::{Delta, DeltaEncoder, DeltaError, PageContent, apply_delta};
pub use frame::{FrameCounter, FrameError, HEADER_BYTES, Header, Kind};
pub use hello::{Hello, HelloAck, MAGIC, negotiate};
pub use message::Message;
pub use packet::{Compression, PACKET_HEAD_BYTES, PACKET_PAGES, PacketHead, PacketPages};
pub use pieces::{MAX_PIECES, PIECE_BYTES, Piece, decode_pieces, encode_pieces};
pub use resume::{MAX_MARK_BYTES, Received, ReceivedMap};
pub use runs::{MAX_LIST_RUNS, MAX_RUNS, PageRun, RUN_BYTES, check_runs, decode_runs, encode_runs};
pub use state::State;
pub use transport::{MessageReader, MessageWriter, ReadError};

/// The stream version this build speaks.
pub const VERSION: u16 = 1;

/// The oldest stream version this build still understands.
pub const OLDEST_VERSION: u16 = 1;

/// Size of a page on the stream, whatever the hosts back their memory with.
pub const PAGE_BYTES: usize = 4096;

/// Most pages in one `Pages` frame: 1 MiB a frame keeps system calls rare and buffers small.
pub const MAX_PAGES: usize = 256;
