//! A responder to whom anybody may come, with anything.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sterna_probe::Message;

use crate::harness::{Responder, Running, number};

/// Set to 10000 for the long form.
const CLIENTS: &str = "STERNA_SOAK_CLIENTS";

/// What all that a responder knows begins with, and what nobody knows.
const BEGINNINGS: [&[u8]; 8] = [
    b"",
    b"StrnPrb1",
    b"StrnPrb2",
    b"StrnPrb!",
    b"StrnPly2",
    b"StrnDsk2",
    b"GET / HTTP/1.1\r\n\r\n",
    &[0; 64],
];

/// Bytes that follow from a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn resident_kib(responder: &Responder) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", responder.pid())).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn garbage_harms_no_responder() {
    let directory = tempfile::tempdir().unwrap();
    let mut responder = Responder::with(&["--disk", directory.path().to_str().unwrap()]);
    let address = responder.address.clone();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let garbage = || {
        let lengths = [0, 1, 7, 8, 16, 40, 48, 100, 1400, 20_000];
        BEGINNINGS.into_iter().enumerate().flat_map(move |(index, beginning)| {
            lengths
                .map(|length| [beginning, &noise((index * 100 + length) as u64, length)].concat())
        })
    };
    for datagram in garbage() {
        socket.send_to(&datagram, &address).unwrap();
    }
    let mut kept = Vec::new();
    for (index, bytes) in garbage().enumerate() {
        let mut stream = TcpStream::connect(&address).unwrap();
        // A responder may have closed what it does not like.
        let _ = stream.write_all(&bytes);
        match index % 3 {
            // Goes away without having read, which resets the connection.
            0 => drop(stream),
            1 => stream.shutdown(std::net::Shutdown::Write).unwrap(),
            _ => kept.push(stream),
        }
    }
    responder.assert_serves();
    drop(kept);
    responder.assert_serves();
    let used = resident_kib(&responder);
    assert!(used < 100 << 10, "{used} KiB");
    // Nobody has greeted as one must, so nothing is written.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// How many can be had with the files that this process may open; two are needed for each while sockets are exchanged.
fn clients() -> usize {
    let wanted = std::env::var(CLIENTS).ok().and_then(|it| it.parse().ok()).unwrap_or(1000);
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = limit.maximum.map_or(usize::MAX, |it| it.saturating_sub(100) as usize);
    if most < wanted {
        eprintln!(
            "skipped: {most} clients instead of {wanted}; raise the limit of open files (ulimit -Hn)"
        );
    }
    wanted.min(most)
}

#[test]
fn many_clients_are_served_and_each_is_counted_for_itself() {
    let mut responder = Responder::start();
    let before = resident_kib(&responder);
    let clients = clients();
    let watching = Running::start(&["udp", &responder.address, "--interval", "10ms"]);
    let message = |client: usize, number: u64| Message::new(client as u64 + 1, number).to_bytes();

    let mut streams: Vec<TcpStream> =
        (0..clients).map(|_| TcpStream::connect(&responder.address).unwrap()).collect();
    for round in 0..2 {
        for (client, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&message(client, round)).unwrap();
        }
        for (client, stream) in streams.iter_mut().enumerate() {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut echo = [0; 48];
            stream.read_exact(&mut echo).unwrap();
            assert!(echo == message(client, round), "{client}: {echo:?}");
        }
    }
    let used = resident_kib(&responder) - before;
    eprintln!("{clients} connections, {used} KiB for them");
    assert!(used < (10 << 10) + clients as u64 * 4, "{used} KiB for {clients} connections");
    drop(streams);

    let sockets: Vec<UdpSocket> =
        (0..clients).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for round in 0..2 {
        for (client, socket) in sockets.iter().enumerate() {
            assert_eq!(counted(socket, &responder.address, &message(client, round)), round + 1);
        }
    }
    responder.assert_serves();
    let (code, report) = watching.end();
    let seen = &report["probes"][0];
    assert_eq!((code, &seen["responder_restarts"]), (Some(0), &0.into()), "{seen:#}");
    assert!(number(seen, "/received") > 0.9 * number(seen, "/sent"), "{seen:#}");
}

/// How many messages of this client the responder has had. One that is lost on a busy machine is not sent again, for it would be counted.
fn counted(socket: &UdpSocket, address: &str, message: &[u8]) -> u64 {
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.send_to(message, address).unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    Message::from_bytes(&answer[..length]).unwrap().heard
}
