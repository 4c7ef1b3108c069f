//! Probes at work: each has a thread of its own, and all of them share what follows here.
//!
//! ```text
//!            plan ──► thread: send on the schedule, hear, note ──► State ◄── look ── whoever tells
//! ```
//!
//! The schedule never waits for an answer, so a freeze of 3 s at 1 ms is 3,000 messages late or lost, and not one.

mod arp;
mod disk;
mod http;
mod icmp;
mod messages;
mod metrics;
mod neighbour;
mod playout;
mod state;
mod stream;
mod udp;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

pub use arp::ArpSeen;
pub use disk::DiskSeen;
pub use http::HttpSeen;
pub use state::{Extra, Look, Note, PlayoutSeen};
pub use stream::{Connections, Reestablished};

use crate::Target;
use crate::http::Url;
use state::Shared;

/// After the end, answers that are under way are waited for so long.
const GRACE_NS: u64 = 1_000_000_000;

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub task: Task,
    /// Time between two messages, requests, records.
    pub interval: Duration,
    /// How long the first answer may take to come.
    pub patience: Duration,
    /// Whether a name is resolved again and again, and the probe goes where it leads.
    pub follow: bool,
}

impl Plan {
    /// Silences, or freezes, up to this length are no outages.
    pub fn resolution(&self) -> Duration {
        let shared = Shared::new(self);
        Duration::from_nanos(shared.resolution_ns())
    }
}

/// What a probe does.
#[derive(Clone, Debug)]
pub enum Task {
    /// Datagrams to an echo.
    Udp {
        /// Where it is.
        target: Target,
        /// Bytes of each; padding that may not be cut in pieces. `None` sends small ones.
        size: Option<usize>,
    },
    /// Small datagrams that ask for the time.
    Clock {
        /// Where the responder is.
        target: Target,
    },
    /// What `ping` sends.
    Icmp {
        /// Whom; its port does not matter.
        target: Target,
        /// Bytes of the payload.
        size: Option<usize>,
    },
    /// Messages on one long connection.
    Tcp {
        /// Where the echo is.
        target: Target,
    },
    /// Questions on the link.
    Arp {
        /// Whom; only an IPv4 address can be asked for.
        target: Target,
        /// On which interface; `None` is the one that leads there.
        interface: Option<String>,
    },
    /// Requests for a page.
    Http {
        /// Which.
        url: Url,
        /// How long one may take.
        timeout: Duration,
    },
    /// A stream of pictures.
    Playout {
        /// Where the source is.
        target: Target,
        /// Bytes of each frame.
        frame_bytes: usize,
        /// What the player holds back.
        buffer: Duration,
    },
    /// Records in a file here.
    Disk {
        /// Which.
        path: PathBuf,
        /// Bytes of each.
        record_bytes: usize,
        /// Where the numbers of records go that are safe.
        acknowledged: Option<PathBuf>,
    },
    /// Records in a file there.
    RemoteDisk {
        /// Where the responder is.
        target: Target,
        /// Bytes of each.
        record_bytes: usize,
    },
    /// A page of metrics.
    Metrics {
        /// Which.
        url: Url,
        /// How long a scrape may take.
        timeout: Duration,
    },
}

/// Why a probe has ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answered.
    #[error("{0}")]
    Silent(String),
    /// It cannot be done here at all.
    #[error("{0}")]
    Unsupported(String),
    /// It cannot go on.
    #[error("{0}")]
    Broken(String),
}

/// A probe at work.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Task::Udp { .. } => "udp",
            Task::Clock { .. } => "clock",
            Task::Icmp { .. } => "icmp",
            Task::Tcp { .. } => "tcp",
            Task::Arp { .. } => "arp",
            Task::Http { .. } => "http",
            Task::Playout { .. } => "playout",
            Task::Disk { .. } | Task::RemoteDisk { .. } => "disk",
            Task::Metrics { .. } => "metrics",
        }
    }

    /// What is looked at.
    pub fn target(&self) -> String {
        match self {
            Task::Udp { target, .. }
            | Task::Clock { target }
            | Task::Tcp { target }
            | Task::RemoteDisk { target, .. }
            | Task::Playout { target, .. } => target.to_string(),
            Task::Icmp { target, .. } | Task::Arp { target, .. } => target.host.clone(),
            Task::Http { url, .. } | Task::Metrics { url, .. } => url.to_string(),
            Task::Disk { path, .. } => path.display().to_string(),
        }
    }

    /// Time between two of what it sends, unless told otherwise.
    pub fn default_interval(&self) -> Duration {
        Duration::from_millis(match self {
            Task::Udp { .. } | Task::Tcp { .. } | Task::Disk { .. } | Task::RemoteDisk { .. } => 10,
            Task::Playout { .. } => 40,
            Task::Clock { .. } | Task::Arp { .. } | Task::Http { .. } => 100,
            Task::Icmp { .. } | Task::Metrics { .. } => 1000,
        })
    }

    /// The shortest time that makes sense.
    pub fn shortest_interval(&self) -> Duration {
        match self {
            Task::Udp { .. } | Task::Icmp { .. } => Duration::from_micros(100),
            Task::Http { .. } => Duration::from_millis(10),
            Task::Metrics { .. } => Duration::from_millis(100),
            _ => Duration::from_millis(1),
        }
    }
}

