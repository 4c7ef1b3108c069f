//! Sending guest RAM: a circular scan over the pending pages, batch by batch.

use std::io::{self, Write};
use std::sync::Arc;

use sterna_sys::crc32c;
use sterna_sys::region::Region;
use sterna_wire::stream::{
    HEADER_BYTES, Kind, MAX_PAGES, MAX_RUNS, MessageWriter, PACKET_PAGES, PAGE_BYTES, PageRun,
    RUN_BYTES, encode_runs,
};

use super::page_set::PageSet;
use super::xbzrle::{Told, Xbzrle};

/// Zero pages looked at before a batch is sent although it is not full: the migration stays responsive over empty memory.
const MAX_ZERO_PAGES: usize = 16 * MAX_PAGES;

/// Room in front of the staged pages for the frame's header and runs, so that one write sends all.
const HEAD_BYTES: usize = HEADER_BYTES + MAX_RUNS * RUN_BYTES;

/// What is pending, and the buffer through which it leaves.
///
/// Pages change while they are sent. So a page is copied once, and everything that is said about it (is it zero, what is its checksum) is said about the copy, and the copy is what is sent.
/// A write that comes after the copy makes the page dirty again, and the next synchronisation finds it.
pub struct RamSender {
    region: Arc<Region>,
    pending: PageSet,
    sent_before: PageSet,
    cursor: usize,
    detect_zero: bool,
    staging: Vec<u8>,
    batch: Batch,
    xbzrle: Option<Xbzrle>,
}

/// What one batch carries.
#[derive(Debug, Default)]
struct Batch {
    runs: Vec<PageRun>,
    zero_runs: Vec<PageRun>,
    pages: usize,
    content_crc: u32,
    count: BatchCount,
}

/// What one batch counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCount {
    /// Pages with content.
    pub pages: u64,
    /// Zero pages.
    pub zero_pages: u64,
    /// Pages of which nothing was sent, because the destination has them as they are.
    pub unchanged: u64,
    /// Pages that this migration had sent before.
    pub resent: u64,
    /// Bytes on the wire, headers included.
    pub wire_bytes: u64,
}

/// Pages that were taken, but are still to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOut {
    /// For a channel.
    pub runs: Vec<PageRun>,
    /// Found to be zero here.
    pub zero_runs: Vec<PageRun>,
    /// How many are in those.
    pub zero_pages: u64,
    /// Pages that this migration had sent before.
    pub resent: u64,
}

impl RamSender {
    /// A sender with all of the region pending.
    pub fn new(region: Arc<Region>, detect_zero: bool) -> RamSender {
        let pages = region.pages();
        let mut sender = RamSender::idle(region, detect_zero);
        sender.add(0, pages);
        sender
    }

    /// A sender with nothing pending.
    pub fn idle(region: Arc<Region>, detect_zero: bool) -> RamSender {
        let pages = region.pages();
        RamSender {
            pending: PageSet::new(pages),
            sent_before: PageSet::new(pages),
            cursor: 0,
            detect_zero,
            staging: vec![0; HEAD_BYTES + MAX_PAGES * PAGE_BYTES],
            batch: Batch::default(),
            xbzrle: None,
            region,
        }
    }

    /// Sends differences of pages where it can.
    pub fn set_xbzrle(&mut self, xbzrle: Option<Xbzrle>) {
        self.xbzrle = xbzrle;
    }

    /// The sender of differences.
    pub fn xbzrle(&mut self) -> Option<&mut Xbzrle> {
        self.xbzrle.as_mut()
    }

    /// Whether this migration has sent a page before.
    pub fn was_sent(&self, page: usize) -> bool {
        self.sent_before.contains(page)
    }

    /// Raw bytes of the pages still to be sent.
    pub fn pending_bytes(&self) -> u64 {
        (self.pending.len() * PAGE_BYTES) as u64
    }

    /// Marks a run of pages as to be sent (again).
    pub fn add(&mut self, first: usize, count: usize) {
        self.pending.insert_range(first..first + count);
    }

