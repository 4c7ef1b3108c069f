//! Pieces: which page each difference in a `Deltas` frame is for, and how long it is.

use super::{FrameError, Kind, PAGE_BYTES};

/// Bytes of one encoded piece, its content not counted.
pub const PIECE_BYTES: usize = 8;

/// Most pieces in one frame.
pub const MAX_PIECES: usize = 256;

/// The difference of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the page; 48 bits on the wire.
    pub page: u64,
    /// Bytes of its difference, from 1 to a page.
    pub bytes: u16,
}

/// Appends pieces: 6 bytes page, 2 bytes length, each little-endian.
pub fn encode_pieces(pieces: &[Piece], to: &mut Vec<u8>) {
    for piece in pieces {
        to.extend_from_slice(&piece.page.to_le_bytes()[..6]);
        to.extend_from_slice(&piece.bytes.to_le_bytes());
    }
}

/// Decodes pieces into `to`, checks that they lie within `ram_pages`, and returns the bytes of all differences.
pub fn decode_pieces(bytes: &[u8], ram_pages: u64, to: &mut Vec<Piece>) -> Result<u64, FrameError> {
    let malformed = |detail| FrameError::Malformed { kind: Kind::Deltas, detail };
    let (chunks, rest) = bytes.as_chunks::<PIECE_BYTES>();
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes are no whole number of pieces", bytes.len())));
    }
    to.clear();
    let mut content_bytes = 0;
    for chunk in chunks {
        let [a, b, c, d, e, f, low, high] = *chunk;
        let piece = Piece {
            page: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            bytes: u16::from_le_bytes([low, high]),
        };
        if piece.page >= ram_pages {
            return Err(malformed(format!(
                "page {} lies outside the guest's {ram_pages} pages",
                piece.page
            )));
        }
        if piece.bytes == 0 || usize::from(piece.bytes) > PAGE_BYTES {
            return Err(malformed(format!(
                "the difference of page {} claims {} bytes",
                piece.page, piece.bytes
            )));
        }
        content_bytes += u64::from(piece.bytes);
        to.push(piece);
    }
    Ok(content_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_have_golden_bytes() {
        let mut bytes = Vec::new();
        encode_pieces(&[Piece { page: 0x0102_0304_0506, bytes: 0x0708 }], &mut bytes);
        assert_eq!(bytes, [6, 5, 4, 3, 2, 1, 8, 7]);
    }

    #[test]
    fn lying_pieces_are_refused() {
        #[track_caller]
        fn check(page: u64, bytes: u16, expected: &str) {
            let mut encoded = Vec::new();
            encode_pieces(&[Piece { page, bytes }], &mut encoded);
            let error = decode_pieces(&encoded, 1000, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(1000, 1, "outside");
        check((1 << 48) - 1, 1, "outside");
        check(0, 0, "claims 0 bytes");
        check(0, 4097, "claims 4097 bytes");
        assert!(decode_pieces(&[0; 7], 10, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn pieces_round_trip(pairs in prop::collection::vec((0u64..1 << 40, 1u16..=4096), 1..50)) {
            let pieces: Vec<Piece> =
                pairs.into_iter().map(|(page, bytes)| Piece { page, bytes }).collect();
            let mut bytes = Vec::new();
            encode_pieces(&pieces, &mut bytes);
            let mut found = Vec::new();
            let content = decode_pieces(&bytes, 1 << 40, &mut found).unwrap();
            prop_assert_eq!(content, pieces.iter().map(|it| u64::from(it.bytes)).sum::<u64>());
            prop_assert_eq!(found, pieces);
        }
    }
}
