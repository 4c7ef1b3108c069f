//! Connections: what comes goes back. One thread serves all of them, so ten thousand cost ten thousand descriptors and little else.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// What a connection that does not read its echo may have waiting; more is read when some has gone.
const MOST_PENDING: usize = 256 << 10;

/// With every descriptor taken, nobody new is let in for so long.
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
    open: HashMap<u64, Stream>,
    next: u64,
    upgrade: Option<Box<dyn Upgrade>>,
    is_full: bool,
}

struct Stream {
    stream: TcpStream,
    pending: Vec<u8>,
    is_new: bool,
    /// Waits for room to write instead of for something to read.
    is_stuck: bool,
}

impl Streams {
    /// Ready to serve.
    ///
    /// # Errors
    /// The kernel has no more to wait with.
    pub fn new(listener: TcpListener, upgrade: Option<Box<dyn Upgrade>>) -> io::Result<Streams> {
        raise_limit();
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Streams { listener, epoll, open: HashMap::new(), next: 0, upgrade, is_full: false })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The kernel does not let us wait any more.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        let mut buffer = vec![0; 64 << 10];
        loop {
            events.clear();
            let pause = Timespec { tv_sec: 0, tv_nsec: FULL_PAUSE.subsec_nanos().into() };
            let timeout = self.is_full.then_some(&pause);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
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
                Ok((stream, _)) => drop(self.welcome(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_passing(&error) => {}
                Err(_) => {
                    // No descriptors or no memory; those who wait stay in the kernel's queue.
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
        let stream = Stream { stream, pending: Vec::new(), is_new: true, is_stuck: false };
        self.open.insert(number, stream);
        Ok(())
    }

    fn serve(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(stream) = self.open.get_mut(&number) else { return };
        match stream.echo(buffer, self.upgrade.as_deref()) {
            Ok(Next::Wait) => {
                let is_stuck = !stream.pending.is_empty();
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
        loop {
            while !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(0) => return Ok(Next::Close),
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let most = buffer.len().min(MOST_PENDING);
            match self.stream.read(&mut buffer[..most]) {
                Ok(0) => return Ok(Next::Close),
                Ok(count) => {
                    let came = &buffer[..count];
                    if std::mem::take(&mut self.is_new) && upgrade.is_some_and(|it| it.wants(came))
                    {
                        return Ok(Next::HandOver(came.to_vec()));
                    }
                    self.pending.extend(came);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
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
        let streams = Streams::new(listener, None).unwrap();
        std::thread::spawn(move || streams.run());
        address
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
