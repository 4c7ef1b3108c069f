//! Pages of a guest that does not run here yet, read straight into its memory.

use std::io::Read;

use sterna_sys::crc32c;
use sterna_wire::stream::{
    FrameError, Header, Kind, PAGE_BYTES, RUN_BYTES, ReadError, decode_runs,
};

use super::{Load, LoadError};

impl Load<'_> {
    pub(super) fn load_pages(&mut self, header: &Header) -> Result<(), LoadError> {
        let runs_crc = self.read_runs(header)?;
        let pages: usize = self.runs.iter().map(|it| usize::from(it.count)).sum();
        let content_bytes = header.body_bytes as usize - self.runs.len() * RUN_BYTES;
        if content_bytes != pages * PAGE_BYTES {
            let detail = format!("{content_bytes} bytes of content for {pages} pages");
            return Err(FrameError::Malformed { kind: Kind::Pages, detail }.into());
        }
        let region = &self.guest.region;
        self.inbound.read_pages(region, &self.runs).map_err(ReadError::from)?;
        let content_crc = self
            .runs
            .iter()
            .fold(0, |crc, run| region.crc32c(run.first as usize, usize::from(run.count), crc));
        header.check(crc32c(content_crc, &runs_crc))?;
        Ok(())
    }

    pub(super) fn load_zero_pages(&mut self, header: &Header) -> Result<(), LoadError> {
        let bytes = self.read_runs(header)?;
        if bytes.len() != header.body_bytes as usize {
            let detail = format!("{} bytes behind the runs", header.body_bytes);
            return Err(FrameError::Malformed { kind: Kind::Zero, detail }.into());
        }
        header.check(crc32c(0, &bytes))?;
        for run in &self.runs {
            for page in run.first..run.first + u64::from(run.count) {
                // A page that is zero already stays unpopulated.
                if !self.guest.region.is_zero(page as usize) {
                    self.guest.region.zero(page as usize);
                }
            }
        }
        Ok(())
    }

    /// Reads and checks the runs of a frame; returns their bytes, which the checksum covers.
    fn read_runs(&mut self, header: &Header) -> Result<Vec<u8>, LoadError> {
        let mut bytes = vec![0; usize::from(header.runs) * RUN_BYTES];
        self.inbound.read_exact(&mut bytes).map_err(ReadError::from)?;
        let ram_pages = self.guest.region.pages() as u64;
        decode_runs(header.kind, &bytes, ram_pages, &mut self.runs)?;
        Ok(bytes)
    }
}
