//! A bridge of this machine in place of our switch: each QEMU and the station get a port of their own.
//!
//! The ports are tap devices that nobody keeps alive but us and the QEMUs, so nothing is left when all are gone, however they went.
//! The station is a port like any other and needs no address of this machine.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::interface::{self, Tap};

use super::{Arrival, Wire};

/// The kernel's number takes the place of `%d`.
const PORT_NAME: &str = "sterna%d";

/// The longest frame without offloads is 1518 bytes, or what a larger MTU makes of it.
const LONGEST_FRAME: usize = 10_000;

/// How often a station without traffic looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// Why a bridge cannot be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error(
        "There is no bridge `{bridge}` for --network tap={bridge}; {known}, and `ip link add {bridge} type bridge` makes one",
        known = known(.bridges)
    )]
    None { bridge: String, bridges: Vec<String> },
    #[error(
        "--network tap={bridge} needs a tap device, which cannot be made: {source}; that takes CAP_NET_ADMIN (root) and /dev/net/tun. `--network switch` needs neither"
    )]
    Tap { bridge: String, source: io::Error },
    #[error("Bridge `{bridge}` takes no further port: {source}")]
    Port { bridge: String, source: io::Error },
    #[error("The station's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Three ports of a bridge.
pub(crate) struct Bridge {
    qemus: [Tap; 2],
    ours: Arc<Port>,
}

struct Port {
    tap: Tap,
    shall_end: AtomicBool,
}

impl Bridge {
    /// Plugs in; frames for the station go to `ours`.
    pub fn join(bridge: &str, ours: &Sender<Arrival>) -> Result<Bridge, BridgeError> {
        let bridges = bridges();
        if !bridges.iter().any(|it| it == bridge) {
            return Err(BridgeError::None { bridge: bridge.to_owned(), bridges });
        }
        let port = || -> Result<Tap, BridgeError> {
            let tap = |source| BridgeError::Tap { bridge: bridge.to_owned(), source };
            let port = |source| BridgeError::Port { bridge: bridge.to_owned(), source };
            let made = Tap::open(PORT_NAME).map_err(tap)?;
            interface::add_to_bridge(bridge, &made.name).map_err(port)?;
            interface::bring_up(&made.name).map_err(port)?;
            Ok(made)
        };
        let qemus = [port()?, port()?];
        let port = Arc::new(Port { tap: port()?, shall_end: AtomicBool::new(false) });
        let (theirs, ours) = (Arc::clone(&port), ours.clone());
        let thread = std::thread::Builder::new().name("bridge port".to_owned());
        thread.spawn(move || listen(&theirs, &ours)).map_err(BridgeError::Thread)?;
        Ok(Bridge { qemus, ours: port })
    }

    /// The port of a side's QEMU, as a copy of its descriptor.
    pub fn port(&self, side: Side) -> io::Result<OwnedFd> {
        self.qemus[side as usize].descriptor.try_clone()
    }

    /// Where the station's frames go out.
    pub fn wire(&self) -> Arc<dyn Wire> {
        Arc::clone(&self.ours) as Arc<dyn Wire>
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.ours.shall_end.store(true, Ordering::Relaxed);
    }
}

impl Wire for Port {
    fn send(&self, frame: &[u8]) {
        // A queue that is full loses the frame, as a switch does.
        let _ = rustix::io::write(&self.tap.descriptor, frame);
    }
}

/// The bridges that this process sees, by name; none where the kernel has none.
pub(crate) fn bridges() -> Vec<String> {
    interface::bridges().unwrap_or_default()
}

fn known(bridges: &[String]) -> String {
    match bridges {
        [] => "this machine has none".to_owned(),
        some => format!("this machine has {}", some.join(", ")),
    }
}

fn listen(port: &Port, ours: &Sender<Arrival>) {
    let mut buffer = vec![0; LONGEST_FRAME];
    let patience = Timespec::try_from(LOOK).ok();
    while !port.shall_end.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(&port.tap.descriptor, PollFlags::IN)];
        let _ = poll(&mut waiting, patience.as_ref());
        while let Ok(length) = rustix::io::read(&port.tap.descriptor, &mut buffer[..]) {
            if ours.send((monotonic_ns(), buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_is_not_there_is_named_beside_those_that_are() {
        let bridges = vec!["br0".to_owned(), "br1".to_owned()];
        let error = BridgeError::None { bridge: "br9".to_owned(), bridges };
        let expected = "There is no bridge `br9` for --network tap=br9; this machine has br0, br1, and `ip link add br9 type bridge` makes one";
        assert_eq!(error.to_string(), expected);
    }
}
