//! What becomes of pages on their way: the transport, channels, compression, encryption.

use sterna_units::{Percent, Size};

use crate::choice::choice;

choice! {
    /// What carries the stream.
    Transport ("transport") {
        /// TCP.
        #[default]
        Tcp = "tcp",
        /// A Unix socket, on one machine only.
        Unix = "unix",
        /// Connected sockets that both sides are handed, on one machine only.
        Fd = "fd",
        /// A command's standard input and output, on one machine only.
        Exec = "exec",
        /// Remote direct memory access.
        Rdma = "rdma",
        /// A file: the source writes all of it before the destination reads any.
        File = "file",
    }
}

choice! {
    /// Who looks for pages of zeros, which need not be sent.
    ZeroPage ("zero page detection") {
        /// The thread that walks memory.
        #[default]
        Main = "main",
        /// The threads that send.
        Multifd = "multifd",
        /// Nobody: zeros travel like any page.
        Off = "off",
    }
}

/// Send through several connections, each with a thread of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multifd {
    /// How many connections.
    pub channels: u8,
    /// How pages are compressed.
    pub compression: Compression,
    /// How hard the compressor tries; `None` for its own default.
    pub level: Option<u8>,
}

choice! {
    /// How pages are compressed.
    Compression ("compression") {
        /// Not at all.
        #[default]
        None = "none",
        /// Deflate; levels 0 to 9.
        Zlib = "zlib",
        /// Zstandard; levels 0 to 20.
        Zstd = "zstd",
        /// Deflate by Intel's In-Memory Analytics Accelerator.
        Qpl = "qpl",
        /// Deflate by an accelerator of the framework UADK.
        Uadk = "uadk",
        /// Deflate by Intel QuickAssist; levels 1 to 9.
        Qatzip = "qatzip",
    }
}

/// Compress pages in threads of their own, on one connection. QEMU had it up to 9.0; multifd came in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// How hard the compressor tries, 0 to 9.
    pub level: u8,
    /// How many threads compress.
    pub threads: u8,
    /// How many threads of the destination take it apart.
    pub decompress_threads: u8,
}

/// Send what changed in a page instead of the page, if its former content is still in a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Xbzrle {
    /// How large the cache is; a percentage is of guest memory.
    pub cache: Size,
}

/// Encrypt the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How the two sides know each other.
    pub mode: TlsMode,
    /// The directory with keys or certificates, named as QEMU names them; `None` makes them for the run.
    pub credentials: Option<String>,
    /// The name that the destination's certificate must carry; `None` for the one that suits.
    pub hostname: Option<String>,
}

choice! {
    /// How the two sides of an encrypted stream know each other.
    TlsMode ("TLS mode") {
        /// Not encrypted.
        Off = "off",
        /// By a key that both were given.
        #[default]
        Psk = "psk",
        /// By certificates.
        X509 = "x509",
    }
}

impl Default for Multifd {
    fn default() -> Multifd {
        Multifd { channels: 4, compression: Compression::None, level: None }
    }
}

impl Default for Compress {
    fn default() -> Compress {
        Compress { level: 1, threads: 8, decompress_threads: 2 }
    }
}

impl Default for Xbzrle {
    fn default() -> Xbzrle {
        Xbzrle { cache: Size::Percent(const { Percent::new(25).expect("25 is at most 100") }) }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { mode: TlsMode::Psk, credentials: None, hostname: None }
    }
}