    /// Makes whole what holds together in units of `unit` pages, and tells what is pending then.
    pub fn widen_pending(&mut self, unit: usize) -> &PageSet {
        self.pending = self.pending.widened(unit);
        &self.pending
    }

    /// Hands over what is pending, and where the scan would go on.
    pub fn take_pending(&mut self) -> (PageSet, usize) {
        let none = PageSet::new(self.region.pages());
        (std::mem::replace(&mut self.pending, none), self.cursor)
    }

    /// Forgets one pending page: a defect committed on purpose, so that a test sees the verification fail. Prefers a page that was sent before, whose old content is then wrong.
    pub fn lose_one_page(&mut self) {
        let mut page = self.pending.next_from(0);
        while let Some(candidate) = page.filter(|it| !self.sent_before.contains(*it)) {
            page = self.pending.next_from(candidate + 1).filter(|it| *it > candidate);
        }
        if let Some(page) = page.or_else(|| self.pending.next_from(0)) {
            self.pending.remove(page);
        }
    }

    /// Copies the next pending pages, at most `max_bytes` of content but at least one page, and sends the copies.
    pub fn send_batch(
        &mut self,
        max_bytes: u64,
        writer: &mut MessageWriter,
        to: &mut impl Write,
    ) -> io::Result<BatchCount> {
        self.fill(max_bytes);
        if !self.batch.zero_runs.is_empty() {
            send_zero_runs(&self.batch.zero_runs, writer, to)?;
        }
        if self.batch.pages > 0 {
            self.send_pages(writer, to)?;
        }
        if let Some(xbzrle) = &self.xbzrle {
            xbzrle.send(writer, to)?;
        }
        Ok(self.batch.count)
    }

    /// Takes the next pending pages for a channel that will copy them itself: at most `max_bytes` of content and at most a packet's worth.
    pub fn hand_out(&mut self, max_bytes: u64) -> HandOut {
        let max_pages = (max_bytes as usize / PAGE_BYTES).clamp(1, PACKET_PAGES);
        let mut out = HandOut::default();
        let mut pages = 0;
        while pages < max_pages
            && out.zero_pages < MAX_ZERO_PAGES as u64
            && out.zero_runs.len() < MAX_RUNS
            && let Some(page) = self.pending.next_from(self.cursor)
        {
            self.pending.remove(page);
            self.cursor = page + 1;
            out.resent += u64::from(!self.sent_before.insert(page));
            if self.detect_zero && self.region.is_zero(page) {
                extend(&mut out.zero_runs, page);
                out.zero_pages += 1;
            } else {
                extend(&mut out.runs, page);
                pages += 1;
            }
        }
        out
    }

    fn fill(&mut self, max_bytes: u64) {
        let max_pages = (max_bytes as usize / PAGE_BYTES).clamp(1, MAX_PAGES);
        self.batch.clear();
        self.xbzrle.iter_mut().for_each(Xbzrle::clear);
        while self.has_room(max_pages)
            && let Some(page) = self.pending.next_from(self.cursor)
        {
            self.take(page);
        }
        let differences = self.xbzrle.as_ref().map_or(0, Xbzrle::wire_bytes);
        self.batch.count.wire_bytes = self.batch.wire_bytes() + differences as u64;
    }

    fn has_room(&self, max_pages: usize) -> bool {
        let differences = self.xbzrle.as_ref().map_or(0, Xbzrle::content_bytes);
        self.batch.has_room(max_pages - (differences / PAGE_BYTES).min(max_pages))
            && self.xbzrle.as_ref().is_none_or(Xbzrle::has_room)
    }

