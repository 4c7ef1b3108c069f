//! The emulated wire's delay, and reading from a connection with or without it.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sterna_sys::region::Region;
use sterna_wire::stream::{PAGE_BYTES, PageRun};

use crate::transport::Socket;

/// Bytes read from the socket at once by a delay line.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks on the wire at most: with 64 MiB a path of 10 Gbit/s and 50 ms stays full.
const CHUNKS: usize = 1024;

/// The receiving end of a connection.
#[derive(Debug)]
pub enum Inbound {
    /// Bytes are taken as they come.
    Direct(Socket),
    /// Bytes are held back for the latency of the emulated wire.
    Delayed(DelayLine),
}

impl Inbound {
    /// Reads from `socket`, each byte no earlier than `latency` after it arrived.
    pub fn new(socket: Socket, latency: Duration) -> io::Result<Inbound> {
        if latency.is_zero() {
            return Ok(Inbound::Direct(socket));
        }
        Ok(Inbound::Delayed(DelayLine::start(socket, latency)?))
    }

    /// What to poll for the next byte; `None` where that says nothing, since bytes are kept elsewhere.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Inbound::Direct(Socket::Tls(_)) | Inbound::Delayed(_) => None,
            Inbound::Direct(socket) => Some(socket.as_fd()),
        }
    }

    /// Longest wait for the next byte.
    pub fn set_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Inbound::Direct(socket) => socket.set_read_timeout(limit),
            Inbound::Delayed(line) => {
                line.timeout = limit;
                Ok(())
            }
        }
    }

    /// Whether something can be read, or the connection has ended; waits at most `limit` for it.
    pub fn is_readable(&mut self, limit: Duration) -> io::Result<bool> {
        match self {
            Inbound::Direct(socket) => socket.is_readable(limit),
            Inbound::Delayed(line) => line.is_readable(limit),
        }
    }

    /// Reads the content of pages into the region.
    pub fn read_pages(&mut self, region: &Region, runs: &[PageRun]) -> io::Result<()> {
        match self {
            // What the socket holds is not yet what the pages shall hold.
            Inbound::Direct(socket @ Socket::Tls(_)) => read_pages_by_copy(socket, region, runs),
            Inbound::Direct(socket) => read_pages_directly(socket, region, runs),
            Inbound::Delayed(line) => read_pages_by_copy(line, region, runs),
        }
    }
}

impl Read for Inbound {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Inbound::Direct(socket) => socket.read(to),
            Inbound::Delayed(line) => line.read(to),
        }
    }
}

fn read_pages_by_copy(from: &mut impl Read, region: &Region, runs: &[PageRun]) -> io::Result<()> {
    let mut page = [0; PAGE_BYTES];
    for index in runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)) {
        from.read_exact(&mut page)?;
        region.copy_in(index as usize, &page);
    }
    Ok(())
}

fn read_pages_directly(socket: &Socket, region: &Region, runs: &[PageRun]) -> io::Result<()> {
    let runs: Vec<(usize, usize)> =
        runs.iter().map(|it| (it.first as usize, usize::from(it.count))).collect();
    let total = runs.iter().map(|it| it.1).sum::<usize>() * PAGE_BYTES;
    let mut done = 0;
    while done < total {
        match region.recv_pages(socket.as_fd(), &runs, done)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => done += bytes,
        }
    }
    Ok(())
}

/// Holds what arrives for a fixed time.
///
/// A thread empties the socket at once, so that the kernel's buffers and windows do not add to the delay, and stamps each chunk; the reader waits until a chunk is old enough.
#[derive(Debug)]
pub struct DelayLine {
    latency: Duration,
    timeout: Option<Duration>,
    chunks: Receiver<io::Result<(Instant, Vec<u8>)>>,
    current: Vec<u8>,
    read: usize,
    socket: Socket,
    thread: Option<JoinHandle<()>>,
}

