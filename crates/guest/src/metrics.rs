//! Counters, a check of the memory and records on a disk over HTTP, in the text form that Prometheus reads, for a guest
//! whose engine is far away.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use sterna_probe::serve::spawn;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_line::{CorruptWord, GuestMessage};

use crate::disk::Disk;
use crate::memory::Memory;

/// A visitor who says nothing must not hold the next one up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers every request, one visitor after the other.
pub fn serve(port: u16, memory: &Arc<Memory>, disk: Disk) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let (memory, disk) = (Arc::clone(memory), Arc::new(disk));
    spawn("metrics", move || {
        for connection in listener.incoming() {
            match connection {
                Ok(stream) => drop(answer(stream, &memory, &disk)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    })
}

/// `/verify` checks the memory, `/disk/begin` and `/disk/end` are about records; whatever else is asked for, the
/// counters are the answer.
fn answer(mut stream: TcpStream, memory: &Memory, disk: &Arc<Disk>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 2048];
    let request = read(&mut stream, &mut buffer);
    let asks_for = |path: &str| {
        let rest = request.strip_prefix(b"GET ").and_then(|it| it.strip_prefix(path.as_bytes()));
        rest.is_some_and(|it| !it.first().is_some_and(u8::is_ascii_alphanumeric))
    };
    for (path, ask) in [("/disk/begin", Disk::begin as fn(&Disk) -> _), ("/disk/end", Disk::end)] {
        if asks_for(path) {
            // A disk may hang, and the counters must not hang with it.
            let disk = Arc::clone(disk);
            return spawn("disk-answer", move || drop(say(stream, &ask(&disk).to_string())));
        }
    }
    let body = if asks_for("/verify") { verified(memory) } else { text(memory) };
    say(stream, &body)
}

/// All of a request, for whoever sends it in pieces; a visitor whose words were not heard may not hear ours either.
fn read<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut length = 0;
    let is_whole = |it: &[u8]| it.ends_with(b"\r\n\r\n") || it.ends_with(b"\n\n");
    while length < buffer.len() && !is_whole(&buffer[..length]) {
        match stream.read(&mut buffer[length..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => length += more,
        }
    }
    &buffer[..length]
}

fn say(mut stream: TcpStream, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Every page is compared with what it must hold; the workers rest meanwhile.
fn verified(memory: &Memory) -> String {
    let mut text = String::new();
    if let GuestMessage::Verified { pages_checked, corrupt_pages, first, .. } = memory.verify() {
        let _ = writeln!(text, "sterna_guest_verified_pages {pages_checked}");
        let _ = writeln!(text, "sterna_guest_corrupt_pages {corrupt_pages}");
        for CorruptWord { page, offset_bytes, expected, found } in first {
            let _ = writeln!(
                text,
                "sterna_guest_corrupt_word{{page=\"{page}\",offset=\"{offset_bytes}\",expected=\"{expected}\"}} {found}"
            );
        }
    }
    text
}

fn text(memory: &Memory) -> String {
    let mut text = String::from("# TYPE sterna_guest_page_writes_total counter\n");
    for (worker, count) in memory.crew.counts().iter().enumerate() {
        let _ = writeln!(text, "sterna_guest_page_writes_total{{worker=\"{worker}\"}} {count}");
    }
    let _ = writeln!(text, "# TYPE sterna_guest_memory_bytes gauge");
    let _ = writeln!(text, "sterna_guest_memory_bytes {}", memory.bytes());
    let _ = writeln!(text, "# TYPE sterna_guest_monotonic_seconds gauge");
    let now_ns = monotonic_ns();
    let (seconds, rest) = (now_ns / 1_000_000_000, now_ns % 1_000_000_000);
    let _ = writeln!(text, "sterna_guest_monotonic_seconds {seconds}.{rest:09}");
    text
}
