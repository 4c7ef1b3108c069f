//! One pilot's session: a process of its own, and the bytes that go to it and back.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{self, Reply, Request, VERSION};

use super::admission::Admitted;
use super::{Notice, Visit};
use crate::door::Turn;
use crate::host_process::{describe, spawn, token};
use crate::transport::Socket;

/// Bytes carried at once; control frames are small.
const CHUNK_BYTES: usize = 64 << 10;

/// Slices in which a quiet session looks whether it shall end.
const SLICE: Duration = Duration::from_millis(100);

/// How long a process may take to end after its pilot has gone.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long the process may take none of what the pilot sends; it reads each request before it works on it.
const LINE_STALL: Duration = Duration::from_secs(10);

/// How long a pilot that was let in may ask for nothing at all.
const FIRST_SILENCE: Duration = Duration::from_secs(10);

/// The same once it has asked for something: it may wait meanwhile for the other side, which builds or compares its memory.
const SILENCE: Duration = Duration::from_secs(600);

/// What the log says of a pilot that asks without reading.
const TAKES_NOTHING: &str = "it takes none of its answers";

/// Serves an admitted pilot to the end; the calling thread must live that long, for the process is bound to it.
pub fn serve(admitted: Admitted, visit: &Visit, turn: Turn<'_>) {
    let Admitted { mut socket, mut welcome } = admitted;
    let (mut child, line) = match start(visit) {
        Ok(started) => started,
        Err(reason) => {
            Admitted { socket, welcome }.refuse(&format!("No session can be had here: {reason}"));
            return visit.refuse(reason);
        }
    };
    welcome.pid = child.id();
    (visit.tell)(Notice::Begun { peer: visit.visitor.peer.clone(), pid: child.id() });
    let over = match control::send(&mut socket, &Reply::Welcome(welcome)) {
        Ok(()) => carry(&mut socket, &line, &visit.shared.closing),
        Err(error) => Over::PilotLost(error.to_string()),
    };
    let how = end(&mut child, &line, &mut socket, over);
    (visit.tell)(Notice::Ended { peer: visit.visitor.peer.clone(), how });
    // The connection ends last: a pilot that has seen it end finds the host free.
    drop(turn);
    socket.shut_down();
}

/// Why a session is over.
#[derive(Debug)]
enum Over {
    /// The pilot closed its connection.
    PilotLeft,
    /// The connection to it broke, or it took nothing.
    PilotLost(String),
    /// It asked for nothing for so long.
    PilotSilent(Duration),
    /// The process ended, or takes no requests.
    Process,
    /// The host is told to end.
    Closing,
}

/// A host process that has been greeted, and the line to it.
fn start(visit: &Visit) -> Result<(Child, UnixStream), String> {
    let [program, arguments @ ..] = &*visit.shared.host_command else {
        return Err("No host program is known".to_owned());
    };
    let token = token()?;
    let directory = visit.shared.tls_directory.as_deref();
    let (mut child, line) = spawn(program, arguments, &token, directory)?;
    let hello = Request::Hello { version: VERSION, oldest_version: 0, token };
    let greeted = line
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(control::ControlError::Io)
        .and_then(|()| control::send(&mut &line, &hello))
        .and_then(|()| control::receive(&mut &line));
    match greeted {
        Ok(Reply::Welcome(_)) => {
            let _ = line.set_read_timeout(None);
            let _ = line.set_write_timeout(Some(LINE_STALL));
            Ok((child, line))
        }
        other => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("the host process does not answer: {other:?}"))
        }
    }
}

/// When bytes went last in each direction, by our clock; 0 before any did.
#[derive(Default)]
struct Traffic {
    from_pilot_ns: AtomicU64,
    to_pilot_ns: AtomicU64,
    /// Whether an answer is there that the pilot has not taken.
    is_answering: AtomicBool,
}

impl Traffic {
    /// How long the pilot has been silent, if it is too long: while the process works on a request, the silence is not the pilot's.
    fn silence(&self, began_ns: u64) -> Option<Duration> {
        let asked_ns = self.from_pilot_ns.load(Ordering::Acquire);
        let answered_ns = self.to_pilot_ns.load(Ordering::Acquire);
        let limit = if asked_ns == 0 { FIRST_SILENCE } else { SILENCE };
        let since_ns = asked_ns.max(answered_ns).max(began_ns);
        let silence = Duration::from_nanos(monotonic_ns().saturating_sub(since_ns));
        (asked_ns <= answered_ns && silence >= limit).then_some(silence)
    }
}

