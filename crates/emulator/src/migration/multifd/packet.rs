//! Building a packet.

use std::io;

use sterna_sys::crc32c;
use sterna_sys::region::Region;
use sterna_wire::compression::Compressor;
use sterna_wire::stream::{
    Compression, HEADER_BYTES, Kind, MessageWriter, PACKET_HEAD_BYTES, PACKET_PAGES, PAGE_BYTES,
    PacketHead, PageRun, RUN_BYTES, encode_runs,
};

use crate::migration::ram::extend;

/// Room in front of the content for everything that precedes it, so that one write sends all.
const FRONT_BYTES: usize = HEADER_BYTES + PACKET_HEAD_BYTES + PACKET_PAGES * RUN_BYTES;

const CONTENT_BYTES: usize = PACKET_PAGES * PAGE_BYTES;

/// What becomes of pages on their way into a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketOptions {
    /// How content is packed.
    pub compression: Compression,
    /// How hard the compressor tries.
    pub level: Option<u8>,
    /// Whether zero pages are looked for here.
    pub finds_zero_pages: bool,
}

/// The buffers in which one channel builds its packets.
///
/// Pages change while they are sent, so each is copied once, and all that is said about it is said about the copy; see [`RamSender`](crate::migration::ram::RamSender).
pub struct PacketBuffer {
    finds_zero_pages: bool,
    compressor: Option<Compressor>,
    staging: Vec<u8>,
    /// Where packed content goes; empty without a compressor.
    packed: Vec<u8>,
    content: Vec<PageRun>,
    zero: Vec<PageRun>,
    pages: usize,
    zero_pages: usize,
    content_crc: u32,
}

/// A finished packet.
pub struct Packet<'a> {
    /// All its bytes, or those in front of content that is sent from where it is.
    pub bytes: &'a mut [u8],
    /// Bytes of content as they travel.
    pub content_bytes: usize,
    /// Whether the content is packed.
    pub is_compressed: bool,
}

impl PacketBuffer {
    /// Buffers for packets of full size.
    ///
    /// # Errors
    /// The compressor cannot be had.
    pub fn new(options: &PacketOptions) -> io::Result<PacketBuffer> {
        let compressor = Compressor::new(options.compression, options.level)?;
        let packed = compressor.as_ref().map(|_| vec![0; FRONT_BYTES + CONTENT_BYTES]);
        Ok(PacketBuffer {
            finds_zero_pages: options.finds_zero_pages,
            compressor,
            staging: vec![0; FRONT_BYTES + CONTENT_BYTES],
            packed: packed.unwrap_or_default(),
            content: Vec::new(),
            zero: Vec::new(),
            pages: 0,
            zero_pages: 0,
            content_crc: 0,
        })
    }

    /// Pages with content in the packet.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Zero pages in the packet.
    pub fn zero_pages(&self) -> usize {
        self.zero_pages
    }

    /// Runs of pages with content, as the region takes them.
    pub fn content_runs(&self) -> Vec<(usize, usize)> {
        self.content.iter().map(|it| (it.first as usize, usize::from(it.count))).collect()
    }

