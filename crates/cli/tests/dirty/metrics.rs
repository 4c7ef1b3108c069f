//! What a scraper gets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{dirty, start};

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn sample(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find(|it| it.starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    line.rsplit(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn metrics_are_served_while_it_runs() {
    let options = ["--memory", "4MiB", "--rate", "20MiB/s", "--interval", "50ms", "--latency"];
    let mut running =
        start(&[&options[..], &["--metrics-listen", "0", "--label", "run=7"]].concat());
    let mut stderr = BufReader::new(running.child().stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("Metrics at http://").and_then(|it| it.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("no address in {line}"));
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    sleep(Duration::from_millis(200));
    let first = get(address, "/metrics");
    sleep(Duration::from_millis(200));
    let second = get(address, "/metrics");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("Content-Type: application/openmetrics-text"));
    assert!(second.ends_with("# EOF\n"));
    let pages =
        |page: &str| sample(page, "sterna_dirty_touched_pages_total{run=\"7\",worker=\"0\"}");
    let rate = (pages(&second) - pages(&first)) / 0.2 / 5120.0;
    assert!((0.5..1.5).contains(&rate), "{rate}");
    let count = sample(&second, "sterna_dirty_write_latency_seconds_count");
    assert!(count >= pages(&first));
    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
    assert!(sample(&second, "sterna_dirty_rate_bytes_per_second") > 0.0);

    running.signal(Signal::TERM);
    assert_eq!(running.outcome().code, Some(0));
}

#[test]
fn an_address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = dirty(&["--memory", "4MiB", "--duration", "1s", "--metrics-listen", &address]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
}
