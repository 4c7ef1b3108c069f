//! A way to the API server on which things go wrong as a test wants it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::ground::Ground;

/// What to do with a request.
pub enum Fate {
    /// Let it through.
    Pass,
    /// Answer with this code and these words.
    Answer(u16, &'static str),
    /// Close the connection without a word.
    Cut,
    /// Let it through with this text of its body replaced by that one.
    Replace(&'static str, &'static str),
}

/// A request on its way.
pub struct Asked<'a> {
    pub path: &'a str,
    pub body: &'a str,
}

type Judge = Box<dyn FnMut(&Asked<'_>) -> Fate + Send>;

/// A proxy in clear; `judge` decides about each request.
pub fn proxy(ground: &Ground, judge: impl FnMut(&Asked<'_>) -> Fate + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(ground.path("ca.pem")).unwrap();
    let ca =
        <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(
            &ca,
        );
    roots.add(ca.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (config, server) = (Arc::new(config), ground.port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (judge, config) = (Arc::clone(&judge), Arc::clone(&config));
            std::thread::spawn(move || drop(serve(stream, &judge, config, server)));
        }
    });
    port
}

/// One request a connection.
fn serve(
    client: TcpStream,
    judge: &Mutex<Judge>,
    config: Arc<ClientConfig>,
    server: u16,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
        if !lower.starts_with("connection:") && !lower.starts_with("content-length:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = head.split_whitespace().nth(1).unwrap_or("");
    let mut client = client;
    let mut body = String::from_utf8(body).map_err(io::Error::other)?;
    let fate = {
        let mut judge = judge.lock().unwrap();
        (*judge)(&Asked { path, body: &body })
    };
    match fate {
        Fate::Pass => {}
        Fate::Replace(from, to) => body = body.replace(from, to),
        Fate::Cut => return client.shutdown(Shutdown::Both),
        Fate::Answer(code, words) => {
            let body = format!(
                r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{words}","reason":"{words}","code":{code}}}"#
            );
            return write!(
                client,
                "HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    }
    let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut upstream = StreamOwned::new(connection, upstream);
    write!(upstream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    upstream.flush()?;
    let mut buffer = [0; 16 << 10];
    loop {
        match upstream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => client.write_all(&buffer[..length])?,
        }
    }
    client.shutdown(Shutdown::Both)
}
