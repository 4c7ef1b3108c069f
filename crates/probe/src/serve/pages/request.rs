//! What a client asks for.

use std::io::{self, Read};

use crate::reading::read_some;

/// Longer heads are refused.
const MOST_HEAD_BYTES: usize = 8192;

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As in `GET`.
    pub method: String,
    /// Begins with `/`; without a query.
    pub path: String,
    /// What follows the head; empty unless the server takes bodies.
    pub body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The client left, or its time was over: it gets no answer.
    Gone,
    /// This is what it is answered.
    Refused(u16),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> NoRequest {
        NoRequest::Gone
    }
}

/// Reads one, with a body of at most so many bytes.
pub(super) fn read(from: &mut impl Read, most_body_bytes: usize) -> Result<Request, NoRequest> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = end_of_head(&bytes) {
            break end;
        }
        if bytes.len() >= MOST_HEAD_BYTES {
            return Err(NoRequest::Refused(431));
        }
        if !more(from, &mut bytes)? {
            let is_silent = bytes.is_empty();
            return Err(if is_silent { NoRequest::Gone } else { NoRequest::Refused(400) });
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes);
    let (method, path) = first_line(&head).ok_or(NoRequest::Refused(400))?;
    let length = body_length(&head).ok_or(NoRequest::Refused(400))?;
    if length > most_body_bytes {
        return Err(NoRequest::Refused(413));
    }
    while body.len() < length {
        if !more(from, &mut body)? {
            return Err(NoRequest::Refused(400));
        }
    }
    body.truncate(length);
    Ok(Request { method, path, body })
}

/// Whether there was more.
fn more(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 1024];
    let count = read_some(from, &mut buffer)?;
    bytes.extend(&buffer[..count]);
    Ok(count > 0)
}

/// Where the empty line ends; some clients end their lines without a carriage return.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let ends = |mark: &[u8]| bytes.windows(mark.len()).position(|it| it == mark);
    let with_returns = ends(b"\r\n\r\n").map(|it| it + 4);
    let without = ends(b"\n\n").map(|it| it + 2);
    with_returns.into_iter().chain(without).min()
}

/// Method and path.
fn first_line(head: &str) -> Option<(String, String)> {
    let mut words = head.lines().next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    let is_fine = version.starts_with("HTTP/1.") && path.starts_with('/') && !method.is_empty();
    is_fine.then(|| (method.to_owned(), path.to_owned()))
}

/// 0 without a header for it; `None` when it cannot be known.
fn body_length(head: &str) -> Option<usize> {
    let mut length = 0;
    for (name, value) in head.lines().skip(1).filter_map(|it| it.split_once(':')) {
        if name.trim().eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        if name.trim().eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> u16 {
        match read(&mut { bytes }, 10) {
            Ok(_) => 200,
            Err(NoRequest::Refused(status)) => status,
            Err(NoRequest::Gone) => 0,
        }
    }

    #[test]
    fn a_whole_request_is_read_without_its_query() {
        let check = |bytes: &[u8], method: &str, path: &str, body: &[u8]| {
            let request = read(&mut { bytes }, 10).unwrap();
            let expected =
                Request { method: method.to_owned(), path: path.to_owned(), body: body.to_vec() };
            assert_eq!(request, expected);
        };
        check(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/metrics", b"");
        check(b"GET /metrics?x=1 HTTP/1.0\n\n", "GET", "/metrics", b"");
        check(b"POST /a HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabcd", "POST", "/a", b"abc");
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        assert_eq!(status(b""), 0);
        for bytes in ["\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "GET / SPDY/3\r\n\r\n"] {
            assert_eq!(status(bytes.as_bytes()), 400, "{bytes:?}");
        }
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost"), 400, "its end is missing");
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n"), 413);
    }

    #[test]
    fn an_endless_head_is_refused() {
        let refused = read(&mut io::repeat(b'x'), 10);
        assert!(matches!(refused, Err(NoRequest::Refused(431))), "{refused:?}");
    }
}
