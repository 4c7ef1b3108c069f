//! Who may come in: handshake, first request, token, all within a bounded time and a bounded number of bytes.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_sys::socket;
use sterna_wire::control::{self, Endpoint, MAX_HELLO_BYTES, Reply, Request, Welcome};
use sterna_wire::tls::Credentials;

use crate::host::greeting::greet;
use crate::transport::{Protection, Socket};

use super::{ServerError, is_local, show};

/// How long a visitor may take until it has said who it is, beside its handshake.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// Slices in which a slow visitor is looked after.
const STEP: Duration = Duration::from_millis(100);

/// Longest time in which a pilot may take not a single byte.
const STALL: Duration = Duration::from_secs(30);

/// Delays the answer to a wrong token, so that guessing takes its time.
const DOUBT: Duration = Duration::from_millis(300);

/// What a TLS handshake begins with: the kind of its record and the first byte of the version.
const TLS_RECORD: [u8; 2] = [0x16, 0x03];

/// A TLS alert: fatal, handshake failure. It is what a peer that speaks TLS understands of us, who do not.
const NO_TLS_HERE: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

/// The conditions.
pub struct Admission {
    /// Of the control connection.
    pub protection: Protection,
    /// The secret; `None` lets everybody in.
    pub token: Option<String>,
}

/// A pilot that may come in, and waits for its answer.
pub struct Admitted {
    /// Its connection.
    pub socket: Socket,
    /// The answer, when there is room.
    pub welcome: Welcome,
}

impl Admission {
    /// The conditions for an address: what other machines can reach takes certificates and a token.
    ///
    /// # Errors
    /// One of them is missing, or the certificates are of no use.
    pub fn under_rules(
        listen: &Endpoint,
        token: Option<String>,
        tls_directory: Option<&Path>,
    ) -> Result<Admission, ServerError> {
        let is_local = is_local(listen);
        if !is_local && tls_directory.is_none() {
            return Err(ServerError::NeedsTls(show(listen)));
        }
        if !is_local && token.is_none() {
            return Err(ServerError::NeedsToken(show(listen)));
        }
        let protection = match tls_directory {
            None => Protection::Clear,
            Some(directory) => {
                let credentials = Credentials::load(directory)?;
                credentials.check_server()?;
                Protection::Tls { credentials: Arc::new(credentials), name: String::new() }
            }
        };
        Ok(Admission { protection, token })
    }

    /// Hears a visitor out; the reason when it is sent away, of which it has been told as far as it understands.
    pub fn admit(&self, socket: Socket) -> Result<Admitted, String> {
        let mut socket = self.open(socket)?;
        let begins = first_word(&mut socket)?;
        self.hear(socket, begins)
    }

    /// Opens the door: who is it, and does it speak as we do?
    pub fn open(&self, socket: Socket) -> Result<Socket, String> {
        let text = |error: io::Error| format!("the connection failed: {error}");
        self.check_owner(&socket)?;
        keep_alive(&socket);
        socket.set_read_timeout(Some(STEP)).map_err(text)?;
        socket.set_write_timeout(Some(FIRST_REQUEST)).map_err(text)?;
        let socket = self.protect(socket)?;
        socket.set_read_timeout(Some(STEP)).map_err(text)?;
        socket.set_write_timeout(Some(STALL)).map_err(text)?;
        Ok(socket)
    }

    /// Hears what it wants, after its first word: the length of its first request.
    pub fn hear(&self, mut socket: Socket, begins: [u8; 4]) -> Result<Admitted, String> {
        let text = |error: io::Error| format!("the connection failed: {error}");
        let (version, oldest_version, token) = match first_request(&mut socket, begins)? {
            Request::Hello { version, oldest_version, token } => (version, oldest_version, token),
            _ => return Err(turn_away(&mut socket, "The first request must be `hello`")),
        };
        match greet((oldest_version, version), &token, self.token.as_deref()) {
            Reply::Welcome(welcome) => {
                let address = |it: Option<std::net::SocketAddr>| it.map(|it| it.ip().to_string());
                let (ours, theirs) = (address(socket.local()), address(socket.peer()));
                let welcome = Welcome { address: ours, pilot_address: theirs, ..welcome };
                socket.set_read_timeout(None).map_err(text)?;
                Ok(Admitted { socket, welcome })
            }
            Reply::Refused { error, .. } => {
                std::thread::sleep(DOUBT);
                Err(turn_away(&mut socket, &error))
            }
            _ => Err("no answer was found".to_owned()),
        }
    }

