//! The one HTTP server: as much of HTTP/1.1 as scrapers, kubelets and API servers need, one request a connection.
//!
//! ```text
//!  accept ─► a place (or a silent connection makes room) ─► a thread: open ─► request, 5 s ─► answer ─► 10 s to take it
//! ```
//!
//! No client can keep another one out: a connection that has not asked yet makes room for the next one, a request has one deadline however slowly it comes, and so has the answer.

mod request;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use request::NoRequest;
pub use request::Request;

use super::places::{Place, Places};
use crate::timed::Timed;

/// How long a client may take to ask, its handshake included.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long it may take to take the answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How long what it still sends is read after the answer, since unread bytes would take the answer back.
const DRAIN_TIME: Duration = Duration::from_millis(200);

/// Connections at a time, and from one peer.
const MOST_CONNECTIONS: usize = 32;
const MOST_OF_A_PEER: usize = 16;

/// Without descriptors no connection is taken for so long.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Enough for a page and a TLS connection.
const STACK_BYTES: usize = 1 << 20;

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 200 is fine.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

/// What is served, and to whom.
pub struct PageServer {
    /// The name of its threads, of at most 15 bytes.
    pub name: &'static str,
    /// Most bytes of a request's body; 0 where none is expected.
    pub most_body_bytes: usize,
    /// How many connections may be open.
    pub places: Places,
}

impl Page {
    /// What was asked for.
    pub fn found(content_type: &'static str, body: String) -> Page {
        Page { status: 200, content_type, body }
    }

    /// Anything else, with a line for people.
    pub fn refused(status: u16, text: &str) -> Page {
        let body = if text.is_empty() { String::new() } else { format!("{text}\n") };
        Page { status, content_type: "text/plain; charset=utf-8", body }
    }
}

impl PageServer {
    /// For a page that a few scrapers read.
    pub fn new(name: &'static str) -> PageServer {
        let places = Places::new(MOST_CONNECTIONS, MOST_OF_A_PEER);
        PageServer { name, most_body_bytes: 0, places }
    }

    /// Answers on threads that end with the process.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn serve(
        self,
        listener: TcpListener,
        answer: impl Fn(&Request) -> Page + Send + Sync + 'static,
    ) -> io::Result<()> {
        self.serve_over(listener, Ok, answer)
    }

    /// The same, over what `open` makes of a connection: a handshake, for example, which shares the time of the request.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn serve_over<S: Read + Write>(
        self,
        listener: TcpListener,
        open: impl Fn(Timed) -> io::Result<S> + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Page + Send + Sync + 'static,
    ) -> io::Result<()> {
        let PageServer { name, most_body_bytes, places } = self;
        let work = Arc::new(move |timed: Timed, place: Place| {
            let _ = converse(&timed, &place, most_body_bytes, &open, &answer);
            drain(&timed);
        });
        thread(name, move || {
            loop {
                match listener.accept() {
                    Ok((stream, peer)) => begin(name, stream, peer, &places, &work),
                    Err(error) if is_passing(&error) => {}
                    Err(_) => std::thread::sleep(FULL_PAUSE),
                }
            }
        })
    }
}

/// Serves what `page` returns at `/metrics`, on threads that end with the process; returns the address.
///
/// While `page` returns nothing, the answer is that the service is unavailable.
///
/// # Errors
/// The address is in use, or not ours.
pub fn serve_metrics(
    address: SocketAddr,
    content_type: &'static str,
    page: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let server = PageServer::new("metrics");
    server.serve(listener, move |request| {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/metrics") => match page() {
                Some(page) => Page::found(content_type, page),
                None => Page::refused(503, ""),
            },
            ("GET" | "HEAD", _) => Page::refused(404, "The page is at /metrics"),
            _ => Page::refused(405, ""),
        }
    })?;
    Ok(address)
}

fn begin(
    name: &str,
    stream: TcpStream,
    peer: SocketAddr,
    places: &Places,
    work: &Arc<impl Fn(Timed, Place) + Send + Sync + 'static>,
) {
    let timed = Timed::new(stream, REQUEST_TIME);
    let handle = timed.clone();
    let close = move || drop(handle.stream().shutdown(Shutdown::Both));
    match places.take(Some(peer), close) {
        Ok(place) => {
            let work = Arc::clone(work);
            // Without a thread the connection is closed.
            let _ = thread(name, move || work(timed, place));
        }
        Err(error) => {
            // A new connection has room for so little, so this does not wait.
            let _ = timed.stream().set_nonblocking(true);
            let _ = say(&mut timed.stream(), &Page::refused(503, &error.to_string()), false);
        }
    }
}

/// One request and its answer.
fn converse<S: Read + Write>(
    timed: &Timed,
    place: &Place,
    most_body_bytes: usize,
    open: &impl Fn(Timed) -> io::Result<S>,
    answer: &impl Fn(&Request) -> Page,
) -> io::Result<()> {
    let mut stream = open(timed.clone())?;
    let (page, is_head) = match request::read(&mut stream, most_body_bytes) {
        Ok(request) => {
            if !place.speaks() {
                return Ok(());
            }
            (answer(&request), request.method == "HEAD")
        }
        Err(NoRequest::Refused(status)) => (Page::refused(status, ""), false),
        Err(NoRequest::Gone) => return Ok(()),
    };
    timed.set_limit(ANSWER_TIME);
    say(&mut stream, &page, is_head)
}

fn say(stream: &mut impl Write, page: &Page, is_head: bool) -> io::Result<()> {
    let Page { status, content_type, body } = page;
    let (reason, length) = (reason(*status), body.len());
    let shown = if is_head { "" } else { body };
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{shown}"
    );
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn drain(timed: &Timed) {
    let _ = timed.stream().shutdown(Shutdown::Write);
    timed.set_limit(DRAIN_TIME);
    let mut waste = [0; 4096];
    while Read::read(&mut timed.clone(), &mut waste).is_ok_and(|it| it > 0) {}
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// The client went away before it was accepted; the next one may be well.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map(drop)
}

#[cfg(test)]
mod tests;
