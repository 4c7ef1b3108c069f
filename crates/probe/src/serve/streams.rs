//! Connections: what comes goes back. One thread serves all of them, so ten thousand cost ten thousand descriptors and little else.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// Read at once from a connection. More is read when all of it has been written, so no more than this waits for a client that does not read.
const CHUNK_BYTES: usize = 16 << 10;

/// A connection that takes nothing of its echo for so long is closed.
const STUCK_TIME: Duration = Duration::from_secs(60);

/// How often connections are looked at that take nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// With every descriptor taken by something else, no connection is accepted for so long.
const FULL_PAUSE: Duration = Duration::from_millis(100);

const LISTENER: u64 = u64::MAX;
const BATCH: usize = 256;

/// Takes a connection over that begins in its own way.
pub trait Upgrade: Send {
    /// Whether these first bytes are its beginning; it then gets the connection with them.
    fn wants(&self, first: &[u8]) -> bool;

    /// Serves it, on a thread of its own or not at all.
    fn take(&self, stream: TcpStream, first: Vec<u8>);
}

/// All connections of a listener.
pub struct Streams {
    listener: TcpListener,
    epoll: std::os::fd::OwnedFd,
    open: BTreeMap<u64, Stream>,
    next: u64,
    most: usize,
    /// When to look next at connections that take nothing; `None` without any.
    look_at: Option<Instant>,
    upgrade: Option<Box<dyn Upgrade>>,
    is_full: bool,
}

struct Stream {
    stream: TcpStream,
    /// Read, and not written yet.
    pending: Vec<u8>,
    is_new: bool,
    /// When anything was read from it or written to it last.
    moved: Instant,
    /// Waits for room to write instead of for something to read.
    is_stuck: bool,
}

impl Streams {
    /// Ready to serve at most so many at a time; the one that was silent for longest is closed for one more.
    ///
    /// # Errors
    /// The kernel has no more to wait with.
    pub fn new(
        listener: TcpListener,
        most: usize,
        upgrade: Option<Box<dyn Upgrade>>,
    ) -> io::Result<Streams> {
        raise_limit();
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let (open, most) = (BTreeMap::new(), most.max(1));
        let (next, look_at, is_full) = (0, None, false);
        Ok(Streams { listener, epoll, open, next, most, look_at, upgrade, is_full })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The kernel does not let us wait any more.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            events.clear();
            self.close_stuck();
            let timeout = self.longest_wait();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.is_full {
                self.listen(epoll::EventFlags::IN)?;
                self.is_full = false;
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.serve(number, &mut buffer),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.open.len() >= self.most {
                        self.close_most_silent();
                    }
                    let _ = self.welcome(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_passing(&error) => {}
                Err(error) if is_lack_of_descriptors(&error) && self.close_most_silent() => {}
                Err(_) => {
                    // No memory, or others have all descriptors; those who wait stay in the kernel's queue.
                    self.is_full = true;
                    return self.listen(epoll::EventFlags::empty());
                }
            }
        }
    }

    fn listen(&self, flags: epoll::EventFlags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(LISTENER);
        Ok(epoll::modify(&self.epoll, &self.listener, data, flags)?)
    }

    fn welcome(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // Who vanished without a word is forgotten after some minutes.
        let (idle, step) = (Duration::from_secs(60), Duration::from_secs(10));
        let _ = sterna_sys::socket::set_keepalive(&stream, idle, step, 6);
        let number = self.next;
        self.next += 1;
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        let (pending, moved) = (Vec::new(), Instant::now());
        let stream = Stream { stream, pending, is_new: true, moved, is_stuck: false };
        self.open.insert(number, stream);
        Ok(())
    }

    /// Closes the connection on which nothing has moved for longest; false when there is none.
    fn close_most_silent(&mut self) -> bool {
        let oldest = self.open.iter().min_by_key(|it| it.1.moved).map(|it| *it.0);
        oldest.and_then(|it| self.open.remove(&it)).is_some()
    }

    /// Closes those that have taken nothing for too long.
    fn close_stuck(&mut self) {
        let now = Instant::now();
        if self.look_at.is_none_or(|it| now < it) {
            return;
        }
        let mut is_any_left = false;
        self.open.retain(|_, it| {
            let stays = !it.is_stuck || now.duration_since(it.moved) < STUCK_TIME;
            is_any_left |= stays && it.is_stuck;
            stays
        });
        self.look_at = is_any_left.then(|| now + LOOK_EVERY);
    }

    /// The longest wait for something to happen; `None` while only a client can bring anything about.
    fn longest_wait(&self) -> Option<Timespec> {
        let wait = match self.look_at {
            _ if self.is_full => FULL_PAUSE,
            Some(_) => LOOK_EVERY,
            None => return None,
        };
        Some(Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() })
    }

    fn serve(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(stream) = self.open.get_mut(&number) else { return };
        match stream.echo(buffer, self.upgrade.as_deref()) {
            Ok(Next::Wait) => {
                let is_stuck = !stream.pending.is_empty();
                if is_stuck {
                    self.look_at = self.look_at.or_else(|| Some(Instant::now() + LOOK_EVERY));
                }
                if is_stuck != stream.is_stuck {
                    stream.is_stuck = is_stuck;
                    let flags =
                        if is_stuck { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                    let data = epoll::EventData::new_u64(number);
                    let _ = epoll::modify(&self.epoll, &stream.stream, data, flags);
                }
            }
            Ok(Next::HandOver(first)) => {
                let Some(Stream { stream, .. }) = self.open.remove(&number) else { return };
                let _ = epoll::delete(&self.epoll, &stream);
                let is_blocking = stream.set_nonblocking(false).is_ok();
                if let Some(upgrade) = self.upgrade.as_ref().filter(|_| is_blocking) {
                    upgrade.take(stream, first);
                }
            }
            // Closing takes it out of what is waited for.
            Ok(Next::Close) | Err(_) => drop(self.open.remove(&number)),
        }
    }
}

