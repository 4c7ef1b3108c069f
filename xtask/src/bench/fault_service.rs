//! How long a guest in post-copy waits for a page, against what the network alone takes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sterna_units::Bytes;

use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::{Flights, flags};

/// The median may be this many times a round trip of the same sizes.
const MOST_TIMES_PING_PONG: f64 = 1.3;

/// With the background at 1 Gbit/s, the 99th percentile may be this many times the one without.
const MOST_TIMES_IDLE: f64 = 2.0;

/// Memory that one worker writes from end to end, each page first after the switch.
const WORKLOAD: Bytes = Bytes(64 << 20);

/// Memory that nobody touches, for the background to send.
const BALLAST: Bytes = Bytes(512 << 20);

/// A header and a run, and the same with a page behind them.
const REQUEST_BYTES: usize = 24;
const ANSWER_BYTES: usize = REQUEST_BYTES + 4096;

const ROUND_TRIPS: usize = 5000;

/// Measures round trips, an idle and a busy post-copy in turn.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    let (mut round_trip, mut median) = (Samples::default(), Samples::default());
    let (mut idle_tail, mut busy_tail) = (Samples::default(), Samples::default());
    for _ in 0..options.pairs {
        round_trip.push(ping_pong()?);
        let idle = flight(flights, Bytes(0), "4kB/s")?;
        median.push(latency(&idle, "p50")?);
        idle_tail.push(latency(&idle, "p99")?);
        busy_tail.push(latency(&flight(flights, BALLAST, "1Gbit/s")?, "p99")?);
    }
    let service = median.ratios(&round_trip);
    let tails = busy_tail.ratios(&idle_tail);
    let mut table = Table::new(format!("Page faults in post-copy, {} pairs", options.pairs));
    table.row("TCP ping-pong of the same sizes, median (µs)", &round_trip, 1);
    table.row("fault served, median (µs)", &median, 1);
    table.row("fault served / ping-pong, by pair", &service, 2);
    table.row("fault served, 99th percentile, idle background (µs)", &idle_tail, 1);
    table.row("fault served, 99th percentile, background at 1 Gbit/s (µs)", &busy_tail, 1);
    table.row("busy / idle, by pair", &tails, 2);
    table.print();
    target(
        "Fault served / ping-pong, median of the pairs",
        &format!("{:.2}", service.median()),
        &format!("<= {MOST_TIMES_PING_PONG}"),
        service.median() <= MOST_TIMES_PING_PONG,
    );
    target(
        "99th percentile, busy / idle, median of the pairs",
        &format!("{:.2}", tails.median()),
        &format!("<= {MOST_TIMES_IDLE}"),
        tails.median() <= MOST_TIMES_IDLE,
    );
    Ok(())
}

/// The median round trip in microseconds, between two threads over loopback.
fn ping_pong() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").context("Cannot listen")?;
    let mut near = TcpStream::connect(listener.local_addr()?).context("Cannot connect")?;
    let (mut far, _) = listener.accept().context("Cannot accept")?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let answering = std::thread::spawn(move || {
        let (mut request, answer) = ([0; REQUEST_BYTES], [1; ANSWER_BYTES]);
        while far.read_exact(&mut request).is_ok() && far.write_all(&answer).is_ok() {}
    });
    let mut times = Samples::default();
    let mut answer = [0; ANSWER_BYTES];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        near.write_all(&[1; REQUEST_BYTES])?;
        near.read_exact(&mut answer)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    drop(near);
    let _ = answering.join();
    Ok(times.median())
}

/// One post-copy from the beginning on, in which each page of the workload is asked for.
fn flight(flights: &Flights, ballast: Bytes, background: &str) -> Result<Value> {
    let landed = flights.fly(&flags([
        ("memory", Bytes(WORKLOAD.0 + ballast.0).to_string()),
        ("workload-memory", WORKLOAD.to_string()),
        ("ballast", ballast.to_string()),
        ("vcpus", "1".to_owned()),
        // Goes to every page, and never to a neighbour, which the background would have sent by then.
        ("pattern", "stride(257)".to_owned()),
        ("rate", "unlimited".to_owned()),
        ("max-bandwidth", "unlimited".to_owned()),
        ("postcopy-after-passes", "0".to_owned()),
        ("postcopy-max-bandwidth", background.to_owned()),
        ("warmup", "100ms".to_owned()),
        ("cooldown", "0s".to_owned()),
    ]))?;
    ensure!(landed.exit_code == Some(0), "A flight ended as {}", landed.report.summary.verdict);
    let counters = landed.report.engine.details.get("destination_counters");
    counters.cloned().context("There was no post-copy")
}

fn latency(counters: &Value, name: &str) -> Result<f64> {
    let ns = counters.pointer(&format!("/postcopy_latency_ns/{name}")).and_then(Value::as_f64);
    Ok(ns.context("No fault was timed")? / 1e3)
}