    /// Where no token is asked for, a Unix socket is for its owner alone.
    pub fn check_owner(&self, socket: &Socket) -> Result<(), String> {
        if self.token.is_some() || !matches!(socket, Socket::Unix(_)) {
            return Ok(());
        }
        let peer = rustix::net::sockopt::socket_peercred(socket);
        let peer = peer.map_err(|error| format!("its user is unknown: {error}"))?;
        let ours = rustix::process::geteuid();
        if peer.uid == ours || peer.uid.is_root() {
            return Ok(());
        }
        Err(format!(
            "it belongs to user {}, and without a token only user {} may come in",
            peer.uid.as_raw(),
            ours.as_raw()
        ))
    }

    /// The handshake. A pilot that takes the other way gets an answer in its own language.
    fn protect(&self, mut socket: Socket) -> Result<Socket, String> {
        let begins = first_bytes(&socket)?;
        match (&self.protection, begins == TLS_RECORD) {
            (Protection::Tls { .. }, false) => Err(turn_away(
                &mut socket,
                "This host speaks TLS only; give `sterna run` the certificates, by --tls-dir",
            )),
            (Protection::Clear, true) => {
                let _ = io::Write::write_all(&mut socket, &NO_TLS_HERE);
                Err("it speaks TLS, for which this host has no certificates (--tls-dir)".to_owned())
            }
            _ => socket.protected(&self.protection, false).map_err(|error| error.to_string()),
        }
    }
}

impl Admitted {
    /// There is no room after all.
    pub fn refuse(mut self, reason: &str) {
        turn_away(&mut self.socket, reason);
    }
}

/// A machine that is gone is noticed within some 20 s, also while nothing is said.
fn keep_alive(socket: &Socket) {
    // Unix sockets need neither.
    let _ = socket::set_keepalive(socket, Duration::from_secs(5), Duration::from_secs(3), 4);
    let _ = socket::set_user_timeout(socket, Some(Duration::from_secs(20)));
}

/// The first word that a visitor says.
pub fn first_word(socket: &mut Socket) -> Result<[u8; 4], String> {
    let mut word = [0; 4];
    read_until(socket, &mut word, Instant::now() + FIRST_REQUEST)?;
    Ok(word)
}

/// Reads what follows the first word, in its time.
pub fn first_words(socket: &mut Socket, to: &mut [u8]) -> Result<(), String> {
    read_until(socket, to, Instant::now() + FIRST_REQUEST)
}

/// Looks at the beginning without taking it.
pub fn first_bytes(socket: &Socket) -> Result<[u8; 2], String> {
    let deadline = Instant::now() + FIRST_REQUEST;
    let mut bytes = [0; 2];
    loop {
        match rustix::net::recv(socket.as_fd(), &mut bytes, rustix::net::RecvFlags::PEEK) {
            Ok((0, _)) => return Err("it said nothing and hung up".to_owned()),
            Ok((2, _)) => return Ok(bytes),
            // One byte is there, and the kernel does not wait for the second.
            Ok(_) => std::thread::sleep(STEP),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("the connection failed: {error}")),
        }
        if Instant::now() >= deadline {
            return Err("it said nothing".to_owned());
        }
    }
}

/// Reads no more than a first request may have, no longer than it may take.
fn first_request(socket: &mut Socket, length: [u8; 4]) -> Result<Request, String> {
    let deadline = Instant::now() + FIRST_REQUEST;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HELLO_BYTES {
        return Err("it does not speak this protocol".to_owned());
    }
    let mut body = vec![0; length];
    read_until(socket, &mut body, deadline)?;
    control::decode(&body).map_err(|_| "it does not speak this protocol".to_owned())
}

fn read_until(socket: &mut Socket, to: &mut [u8], deadline: Instant) -> Result<(), String> {
    let mut done = 0;
    while done < to.len() {
        match socket.read(&mut to[done..]) {
            Ok(0) => return Err("it hung up".to_owned()),
            Ok(count) => done += count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(format!("the connection failed: {error}")),
        }
        if done < to.len() && Instant::now() >= deadline {
            return Err("it took too long to say who it is".to_owned());
        }
    }
    Ok(())
}

/// Says why a connection is refused; returns the reason.
fn turn_away(socket: &mut Socket, reason: &str) -> String {
    let refused = Reply::Refused { error: reason.to_owned(), unsupported: false };
    let _ = control::send(socket, &refused);
    // What it has said beyond that must not turn the answer into a reset.
    let _ = socket.set_read_timeout(Some(STEP));
    let deadline = Instant::now() + STEP * 5;
    let mut waste = [0; 4096];
    while Instant::now() < deadline && socket.read(&mut waste).is_ok_and(|it| it > 0) {}
    reason.to_owned()
}
