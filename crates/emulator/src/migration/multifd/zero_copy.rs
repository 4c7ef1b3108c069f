//! Sending pages from where they are.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sterna_sys::region::Region;
use sterna_sys::socket::{reap_zero_copy, set_zero_copy};
use sterna_wire::control::ChannelStatus;

use crate::transport::Socket;

/// Slices in which the wait for a notice is cut.
const SLICE: Duration = Duration::from_millis(10);

/// The zero-copy sends of one connection.
///
/// The kernel reads the pages when it sends them, which may be long after the call, and tells by a notice when it is done with them.
/// It may also copy them after all, and says so in the notice: on loopback always.
/// A page that changes on the way is dirty again, so it only matters that no send of a pass is still under way in the next: then the older content might overtake the newer one, or rather be newer than it claims to be.
#[derive(Debug)]
pub struct ZeroCopy {
    /// Sends that the kernel has not told the end of.
    under_way: u32,
    stall_limit: Duration,
}

impl ZeroCopy {
    /// Switches zero-copy sends on.
    ///
    /// # Errors
    /// The kernel or this kind of socket does not have them.
    pub fn new(socket: &Socket, stall_limit: Duration) -> io::Result<ZeroCopy> {
        set_zero_copy(socket, true)?;
        Ok(ZeroCopy { under_way: 0, stall_limit })
    }

    /// Sends pages; a send for which the kernel has no room even when all others are done is made with a copy.
    pub fn send(
        &mut self,
        socket: &Socket,
        region: &Region,
        runs: &[(usize, usize)],
        bytes: usize,
        counts: &mut ChannelStatus,
    ) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes {
            match region.send_pages(socket.as_fd(), runs, sent, true) {
                Ok(taken) => {
                    sent += taken;
                    self.under_way += 1;
                    counts.zero_copy_sends += 1;
                    while self.reap(socket, counts)? {}
                }
                Err(error) if is_no_room(&error) && self.under_way > 0 => {
                    self.wait_for_one(socket, counts)?;
                }
                Err(error) if is_no_room(&error) => {
                    sent += region.send_pages(socket.as_fd(), runs, sent, false)?;
                    counts.zero_copy_refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the kernel is done with all pages.
    pub fn flush(&mut self, socket: &Socket, counts: &mut ChannelStatus) -> io::Result<()> {
        while self.under_way > 0 {
            self.wait_for_one(socket, counts)?;
        }
        Ok(())
    }

    fn wait_for_one(&mut self, socket: &Socket, counts: &mut ChannelStatus) -> io::Result<()> {
        let deadline = Instant::now() + self.stall_limit;
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.as_nanos() as _ };
        while !self.reap(socket, counts)? {
            // A notice is told as an error condition, which is always looked for.
            let mut fds = [PollFd::new(socket, PollFlags::empty())];
            match poll(&mut fds, Some(&slice)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let gone = PollFlags::HUP | PollFlags::NVAL;
            if fds[0].revents().intersects(gone) && !self.reap(socket, counts)? {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Takes one notice; false when there is none.
    fn reap(&mut self, socket: &Socket, counts: &mut ChannelStatus) -> io::Result<bool> {
        let Some(done) = reap_zero_copy(socket)? else { return Ok(false) };
        self.under_way = self.under_way.saturating_sub(done.count());
        counts.zero_copy_copied += if done.copied { u64::from(done.count()) } else { 0 };
        Ok(true)
    }
}

/// Too many sends under way, or too much memory pinned (RLIMIT_MEMLOCK).
fn is_no_room(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}