enum Next {
    Wait,
    HandOver(Vec<u8>),
    Close,
}

impl Stream {
    fn echo(&mut self, buffer: &mut [u8], upgrade: Option<&dyn Upgrade>) -> io::Result<Next> {
        let pending = std::mem::take(&mut self.pending);
        if !self.write(&pending)? {
            return Ok(Next::Wait);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(count) => {
                    self.moved = Instant::now();
                    let came = &buffer[..count];
                    if std::mem::take(&mut self.is_new) && upgrade.is_some_and(|it| it.wants(came))
                    {
                        return Ok(Next::HandOver(came.to_vec()));
                    }
                    if !self.write(came)? {
                        return Ok(Next::Wait);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as much as goes at once, and keeps the rest; whether it was all.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.moved = Instant::now();
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pending = bytes.to_vec();
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// This process or the machine has no more of them.
fn is_lack_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|it| code == Some(it.raw_os_error()))
}

/// Somebody went away before we answered; the next may be well.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

/// As many descriptors as we may have.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, usize::MAX);
        address
    }

    fn serve(listener: TcpListener, most: usize) {
        let streams = Streams::new(listener, most, None).unwrap();
        std::thread::spawn(move || streams.run());
    }

    #[test]
    fn one_connection_too_many_closes_the_one_that_was_silent_for_longest() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, 3);
        let connect = || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(is_served(&mut stream));
            stream
        };
        let mut all = [connect(), connect(), connect()];
        assert!(is_served(&mut all[0]));
        let mut last = connect();
        assert_eq!(all.each_mut().map(is_served), [true, false, true]);
        assert!(is_served(&mut last));
    }

    fn is_served(stream: &mut TcpStream) -> bool {
        let mut echo = [0; 4];
        stream.write_all(b"echo").is_ok()
            && stream.read_exact(&mut echo).is_ok()
            && &echo == b"echo"
    }

    #[test]
    fn a_client_that_never_reads_costs_one_chunk_and_is_closed_in_time() {
        let (near, far) = pair();
        far.set_nonblocking(true).unwrap();
        let mut stream = Stream {
            stream: far,
            pending: Vec::new(),
            is_new: false,
            moved: Instant::now(),
            is_stuck: false,
        };
        let sending = std::thread::spawn(move || {
            let _ = (&near).write_all(&vec![7; 32 << 20]);
            near
        });
        let mut buffer = vec![0; CHUNK_BYTES];
        let deadline = Instant::now() + Duration::from_secs(30);
        while stream.pending.is_empty() && Instant::now() < deadline {
            assert!(matches!(stream.echo(&mut buffer, None), Ok(Next::Wait)));
        }
        assert!((1..=CHUNK_BYTES).contains(&stream.pending.len()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut streams = Streams::new(listener, 9, None).unwrap();
        let began = Instant::now();
        stream.is_stuck = true;
        stream.moved = began - STUCK_TIME + Duration::from_secs(30);
        streams.open.insert(1, stream);
        streams.look_at = Some(began);
        streams.close_stuck();
        assert!(streams.open.contains_key(&1) && streams.look_at.is_some(), "not yet");
        streams.open.get_mut(&1).unwrap().moved = began - STUCK_TIME;
        streams.look_at = Some(began);
        streams.close_stuck();
        assert!(streams.open.is_empty() && streams.look_at.is_none());
        drop(sending.join().unwrap());
    }

    /// Two ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn much_comes_back_to_those_who_read_slowly_and_others_do_not_wait() {
        let address = server();
        let mut slow = TcpStream::connect(address).unwrap();
        let sender = slow.try_clone().unwrap();
        let much: Vec<u8> = (0..4 << 20).map(|it: u32| (it % 251) as u8).collect();
        let expected = much.clone();
        let sending = std::thread::spawn(move || {
            (&sender).write_all(&much).unwrap();
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut quick = TcpStream::connect(address).unwrap();
        quick.write_all(b"quick").unwrap();
        let mut answer = [0; 5];
        quick.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"quick");
        let mut back = Vec::new();
        slow.read_to_end(&mut back).unwrap();
        sending.join().unwrap();
        assert!(back == expected, "{} bytes", back.len());
    }

    #[test]
    fn a_thousand_are_served_and_those_who_vanish_harm_nobody() {
        let address = server();
        let mut all: Vec<TcpStream> =
            (0..400).map(|_| TcpStream::connect(address).unwrap()).collect();
        for stream in &mut all {
            stream.write_all(b"x").unwrap();
        }
        all.truncate(200);
        let mut one = [0];
        for stream in &mut all {
            stream.read_exact(&mut one).unwrap();
        }
    }
}
