//! Encrypted connections (TLS 1.3) on which both ends show a certificate.
//!
//! Both certificates are signed by one authority, which belongs to the user alone: whoever holds one of them belongs to us, and nobody else does.
//! The names of the files are those that QEMU reads from the `dir` of its `tls-creds-x509`, so one directory serves both.
//!
//! - [`Credentials`]: such a directory, read.
//! - [`issue`]: such a directory, made; [`issue_nameless`]: the same for one run, on no disk.
//! - [`TlsStream`]: a connection.

mod credentials;
mod error;
mod issue;
mod stream;

pub use credentials::Credentials;
pub use error::{TlsError, explain};
pub use issue::{Issued, issue, issue_nameless};
pub use stream::TlsStream;

/// The authority's certificate.
pub const CA_CERTIFICATE: &str = "ca-cert.pem";
/// The authority's key: needed to sign more certificates, and on no machine that only migrates.
pub const CA_KEY: &str = "ca-key.pem";
/// Shown by who listens.
pub const SERVER_CERTIFICATE: &str = "server-cert.pem";
/// Its key.
pub const SERVER_KEY: &str = "server-key.pem";
/// Shown by who connects.
pub const CLIENT_CERTIFICATE: &str = "client-cert.pem";
/// Its key.
pub const CLIENT_KEY: &str = "client-key.pem";
