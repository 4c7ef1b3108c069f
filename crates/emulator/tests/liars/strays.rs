//! Whoever else finds the port of a destination: no migration ends for it, and the right peer is taken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sterna_wire::control::{
    Act, Endpoint, HostConfig, MultifdConfig, Phase, PostcopyConfig, Reply, Request, Side,
};
use sterna_wire::stream::{
    Channel, Hello, Kind, Message, MessageReader, MessageWriter, Role, capability,
};

use crate::host::{Host, SESSION};
use crate::{frame, hello};

/// One of each kind of stray; those that say nothing whole stay open as long as this is kept.
fn strays(address: &str) -> Vec<TcpStream> {
    let mut huge = frame(Kind::State, 0, 0, b"", b"");
    huge[4..8].copy_from_slice(&(32u32 << 20).to_le_bytes());
    let greeting = |hello: Hello| {
        let mut bytes = Vec::new();
        MessageWriter::default().send(&mut bytes, &Message::Hello(hello)).unwrap();
        bytes
    };
    let damaged = {
        let mut bytes = greeting(hello());
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let words: [&[u8]; 8] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &frame(Kind::Go, 0, 0, b"", b""),
        &greeting(Hello { session: [8; 16], ..hello() }),
        &greeting(hello())[..20],
        &damaged,
        &huge,
    ];
    let say = |bytes: &[u8]| {
        let mut stray = TcpStream::connect(address).unwrap();
        stray.write_all(bytes).unwrap();
        stray
    };
    // One is gone before it can be taken.
    drop(TcpStream::connect(address).unwrap());
    words.into_iter().map(say).collect()
}

fn silent(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

/// Says who it is on a connection of its own, and is acknowledged at once.
#[track_caller]
fn introduce(address: &str, role: Role, index: u8) -> TcpStream {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    let introduction = Message::Channel(Channel { session: SESSION, role, index });
    MessageWriter::default().send(&mut stream, &introduction).unwrap();
    let answer = MessageReader::default().message(&mut stream).unwrap();
    assert_eq!(answer, Message::ChannelAck);
    // Not one silent stray was waited for, which is cut after two seconds.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    stream
}

#[test]
fn strays_before_and_between_the_connections_of_a_migration_do_no_harm() {
    let mut host = Host::prepared(Side::Destination);
    let address = host.listen_at();
    let mut kept = (strays(&address), silent(&address, 20));
    let mut stream = TcpStream::connect(&address).unwrap();
    let (mut reader, mut writer) = (MessageReader::default(), MessageWriter::default());
    let capabilities = capability::MULTIFD | capability::URGENT;
    let hello = Hello { capabilities, multifd_channels: 2, ..hello() };
    writer.send(&mut stream, &Message::Hello(hello.clone())).unwrap();
    assert!(matches!(reader.message(&mut stream).unwrap(), Message::HelloAck(_)));
    let mut channels = Vec::new();
    for (role, index) in [(Role::Multifd, 1), (Role::Urgent, 0), (Role::Multifd, 0)] {
        kept.0.extend(strays(&address));
        kept.1.extend(silent(&address, 5));
        // Whoever repeats the greeting is none of the further connections.
        let mut twin = TcpStream::connect(&address).unwrap();
        MessageWriter::default().send(&mut twin, &Message::Hello(hello.clone())).unwrap();
        channels.push(introduce(&address, role, index));
    }
    host.wait_for(Phase::Active);
    match host.ask(&Request::Samples) {
        Reply::Samples(samples) => {
            let told = samples.events.iter().filter(|it| it.kind == "stranger");
            assert!((1..=16).contains(&told.count()), "{:?}", samples.events);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stray_is_told_why_and_cut_when_it_says_nothing() {
    let mut host = Host::prepared(Side::Destination);
    let address = host.listen_at();
    let told = |bytes: &[u8]| {
        let mut stray = TcpStream::connect(&address).unwrap();
        stray.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stray.write_all(bytes).unwrap();
        let answer = MessageReader::default().message(&mut stray).unwrap();
        assert_eq!(stray.read(&mut [0]).map_err(|it| it.kind()).unwrap_or(0), 0);
        match answer {
            Message::Error(text) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(told(b"GET / HTTP/1.1\r\n\r\n").contains("Unknown frame kind"));
    assert!(told(&frame(Kind::Go, 0, 0, b"", b"")).contains("Go frame while waiting"));
    let began = Instant::now();
    assert!(told(b"").contains("not introduced itself"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(host.status().phase, Phase::Idle);
}

#[test]
fn a_port_under_siege_is_given_up_in_words() {
    let mut host = Host::prepared(Side::Destination);
    let address = host.listen_at();
    let is_over = || TcpStream::connect(&address).is_err();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_over() {
        assert!(Instant::now() < deadline, "{:?}", host.status());
    }
    let error = host.wait_for(Phase::Failed).error.unwrap();
    assert!(error.contains("No source has connected, but 257 strangers"), "{error}");
}

/// Comes again and again with every kind of nonsense until told to end.
fn harass(address: &str, stop: &AtomicBool) {
    let mut kept = Vec::new();
    while !stop.load(Ordering::Acquire) {
        for words in [&b"\r\n\r\n"[..], b"", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
            let Ok(mut stray) = TcpStream::connect(address) else { continue };
            let _ = stray.write_all(words);
            kept.push(stray);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    kept.iter().for_each(|it| drop(it.shutdown(Shutdown::Both)));
}

#[test]
fn two_hosts_migrate_through_a_crowd() {
    if sterna_sys::tracking::probe_missing_faults()
        .inspect_err(|error| eprintln!("skipped: {error}"))
        .is_err()
    {
        return;
    }
    let change = |config: &mut HostConfig| {
        config.postcopy = Some(PostcopyConfig {
            preempt: true,
            recover: true,
            max_bandwidth_bytes_per_second: None,
        });
        config.multifd = Some(MultifdConfig {
            channels: 4,
            compression: "none".to_owned(),
            level: None,
            finds_zero_pages: true,
            zero_copy: false,
        });
    };
    let mut destination = Host::prepared_as(Side::Destination, change);
    let address = destination.listen_at();
    let mut source = Host::prepared_as(Side::Source, change);
    source.ask(&Request::Start);
    let (stop, kept) = (AtomicBool::new(false), silent(&address, 30));
    std::thread::scope(|scope| {
        scope.spawn(|| harass(&address, &stop));
        std::thread::sleep(Duration::from_millis(200));
        let endpoint = Endpoint::Tcp(address.clone());
        source.ask(&Request::Migrate { endpoint, session: SESSION });
        source.ask(&Request::Act(Act::StartPostcopy));
        let source = source.wait_for(Phase::Completed);
        stop.store(true, Ordering::Release);
        assert_eq!(source.error, None);
    });
    destination.wait_for(Phase::Completed);
    let found = destination.verify();
    assert_eq!((found.pages_checked, found.corrupt_pages), (1024, 0));
    drop(kept);
}
