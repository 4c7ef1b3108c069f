//! Reading a lane: heads, and what follows them.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use sterna_sys::PAGE_BYTES;
use sterna_sys::region::Region;
use sterna_wire::trial::{HEAD_BYTES, Head, HeadError};

use crate::transport::Socket;

use super::STALL;

/// Why a lane cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// It ended before its end was told.
    #[error("The other side closed a data connection before the end")]
    Closed,
    /// The connection failed.
    #[error("A data connection failed: {0}")]
    Io(io::Error),
    /// Nothing came, or nothing could be sent, for long.
    #[error("Nothing moved on a data connection for {} s; the other side, or the link, stands still", STALL.as_secs())]
    Stalled,
    /// What came is no head.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// What came is not what may come.
    #[error("The other side does not keep to the protocol: {0}")]
    Protocol(String),
}

impl From<io::Error> for LaneError {
    fn from(error: io::Error) -> LaneError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => LaneError::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LaneError::Stalled,
            _ => LaneError::Io(error),
        }
    }
}

/// One direction of a lane, read by one thread.
///
/// The buffer is small and used over and over, so that what is dropped stays in the processor's caches.
pub struct Reader {
    socket: Socket,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether more than is needed may be read at once; not where content goes straight into memory.
    is_eager: bool,
    read_bytes: u64,
}

impl Reader {
    /// Reads from a lane; what is asked for as a whole has at most `most_bytes`.
    pub fn new(socket: Socket, most_bytes: usize, is_eager: bool) -> Reader {
        let buffer = vec![0; most_bytes.max(PAGE_BYTES) + HEAD_BYTES];
        Reader { socket, buffer, start: 0, end: 0, is_eager, read_bytes: 0 }
    }