/// Carries bytes both ways until either end has gone, or the host closes.
fn carry(pilot: &mut Socket, line: &UnixStream, closing: &AtomicBool) -> Over {
    let mut back = match pilot.try_clone() {
        Ok(back) => back,
        Err(error) => return Over::PilotLost(error.to_string()),
    };
    let (is_over, traffic) = (AtomicBool::new(false), Traffic::default());
    std::thread::scope(|scope| {
        let (is_over, traffic) = (&is_over, &traffic);
        let answers = scope.spawn(move || {
            let over = carry_answers(line, &mut back, traffic);
            is_over.store(true, Ordering::Release);
            // The process may wait for room to answer while we wait for it to take a request: both ends of the line see the end.
            let _ = line.shutdown(Shutdown::Both);
            over
        });
        let asked = carry_requests(pilot, line, traffic, &|| {
            is_over.load(Ordering::Acquire) || closing.load(Ordering::Acquire)
        });
        // The process sees that no request follows, ends, and with it the other direction does.
        let _ = line.shutdown(Shutdown::Write);
        let deadline = Instant::now() + GOODBYE;
        while !is_over.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = line.shutdown(Shutdown::Both);
        if !is_over.load(Ordering::Acquire) {
            // A pilot that takes nothing keeps its thread in a write.
            pilot.shut_down();
        }
        let answered = answers.join().unwrap_or(Over::Process);
        match asked {
            Some(over) => over,
            None if closing.load(Ordering::Acquire) => Over::Closing,
            None => answered,
        }
    })
}

/// From the pilot to the process; `None` when `is_over` ended it.
fn carry_requests(
    pilot: &mut Socket,
    line: &UnixStream,
    traffic: &Traffic,
    is_over: &dyn Fn() -> bool,
) -> Option<Over> {
    let began_ns = monotonic_ns();
    let mut buffer = vec![0; CHUNK_BYTES];
    while !is_over() {
        // An error is met again, with its cause, by the read.
        if !pilot.is_readable(SLICE).unwrap_or(true) {
            if let Some(silence) = traffic.silence(began_ns) {
                return Some(Over::PilotSilent(silence));
            }
            continue;
        }
        match pilot.read(&mut buffer) {
            Ok(0) => return Some(Over::PilotLeft),
            Ok(count) => {
                traffic.from_pilot_ns.store(monotonic_ns(), Ordering::Release);
                if (&*line).write_all(&buffer[..count]).is_err() {
                    // A process whose answers are not taken takes no requests.
                    let over = match traffic.is_answering.load(Ordering::Acquire) {
                        true => Over::PilotLost(TAKES_NOTHING.to_owned()),
                        false => Over::Process,
                    };
                    return (!is_over()).then_some(over);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_end(&error) => return Some(Over::PilotLeft),
            Err(error) => return Some(Over::PilotLost(error.to_string())),
        }
    }
    None
}

/// From the process to the pilot, whose socket has a deadline for each write.
fn carry_answers(mut line: &UnixStream, pilot: &mut Socket, traffic: &Traffic) -> Over {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match line.read(&mut buffer) {
            Ok(0) => return Over::Process,
            Ok(count) => {
                traffic.is_answering.store(true, Ordering::Release);
                let sent = pilot.write_all(&buffer[..count]);
                traffic.is_answering.store(false, Ordering::Release);
                if let Err(error) = sent {
                    return match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                            Over::PilotLost(TAKES_NOTHING.to_owned())
                        }
                        _ if is_end(&error) => Over::PilotLeft,
                        _ => Over::PilotLost(error.to_string()),
                    };
                }
                traffic.to_pilot_ns.store(monotonic_ns(), Ordering::Release);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Over::Process,
        }
    }
}

/// Whether the peer has closed the connection, rather than the network having lost it.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Waits for the process, kills it when it takes too long, and tells the pilot of a death that it did not ask for; returns how the session ended.
fn end(child: &mut Child, line: &UnixStream, pilot: &mut Socket, over: Over) -> String {
    let _ = line.shutdown(Shutdown::Both);
    let deadline = Instant::now() + GOODBYE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            _ => break None,
        }
    };
    match status {
        Some(status) if status.success() => over.words(),
        Some(status) => {
            let reason = describe(status);
            let _ = pilot.set_write_timeout(Some(GOODBYE));
            let _ = control::send(pilot, &Reply::Gone { reason: reason.clone() });
            match over {
                Over::Process | Over::PilotLeft | Over::Closing => reason,
                lost => format!("{}; {reason}", lost.words()),
            }
        }
        None => {
            let _ = child.kill();
            let _ = child.wait();
            format!("{}; the process did not end by itself and was killed", over.words())
        }
    }
}

impl Over {
    /// For the host's log.
    fn words(&self) -> String {
        match self {
            Over::PilotLeft | Over::Process | Over::Closing => "in good order".to_owned(),
            Over::PilotLost(reason) => format!("the pilot was lost: {reason}"),
            Over::PilotSilent(silence) => {
                format!("the pilot asked for nothing for {} s", silence.as_secs())
            }
        }
    }
}
