//! Connections between certificates that fit and certificates that do not.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::tls::{Issued, issue};

const YEAR: Duration = Duration::from_secs(365 * 86400);

type Stream = TlsStream<UnixStream>;

fn certificates(names: &[&str], valid: Duration) -> (TempDir, Credentials) {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = names.iter().map(|it| it.to_string()).collect();
    issue(directory.path(), &names, valid).unwrap();
    let credentials = Credentials::load(directory.path()).unwrap();
    (directory, credentials)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Both ends of a connection, or why there is none: the client's view and the server's.
fn meet(
    client: &Credentials,
    name: &str,
    server: &Credentials,
) -> (Result<Stream, TlsError>, Result<Stream, TlsError>) {
    let (near, far) = UnixStream::pair().unwrap();
    for it in [&near, &far] {
        it.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    }
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| Stream::accept(far, server, soon()));
        (Stream::connect(near, client, name, soon()), server.join().unwrap())
    });
    for it in [&client, &server].into_iter().flatten() {
        it.socket().set_read_timeout(None).unwrap();
    }
    (client, server)
}

#[test]
fn both_directions_are_used_at_once() {
    let (_directory, credentials) = certificates(&[], YEAR);
    let (client, server) = meet(&credentials, "localhost", &credentials);
    let (client, server) = (client.unwrap(), server.unwrap());
    let data: Vec<u8> = (0..9_000_001u32).map(|it| (it % 251) as u8).collect();
    let send = |to: &Stream| {
        let mut rest = &data[..];
        while !rest.is_empty() {
            rest = &rest[to.send(&rest[..rest.len().min(1_000_003)]).unwrap()..];
        }
    };
    let check = |from: &Stream| {
        let (mut found, mut buffer) = (Vec::new(), vec![0; 70_001]);
        while found.len() < data.len() {
            let count = from.receive(&mut buffer).unwrap();
            found.extend_from_slice(&buffer[..count]);
        }
        assert!(found == data);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| send(&client));
        scope.spawn(|| send(&server));
        scope.spawn(|| check(&client));
        scope.spawn(|| check(&server));
    });
    assert!(!client.has_received());
    server.send(b"ab").unwrap();
    let mut byte = [0];
    assert_eq!(client.receive(&mut byte).unwrap(), 1);
    assert!(client.has_received(), "the second byte was decrypted with the first");
    drop(server);
    assert_eq!(client.receive(&mut byte).unwrap(), 1);
    assert_eq!(client.receive(&mut byte).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn nobody_is_believed_without_reason() {
    #[track_caller]
    fn check(client: &Credentials, name: &str, server: &Credentials, told: [&str; 2]) {
        let (client, server) = meet(client, name, server);
        // A client hears of its own fault where the first answer is due.
        let client = match client {
            Ok(stream) => stream.receive(&mut [0]).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        let server = server.map(|_| "fine".to_owned()).unwrap_or_else(|it| it.to_string());
        for (found, expected) in [client, server].iter().zip(told) {
            assert!(found.contains(expected), "{found}");
        }
    }
    let (_a, ours) = certificates(&["box.example", "10.1.2.3"], YEAR);
    let (_b, others) = certificates(&[], YEAR);
    check(&ours, "localhost", &others, ["another authority", ""]);
    check(&ours, "elsewhere", &ours, ["for other names", ""]);
    // A certificate's last second counts from the hour before, for which it is backdated.
    let (_c, old) = certificates(&[], Duration::ZERO);
    std::thread::sleep(Duration::from_millis(1100));
    check(&old, "localhost", &old, ["has expired", ""]);
    for name in ["box.example", "10.1.2.3", "127.0.0.1", "::1"] {
        assert!(meet(&ours, name, &ours).0.is_ok(), "{name}");
    }
}

/// The client's directory has an authority that it believes, and a certificate of its own that the server does not.
fn mixed(authority: &Path, client: &Path) -> (TempDir, Credentials) {
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: &Path, file: &str| {
        std::fs::copy(from.join(file), directory.path().join(file)).unwrap();
    };
    copy(authority, super::super::CA_CERTIFICATE);
    copy(client, super::super::CLIENT_CERTIFICATE);
    copy(client, super::super::CLIENT_KEY);
    let credentials = Credentials::load(directory.path()).unwrap();
    (directory, credentials)
}

#[test]
fn a_client_has_to_show_who_it_is() {
    let (good, server) = certificates(&[], YEAR);
    let (other, _) = certificates(&[], YEAR);
    let (_directory, client) = mixed(good.path(), other.path());
    let (found, refused) = meet(&client, "localhost", &server);
    assert!(refused.unwrap_err().to_string().contains("another authority"));
    let told = found.unwrap().receive(&mut [0]).unwrap_err().to_string();
    assert!(told.contains("our certificate is signed by another authority"), "{told}");
    assert!(client.check_server().unwrap_err().to_string().contains("server-cert.pem"));
    assert!(server.check_server().is_ok());
}

#[test]
fn what_is_no_handshake_ends_it() {
    let (_directory, credentials) = certificates(&[], YEAR);
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = Stream::accept(far, &credentials, soon()).unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");

    let (near, far) = UnixStream::pair().unwrap();
    drop(near);
    let error = Stream::accept(far, &credentials, soon()).unwrap_err();
    assert!(error.to_string().contains("closed the connection during"), "{error}");

    let (_near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let limit = Instant::now() + Duration::from_millis(50);
    let error = Stream::accept(far, &credentials, limit).unwrap_err();
    assert!(error.to_string().contains("not finished the TLS handshake in time"), "{error}");
}

#[test]
fn what_did_not_leave_never_leaves() {
    let (_directory, credentials) = certificates(&[], YEAR);
    let (client, server) = meet(&credentials, "localhost", &credentials);
    let (client, server) = (client.unwrap(), server.unwrap());
    client.socket().set_write_timeout(Some(Duration::from_millis(10))).unwrap();
    let data = vec![1; 1 << 20];
    while client.send(&data).is_ok() {}
    // Now there is room again, but the stream has a hole.
    server.socket().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while server.receive(&mut buffer).is_ok() {}
    assert_eq!(client.send(&[2]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(server.receive(&mut buffer).is_err());
}

#[test]
fn a_directory_is_made_once_and_its_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a/b");
    let Issued { files, names } = issue(&inner, &["host".to_owned()], YEAR).unwrap();
    assert_eq!(names, ["localhost", "127.0.0.1", "::1", "host"]);
    assert_eq!(files.len(), 6);
    for file in &files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        let is_private = file.to_string_lossy().ends_with("-key.pem");
        assert_eq!(mode & 0o077 == 0, is_private, "{}", file.display());
    }
    let before = std::fs::read(&files[1]).unwrap();
    let error = issue(&inner, &[], YEAR).unwrap_err();
    assert!(error.to_string().contains("ca-cert.pem exists already"), "{error}");
    assert_eq!(std::fs::read(&files[1]).unwrap(), before);

    let error = issue(&directory.path().join("c"), &["a b".to_owned()], YEAR).unwrap_err();
    assert!(error.to_string().contains("`a b` is neither"), "{error}");
    assert!(!directory.path().join("c").exists());
}

#[test]
fn a_directory_that_lacks_something_says_what() {
    #[track_caller]
    fn check(remove: &[&str], expected: &str) {
        let (directory, _) = certificates(&[], YEAR);
        for file in remove {
            std::fs::remove_file(directory.path().join(file)).unwrap();
        }
        let error = Credentials::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("sterna certs"), "{error}");
    }
    check(&["ca-cert.pem"], "ca-cert.pem cannot be used");
    check(&["client-key.pem"], "client-key.pem cannot be used");
    check(&["client-cert.pem", "server-cert.pem"], "client-cert.pem cannot be used");

    let (directory, _) = certificates(&[], YEAR);
    std::fs::write(directory.path().join("server-cert.pem"), "nothing").unwrap();
    let error = Credentials::load(directory.path()).unwrap_err().to_string();
    assert!(error.contains("it holds no certificate"), "{error}");
}

/// Counts what is written to a socket, as a witness outside the stream.
#[derive(Debug)]
struct Counted(UnixStream, AtomicU64);

impl Read for &Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(to)
    }
}

