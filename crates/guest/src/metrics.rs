//! Counters and a check of the memory over HTTP, in the text form that Prometheus reads, for a guest whose engine is
//! far away.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use sterna_probe::serve::spawn;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_line::{CorruptWord, GuestMessage};

use crate::memory::Memory;

/// A visitor who says nothing must not hold the next one up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers every request with the counters, one visitor after the other.
pub fn serve(port: u16, memory: &Arc<Memory>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let memory = Arc::clone(memory);
    spawn("metrics", move || {
        for connection in listener.incoming() {
            match connection {
                Ok(stream) => drop(answer(stream, &memory)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    })
}

/// `/verify` checks the memory; whatever else is asked for, the counters are the answer.
fn answer(mut stream: TcpStream, memory: &Memory) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; 2048];
    let length = stream.read(&mut request)?;
    let is_check = request[..length].starts_with(b"GET /verify");
    let body = if is_check { verified(memory) } else { text(memory) };
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
