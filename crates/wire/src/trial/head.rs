//! What stands in front of each piece of content on a lane.

use crate::stream::{Compression, PAGE_BYTES};

/// Bytes of a [`Head`].
pub const HEAD_BYTES: usize = 16;

/// Most bytes of pages that one head announces.
pub const MAX_BLOCK_BYTES: usize = 16 << 20;

/// What follows a head. Zero is not a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Pages that nobody waits for.
    Bulk = 1,
    /// A page that was asked for.
    Page = 2,
    /// The other side asks for a page; nothing follows.
    Request = 3,
    /// Nothing more comes on this lane in this direction.
    End = 4,
}

/// How much a requested page matters; the less, the later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Urgency {
    /// A virtual processor waits for it.
    #[default]
    Awaited = 0,
    /// It is asked for ahead, because its neighbour was.
    Ahead = 1,
}

/// The 16 bytes in front of content.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | kind, never 0 |
/// | 1 | 1 | compression of the content (`Bulk`, `Page`), urgency (`Request`), otherwise 0 |
/// | 2 | 2 | pages (`Bulk`), who waits (`Request`, `Page`), otherwise 0 |
/// | 4 | 4 | bytes of content that follow |
/// | 8 | 8 | number of the page, of the first one for `Bulk`; 0 for `End` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Pages that nobody waits for.
    Bulk {
        /// The first of them.
        page: u64,
        /// How many.
        pages: u16,
        /// How their content travels.
        compression: Compression,
        /// In how many bytes.
        bytes: u32,
    },
    /// A page that was asked for.
    Page {
        /// Which.
        page: u64,
        /// Who waits for it.
        waiter: u16,
        /// How its content travels.
        compression: Compression,
        /// In how many bytes.
        bytes: u32,
    },
    /// A page is asked for.
    Request {
        /// Which.
        page: u64,
        /// Who waits for it.
        waiter: u16,
        /// How much.
        urgency: Urgency,
    },
    /// Nothing more comes.
    End,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The kind is zero or none that is known.
    #[error("Unknown kind {0} on a data connection: the peer does not speak this protocol")]
    Kind(u8),
    /// A field that must be something else.
    #[error("A head of kind {kind:?} has {value} as {field}")]
    Field {
        /// The kind.
        kind: Kind,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
}

impl Head {
    /// Bytes that follow.
    pub fn content_bytes(&self) -> usize {
        match self {
            Head::Bulk { bytes, .. } | Head::Page { bytes, .. } => *bytes as usize,
            Head::Request { .. } | Head::End => 0,
        }
    }

    /// The bytes of this head.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let (kind, detail, number, bytes, page) = match *self {
            Head::Bulk { page, pages, compression, bytes } => {
                (Kind::Bulk, compression as u8, pages, bytes, page)
            }
            Head::Page { page, waiter, compression, bytes } => {
                (Kind::Page, compression as u8, waiter, bytes, page)
            }
            Head::Request { page, waiter, urgency } => {
                (Kind::Request, urgency as u8, waiter, 0, page)
            }
            Head::End => (Kind::End, 0, 0, 0, 0),
        };
        let mut to = [0; HEAD_BYTES];
        to[0] = kind as u8;
        to[1] = detail;
        to[2..4].copy_from_slice(&number.to_le_bytes());
        to[4..8].copy_from_slice(&bytes.to_le_bytes());
        to[8..16].copy_from_slice(&page.to_le_bytes());
        to
    }

    /// Reads a head; the number of the page is the reader's to check.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn decode(from: &[u8; HEAD_BYTES]) -> Result<Head, HeadError> {
        let [kind, detail, n0, n1, b0, b1, b2, b3, page @ ..] = *from;
        let number = u16::from_le_bytes([n0, n1]);
        let bytes = u32::from_le_bytes([b0, b1, b2, b3]);
        let page = u64::from_le_bytes(page);
        match kind {
            1 => {
                let compression = compression(Kind::Bulk, detail)?;
                check_pages(number)?;
                check_bytes(Kind::Bulk, compression, usize::from(number) * PAGE_BYTES, bytes)?;
                Ok(Head::Bulk { page, pages: number, compression, bytes })
            }
            2 => {
                let compression = compression(Kind::Page, detail)?;
                check_bytes(Kind::Page, compression, PAGE_BYTES, bytes)?;
                Ok(Head::Page { page, waiter: number, compression, bytes })
            }
            3 => {
                let urgency = match detail {
                    0 => Urgency::Awaited,
                    1 => Urgency::Ahead,
                    _ => return Err(field(Kind::Request, "urgency", u64::from(detail))),
                };
                check_zero(Kind::Request, "length", u64::from(bytes))?;
                Ok(Head::Request { page, waiter: number, urgency })
            }
            4 => {
                check_zero(Kind::End, "detail", u64::from(detail))?;
                check_zero(Kind::End, "number", u64::from(number))?;
                check_zero(Kind::End, "length", u64::from(bytes))?;
                check_zero(Kind::End, "page", page)?;
                Ok(Head::End)
            }
            _ => Err(HeadError::Kind(kind)),
        }
    }
}

