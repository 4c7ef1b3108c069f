//! Why nothing was tried.

use std::io;

use sterna_units::printable;
use sterna_wire::tls::TlsError;

use super::ConnectError;
use crate::stream::lanes::OptionError;
use crate::stream::plan::PlanError;
use crate::stream::store::StoreError;

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Beyond this machine, nothing is said in clear.
    #[error(
        "{0} is another machine, and what is said to it is always encrypted: give --tls-dir DIR, which `sterna certs DIR --host NAME` makes"
    )]
    NeedsTls(String),
    /// Pages cannot be encrypted without certificates.
    #[error(
        "--tls needs certificates: give --tls-dir DIR, which `sterna certs DIR --host NAME` makes"
    )]
    NeedsCertificates,
    /// Both exclude each other.
    #[error(
        "--zero-copy sends pages from where they are, so they cannot be encrypted: leave out one of --zero-copy and --tls"
    )]
    ZeroCopyTls,
    /// A path has no address.
    #[error("--bind and a family of addresses are for TCP, and {0} is a Unix socket")]
    NotTcp(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server does not want to.
    #[error("The server at {at} refuses: {}", printable(reason))]
    Refused {
        /// Where.
        at: String,
        /// Its reason, in its own words.
        reason: String,
    },
    /// The server says nothing, or nothing that can be understood.
    #[error("The server at {at} {what}")]
    Server {
        /// Where.
        at: String,
        /// What it does.
        what: String,
    },
    /// An option of a connection.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// This machine.
    #[error("The trial cannot begin: {0}")]
    Start(io::Error),
    /// The user.
    #[error("Interrupted before anything was tried")]
    Interrupted,
}

impl ClientError {
    /// Whether the user has asked for what cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ClientError::Plan(_)
                | ClientError::NeedsTls(_)
                | ClientError::NeedsCertificates
                | ClientError::ZeroCopyTls
                | ClientError::NotTcp(_)
                | ClientError::Options(_)
                | ClientError::Tls(_)
                | ClientError::Connect(ConnectError::Options(_))
        )
    }
}
