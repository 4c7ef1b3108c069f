//! Counters, a check of the memory and records on a disk over HTTP, in the text form that Prometheus reads, for a guest
//! whose engine is far away.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sterna_probe::serve::pages::{Page, PageServer};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_line::{CorruptWord, GuestMessage};

use crate::disk::Disk;
use crate::memory::Memory;

/// Checks and requests about records that may be under way; more are refused, so that a disk that hangs leaves room for the counters.
const MOST_SLOW: usize = 4;

const TEXT: &str = "text/plain; version=0.0.4";

/// Answers requests, several at a time.
pub fn serve(port: u16, memory: &Arc<Memory>, disk: Disk) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let (memory, slow) = (Arc::clone(memory), AtomicUsize::new(0));
    PageServer::new("metrics")
        .serve(listener, move |request| answer(&request.path, &memory, &disk, &slow))
}

/// `/verify` checks the memory, `/disk/begin` and `/disk/end` are about records; whatever else is asked for, the
/// counters are the answer.
fn answer(path: &str, memory: &Memory, disk: &Disk, slow: &AtomicUsize) -> Page {
    let page = || match path {
        "/disk/begin" => disk.begin().to_string(),
        "/disk/end" => disk.end().to_string(),
        _ => verified(memory),
    };
    if !matches!(path, "/disk/begin" | "/disk/end" | "/verify") {
        return Page::found(TEXT, text(memory));
    }
    let before = slow.fetch_add(1, Ordering::AcqRel);
    let answer = if before < MOST_SLOW {
        Page::found(TEXT, page())
    } else {
        Page::refused(503, "Earlier requests are not finished yet; try again later")
    };
    slow.fetch_sub(1, Ordering::AcqRel);
    answer
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
