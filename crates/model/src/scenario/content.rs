//! What pages hold after writes of each method.

use sterna_workload::Method;

use crate::guest::Content;

/// A page of one value, or of one short row of values, packed by zlib.
const REPEATED_BY_ZLIB: f64 = 0.012;

/// The same by zstd.
const REPEATED_BY_ZSTD: f64 = 0.007;

/// A difference of one word: what describes it, and up to eight bytes.
const ONE_WORD: f64 = 28.0 / 4096.0;

/// What a written page holds.
pub(super) fn written(method: Method) -> Content {
    let content = Content::INCOMPRESSIBLE;
    match method {
        Method::Touch | Method::Counter => Content { delta_share: ONE_WORD, ..content },
        Method::Write64 | Method::Write64Nt => packed(REPEATED_BY_ZLIB, REPEATED_BY_ZSTD),
        Method::Write1024 => packed(3.0 * REPEATED_BY_ZLIB, 5.0 * REPEATED_BY_ZSTD),
        Method::Zero => Content::ZERO,
        Method::XorRandom | Method::FillRandom => content,
        Method::Compressible(ratio) => {
            let share = (100.0 / f64::from(ratio.hundredths())).min(1.0);
            packed(share + REPEATED_BY_ZLIB, share + REPEATED_BY_ZSTD)
        }
    }
}

/// What a region holds of which `share` was written.
pub(super) fn mixed(share: f64, written: Content) -> Content {
    let filled = Content::INCOMPRESSIBLE;
    let zero_share = share * written.zero_share;
    // Shares of packed pages count among those that are not zero.
    let full = share * (1.0 - written.zero_share);
    let weight = if zero_share < 1.0 { full / (1.0 - zero_share) } else { 0.0 };
    let mix = |filled: f64, written: f64| filled * (1.0 - weight) + written * weight;
    Content {
        zero_share,
        zlib_share: mix(filled.zlib_share, written.zlib_share),
        zstd_share: mix(filled.zstd_share, written.zstd_share),
        delta_share: mix(filled.delta_share, written.delta_share),
    }
}

fn packed(zlib_share: f64, zstd_share: f64) -> Content {
    let zlib_share = zlib_share.min(1.0);
    Content { zlib_share, zstd_share: zstd_share.min(1.0), ..Content::INCOMPRESSIBLE }
}