    /// Makes a packet with copies of these pages.
    pub fn copy(
        &mut self,
        region: &Region,
        runs: &[PageRun],
        writer: &mut MessageWriter,
    ) -> Packet<'_> {
        self.clear();
        for page in pages_of(runs) {
            let at = FRONT_BYTES + self.pages * PAGE_BYTES;
            let copy = &mut self.staging[at..at + PAGE_BYTES];
            // What will be packed is summed up afterwards.
            let (is_zero, crc) = match self.compressor {
                Some(_) => (region.copy_out(page, copy), 0),
                None => region.copy_out_summed(page, copy, self.content_crc),
            };
            if self.put(page, is_zero) {
                self.content_crc = crc;
            }
        }
        self.finish(writer)
    }

    /// Makes the front of a packet whose content is sent from where it is.
    pub fn refer(
        &mut self,
        region: &Region,
        runs: &[PageRun],
        writer: &mut MessageWriter,
    ) -> Packet<'_> {
        self.clear();
        for page in pages_of(runs) {
            let is_zero = self.finds_zero_pages && region.is_zero(page);
            self.put(page, is_zero);
        }
        let content_bytes = self.pages * PAGE_BYTES;
        let head = self.head(Compression::None, content_bytes, false);
        let start = put_front(&mut self.staging, &self.content, &self.zero, head, 0, writer);
        Packet { bytes: &mut self.staging[start..FRONT_BYTES], content_bytes, is_compressed: false }
    }

    fn clear(&mut self) {
        self.content.clear();
        self.zero.clear();
        (self.pages, self.zero_pages, self.content_crc) = (0, 0, 0);
    }

    /// Notes a page; whether it is one with content.
    fn put(&mut self, page: usize, is_zero: bool) -> bool {
        let has_content = !(is_zero && self.finds_zero_pages);
        if has_content {
            extend(&mut self.content, page);
            self.pages += 1;
        } else {
            extend(&mut self.zero, page);
            self.zero_pages += 1;
        }
        has_content
    }

    fn finish(&mut self, writer: &mut MessageWriter) -> Packet<'_> {
        let raw_bytes = self.pages * PAGE_BYTES;
        let (compression, content_bytes) = self.pack().unwrap_or((Compression::None, raw_bytes));
        let head = self.head(compression, content_bytes, true);
        let is_compressed = compression != Compression::None;
        let buffer = if is_compressed { &mut self.packed } else { &mut self.staging };
        let end = FRONT_BYTES + content_bytes;
        let content_crc = match self.compressor {
            Some(_) => crc32c(0, &buffer[FRONT_BYTES..end]),
            None => self.content_crc,
        };
        let start = put_front(buffer, &self.content, &self.zero, head, content_crc, writer);
        Packet { bytes: &mut buffer[start..end], content_bytes, is_compressed }
    }

    /// `None` when content does not get smaller, so that it travels as it is.
    fn pack(&mut self) -> Option<(Compression, usize)> {
        let compressor = self.compressor.as_mut()?;
        let raw = FRONT_BYTES..FRONT_BYTES + self.pages * PAGE_BYTES;
        let room = FRONT_BYTES..raw.end.checked_sub(1).filter(|it| *it > FRONT_BYTES)?;
        let bytes = compressor.compress(&self.staging[raw], &mut self.packed[room])?;
        Some((compressor.method(), bytes))
    }

    fn head(&self, compression: Compression, content_bytes: usize, is_summed: bool) -> PacketHead {
        PacketHead {
            compression,
            is_summed,
            content_runs: self.content.len() as u16,
            content_bytes: content_bytes as u32,
        }
    }
}

/// Writes header, head and runs so that they end where the content begins; returns where they begin.
fn put_front(
    buffer: &mut [u8],
    content: &[PageRun],
    zero: &[PageRun],
    head: PacketHead,
    content_crc: u32,
    writer: &mut MessageWriter,
) -> usize {
    let mut front = head.encode().to_vec();
    encode_runs(content, &mut front);
    encode_runs(zero, &mut front);
    let body_bytes = front.len() + head.content_bytes as usize;
    let header = writer.header(Kind::Packet, content.len() + zero.len(), body_bytes);
    let header = header.seal(crc32c(content_crc, &front));
    let body_start = FRONT_BYTES - front.len();
    let start = body_start - HEADER_BYTES;
    buffer[start..body_start].copy_from_slice(&header.encode());
    buffer[body_start..FRONT_BYTES].copy_from_slice(&front);
    start
}

