//! A packet that is accepted names only pages of the guest, no more of them than a packet has, and
//! no more content than they have; and what is packed unpacks to exactly that or not at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::compression::Decompressor;
use sterna_wire::stream::{
    Compression, Header, Kind, PACKET_HEAD_BYTES, PACKET_PAGES, PAGE_BYTES, PacketHead,
    PacketPages, PageRun, RUN_BYTES,
};

fuzz_target!(|input: (u8, u32, &[u8])| {
    let (runs, ram_pages, bytes) = input;
    let runs = u16::from(runs) % (PACKET_PAGES as u16 + 1);
    let front = PACKET_HEAD_BYTES + usize::from(runs) * RUN_BYTES;
    let Some((front, content)) = bytes.split_at_checked(front) else { return };
    let body_bytes = bytes.len() as u32;
    let header = Header { kind: Kind::Packet, runs, body_bytes, crc: 0, sequence: 0 };
    let mut pages = PacketPages::default();
    let ram_pages = u64::from(ram_pages);
    let Ok(head) = PacketHead::decode(&header, front, ram_pages, &mut pages) else { return };

    let inside = |run: &PageRun| run.first + u64::from(run.count) <= ram_pages;
    assert!(pages.content.iter().chain(&pages.zero).all(inside));
    let count = |runs: &[PageRun]| runs.iter().map(|run| usize::from(run.count)).sum::<usize>();
    let content_pages = count(&pages.content);
    assert!(content_pages + count(&pages.zero) <= PACKET_PAGES);
    assert_eq!(head.content_bytes as usize, content.len());
    assert!(content.len() <= content_pages * PAGE_BYTES);
    if head.compression != Compression::None {
        let mut raw = vec![0; content_pages * PAGE_BYTES];
        let mut decompressor = Decompressor::new().expect("Memory for a decompressor");
        let _ = decompressor.decompress(head.compression, content, &mut raw);
    }
});
