//! Receiving pages of a guest that runs already.

use std::io::{self, Read};

use sterna_sys::clock::monotonic_ns;
use sterna_sys::crc32c;
use sterna_sys::tracking::{Placed, Uffd};
use sterna_wire::stream::{
    FrameError, Header, Kind, MAX_PAGES, MAX_RUNS, PAGE_BYTES, PageRun, RUN_BYTES, ReadError,
    decode_runs,
};

use super::fault_book::FaultBook;
use crate::migration::page_set::PageSet;

/// Takes page frames from a connection and places their pages, each connection with a placer of its own.
pub struct Placer<'a> {
    uffd: &'a Uffd,
    book: &'a FaultBook,
    ram_pages: u64,
    runs: Vec<PageRun>,
    bounce: Vec<u8>,
    /// Large pages of which a part has come; none where pages are small.
    parts: Vec<Assembly>,
}

/// A large page that is being put together, since it can only be placed as a whole.
struct Assembly {
    first: usize,
    content: Vec<u8>,
    missing: PageSet,
}

/// Most large pages that may be in parts at once: a source sends one after the other, so a batch holds the end of one and the beginning of the next.
const MAX_PARTS: usize = 4;

/// Why a page could not be received.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The frame could not be read, or lies.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel does not take the page.
    #[error("A page cannot be placed: {0}")]
    Place(#[source] io::Error),
}

impl From<FrameError> for PlaceError {
    fn from(error: FrameError) -> PlaceError {
        PlaceError::Read(error.into())
    }
}

impl<'a> Placer<'a> {
    /// A placer for a guest of `ram_pages` pages.
    pub fn new(uffd: &'a Uffd, book: &'a FaultBook, ram_pages: u64) -> Placer<'a> {
        let bounce = vec![0; MAX_RUNS * RUN_BYTES + MAX_PAGES * PAGE_BYTES];
        let (runs, parts) = Default::default();
        Placer { uffd, book, ram_pages, runs, bounce, parts }
    }

    /// Reads the body of a frame of kind `Pages` or `Zero`, checks it as a whole and places its pages; returns how many they are.
    ///
    /// # Errors
    /// Nothing of a frame that cannot be read or lies is placed.
    pub fn take(&mut self, header: &Header, from: &mut impl Read) -> Result<u64, PlaceError> {
        // The bound of the kind, which the header was checked against, is the size of the buffer.
        let body = &mut self.bounce[..header.body_bytes as usize];
        from.read_exact(body).map_err(ReadError::from)?;
        let run_bytes = usize::from(header.runs) * RUN_BYTES;
        let (runs, content) = body.split_at(run_bytes);
        header.check(crc32c(crc32c(0, content), runs))?;
        let pages = decode_runs(header.kind, runs, self.ram_pages, &mut self.runs)?;
        let content_pages = if header.kind == Kind::Pages { pages as usize } else { 0 };
        if content.len() != content_pages * PAGE_BYTES {
            let detail = format!("{} bytes of content for {content_pages} pages", content.len());
            return Err(FrameError::Malformed { kind: header.kind, detail }.into());
        }
        if self.book.unit() > 1 {
            let content = (header.kind == Kind::Pages).then_some(content);
            assemble(&mut self.parts, self.uffd, self.book, &self.runs, content)?;
            return Ok(pages);
        }
        let placed = match header.kind {
            Kind::Pages => place(self.uffd, &self.runs, content),
            _ => place_zeros(self.uffd, &self.runs),
        };
        let new_pages = placed.map_err(PlaceError::Place)?;
        self.book.placed(&self.runs, new_pages, monotonic_ns());
        Ok(pages)
    }
}

/// Puts pages (zeros where there is no content) into the large ones they are of, and places those that are whole then.
fn assemble(
    parts: &mut Vec<Assembly>,
    uffd: &Uffd,
    book: &FaultBook,
    runs: &[PageRun],
    content: Option<&[u8]>,
) -> Result<(), PlaceError> {
    let unit = usize::from(book.unit());
    let pages = runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count));
    for (index, page) in pages.enumerate() {
        let (first, page) = (page as usize / unit * unit, page as usize % unit);
        let at = match parts.iter().position(|it| it.first == first) {
            Some(at) => at,
            None if parts.len() == MAX_PARTS => {
                let detail = format!("more than {MAX_PARTS} large pages come in parts at once");
                return Err(FrameError::Malformed { kind: Kind::Pages, detail }.into());
            }
            None => {
                let content = vec![0; unit * PAGE_BYTES];
                parts.push(Assembly { first, content, missing: PageSet::full(unit) });
                parts.len() - 1
            }
        };
        let part = &mut parts[at];
        if let Some(content) = content {
            let from = &content[index * PAGE_BYTES..][..PAGE_BYTES];
            part.content[page * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(from);
        }
        part.missing.remove(page);
        if part.missing.is_empty() {
            let Assembly { content, .. } = parts.swap_remove(at);
            let new_pages = uffd.copy_pages(first, &content).map_err(PlaceError::Place)?;
            let run = PageRun { first: first as u64, count: unit as u16 };
            book.placed(&[run], new_pages, monotonic_ns());
        }
    }
    Ok(())
}

fn place(uffd: &Uffd, runs: &[PageRun], mut content: &[u8]) -> io::Result<usize> {
    let mut new_pages = 0;
    for run in runs {
        let (pages, rest) = content.split_at(usize::from(run.count) * PAGE_BYTES);
        new_pages += uffd.copy_pages(run.first as usize, pages)?;
        content = rest;
    }
    Ok(new_pages)
}

fn place_zeros(uffd: &Uffd, runs: &[PageRun]) -> io::Result<usize> {
    let mut new_pages = 0;
    for page in runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)) {
        new_pages += usize::from(uffd.zero_page(page as usize)? == Placed::Now);
    }
    Ok(new_pages)
}
