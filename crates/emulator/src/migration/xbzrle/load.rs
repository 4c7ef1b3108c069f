//! Differences on their way into the destination's memory.

use std::io::Read;

use sterna_sys::crc32c;
use sterna_sys::region::Region;
use sterna_wire::stream::{
    FrameError, Header, Kind, PAGE_BYTES, PIECE_BYTES, PageContent, Piece, ReadError, apply_delta,
    decode_pieces,
};

/// Takes in frames of differences; its buffers are used again and again.
#[derive(Debug)]
pub struct Deltas {
    body: Vec<u8>,
    pieces: Vec<Piece>,
    page: Box<PageContent>,
}

impl Default for Deltas {
    fn default() -> Deltas {
        Deltas { body: Vec::new(), pieces: Vec::new(), page: Box::new([0; PAGE_BYTES]) }
    }
}

impl Deltas {
    /// Reads the body of a frame and brings its pages up to date.
    ///
    /// Nothing is written before all of the frame has passed its checksum and its pages were seen to lie within the guest; a page whose difference is no such thing is left as it was.
    pub fn load(
        &mut self,
        from: &mut impl Read,
        header: &Header,
        region: &Region,
    ) -> Result<(), ReadError> {
        // The header's bound was checked when it was read.
        self.body.resize(header.body_bytes as usize, 0);
        from.read_exact(&mut self.body)?;
        header.check(crc32c(0, &self.body))?;
        let malformed = |detail| FrameError::Malformed { kind: Kind::Deltas, detail };
        let index_bytes = usize::from(header.runs) * PIECE_BYTES;
        let Some((index, mut content)) = self.body.split_at_checked(index_bytes) else {
            return Err(malformed("its pieces do not fit".to_owned()).into());
        };
        let content_bytes = decode_pieces(index, region.pages() as u64, &mut self.pieces)?;
        if content_bytes != content.len() as u64 {
            return Err(malformed(format!(
                "{} bytes of content for pieces of {content_bytes}",
                content.len()
            ))
            .into());
        }
        for piece in &self.pieces {
            let (delta, rest) = content.split_at(usize::from(piece.bytes));
            content = rest;
            let page = piece.page as usize;
            region.copy_out(page, self.page.as_mut_slice());
            apply_delta(delta, &mut self.page).map_err(|error| {
                malformed(format!("the difference of page {page} is none: {error}"))
            })?;
            region.copy_in(page, self.page.as_slice());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::xbzrle::{Told, Xbzrle};
    use sterna_sys::region::{HugePages, RegionOptions};
    use sterna_wire::stream::{HEADER_BYTES, MessageReader, MessageWriter};

    fn region() -> Region {
        let options =
            RegionOptions { bytes: 16 * 4096, huge_pages: HugePages::None, locked: false };
        Region::new(&options).unwrap()
    }

    /// A frame that tells page 3 (all ones before) with a byte changed.
    fn frame() -> Vec<u8> {
        let mut sender = Xbzrle::new(1 << 20);
        sender.begin();
        sender.tell(3, &[1; PAGE_BYTES]);
        let mut changed = [1; PAGE_BYTES];
        changed[77] = 9;
        assert_eq!(sender.tell(3, &changed), Told::Difference);
        let mut frame = Vec::new();
        sender.send(&mut MessageWriter::default(), &mut frame).unwrap();
        assert_eq!(frame.len(), sender.wire_bytes());
        frame
    }

    fn load(mut frame: &[u8], region: &Region) -> Result<(), ReadError> {
        let header = MessageReader::default().header(&mut frame)?;
        Deltas::default().load(&mut frame, &header, region)
    }

    fn sealed(mut frame: Vec<u8>, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        change(&mut frame);
        let (head, body) = frame.split_first_chunk::<HEADER_BYTES>().unwrap();
        let mut header = Header::decode(head).unwrap();
        header.body_bytes = body.len() as u32;
        [header.seal(crc32c(0, body)).encode().as_slice(), body].concat()
    }

    #[test]
    fn a_difference_brings_its_page_up_to_date() {
        let region = region();
        region.copy_in(3, &[1; PAGE_BYTES]);
        load(&frame(), &region).unwrap();
        let mut page = [0; PAGE_BYTES];
        region.copy_out(3, &mut page);
        assert_eq!((page[76], page[77], page[78]), (1, 9, 1));
    }

    #[test]
    fn liars_are_refused_and_change_nothing() {
        #[track_caller]
        fn check(change: impl Fn(&mut Vec<u8>), expected: &str) {
            let region = region();
            let error = load(&sealed(frame(), change), &region).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!((0..16).all(|page| region.is_zero(page)));
        }
        check(|it| it[HEADER_BYTES] = 16, "page 16 lies outside");
        check(|it| it[HEADER_BYTES + 6] = 4, "bytes of content for pieces of 4");
        check(|it| it.push(0), "bytes of content");
        // 77 bytes as before, then 96 that are not there.
        check(|it| it[HEADER_BYTES + 9] = 0x60, "ends within a pair");
        check(|it| it[HEADER_BYTES + 9] = 0, "empty run");

        let mut damaged = frame();
        *damaged.last_mut().unwrap() ^= 1;
        let error = load(&damaged, &region()).unwrap_err().to_string();
        assert!(error.contains("Checksum mismatch"), "{error}");
        let cut = load(&frame()[..20], &region());
        assert!(matches!(cut, Err(ReadError::Closed)));
    }
}
