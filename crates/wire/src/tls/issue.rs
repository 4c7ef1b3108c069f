//! Making an authority and the certificates of both ends.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use sterna_sys::nameless::NamelessFile;

use super::{
    CA_CERTIFICATE, CA_KEY, CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_CERTIFICATE, SERVER_KEY,
    TlsError,
};

/// Names that every machine has for itself.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Clocks differ: certificates are valid from a while ago.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The files of an authority, a server and a client.
const FILES: [&str; 6] =
    [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY, CLIENT_CERTIFICATE, CLIENT_KEY];

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The files, in the order in which they were made.
    pub files: Vec<PathBuf>,
    /// The names that the server's certificate is for.
    pub names: Vec<String>,
}

/// Makes an authority, a server's and a client's certificate in `directory`, which is created when it is not there.
///
/// The server's certificate is for `names` (names of machines, or addresses) and for this machine's own.
/// Keys can be read by their owner alone. Nothing that exists is overwritten.
///
/// # Errors
/// One of the files exists, a name is none, or the directory cannot be written.
pub fn issue(directory: &Path, names: &[String], valid: Duration) -> Result<Issued, TlsError> {
    let files = FILES;
    if let Some(file) = files.iter().map(|it| directory.join(it)).find(|it| it.exists()) {
        return Err(TlsError::Exists(file));
    }
    let mut all: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    all.extend(names.iter().filter(|it| !OWN_NAMES.contains(&it.as_str())).cloned());
    // Everything is made before anything is written, so that a wrong name leaves nothing behind.
    let made = make(&all, valid)?;
    let recursive = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    recursive.map_err(|error| unwritable(directory, &error))?;
    for (file, text) in files.iter().zip(&made) {
        write(&directory.join(file), text, file.ends_with("-key.pem"))?;
    }
    Ok(Issued { files: files.iter().map(|it| directory.join(it)).collect(), names: all })
}

/// Certificates and keys for one run, on no disk: `directory`, which must not exist, holds links to files without a
/// name. They are gone with the last process that holds them, so nothing is left of a run that was killed but links.
///
/// Only this process and its children can follow the links. The authority's key is not kept, since nothing more will be signed.
///
/// # Errors
/// The directory exists or cannot be written, or a name is none.
pub fn issue_nameless(
    directory: &Path,
    names: &[String],
    valid: Duration,
) -> Result<Vec<NamelessFile>, TlsError> {
    let mut all: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    all.extend(names.iter().filter(|it| !OWN_NAMES.contains(&it.as_str())).cloned());
    let made = make(&all, valid)?;
    let created = DirBuilder::new().mode(0o700).create(directory);
    created.map_err(|error| unwritable(directory, &error))?;
    let kept = FILES.iter().zip(&made).filter(|(file, _)| **file != CA_KEY);
    let link = |(file, text): (&&str, &String)| {
        let path = directory.join(file);
        NamelessFile::linked_at(&path, text.as_bytes()).map_err(|it| unwritable(&path, &it))
    };
    kept.map(link).collect()
}

/// The texts of all files, in their order.
fn make(names: &[String], valid: Duration) -> Result<[String; 6], TlsError> {
    let now = SystemTime::now();
    let until = now.checked_add(valid).ok_or_else(|| {
        TlsError::Issue("so long a validity cannot be written down; choose fewer days".to_owned())
    })?;
    let authority = with_validity(authority_params()?, now, until);
    let authority_key = key()?;
    let authority_text = authority.self_signed(&authority_key).map_err(failed)?.pem();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let sign = |params: CertificateParams| {
        let key = key()?;
        let params = with_validity(params, now, until);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok::<_, TlsError>((certificate.pem(), key.serialize_pem()))
    };
    let (server, server_key) =
        sign(end_params(names, "Sterna host", ExtendedKeyUsagePurpose::ServerAuth)?)?;
    let (client, client_key) =
        sign(end_params(&[], "Sterna pilot", ExtendedKeyUsagePurpose::ClientAuth)?)?;
    Ok([authority_text, authority_key.serialize_pem(), server, server_key, client, client_key])
}

fn authority_params() -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(named(params, "Sterna authority"))
}

fn end_params(
    names: &[String],
    title: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, TlsError> {
    if let Some(name) = names.iter().find(|it| !is_name(it)) {
        return Err(TlsError::Name(name.clone()));
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    // QEMUs before 10.1 take no certificate without the second, which TLS 1.3 has no use for.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(named(params, title))
}

/// The same test that a client makes of the name it connects to.
fn is_name(text: &str) -> bool {
    rustls::pki_types::ServerName::try_from(text).is_ok()
}

fn named(mut params: CertificateParams, title: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    params
}

fn with_validity(
    mut params: CertificateParams,
    now: SystemTime,
    until: SystemTime,
) -> CertificateParams {
    params.not_before = (now - BACKDATED).into();
    params.not_after = until.into();
    params
}

fn key() -> Result<KeyPair, TlsError> {
    KeyPair::generate().map_err(failed)
}

fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Issue(error.to_string())
}

fn write(path: &Path, text: &str, is_private: bool) -> Result<(), TlsError> {
    let mode = if is_private { 0o600 } else { 0o644 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut it| it.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => TlsError::Exists(path.to_owned()),
        _ => {
            // Half a key is of no use to anybody.
            let _ = fs::remove_file(path);
            unwritable(path, &error)
        }
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> TlsError {
    TlsError::Issue(format!("{} cannot be written: {error}", path.display()))
}