impl Write for &Counted {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let count = (&self.0).write(from)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn plain_bytes_and_what_encryption_adds_are_all_that_reached_the_socket() {
    let (_directory, credentials) = certificates(&[], YEAR);
    let (near, far) = UnixStream::pair().unwrap();
    let near = Counted(near, AtomicU64::new(0));
    std::thread::scope(|scope| {
        let server = scope.spawn(|| Stream::accept(far, &credentials, soon()).unwrap());
        let client = TlsStream::connect(near, &credentials, "localhost", soon()).unwrap();
        let server = server.join().unwrap();
        let handshake = client.encryption_bytes();
        assert!(handshake > 500, "{handshake}");
        let reader = scope.spawn(move || {
            let (mut found, mut buffer) = (0, vec![0; 70_001]);
            while found < 1_000_000 {
                found += server.receive(&mut buffer).unwrap();
            }
        });
        let mut sent = 0;
        while sent < 1_000_000 {
            sent += client.send(&vec![7; 1_000_000 - sent]).unwrap();
        }
        reader.join().unwrap();
        let on_the_wire = client.socket().1.load(Ordering::Relaxed);
        assert_eq!(on_the_wire, 1_000_000 + client.encryption_bytes());
        // 22 bytes for each record of 16 KiB.
        assert!(client.encryption_bytes() - handshake > 1_000, "{}", client.encryption_bytes());
    });
}
