//! As much of HTTP/1.1 as a scraper needs: one page, one request a connection, one at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Longer requests are not ours.
const MOST_BYTES: usize = 8192;
/// Others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the page is.
const PATH: &str = "/metrics";

/// Serves what `page` returns at `/metrics`, on a thread that ends with the process; returns the address.
///
/// While `page` returns nothing, the answer is that the service is unavailable.
///
/// # Errors
/// The address is in use, or not ours.
pub fn serve(
    address: SocketAddr,
    content_type: &'static str,
    page: impl Fn() -> Option<String> + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes away in the middle does not want an answer.
            let _ = answer(stream, content_type, &page);
        }
    })?;
    Ok(address)
}

fn answer(
    mut stream: TcpStream,
    content_type: &str,
    page: &impl Fn() -> Option<String>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = head(&mut stream)?;
    let (status, body) = match request(&head) {
        None => ("400 Bad Request", String::new()),
        Some((method, _)) if method != "GET" && method != "HEAD" => {
            ("405 Method Not Allowed", String::new())
        }
        Some((_, PATH)) => match page() {
            Some(page) => ("200 OK", page),
            None => ("503 Service Unavailable", String::new()),
        },
        Some(_) => ("404 Not Found", format!("The page is at {PATH}\n")),
    };
    let shown = if head.starts_with("HEAD ") { "" } else { &body };
    let content_type =
        if status.starts_with("200") { content_type } else { "text/plain; charset=utf-8" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    )
}

/// Everything up to the empty line.
fn head(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.windows(4).any(|it| it == b"\r\n\r\n") && bytes.len() < MOST_BYTES {
        match stream.read(&mut buffer)? {
            0 => break,
            count => bytes.extend(&buffer[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Method and path, without a query.
fn request(head: &str) -> Option<(&str, &str)> {
    let mut words = head.lines().next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    version.starts_with("HTTP/1.").then_some((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_or_refused() {
        assert_eq!(request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Some(("GET", "/metrics")));
        assert_eq!(request("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), Some(("GET", "/metrics")));
        for text in ["", "\r\n", "GET", "GET /metrics", "GET /metrics SPDY/3\r\n"] {
            assert_eq!(request(text), None, "{text:?}");
        }
    }

    #[test]
    fn endless_requests_are_cut_off() {
        let head = head(&mut io::repeat(b'x')).unwrap();
        assert!(head.len() < 2 * MOST_BYTES);
    }
}