fn pages_of(runs: &[PageRun]) -> impl Iterator<Item = usize> + '_ {
    runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)).map(|it| it as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use sterna_sys::region::{HugePages, RegionOptions};
    use sterna_wire::compression::Decompressor;
    use sterna_wire::stream::{MessageReader, PacketPages};

    /// Eight pages: 0 to 2 hold one byte value each, 3 and 4 noise, the others zero.
    fn region() -> Region {
        let options = RegionOptions { bytes: 8 << 12, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        let mut noise = 1u64;
        for page in 0..5 {
            for word in region.page(page) {
                noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(page as u64 | 1);
                let value = if page < 3 { page as u64 + 1 } else { noise ^ noise >> 29 };
                word.store(value, Ordering::Relaxed);
            }
        }
        region
    }

    /// What a destination makes of it: the head, the pages, and the content unpacked.
    fn read(bytes: &[u8]) -> (PacketHead, PacketPages, Vec<u8>) {
        let mut from = bytes;
        let header = MessageReader::default().header(&mut from).unwrap();
        let (front, content) =
            from.split_at(PACKET_HEAD_BYTES + usize::from(header.runs) * RUN_BYTES);
        let mut pages = PacketPages::default();
        let head = PacketHead::decode(&header, front, 8, &mut pages).unwrap();
        assert_eq!(content.len(), head.content_bytes as usize);
        header.check(crc32c(crc32c(0, content), front)).unwrap();
        let mut raw = content.to_vec();
        if head.compression != Compression::None {
            raw = vec![0; pages_of(&pages.content).count() * PAGE_BYTES];
            let mut decompressor = Decompressor::new().unwrap();
            decompressor.decompress(head.compression, content, &mut raw).unwrap();
        }
        (head, pages, raw)
    }

    fn run(first: u64, count: u16) -> PageRun {
        PageRun { first, count }
    }

    #[test]
    fn content_survives_every_way_of_packing() {
        let region = region();
        for compression in Compression::ALL {
            let options = PacketOptions { compression, level: None, finds_zero_pages: true };
            let mut buffer = PacketBuffer::new(&options).unwrap();
            // The second packet shows that nothing is left of the first.
            for runs in [[run(0, 8)].as_slice(), &[run(1, 1), run(6, 1), run(2, 1)]] {
                let writer = &mut MessageWriter::default();
                let (head, pages, content) = read(buffer.copy(&region, runs, writer).bytes);
                assert_eq!(head.compression, compression);
                for (page, found) in pages_of(&pages.content).zip(content.chunks(PAGE_BYTES)) {
                    let mut expected = vec![0; PAGE_BYTES];
                    region.copy_out(page, &mut expected);
                    assert_eq!(found, expected);
                }
                assert!(pages_of(&pages.zero).all(|it| it > 4));
            }
            assert_eq!((buffer.pages(), buffer.zero_pages()), (2, 1));
        }
    }

    #[test]
    fn content_that_does_not_get_smaller_travels_as_it_is() {
        let options = PacketOptions { compression: Compression::Zstd, ..PacketOptions::default() };
        let mut buffer = PacketBuffer::new(&options).unwrap();
        let packet = buffer.copy(&region(), &[run(3, 2)], &mut MessageWriter::default());
        assert!(!packet.is_compressed);
        assert_eq!(read(packet.bytes).0.compression, Compression::None);
        // Zero pages are not looked for here, but they get smaller.
        let packet = buffer.copy(&region(), &[run(5, 3)], &mut MessageWriter::default());
        assert!(packet.is_compressed && packet.content_bytes < 100);
    }

    #[test]
    fn the_front_alone_announces_content_that_is_sent_from_where_it_is() {
        let options = PacketOptions { finds_zero_pages: true, ..PacketOptions::default() };
        let mut buffer = PacketBuffer::new(&options).unwrap();
        let packet = buffer.refer(&region(), &[run(4, 3)], &mut MessageWriter::default());
        assert_eq!(packet.content_bytes, PAGE_BYTES);
        let mut from = &*packet.bytes;
        let header = MessageReader::default().header(&mut from).unwrap();
        header.check(crc32c(0, from)).unwrap();
        assert_eq!(header.body_bytes as usize, from.len() + PAGE_BYTES);
        assert_eq!(buffer.content_runs(), [(4, 1)]);
    }
}
