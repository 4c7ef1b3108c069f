//! Loops over whole pages that other threads may be writing.

pub(crate) mod crc;
pub(crate) mod page;
