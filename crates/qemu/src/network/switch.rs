//! The switch: two ports for QEMUs, one for ourselves.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::socket::listen_private;

use super::{Arrival, GUEST_MAC, Wire, packet};

/// The longest frame that QEMU's virtio cards send with offloads is 64 KiB and a header.
const LONGEST_FRAME: usize = 70_000;

/// Takes the QEMUs as long as it lives: those of this machine by a socket that they inherit, those of another by a
/// socket that their keeper connects to.
pub(crate) struct Switch {
    shared: Arc<Shared>,
    ours: Sender<Arrival>,
    /// Of both sides, where one of them runs on another machine.
    paths: Option<[PathBuf; 2]>,
}

pub(super) struct Shared {
    /// Where the guest was last heard.
    guest_at: Mutex<Side>,
    ports: [Mutex<Option<UnixStream>>; 2],
    shall_end: AtomicBool,
}

impl Switch {
    /// A switch whose ports can also be reached in this directory; frames for us go to `ours`.
    pub fn open(directory: Option<&Path>, ours: &Sender<Arrival>) -> std::io::Result<Switch> {
        let shared = Arc::new(Shared {
            guest_at: Mutex::new(Side::Source),
            ports: [Mutex::new(None), Mutex::new(None)],
            shall_end: AtomicBool::new(false),
        });
        let paths = directory.map(|it| [it.join("source.net"), it.join("destination.net")]);
        for (side, path) in
            [Side::Source, Side::Destination].into_iter().zip(paths.iter().flatten())
        {
            let listener = listen_private(path)?;
            listener.set_nonblocking(true)?;
            let (shared, ours) = (Arc::clone(&shared), ours.clone());
            let thread = std::thread::Builder::new().name("switch port".to_owned());
            thread.spawn(move || serve(side, &listener, &shared, &ours))?;
        }
        Ok(Switch { shared, ours: ours.clone(), paths })
    }

    /// A new cable to the port of a side; the other end is for a QEMU of this machine.
    pub fn cable(&self, side: Side) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        take(side, ours, &self.shared, &self.ours)?;
        Ok(theirs.into())
    }

    /// Where the port of a side is reached.
    pub fn path(&self, side: Side) -> std::io::Result<PathBuf> {
        let path = self.paths.as_ref().map(|it| it[side as usize].clone());
        path.ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.shall_end.store(true, Ordering::Relaxed);
        for port in &self.shared.ports {
            if let Some(port) = &*lock(port) {
                let _ = port.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

impl Wire for Shared {
    /// Sends a frame to where the guest was last heard. What does not fit is lost, as on any wire: a QEMU whose guest is stopped takes nothing.
    fn send(&self, frame: &[u8]) {
        let side = *lock(&self.guest_at);
        let mut port = lock(&self.ports[side as usize]);
        let Some(socket) = port.as_mut() else { return };
        let whole = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        match socket.write(&whole) {
            Ok(length) if length == whole.len() => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // A frame that left in part would make nonsense of all after it.
            _ => *port = None,
        }
    }
}

fn serve(side: Side, listener: &UnixListener, shared: &Arc<Shared>, ours: &Sender<Arrival>) {
    while !shared.shall_end.load(Ordering::Relaxed) {
        match listener.accept() {
            // One that cannot be taken is closed, which its QEMU sees.
            Ok((socket, _)) => {
                let _ = take(side, socket, shared, ours);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Plugs a QEMU in, in the place of one that was there before: that one may have ended without a word.
fn take(
    side: Side,
    socket: UnixStream,
    shared: &Arc<Shared>,
    ours: &Sender<Arrival>,
) -> std::io::Result<()> {
    // Reading and writing share the file's flags, so reading waits by `poll`.
    socket.set_nonblocking(true)?;
    let writer = socket.try_clone()?;
    if let Some(old) = lock(&shared.ports[side as usize]).replace(writer) {
        let _ = old.shutdown(std::net::Shutdown::Both);
    }
    let (shared, ours) = (Arc::clone(shared), ours.clone());
    let thread = std::thread::Builder::new().name("switch port".to_owned());
    thread.spawn(move || pump(side, socket, &shared, &ours)).map(|_| ())
}

/// Takes frames from a QEMU until it hangs up.
fn pump(
    side: Side,
    mut socket: UnixStream,
    shared: &Shared,
    ours: &Sender<Arrival>,
) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        read_whole(&mut socket, &mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_FRAME {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; length];
        read_whole(&mut socket, &mut frame)?;
        let now_ns = monotonic_ns();
        if packet::sender(&frame) == Some(GUEST_MAC) {
            *lock(&shared.guest_at) = side;
        }
        if ours.send((now_ns, frame)).is_err() {
            return Ok(());
        }
    }
}

fn read_whole(socket: &mut UnixStream, mut buffer: &mut [u8]) -> std::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    while !buffer.is_empty() {
        match socket.read(buffer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => buffer = &mut buffer[length..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let waited = poll(&mut [PollFd::new(socket, PollFlags::IN)], None);
                uninterrupted(waited)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A signal that this process handles ends a wait early, and nothing else: what was waited for is looked at again.
fn uninterrupted(waited: rustix::io::Result<usize>) -> std::io::Result<()> {
    match waited {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_does_not_unplug_a_guest() {
        use rustix::io::Errno;
        assert!(uninterrupted(Err(Errno::INTR)).is_ok());
        assert!(uninterrupted(Err(Errno::NOMEM)).is_err());
    }
}