fn field(kind: Kind, field: &'static str, value: u64) -> HeadError {
    HeadError::Field { kind, field, value }
}

fn check_zero(kind: Kind, name: &'static str, value: u64) -> Result<(), HeadError> {
    if value == 0 { Ok(()) } else { Err(field(kind, name, value)) }
}

fn compression(kind: Kind, byte: u8) -> Result<Compression, HeadError> {
    let known = Compression::ALL.into_iter().find(|it| *it as u8 == byte);
    known.ok_or(field(kind, "compression", u64::from(byte)))
}

fn check_pages(pages: u16) -> Result<(), HeadError> {
    let most = MAX_BLOCK_BYTES / PAGE_BYTES;
    let is_good = (1..=most).contains(&usize::from(pages));
    if is_good { Ok(()) } else { Err(field(Kind::Bulk, "number of pages", u64::from(pages))) }
}

/// Content that does not get smaller travels as it is, so that its length tells it.
fn check_bytes(
    kind: Kind,
    compression: Compression,
    raw_bytes: usize,
    bytes: u32,
) -> Result<(), HeadError> {
    let found = bytes as usize;
    let is_good = match compression {
        Compression::None => found == raw_bytes,
        Compression::Zlib | Compression::Zstd => found > 0 && found < raw_bytes,
    };
    if is_good { Ok(()) } else { Err(field(kind, "length", u64::from(bytes))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BULK: Head =
        Head::Bulk { page: 0x0102, pages: 2, compression: Compression::None, bytes: 8192 };

    #[test]
    fn heads_have_golden_bytes() {
        #[track_caller]
        fn check(head: Head, golden: [u8; HEAD_BYTES]) {
            assert_eq!(head.encode(), golden);
            assert_eq!(Head::decode(&golden), Ok(head));
        }
        check(BULK, [1, 0, 2, 0, 0, 0x20, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        check(
            Head::Page { page: 7, waiter: 0x0203, compression: Compression::Zstd, bytes: 5 },
            [2, 2, 3, 2, 5, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        );
        check(
            Head::Request { page: 1 << 40, waiter: 9, urgency: Urgency::Ahead },
            [3, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        );
        check(Head::End, [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(BULK.content_bytes(), 8192);
        assert_eq!(Head::End.content_bytes(), 0);
    }

    #[test]
    fn heads_that_lie_are_refused() {
        #[track_caller]
        fn check(head: Head, changes: &[(usize, u8)], expected: &str) {
            let mut bytes = head.encode();
            changes.iter().for_each(|(at, value)| bytes[*at] = *value);
            let error = Head::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(BULK, &[(0, 0)], "Unknown kind 0");
        check(BULK, &[(0, 5)], "Unknown kind 5");
        check(BULK, &[(1, 3)], "3 as compression");
        check(BULK, &[(2, 0)], "0 as number of pages");
        check(BULK, &[(3, 0xff)], "as number of pages");
        check(BULK, &[(2, 3)], "8192 as length");
        check(BULK, &[(7, 0xff)], "as length");
        // Packed content is shorter than what it holds, and never nothing.
        check(BULK, &[(1, 1)], "8192 as length");
        check(BULK, &[(1, 1), (5, 0)], "0 as length");
        let request = Head::Request { page: 1, waiter: 0, urgency: Urgency::Awaited };
        check(request, &[(1, 2)], "2 as urgency");
        check(request, &[(4, 1)], "1 as length");
        check(Head::End, &[(15, 1)], "as page");
        check(Head::End, &[(1, 1)], "as detail");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bounded_head_or_none(bytes: [u8; HEAD_BYTES]) {
            if let Ok(head) = Head::decode(&bytes) {
                prop_assert!(head.content_bytes() <= MAX_BLOCK_BYTES);
                prop_assert_eq!(head.encode(), bytes);
            }
        }
    }
}
