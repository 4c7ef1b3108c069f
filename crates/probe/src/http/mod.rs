//! As much of HTTP/1.1 as probes need to ask for a page, blocking: one request a connection, no encryption, no redirects.

mod body;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::reading::read_some;
use crate::timed::Timed;

/// No page that we ask for is longer.
const MOST_BYTES: usize = 64 << 20;
/// No header is.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// Where a page is: `http://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    /// 80 unless it is given.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// Why a text is no address of a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Encrypted.
    #[error("`{0}` takes TLS, which this probe does not speak; use an http:// address")]
    Encrypted(String),
    /// Anything else.
    #[error("`{0}` is no address of a page; write it as in http://10.0.0.2:8080/health")]
    Malformed(String),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// As in the first line: 200 is fine.
    pub status: u16,
    /// Everything behind the header, decoded.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or it broke, or the time was over.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no HTTP.
    #[error("The other end does not speak HTTP/1: {0}")]
    NoHttp(&'static str),
    /// More than anybody wants.
    #[error("The page is longer than 64 MiB")]
    TooLong,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        let malformed = || UrlError::Malformed(text.to_owned());
        if text.starts_with("https://") {
            return Err(UrlError::Encrypted(text.to_owned()));
        }
        let rest = text.strip_prefix("http://").ok_or_else(malformed)?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
            Some(at) => (&rest[..at], rest[at..].to_owned()),
            None => (rest, "/".to_owned()),
        };
        let is_clean = |it: &str| it.chars().all(|it| it.is_ascii_graphic());
        if !is_clean(&path) || !is_clean(authority) || authority.contains('@') {
            return Err(malformed());
        }
        let (host, port) = crate::target::split(authority, 80).ok_or_else(malformed)?;
        Ok(Url { host, port, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", crate::target::join(&self.host, self.port), self.path)
    }
}

/// Asks for a page over a connection of its own; all of it takes at most `patience`.
///
/// # Errors
/// See [`HttpError`].
pub fn get(url: &Url, address: SocketAddr, patience: Duration) -> Result<Response, HttpError> {
    let began = Instant::now();
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    let mut stream = Timed::new(stream, patience.saturating_sub(began.elapsed()));
    let host = crate::target::join(&url.host, url.port);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sterna\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.path
    );
    stream.write_all(request.as_bytes())?;
    let (head, rest) = head(&mut stream)?;
    let status = status(&head)?;
    let body = body::read(&head, rest, &mut stream)?;
    Ok(Response { status, body })
}

/// Everything up to the empty line, and what came behind it.
fn head(stream: &mut impl Read) -> Result<(String, Vec<u8>), HttpError> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() > MOST_HEAD_BYTES {
            return Err(HttpError::NoHttp("its header does not end"));
        }
        match read_some(stream, &mut buffer)? {
            0 => return Err(HttpError::NoHttp("it ended before its header did")),
            count => bytes.extend(&buffer[..count]),
        }
    }
}

fn status(head: &str) -> Result<u16, HttpError> {
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|it| it.parse().ok());
    match status.filter(|it| version.starts_with("HTTP/1.") && (100..1000).contains(it)) {
        Some(status) => Ok(status),
        None => Err(HttpError::NoHttp("its first line is none of HTTP/1")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_of_pages_are_read() {
        let check = |text: &str, host: &str, port: u16, path: &str| {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
        };
        check("http://guest", "guest", 80, "/");
        check("http://guest:8080/metrics?x=1", "guest", 8080, "/metrics?x=1");
        check("http://10.0.0.2?x", "10.0.0.2", 80, "/?x");
        check("http://[fd00::2]:81/a", "fd00::2", 81, "/a");
        check("http://[fd00::2]", "fd00::2", 80, "/");
    }

    #[test]
    fn mistakes_in_addresses_are_named() {
        let error = |text: &str| text.parse::<Url>().unwrap_err().to_string();
        assert!(error("https://guest/").contains("TLS"));
        for text in [
            "guest",
            "ftp://x",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a b/",
            "http://u@h/",
        ] {
            assert!(error(text).contains(text), "{text}");
        }
    }

    /// What a client makes of an answer that is sent as it stands.
    fn answered(answer: &'static [u8]) -> Result<Response, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET /x HTTP/1.1\r\nHost: "));
            // A client that has had enough goes away.
            let _ = stream.write_all(answer);
        });
        let url = format!("http://{address}/x").parse().unwrap();
        let response = get(&url, address, Duration::from_secs(5));
        server.join().unwrap();
        response
    }

    #[test]
    fn answers_of_every_shape_are_read() {
        let check = |answer, status: u16, body: &[u8]| {
            let response = answered(answer).unwrap();
            assert_eq!((response.status, response.body.as_slice()), (status, body));
        };
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", 200, b"hello");
        check(b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end", 404, b"until the end");
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            200,
            b"hello world",
        );
        check(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"");
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let check = |answer, expected: &str| {
            let error = answered(answer).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(b"SSH-2.0-OpenSSH\r\n\r\n", "first line");
        check(b"", "ended before");
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "64 MiB");
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "cut off");
        check(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhalf", "length");
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk");
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "64 MiB",
        );
    }

    #[test]
    fn who_says_nothing_is_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/").parse().unwrap();
        let error = get(&url, address, Duration::from_millis(50)).unwrap_err();
        assert!(
            matches!(&error, HttpError::Io(it) if it.kind() == io::ErrorKind::TimedOut),
            "{error}"
        );
    }
}
