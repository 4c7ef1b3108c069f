//! The program that says what is to be tried.
//!
//! ```text
//!  connect ─ greet ─ test ─► prepared ─ lanes ─ begin ─► intervals … ─► both sides' numbers
//!     │        │       │                  │       │         │
//!     └────────┴───────┴──── an error, and nothing was tried │
//!                                                 └─────────┴── what was seen so far, and an error beside it
//! ```

mod error;
mod flight;
mod server;

use std::io::{Read, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sterna_pilot::Interrupt;
use sterna_report::stream::{
    StreamEnding, StreamEstimate, StreamInterval, StreamSide, StreamSideSummary,
};
use sterna_wire::control::Endpoint;
use sterna_wire::tls::Credentials;
use sterna_wire::trial::ask::{Ask, Prepared, Tell, Test};
use sterna_wire::trial::{Lane, Part, Way, YES};

pub use super::connect::{ConnectError, Family};
pub use error::ClientError;

use super::connect::Found;
use super::lanes::{check_congestion, connected};
use super::plan::Plan;
use super::side::{Memory, Side};
use crate::host::server::is_local;
use crate::transport::{Protection, Socket};
use flight::Flight;
use server::Server;

/// How long an answer may take that needs no work.
const ANSWER: Duration = Duration::from_secs(10);

type Told = Tell<StreamInterval, StreamSideSummary>;

/// What a client is given.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the server listens.
    pub server: Endpoint,
    /// The family of addresses to use; `None` takes what the name has.
    pub family: Option<Family>,
    /// Our own address.
    pub bind: Option<IpAddr>,
    /// The secret that the server asks for.
    pub token: Option<String>,
    /// Certificates; needed for everything but loopback and Unix sockets.
    pub tls_directory: Option<PathBuf>,
    /// Whether pages are encrypted as well.
    pub tls: bool,
    /// What is to be tried.
    pub test: Test,
    /// Most memory that may be taken here.
    pub most_memory_bytes: u64,
}

/// Something that a user may want to see at once.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is about to begin.
    Begin {
        /// Where the server is.
        address: String,
        /// Its release.
        release: Option<String>,
    },
    /// An interval of one side is over.
    Interval(Box<StreamInterval>),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it ended.
    pub ending: StreamEnding,
    /// What broke it.
    pub error: Option<String>,
    /// How long it took.
    pub duration_seconds: f64,
    /// What was seen here.
    pub client: StreamSideSummary,
    /// What was seen there.
    pub server: Option<StreamSideSummary>,
    /// What follows.
    pub estimate: Option<StreamEstimate>,
    /// All intervals.
    pub intervals: Vec<StreamInterval>,
    /// What does not hold for the numbers.
    pub warnings: Vec<String>,
}

/// Tries a link.
///
/// # Errors
/// Nothing was tried. What breaks later stands in the outcome.
pub fn run(
    options: ClientOptions,
    interrupt: &Interrupt,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome, ClientError> {
    let plan = Arc::new(Plan::of(options.test.clone(), options.most_memory_bytes)?);
    check_congestion(&options.test)?;
    let protection = protection(&options)?;
    let (found, first) = Found::find(&options.server, options.family, options.bind, protection)?;
    let mut server = Server { at: found.address(), socket: found.protect(first)? };
    let welcome = server.greet(options.token.as_deref())?;
    server.say(&Ask::Test(Box::new(plan.test.clone())))?;
    // While the server gets its memory ready, so do we.
    let memory = Memory::new(&plan, StreamSide::Client)?;
    let Prepared { session, mut warnings } = server.prepared(interrupt)?;
    let lanes = lanes(&plan, &found, session, options.tls, &mut server, &mut warnings)?;
    server.say(&Ask::Begin)?;
    server.begun()?;
    on(Event::Begin { address: server.at.clone(), release: welcome.release });
    let side = Side::start(StreamSide::Client, Arc::clone(&plan), memory, lanes)
        .map_err(ClientError::Start)?;
    Flight::new(server, side, warnings)?.fly(interrupt, on)
}

fn protection(options: &ClientOptions) -> Result<Protection, ClientError> {
    let shown = match &options.server {
        Endpoint::Tcp(text) | Endpoint::Unix(text) => text.clone(),
    };
    let is_unix = matches!(options.server, Endpoint::Unix(_));
    if is_unix && (options.bind.is_some() || options.family.is_some()) {
        return Err(ClientError::NotTcp(shown));
    }
    if options.tls && options.test.zero_copy {
        return Err(ClientError::ZeroCopyTls);
    }
    let Some(directory) = &options.tls_directory else {
        return match (options.tls, is_local(&options.server)) {
            (true, _) => Err(ClientError::NeedsCertificates),
            (false, false) => Err(ClientError::NeedsTls(shown)),
            (false, true) => Ok(Protection::Clear),
        };
    };
    let name = match &options.server {
        Endpoint::Unix(_) => "localhost".to_owned(),
        Endpoint::Tcp(text) => {
            let host = text.rsplit_once(':').map_or(text.as_str(), |it| it.0);
            host.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
    };
    Ok(Protection::Tls { credentials: Arc::new(Credentials::load(directory)?), name })
}

/// Makes all connections that carry pages.
fn lanes(
    plan: &Plan,
    found: &Found,
    session: [u8; 16],
    is_encrypted: bool,
    server: &mut Server,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Way, Part, u16, Socket)>, ClientError> {
    let mut lanes = Vec::new();
    for (way, part, index) in plan.lanes() {
        let clear = found.clear(&plan.test)?;
        let mut socket = if is_encrypted { found.protect(clear)? } else { clear };
        socket.set_read_timeout(Some(ANSWER)).map_err(ClientError::Start)?;
        let mut yes = [0];
        let lane = Lane { session, way, part, index }.encode();
        let taken = socket
            .write_all(&lane)
            .and_then(|()| socket.read_exact(&mut yes))
            .is_ok_and(|()| yes == [YES]);
        if !taken {
            return Err(server.why_not());
        }
        for warning in connected(&socket, part, &plan.test)? {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        lanes.push((way, part, index, socket));
    }
    Ok(lanes)
}
