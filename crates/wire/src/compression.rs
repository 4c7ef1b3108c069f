//! Compressing what travels, packet by packet.
//!
//! Each packet stands for itself: it can be unpacked without those before it, and its unpacked length is known before, so a peer cannot make us allocate or unpack more than that.

use std::fmt;
use std::io;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use crate::stream::Compression;

/// QEMU's default level for both methods: on a fast link a higher one costs more time than it saves.
const DEFAULT_LEVEL: u8 = 1;

/// Packs with one method; its working memory is kept from packet to packet.
pub struct Compressor {
    engine: Engine,
}

enum Engine {
    Zlib(Box<Compress>),
    Zstd(zstd::bulk::Compressor<'static>),
}

/// Unpacks what a [`Compressor`] has packed, by any method.
pub struct Decompressor {
    zlib: Decompress,
    zstd: zstd::bulk::Decompressor<'static>,
}

/// Packed bytes that do not unpack to what they should.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The method's own complaint.
    #[error("Damaged {} content: {reason}", .method.name())]
    Damaged {
        /// The method that was named.
        method: Compression,
        /// What is wrong.
        reason: String,
    },
    /// The length is another one.
    #[error("{} content unpacks to {found} bytes where {expected} were due", .method.name())]
    Length {
        /// The method that was named.
        method: Compression,
        /// What came out.
        found: usize,
        /// What should have.
        expected: usize,
    },
}

impl Compressor {
    /// A compressor, or `None` for [`Compression::None`]; without a level, QEMU's.
    ///
    /// # Errors
    /// No memory, or a level that zstd does not have.
    pub fn new(method: Compression, level: Option<u8>) -> io::Result<Option<Compressor>> {
        let level = level.unwrap_or(DEFAULT_LEVEL);
        let engine = match method {
            Compression::None => return Ok(None),
            Compression::Zlib => {
                let level = flate2::Compression::new(u32::from(level.min(9)));
                Engine::Zlib(Box::new(Compress::new(level, true)))
            }
            Compression::Zstd => Engine::Zstd(zstd::bulk::Compressor::new(i32::from(level))?),
        };
        Ok(Some(Compressor { engine }))
    }

    /// The method.
    pub fn method(&self) -> Compression {
        match self.engine {
            Engine::Zlib(_) => Compression::Zlib,
            Engine::Zstd(_) => Compression::Zstd,
        }
    }

    /// Packs `from` into `to`; `None` when it does not fit, which is how a caller says "not worth it".
    pub fn compress(&mut self, from: &[u8], to: &mut [u8]) -> Option<usize> {
        match &mut self.engine {
            Engine::Zlib(zlib) => {
                zlib.reset();
                let status = zlib.compress(from, to, FlushCompress::Finish);
                matches!(status, Ok(Status::StreamEnd)).then(|| zlib.total_out() as usize)
            }
            Engine::Zstd(zstd) => zstd.compress_to_buffer(from, to).ok(),
        }
    }
}

impl Decompressor {
    /// A decompressor for every method.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Decompressor> {
        Ok(Decompressor { zlib: Decompress::new(true), zstd: zstd::bulk::Decompressor::new()? })
    }

    /// Unpacks `from` so that it fills exactly `to`.
    ///
    /// # Errors
    /// Damage, or another length than that of `to`; nothing is ever written beyond it.
    pub fn decompress(
        &mut self,
        method: Compression,
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(), DecompressError> {
        let damaged = |reason: String| DecompressError::Damaged { method, reason };
        let found = match method {
            Compression::None => {
                return Err(damaged("it is not compressed".to_owned()));
            }
            Compression::Zlib => {
                self.zlib.reset(true);
                let status = self.zlib.decompress(from, to, FlushDecompress::Finish);
                match status.map_err(|error| damaged(error.to_string()))? {
                    Status::StreamEnd if self.zlib.total_in() == from.len() as u64 => {
                        self.zlib.total_out() as usize
                    }
                    Status::StreamEnd => return Err(damaged("bytes follow its end".to_owned())),
                    Status::Ok | Status::BufError => {
                        return Err(damaged("its end is missing, or it is too long".to_owned()));
                    }
                }
            }
            Compression::Zstd => self
                .zstd
                .decompress_to_buffer(from, to)
                .map_err(|error| damaged(error.to_string()))?,
        };
        let expected = to.len();
        if found == expected {
            Ok(())
        } else {
            Err(DecompressError::Length { method, found, expected })
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("method", &self.method()).finish()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METHODS: [Compression; 2] = [Compression::Zlib, Compression::Zstd];

    fn pack(method: Compression, level: u8, from: &[u8]) -> Option<Vec<u8>> {
        let mut compressor = Compressor::new(method, Some(level)).unwrap().unwrap();
        let mut to = vec![0; from.len()];
        // The second time shows that nothing is left of the first.
        compressor.compress(from, &mut to);
        let bytes = compressor.compress(from, &mut to)?;
        to.truncate(bytes);
        Some(to)
    }

    fn unpack(method: Compression, from: &[u8], bytes: usize) -> Result<Vec<u8>, DecompressError> {
        let mut to = vec![0; bytes];
        let mut decompressor = Decompressor::new().unwrap();
        let _ = decompressor.decompress(method, from, &mut to);
        decompressor.decompress(method, from, &mut to).map(|()| to)
    }

    #[test]
    fn content_survives_at_every_level() {
        let content: Vec<u8> = (0..40_000u32).map(|it| (it / 100) as u8).collect();
        for (method, levels) in [(Compression::Zlib, 1..=9), (Compression::Zstd, 0..=20)] {
            for level in levels {
                let packed = pack(method, level, &content).unwrap();
                assert!(packed.len() < content.len() / 4, "{method:?} {level}");
                assert_eq!(unpack(method, &packed, content.len()).unwrap(), content);
            }
        }
    }

    #[test]
    fn what_does_not_get_smaller_is_not_packed() {
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(8192)
        .collect();
        for method in METHODS {
            assert_eq!(pack(method, 1, &noise), None);
        }
        assert!(Compressor::new(Compression::None, None).unwrap().is_none());
        assert!(Decompressor::new().unwrap().decompress(Compression::None, b"", &mut []).is_err());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let content = vec![7; 10_000];
        for method in METHODS {
            let packed = pack(method, 1, &content).unwrap();
            for bytes in [0, 9_999, 10_001, 1 << 20] {
                assert!(unpack(method, &packed, bytes).is_err(), "{method:?} {bytes}");
            }
            assert!(unpack(method, &packed[..packed.len() - 1], 10_000).is_err());
            assert!(unpack(method, b"", 10_000).is_err());
        }
        let packed = pack(Compression::Zlib, 1, &content).unwrap();
        let longer = [packed.as_slice(), &[0]].concat();
        let error = unpack(Compression::Zlib, &longer, 10_000).unwrap_err();
        assert!(error.to_string().contains("bytes follow"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_unpack_within_bounds_or_fail(bytes: Vec<u8>, length in 0usize..5000) {
            for method in METHODS {
                let _ = unpack(method, &bytes, length);
            }
        }
    }
}
