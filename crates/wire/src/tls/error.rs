//! What can go wrong, in words that name the way out.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error};

/// Certificates that cannot be had, made or believed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the directory.
    #[error(
        "{path} cannot be used: {reason}; `sterna certs` makes a directory with all that is needed"
    )]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What would be made exists already.
    #[error("{0} exists already and is not overwritten; choose another directory, or remove it")]
    Exists(PathBuf),
    /// A name for which no certificate can be made.
    #[error("`{0}` is neither a name of a machine nor an address")]
    Name(String),
    /// No certificate can be made at all.
    #[error("No certificate can be made: {0}")]
    Issue(String),
    /// The handshake.
    #[error("{0}")]
    Handshake(String),
    /// The connection under it.
    #[error("The connection failed during the TLS handshake: {0}")]
    Io(io::Error),
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        match error {
            TlsError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// A failure of TLS for people. What the peer does not like about us comes as an alert, which says little.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => {
            "The peer shows no certificate; give it the directory that `sterna certs` made"
                .to_owned()
        }
        Error::InvalidMessage(_) => {
            "The peer does not speak TLS; start both ends with --tls-dir".to_owned()
        }
        Error::AlertReceived(alert) => alert_text(*alert),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError::*;
    match error {
        Expired | ExpiredContext { .. } => {
            "The peer's certificate has expired; make new ones with `sterna certs`".to_owned()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "The peer's certificate is not valid yet; set the clocks of both machines".to_owned()
        }
        UnknownIssuer | BadSignature => {
            "The peer's certificate is signed by another authority; both ends need files of the same `sterna certs`".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => format!(
            "The peer's certificate is for other names ({error}); give its name to `sterna certs --host`"
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "The peer's certificate is for another purpose; are the server's and the client's mixed up?".to_owned()
        }
        other => format!("The peer's certificate is not valid: {other}"),
    }
}

fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "The peer says that our certificate has expired; make new ones with `sterna certs`".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "The peer says that our certificate is signed by another authority; both ends need files of the same `sterna certs`".to_owned()
        }
        AlertDescription::CertificateRequired => {
            "The peer asks for a certificate; give --tls-dir a directory that `sterna certs` made".to_owned()
        }
        AlertDescription::HandshakeFailure => {
            "The peer does not take TLS connections; start it with --tls-dir".to_owned()
        }
        other => format!("The peer refuses our certificate: {other:?}"),
    }
}