    fn take(&mut self, page: usize) {
        self.pending.remove(page);
        if page < self.cursor
            && let Some(xbzrle) = &mut self.xbzrle
        {
            // The scan has come to its beginning again.
            xbzrle.begin();
        }
        self.cursor = page + 1;
        let is_resent = !self.sent_before.insert(page);
        let at = HEAD_BYTES + self.batch.pages * PAGE_BYTES;
        let copy = &mut self.staging[at..at + PAGE_BYTES];
        let (is_zero, content_crc) =
            self.region.copy_out_summed(page, copy, self.batch.content_crc);
        let count = &mut self.batch.count;
        if is_zero && self.detect_zero {
            self.xbzrle.iter_mut().for_each(|it| it.note_zero(page));
            extend(&mut self.batch.zero_runs, page);
            count.zero_pages += 1;
        } else {
            match tell(self.xbzrle.as_mut(), page, copy) {
                Told::Nothing => {
                    count.unchanged += 1;
                    return;
                }
                Told::Difference => {}
                Told::Whole => {
                    self.batch.content_crc = content_crc;
                    extend(&mut self.batch.runs, page);
                    self.batch.pages += 1;
                }
            }
            count.pages += 1;
        }
        count.resent += u64::from(is_resent);
    }

    fn send_pages(&mut self, writer: &mut MessageWriter, to: &mut impl Write) -> io::Result<()> {
        let Batch { runs, pages, content_crc, .. } = &self.batch;
        let mut run_bytes = Vec::with_capacity(runs.len() * RUN_BYTES);
        encode_runs(runs, &mut run_bytes);
        let body_bytes = run_bytes.len() + pages * PAGE_BYTES;
        let header = writer.header(Kind::Pages, runs.len(), body_bytes);
        let header = header.seal(crc32c(*content_crc, &run_bytes));
        let start = HEAD_BYTES - run_bytes.len() - HEADER_BYTES;
        self.staging[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
        self.staging[start + HEADER_BYTES..HEAD_BYTES].copy_from_slice(&run_bytes);
        to.write_all(&self.staging[start..HEAD_BYTES + pages * PAGE_BYTES])
    }
}

impl Batch {
    fn clear(&mut self) {
        self.runs.clear();
        self.zero_runs.clear();
        self.pages = 0;
        self.content_crc = 0;
        self.count = BatchCount::default();
    }

    fn has_room(&self, max_pages: usize) -> bool {
        self.pages < max_pages
            && self.count.zero_pages + self.count.unchanged < MAX_ZERO_PAGES as u64
            && self.runs.len() < MAX_RUNS
            && self.zero_runs.len() < MAX_RUNS
    }

