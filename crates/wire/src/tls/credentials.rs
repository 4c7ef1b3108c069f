//! A directory of certificates and keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
    ServerConnection, version::TLS13,
};

use super::{
    CA_CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_CERTIFICATE, SERVER_KEY, TlsError,
};

/// What a directory gives: the authority, and a certificate to listen with, to connect with, or both.
#[derive(Clone, Debug)]
pub struct Credentials {
    directory: PathBuf,
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
}

impl Credentials {
    /// Reads a directory. Either side's certificate may be missing, which is an error only where it is needed.
    ///
    /// # Errors
    /// A file that is there and cannot be used, no authority, or neither certificate.
    pub fn load(directory: &Path) -> Result<Credentials, TlsError> {
        let authority = Arc::new(authority(&directory.join(CA_CERTIFICATE))?);
        let client = identity(directory, CLIENT_CERTIFICATE, CLIENT_KEY)?
            .map(|it| client(Arc::clone(&authority), it, &directory.join(CLIENT_CERTIFICATE)))
            .transpose()?;
        let server = identity(directory, SERVER_CERTIFICATE, SERVER_KEY)?
            .map(|it| server(authority, it, &directory.join(SERVER_CERTIFICATE)))
            .transpose()?;
        let found = Credentials { directory: directory.to_owned(), client, server };
        if found.client.is_none() {
            // Without any of the two, the client's is named as missing.
            found.server.as_ref().ok_or_else(|| found.missing(CLIENT_CERTIFICATE))?;
        }
        Ok(found)
    }

    /// Where they were read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The beginning of a connection to the machine that is known as `name`.
    pub(super) fn connect(&self, name: &str) -> Result<ClientConnection, TlsError> {
        let config = self.client.as_ref().ok_or_else(|| self.missing(CLIENT_CERTIFICATE))?;
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|_| TlsError::Name(name.to_owned()))?;
        ClientConnection::new(Arc::clone(config), server)
            .map_err(|error| TlsError::Handshake(super::explain(&error)))
    }

    /// The beginning of a connection that somebody else has made.
    pub(super) fn accept(&self) -> Result<ServerConnection, TlsError> {
        let config = self.server.as_ref().ok_or_else(|| self.missing(SERVER_CERTIFICATE))?;
        ServerConnection::new(Arc::clone(config))
            .map_err(|error| TlsError::Handshake(super::explain(&error)))
    }

    /// Whether connections can be accepted with these.
    ///
    /// # Errors
    /// The server's certificate is not in the directory.
    pub fn check_server(&self) -> Result<(), TlsError> {
        self.server.as_ref().map(|_| ()).ok_or_else(|| self.missing(SERVER_CERTIFICATE))
    }

    /// Whether connections can be made with these.
    ///
    /// # Errors
    /// The client's certificate is not in the directory.
    pub fn check_client(&self) -> Result<(), TlsError> {
        self.client.as_ref().map(|_| ()).ok_or_else(|| self.missing(CLIENT_CERTIFICATE))
    }

    fn missing(&self, file: &str) -> TlsError {
        let reason = "there is no such file".to_owned();
        TlsError::File { path: self.directory.join(file), reason }
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| unusable(path, error))?;
    }
    Ok(store)
}

/// `None` when there is no certificate; one without its key is an error.
fn identity(directory: &Path, certificate: &str, key: &str) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = (directory.join(certificate), directory.join(key));
    if !certificate.exists() {
        return Ok(None);
    }
    let chain = certificates(&certificate)?;
    let found = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error))?;
    Ok(Some((chain, found)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unusable(path, error))?;
    match found.is_empty() {
        true => Err(unusable(path, "it holds no certificate")),
        false => Ok(found),
    }
}

fn client(
    authority: Arc<RootCertStore>,
    (chain, key): Identity,
    path: &Path,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authority), provider())
        .build()
        .map_err(|error| unusable(path, error))?;
    check_use(verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()), path)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(path, error))?
        .with_root_certificates(authority)
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(path, error))?;
    Ok(Arc::new(config))
}

fn server(
    authority: Arc<RootCertStore>,
    (chain, key): Identity,
    path: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    let own = ParsedCertificate::try_from(&chain[0]).map_err(|error| unusable(path, error))?;
    let algorithms = provider().signature_verification_algorithms.all;
    let now = UnixTime::now();
    let checked = rustls::client::verify_server_cert_signed_by_trust_anchor(
        &own,
        &authority,
        &chain[1..],
        now,
        algorithms,
    );
    check_use(checked, path)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(authority, provider())
        .build()
        .map_err(|error| unusable(path, error))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(path, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(path, error))?;
    // Nobody comes back with a ticket, and without them a client reads nothing that it did not ask for.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Whether our own certificate is one for this use. Its dates and its authority are left to the peers, whose clocks and authorities may be others.
fn check_use<T>(checked: Result<T, Error>, path: &Path) -> Result<(), TlsError> {
    use CertificateError::{InvalidPurpose, InvalidPurposeContext};
    match checked {
        Err(Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. })) => {
            let reason = "it is a certificate for another purpose; are the server's and the client's mixed up?";
            Err(unusable(path, reason))
        }
        _ => Ok(()),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: error.to_string() }
}