impl DelayLine {
    fn start(socket: Socket, latency: Duration) -> io::Result<DelayLine> {
        let (sender, chunks) = sync_channel(CHUNKS);
        let source = socket.try_clone()?;
        let thread = std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || collect(source, &sender))?;
        Ok(DelayLine {
            latency,
            timeout: None,
            chunks,
            current: Vec::new(),
            read: 0,
            socket,
            thread: Some(thread),
        })
    }

    fn is_readable(&mut self, limit: Duration) -> io::Result<bool> {
        if self.read < self.current.len() {
            return Ok(true);
        }
        match self.next_chunk(Some(limit)) {
            // The end can be read, too.
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next chunk; false at the end of the stream.
    fn next_chunk(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let next = match limit {
            Some(limit) => self.chunks.recv_timeout(limit).map_err(|it| match it {
                std::sync::mpsc::RecvTimeoutError::Timeout => Some(io::ErrorKind::TimedOut),
                std::sync::mpsc::RecvTimeoutError::Disconnected => None,
            }),
            None => self.chunks.recv().map_err(|_| None),
        };
        let (arrived, bytes) = match next {
            Ok(chunk) => chunk?,
            Err(None) => return Ok(false),
            Err(Some(kind)) => return Err(kind.into()),
        };
        std::thread::sleep((arrived + self.latency).saturating_duration_since(Instant::now()));
        self.current = bytes;
        self.read = 0;
        Ok(true)
    }
}

impl Read for DelayLine {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.read == self.current.len() {
            if !self.next_chunk(self.timeout)? {
                return Ok(0);
            }
        }
        let bytes = to.len().min(self.current.len() - self.read);
        to[..bytes].copy_from_slice(&self.current[self.read..self.read + bytes]);
        self.read += bytes;
        Ok(bytes)
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.socket.shut_down();
        // Empties the channel, so that the thread is not stuck in it.
        while self.chunks.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn collect(mut socket: Socket, to: &SyncSender<io::Result<(Instant, Vec<u8>)>>) {
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        match socket.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                bytes.truncate(count);
                if to.send(Ok((Instant::now(), bytes))).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = to.send(Err(error));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_arrive_in_order_and_late() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let latency = Duration::from_millis(50);
        let mut inbound = Inbound::new(Socket::Unix(far), latency).unwrap();
        let sent = Instant::now();
        let data: Vec<u8> = (0..200_000u32).map(|it| it as u8).collect();
        let expected = data.clone();
        let writer = std::thread::spawn(move || near.write_all(&data).map(|()| near));
        let mut found = vec![0; expected.len()];
        inbound.read_exact(&mut found).unwrap();
        assert!(sent.elapsed() >= latency);
        assert_eq!(found, expected);
        drop(writer.join().unwrap());
        assert_eq!(inbound.read(&mut found).unwrap(), 0);
    }

    #[test]
    fn a_silent_peer_runs_into_the_timeout() {
        let (_near, far) = UnixStream::pair().unwrap();
        let mut inbound = Inbound::new(Socket::Unix(far), Duration::from_millis(1)).unwrap();
        inbound.set_timeout(Some(Duration::from_millis(10))).unwrap();
        let error = inbound.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_can_be_read_is_told_before_it_is_read() {
        for latency in [Duration::ZERO, Duration::from_millis(2)] {
            let (mut near, far) = UnixStream::pair().unwrap();
            let mut inbound = Inbound::new(Socket::Unix(far), latency).unwrap();
            assert!(!inbound.is_readable(Duration::from_millis(1)).unwrap());
            near.write_all(b"ab").unwrap();
            let mut byte = [0];
            for expected in [b'a', b'b'] {
                assert!(inbound.is_readable(Duration::from_secs(5)).unwrap());
                inbound.read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], expected);
            }
            assert!(!inbound.is_readable(Duration::from_millis(1)).unwrap());
            drop(near);
            assert!(inbound.is_readable(Duration::from_secs(5)).unwrap());
            assert_eq!(inbound.read(&mut byte).unwrap(), 0);
        }
    }
}
