use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::time::Instant;

use super::*;

fn server(answer: impl Fn(&Request) -> Page + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    PageServer { most_body_bytes: 16, ..PageServer::new("test") }.serve(listener, answer).unwrap();
    address
}

/// All that comes back for these bytes.
fn answered(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn each_request_gets_its_answer() {
    let address = server(|request| {
        let body = String::from_utf8_lossy(&request.body);
        Page::found("text/plain", format!("{} {} {body}", request.method, request.path))
    });
    assert_eq!(
        answered(address, GET),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\nGET /metrics "
    );
    let post = b"POST /a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
    assert!(answered(address, post).ends_with("\r\n\r\nPOST /a xyz"));
    let head = answered(address, b"HEAD /a HTTP/1.1\r\n\r\n");
    assert!(head.contains("Content-Length: 8\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(answered(address, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    let long = b"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n12345678901234567";
    assert!(answered(address, long).starts_with("HTTP/1.1 413 Content Too Large\r\n"));
}

#[test]
fn metrics_are_at_their_path_and_may_be_missing() {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = serve_metrics(local, "text/x", || Some("up 1\n".to_owned())).unwrap();
    assert!(
        answered(address, GET)
            .ends_with("text/x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nup 1\n")
    );
    assert!(answered(address, b"GET / HTTP/1.1\r\n\r\n").contains("404 Not Found"));
    assert!(answered(address, b"DELETE /metrics HTTP/1.1\r\n\r\n").contains("405 Method"));
    let address = serve_metrics(local, "text/x", || None).unwrap();
    assert!(answered(address, GET).contains("503 Service Unavailable"));
}

#[test]
fn clients_that_drip_bytes_or_say_nothing_keep_no_other_out() {
    let address = server(|_| Page::found("text/plain", "here".to_owned()));
    // More than there are places for.
    let silent: Vec<TcpStream> =
        (0..2 * MOST_CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut dripping = TcpStream::connect(address).unwrap();
    let drips = std::thread::spawn(move || {
        let began = Instant::now();
        // Each byte is well within any timeout between two bytes.
        while dripping.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
        }
        began.elapsed()
    });
    for _ in 0..3 {
        assert!(answered(address, GET).ends_with("\r\n\r\nhere"));
    }
    // The request as a whole has a deadline.
    assert!(drips.join().unwrap() < Duration::from_secs(30));
    drop(silent);
}

#[test]
fn an_answer_that_takes_long_keeps_no_other_out() {
    let address = server(|request| {
        if request.path == "/slow" {
            std::thread::sleep(Duration::from_secs(3));
        }
        Page::found("text/plain", request.path.clone())
    });
    let slow = std::thread::spawn(move || answered(address, b"GET /slow HTTP/1.1\r\n\r\n"));
    assert!(answered(address, GET).ends_with("/metrics"));
    assert!(!slow.is_finished(), "the quick answer came after the slow one");
    assert!(slow.join().unwrap().ends_with("/slow"));
}