    fn wire_bytes(&self) -> u64 {
        let frame = |runs: &[PageRun], pages: usize| match runs.len() {
            0 => 0,
            runs => HEADER_BYTES + runs * RUN_BYTES + pages * PAGE_BYTES,
        };
        (frame(&self.zero_runs, 0) + frame(&self.runs, self.pages)) as u64
    }
}

fn tell(xbzrle: Option<&mut Xbzrle>, page: usize, copy: &[u8]) -> Told {
    match (xbzrle, copy.first_chunk()) {
        (Some(xbzrle), Some(content)) => xbzrle.tell(page, content),
        _ => Told::Whole,
    }
}

/// Sends a frame that says which pages are zero; returns its bytes.
pub fn send_zero_runs(
    runs: &[PageRun],
    writer: &mut MessageWriter,
    to: &mut impl Write,
) -> io::Result<u64> {
    let mut bytes = vec![0; HEADER_BYTES];
    encode_runs(runs, &mut bytes);
    let header = writer.header(Kind::Zero, runs.len(), bytes.len() - HEADER_BYTES);
    let header = header.seal(crc32c(0, &bytes[HEADER_BYTES..]));
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    to.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

pub(super) fn extend(runs: &mut Vec<PageRun>, page: usize) {
    let page = page as u64;
    match runs.last_mut() {
        Some(run) if run.first + u64::from(run.count) == page && run.count < u16::MAX => {
            run.count += 1;
        }
        _ => runs.push(PageRun { first: page, count: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use sterna_sys::region::{HugePages, RegionOptions};
    use sterna_wire::stream::{Header, MessageReader, decode_runs};

    fn region(pages: usize) -> Arc<Region> {
        let bytes = (pages * PAGE_BYTES) as u64;
        let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
        Arc::new(Region::new(&options).unwrap())
    }

    /// Sends everything pending and returns the frames as (kind, runs).
    fn send_all(sender: &mut RamSender, max_bytes: u64) -> (Vec<(Kind, Vec<PageRun>)>, BatchCount) {
        let (mut wire, mut writer) = (Vec::new(), MessageWriter::default());
        let mut sum = BatchCount::default();
        while sender.pending_bytes() > 0 {
            let count = sender.send_batch(max_bytes, &mut writer, &mut wire).unwrap();
            sum.pages += count.pages;
            sum.zero_pages += count.zero_pages;
            sum.resent += count.resent;
            sum.wire_bytes += count.wire_bytes;
        }
        assert_eq!(wire.len() as u64, sum.wire_bytes);
        let (mut from, mut reader, mut frames) =
            (wire.as_slice(), MessageReader::default(), Vec::new());
        while !from.is_empty() {
            let header: Header = reader.header(&mut from).unwrap();
            let (body, rest) = from.split_at(header.body_bytes as usize);
            let (run_bytes, content) = body.split_at(usize::from(header.runs) * RUN_BYTES);
            header.check(crc32c(crc32c(0, content), run_bytes)).unwrap();
            let mut runs = Vec::new();
            decode_runs(header.kind, run_bytes, 1 << 20, &mut runs).unwrap();
            frames.push((header.kind, runs));
            from = rest;
        }
        (frames, sum)
    }

    #[test]
    fn zero_pages_travel_as_marks_and_contents_as_runs() {
        let region = region(1000);
        region.page(3)[511].store(1, Ordering::Relaxed);
        region.page(4)[0].store(1, Ordering::Relaxed);
        let mut sender = RamSender::new(Arc::clone(&region), true);
        let (frames, count) = send_all(&mut sender, 1 << 20);
        let run = |first, count| PageRun { first, count };
        assert_eq!(
            frames,
            [(Kind::Zero, vec![run(0, 3), run(5, 995)]), (Kind::Pages, vec![run(3, 2)])]
        );
        assert_eq!((count.pages, count.zero_pages, count.resent), (2, 998, 0));

        sender.add(3, 1);
        let (frames, count) = send_all(&mut sender, 1 << 20);
        assert_eq!(frames, [(Kind::Pages, vec![run(3, 1)])]);
        assert_eq!(count.resent, 1);
    }

    #[test]
    fn without_detection_zero_pages_are_sent_in_full() {
        let (_, count) = send_all(&mut RamSender::new(region(10), false), 1 << 20);
        assert_eq!((count.pages, count.zero_pages), (10, 0));
    }

    #[test]
    fn a_batch_keeps_to_the_bytes_it_is_given() {
        let mut sender = RamSender::new(region(10), false);
        let mut pages = |max_bytes| {
            let sent = sender.send_batch(max_bytes, &mut MessageWriter::default(), &mut io::sink());
            sent.unwrap().pages
        };
        assert_eq!(pages(3 * 4096 + 5), 3);
        assert_eq!(pages(0), 1);
    }

    #[test]
    fn pages_are_handed_out_a_packet_at_a_time_and_zero_ones_apart() {
        let region = region(1000);
        for page in 300..1000 {
            region.page(page)[0].store(1, Ordering::Relaxed);
        }
        let mut sender = RamSender::new(Arc::clone(&region), true);
        let out = sender.hand_out(u64::MAX);
        let run = |first, count| PageRun { first, count };
        assert_eq!((out.zero_runs, out.zero_pages), (vec![run(0, 300)], 300));
        assert_eq!(out.runs, [run(300, 128)]);
        assert_eq!(sender.hand_out(3 * 4096).runs, [run(428, 3)]);
        sender.add(300, 1);
        while sender.pending_bytes() > 4096 {
            assert_eq!(sender.hand_out(0).resent, 0);
        }
        assert_eq!(sender.hand_out(0).resent, 1);
    }

    #[test]
    fn the_lost_page_is_one_that_was_sent_before() {
        let mut sender = RamSender::new(region(100), false);
        sender.fill(50 * 4096);
        sender.add(7, 1);
        sender.lose_one_page();
        assert!(!sender.pending.contains(7));
        assert_eq!(sender.pending.len(), 50);
    }
}