    /// Bytes that were read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next head; `None` when the other side has hung up between two of them.
    pub fn head(&mut self) -> Result<Option<Head>, LaneError> {
        if self.start == self.end && self.refill(HEAD_BYTES)? == 0 {
            return Ok(None);
        }
        self.need(HEAD_BYTES)?;
        let mut bytes = [0; HEAD_BYTES];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + HEAD_BYTES]);
        self.start += HEAD_BYTES;
        Ok(Some(Head::decode(&bytes)?))
    }

    /// The next bytes as a whole.
    pub fn content(&mut self, bytes: usize) -> Result<&[u8], LaneError> {
        self.need(bytes)?;
        self.start += bytes;
        Ok(&self.buffer[self.start - bytes..self.start])
    }

    /// Reads and drops.
    pub fn skip(&mut self, mut bytes: usize) -> Result<(), LaneError> {
        loop {
            let there = (self.end - self.start).min(bytes);
            self.start += there;
            bytes -= there;
            if bytes == 0 {
                return Ok(());
            }
            if self.refill(bytes)? == 0 {
                return Err(LaneError::Closed);
            }
        }
    }

    /// Reads into pages of a region, straight from the connection where it is not encrypted.
    pub fn place(&mut self, region: &Region, first: usize, pages: usize) -> Result<(), LaneError> {
        if let Socket::Tls(_) = self.socket {
            for page in first..first + pages {
                region.copy_in(page, self.content(PAGE_BYTES)?);
            }
            return Ok(());
        }
        debug_assert!(!self.is_eager, "what was read ahead would be missing");
        let (runs, bytes) = ([(first, pages)], pages * PAGE_BYTES);
        let mut done = 0;
        while done < bytes {
            match region.recv_pages(self.socket.as_fd(), &runs, done)? {
                0 => return Err(LaneError::Closed),
                count => done += count,
            }
        }
        self.read_bytes += bytes as u64;
        Ok(())
    }

    /// Whether a head can be had without waiting.
    pub fn has_more(&self) -> bool {
        self.end - self.start >= HEAD_BYTES
            || self.socket.is_readable(Duration::ZERO).is_ok_and(|it| it)
    }

    /// Sees to it that so many bytes are in the buffer.
    fn need(&mut self, bytes: usize) -> Result<(), LaneError> {
        if bytes > self.buffer.len() {
            return Err(LaneError::Protocol(format!("{bytes} bytes of content at once")));
        }
        while self.end - self.start < bytes {
            if self.start + bytes > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            let missing = bytes - (self.end - self.start);
            if self.refill(missing)? == 0 {
                return Err(LaneError::Closed);
            }
        }
        Ok(())
    }

    /// Reads once, to behind what is there; 0 at the end.
    fn refill(&mut self, needed: usize) -> Result<usize, LaneError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let room = self.buffer.len() - self.end;
        let most = if self.is_eager { room } else { room.min(needed) };
        loop {
            match self.socket.read(&mut self.buffer[self.end..self.end + most]) {
                Ok(count) => {
                    self.end += count;
                    self.read_bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use sterna_sys::region::{HugePages, RegionOptions};
    use sterna_wire::stream::Compression;

    fn pair(is_eager: bool) -> (UnixStream, Reader) {
        let (near, far) = UnixStream::pair().unwrap();
        (near, Reader::new(Socket::Unix(far), 8192, is_eager))
    }

    fn bulk(page: u64, pages: u16) -> Head {
        let bytes = u32::from(pages) * PAGE_BYTES as u32;
        Head::Bulk { page, pages, compression: Compression::None, bytes }
    }

    #[test]
    fn heads_and_content_come_apart_wherever_they_are_cut() {
        for cut in [1, 15, 16, 17, 4096, 5000, 8208] {
            for is_eager in [true, false] {
                let (mut near, mut reader) = pair(is_eager);
                let mut sent = bulk(3, 2).encode().to_vec();
                sent.extend([7; 8192]);
                sent.extend(bulk(5, 1).encode());
                sent.extend([9; 4096]);
                sent.extend(Head::End.encode());
                let total = sent.len();
                let writer = std::thread::spawn(move || {
                    for part in sent.chunks(cut) {
                        near.write_all(part).unwrap();
                    }
                });
                assert_eq!(reader.head().unwrap(), Some(bulk(3, 2)));
                reader.skip(8192).unwrap();
                assert_eq!(reader.head().unwrap(), Some(bulk(5, 1)));
                assert_eq!(reader.content(4096).unwrap(), [9; 4096]);
                assert_eq!(reader.head().unwrap(), Some(Head::End));
                writer.join().unwrap();
                assert_eq!(reader.head().unwrap(), None);
                assert_eq!(reader.read_bytes(), total as u64);
            }
        }
    }

    #[test]
    fn pages_go_straight_into_memory() {
        let options = RegionOptions { bytes: 4 << 12, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        let (mut near, mut reader) = pair(false);
        near.write_all(&bulk(1, 2).encode()).unwrap();
        near.write_all(&[5; 8192]).unwrap();
        assert_eq!(reader.head().unwrap(), Some(bulk(1, 2)));
        reader.place(&region, 1, 2).unwrap();
        let mut page = vec![0; 4096];
        assert!(region.is_zero(0) && !region.copy_out(2, &mut page) && region.is_zero(3));
        assert_eq!(page, [5; 4096]);
        drop(near);
        assert!(matches!(reader.place(&region, 1, 2), Err(LaneError::Closed)));
    }

    #[test]
    fn an_end_in_the_middle_is_told() {
        let (mut near, mut reader) = pair(true);
        near.write_all(&bulk(0, 1).encode()).unwrap();
        near.write_all(&[1; 100]).unwrap();
        drop(near);
        assert!(reader.head().unwrap().is_some());
        assert!(matches!(reader.skip(4096), Err(LaneError::Closed)));
        let (mut near, mut reader) = pair(true);
        near.write_all(&[1; 5]).unwrap();
        drop(near);
        assert!(matches!(reader.head(), Err(LaneError::Closed)));
    }
}
