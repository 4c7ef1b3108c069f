//! One pilot's session: a process of its own, and the bytes that go to it and back.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    if control::send(&mut socket, &Reply::Welcome(welcome)).is_ok() {
        carry(&mut socket, &line, &visit.shared.closing);
    }
    let how = end(&mut child, &line, &mut socket);
    (visit.tell)(Notice::Ended { peer: visit.visitor.peer.clone(), how });
    // The connection ends last: a pilot that has seen it end finds the host free.
    drop(turn);
    socket.shut_down();
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
            Ok((child, line))
        }
        other => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("the host process does not answer: {other:?}"))
        }
    }
}

/// Carries bytes both ways until either end has gone, or the host closes.
fn carry(pilot: &mut Socket, line: &UnixStream, closing: &AtomicBool) {
    let is_over = AtomicBool::new(false);
    let Ok(mut back) = pilot.try_clone() else { return };
    std::thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(move || {
            let _ = copy(&mut &*line, &mut back);
            is_over.store(true, Ordering::Release);
        });
        let mut buffer = vec![0; CHUNK_BYTES];
        while !is_over.load(Ordering::Acquire) && !closing.load(Ordering::Acquire) {
            // An error is met again, with its cause, by the read.
            if !pilot.is_readable(SLICE).unwrap_or(true) {
                continue;
            }
            match pilot.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if (&*line).write_all(&buffer[..count]).is_err() => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        // The process sees that nobody asks any more, ends, and with it the other direction does.
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
    });
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the process, kills it when it takes too long, and tells the pilot of a death that it did not ask for.
fn end(child: &mut Child, line: &UnixStream, pilot: &mut Socket) -> String {
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
        Some(status) if status.success() => "in good order".to_owned(),
        Some(status) => {
            let reason = describe(status);
            let _ = control::send(pilot, &Reply::Gone { reason: reason.clone() });
            reason
        }
        None => {
            let _ = child.kill();
            let _ = child.wait();
            "The process did not end by itself and was killed".to_owned()
        }
    }
}