impl Watch {
    /// Opens what is needed and begins.
    ///
    /// # Errors
    /// What is wrong already: a name that does not resolve, a permission that is missing, a file that is there.
    pub fn start(plan: Plan) -> Result<Watch, Failure> {
        let shared = Arc::new(Shared::new(&plan));
        let work = prepare(&plan, &shared)?;
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("probe-{}", plan.task.kind()));
        let thread = thread.spawn(move || {
            ours.begin();
            if let Err(failure) = work() {
                ours.fail(failure);
            }
            ours.is_over.store(true, Ordering::Relaxed);
        });
        let thread = thread.map_err(|error| Failure::Broken(format!("No thread: {error}")))?;
        Ok(Watch { shared, thread: Some(thread) })
    }

    /// What was seen until now.
    pub fn look(&self) -> Look {
        self.shared.look(monotonic_ns())
    }

    /// How many outages have ended, or `None` when that cannot be had without keeping the probe waiting.
    pub fn ended_outages(&self) -> Option<usize> {
        self.shared.ended_outages()
    }

    /// Since when nothing has come, or `None` when nothing ever did, or when that cannot be had without keeping the probe waiting.
    pub fn silent_since_ns(&self) -> Option<u64> {
        self.shared.silent_since_ns()
    }

    /// Lets it end at this moment; answers that are under way are waited for a little longer.
    pub fn end_at(&self, end_ns: u64, grace: bool) {
        let grace_ns = if grace { GRACE_NS } else { 0 };
        self.shared.over_ns.store(end_ns.saturating_add(grace_ns), Ordering::Relaxed);
        self.shared.end_ns.store(end_ns, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }

    /// Waits until it has, and tells why it ended early if it did.
    pub fn join(&mut self) -> Option<Failure> {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Some(Failure::Broken("The probe has a defect and ended".to_owned()));
        }
        self.shared.failure()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end_at(0, false);
    }
}

type Work = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

fn prepare(plan: &Plan, shared: &Arc<Shared>) -> Result<Work, Failure> {
    let shared = Arc::clone(shared);
    let plan = plan.clone();
    Ok(match &plan.task {
        Task::Udp { target, size } => {
            let line = udp::Udp::open(resolved(target)?, *size)?;
            let target = target.clone();
            Box::new(move || messages::run(&shared, &plan, line, Some(&target)))
        }
        Task::Clock { target } => {
            let line = udp::Udp::open(resolved(target)?, None)?;
            let target = target.clone();
            Box::new(move || messages::run(&shared, &plan, line, Some(&target)))
        }
        Task::Icmp { target, size } => {
            let line = icmp::Icmp::open(resolved(target)?, *size)?;
            let target = target.clone();
            Box::new(move || messages::run(&shared, &plan, line, Some(&target)))
        }
        Task::Tcp { target } => {
            let line = stream::Dialled::new(resolved(target)?, stream::Speech::Echo);
            let target = target.clone();
            Box::new(move || messages::run(&shared, &plan, line, Some(&target)))
        }
        Task::RemoteDisk { target, record_bytes } => {
            let speech = stream::Speech::records(*record_bytes);
            let line = stream::Dialled::new(resolved(target)?, speech);
            let target = target.clone();
            Box::new(move || messages::run(&shared, &plan, line, Some(&target)))
        }
        Task::Arp { target, interface } => {
            let line = arp::Arp::open(resolved(target)?, interface.as_deref())?;
            Box::new(move || messages::run(&shared, &plan, line, None))
        }
        Task::Playout { target, frame_bytes, buffer } => {
            let viewer =
                playout::Viewer::open(resolved(target)?, plan.interval, *frame_bytes, *buffer)?;
            Box::new(move || viewer.run(&shared, &plan))
        }
        Task::Http { url, timeout } => {
            let asker = http::Asker::new(url, resolved(&target_of(url))?, *timeout);
            Box::new(move || asker.run(&shared, &plan))
        }
        Task::Metrics { url, timeout } => {
            let scraper = metrics::Scraper::new(url, resolved(&target_of(url))?, *timeout);
            Box::new(move || scraper.run(&shared, &plan))
        }
        Task::Disk { path, record_bytes, acknowledged } => {
            let writer = disk::Writer::create(path, *record_bytes, acknowledged.as_deref())?;
            Box::new(move || writer.run(&shared))
        }
    })
}

fn target_of(url: &Url) -> Target {
    Target { host: url.host.clone(), port: url.port }
}

fn resolved(target: &Target) -> Result<std::net::SocketAddr, Failure> {
    target.resolve().map_err(|error| {
        let cause = std::error::Error::source(&error).map(|it| format!(": {it}"));
        Failure::Broken(format!("{error}{}", cause.unwrap_or_default()))
    })
}

/// The text of an error on the way to a target, with what it means there and what to look at.
fn explained(error: &io::Error) -> String {
    let meaning = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "the machine is there, and nothing listens on that port, as it says itself"
        }
        io::ErrorKind::HostUnreachable => {
            "no machine has that address on its link, or a firewall on the way turns messages away"
        }
        io::ErrorKind::NetworkUnreachable => {
            "no route leads there; `ip route get` with the address shows which one is asked for"
        }
        _ => return words(error),
    };
    format!("{}: {meaning}", words(error))
}

/// The text of an error of the system, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A moment or a flag that whoever looks sets, and the thread of a probe heeds.
type Moment64 = AtomicU64;
type Flag = AtomicBool;
