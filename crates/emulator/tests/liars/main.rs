//! Peers that lie, break off or talk nonsense: each gets a clear error, and the guest stays where it was.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

mod host;
mod strays;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use host::{Host, MEMORY_BYTES, SESSION};
use sterna_wire::control::{Act, Endpoint, Phase, Reply, Request, Side};
use sterna_wire::stream::{
    Channel, Header, Hello, HelloAck, Kind, Message, MessageReader, MessageWriter, Role, VERSION,
    capability,
};

fn hello() -> Hello {
    Hello {
        oldest_version: 1,
        version: VERSION,
        capabilities: 0,
        session: SESSION,
        page_bytes: 4096,
        multifd_channels: 0,
        ram_bytes: MEMORY_BYTES,
    }
}

/// A raw frame with a checksum that fits.
fn frame(kind: Kind, runs: u16, sequence: u32, body: &[u8], content: &[u8]) -> Vec<u8> {
    let body_bytes = (body.len() + content.len()) as u32;
    let header = Header { kind, runs, body_bytes, crc: 0, sequence };
    let crc = sterna_sys::crc32c(sterna_sys::crc32c(0, content), body);
    [&header.seal(crc).encode(), body, content].concat()
}

/// Says `bytes` to a fresh destination behind a good greeting, and expects a failure in words.
#[track_caller]
fn destination_refuses(bytes: &[u8], expected: &str) {
    let mut greeting = Vec::new();
    MessageWriter::default().send(&mut greeting, &Message::Hello(hello())).unwrap();
    let mut host = Host::prepared(Side::Destination);
    let mut stream = host.listen();
    stream.write_all(&greeting).unwrap();
    let mut reader = MessageReader::default();
    assert!(matches!(reader.message(&mut stream).unwrap(), Message::HelloAck(_)));
    stream.write_all(bytes).unwrap();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    assert_failed(&mut host, &mut stream, &mut reader, expected);
}

#[track_caller]
fn assert_failed(
    host: &mut Host,
    stream: &mut TcpStream,
    reader: &mut MessageReader,
    expected: &str,
) {
    let status = host.wait_for(Phase::Failed);
    let error = status.error.unwrap();
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
    assert_eq!(status.stamps.resumed_ns, None);
    // The source is told in the same words, whatever it has sent.
    match reader.message(stream) {
        Ok(Message::Error(text)) => assert_eq!(text, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_destination_refuses_a_source_that_lies_in_its_greeting() {
    #[track_caller]
    fn check(hello: Hello, expected: &str) {
        let mut host = Host::prepared(Side::Destination);
        let mut stream = host.listen();
        MessageWriter::default().send(&mut stream, &Message::Hello(hello)).unwrap();
        assert_failed(&mut host, &mut stream, &mut MessageReader::default(), expected);
    }
    check(Hello { version: 9, oldest_version: 8, ..hello() }, "stream versions 8 to 9");
    check(Hello { ram_bytes: MEMORY_BYTES * 2, ..hello() }, "8388608 bytes of RAM");
    check(Hello { page_bytes: 65536, ..hello() }, "page size is 65536");
    check(Hello { capabilities: 1 << 31, ..hello() }, "Unknown capabilities");
    let parallel = Hello { capabilities: capability::MULTIFD, ..hello() };
    check(parallel.clone(), "announces 0 parallel connections");
    check(Hello { multifd_channels: 65, ..parallel }, "announces 65 parallel connections");
    check(Hello { multifd_channels: 1, ..hello() }, "announces 1 parallel connections");
}

#[test]
fn a_destination_refuses_what_is_no_migration() {
    destination_refuses(&frame(Kind::Running, 0, 1, &[0; 8], b""), "Running frame");
    destination_refuses(&[0xff; 32], "Unknown frame kind 255");
    destination_refuses(&frame(Kind::Flush, 0, 1, &[1, 0, 0, 0], b""), "Flush frame while");
    let packet = [0, 0, 1, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    destination_refuses(&frame(Kind::Packet, 1, 1, &packet, &[0; 4096]), "Packet frame");
}

/// A destination that waits for one parallel connection, on which `bytes` follow the introduction.
#[track_caller]
fn channel_is_refused(bytes: &[u8], expected: &str) {
    let mut host = Host::prepared(Side::Destination);
    let mut stream = host.listen();
    let (mut reader, mut writer) = (MessageReader::default(), MessageWriter::default());
    let hello = Hello { capabilities: capability::MULTIFD, multifd_channels: 1, ..hello() };
    writer.send(&mut stream, &Message::Hello(hello)).unwrap();
    assert!(matches!(reader.message(&mut stream).unwrap(), Message::HelloAck(_)));
    let mut channel = TcpStream::connect(stream.peer_addr().unwrap()).unwrap();
    let introduction = Channel { session: SESSION, role: Role::Multifd, index: 0 };
    MessageWriter::default().send(&mut channel, &Message::Channel(introduction)).unwrap();
    let answer = MessageReader::default().message(&mut channel).unwrap();
    assert_eq!(answer, Message::ChannelAck);
    channel.write_all(bytes).unwrap();
    let _ = channel.shutdown(std::net::Shutdown::Write);
    let error = host.wait_for(Phase::Failed).error.unwrap();
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
    // The source is told on the first connection, which has done nothing wrong.
    assert_eq!(reader.message(&mut stream).unwrap(), Message::Error(error));
}

#[test]
fn a_destination_refuses_a_parallel_connection_that_lies() {
    let packet = |first: u8, count: u8, content: &[u8]| {
        let bytes = (content.len() as u32).to_le_bytes();
        let head = [&[0, 0, 1, 0], &bytes[..], &[first, 0, 0, 0, 0, 0, count, 0]].concat();
        frame(Kind::Packet, 1, 1, &head, content)
    };
    let mut damaged = packet(0, 1, &[5; 4096]);
    *damaged.last_mut().unwrap() ^= 1;
    channel_is_refused(&damaged, "Checksum mismatch in a Packet frame");
    channel_is_refused(&packet(0, 2, &[5; 4096]), "for 2 pages");
    let mut packed = packet(0, 1, &[5; 100]);
    packed[16] = 2;
    channel_is_refused(&packed, "Checksum mismatch");
    let packed = [&[2, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &[5; 100]].concat();
    channel_is_refused(&frame(Kind::Packet, 1, 1, &packed, b""), "Checksum mismatch");
    channel_is_refused(&frame(Kind::Packet, 1, 1, &packed[..16], &packed[16..]), "Damaged zstd");
    channel_is_refused(&frame(Kind::Sync, 0, 1, &[2, 0, 0, 0], b""), "Synchronisation 2 came");
    channel_is_refused(&frame(Kind::Go, 0, 1, b"", b""), "Go frame while waiting for packets");
    channel_is_refused(&packet(0, 1, &[5; 4096])[..100], "Channel 0");
}

#[test]
fn a_destination_refuses_lengths_and_runs_that_lie() {
    // The longest length there is, in a frame that may be long and one that may not.
    let mut long = frame(Kind::State, 0, 1, b"", b"");
    long[4..8].fill(0xff);
    destination_refuses(&long, "claims 4294967295 bytes");
    let mut long = frame(Kind::Finished, 0, 1, b"", b"");
    long[7] = 0x80;
    destination_refuses(&long, "claims 2147483648 bytes");
    // Pages outside of the guest, pages without content, and content without pages.
    let run = |first: u64, count: u16| {
        let mut bytes = first.to_le_bytes()[..6].to_vec();
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes
    };
    destination_refuses(&frame(Kind::Pages, 1, 1, &run(1024, 1), &[0; 4096]), "outside");
    destination_refuses(&frame(Kind::Zero, 1, 1, &run(1023, 2), b""), "outside");
    destination_refuses(&frame(Kind::Pages, 1, 1, &run(0, 2), &[0; 4096]), "content for 2 pages");
    destination_refuses(&frame(Kind::Zero, 1, 1, &run(0, 1), &[0; 8]), "behind the runs");
}

#[test]
fn a_destination_refuses_damage_loss_and_repetition() {
    let pages = |sequence| {
        let run = [0, 0, 0, 0, 0, 0, 1, 0];
        frame(Kind::Pages, 1, sequence, &run, &[5; 4096])
    };
    let mut damaged = pages(1);
    *damaged.last_mut().unwrap() ^= 1;
    destination_refuses(&damaged, "Checksum mismatch");
    destination_refuses(&pages(2), "Frame number 2 came where 1 was due");
    destination_refuses(&[pages(1), pages(1)].concat(), "Frame number 1 came where 2");
    destination_refuses(&pages(1)[..100], "closed the connection");
    destination_refuses(b"", "closed the connection");
}

#[test]
fn a_destination_refuses_differences_that_nobody_announced() {
    // Page 0: its first byte is now 9.
    let body = [0, 0, 0, 0, 0, 0, 3, 0, 0, 1, 9];
    destination_refuses(&frame(Kind::Deltas, 1, 1, &body, b""), "Unexpected Deltas frame");
}

#[test]
fn a_destination_needs_a_state_that_fits_its_workload() {
    let finished = frame(Kind::Finished, 0, 1, b"", b"");
    destination_refuses(&finished, "no state");
    let state = [&[2, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
    let both = [frame(Kind::State, 0, 1, &state, b""), frame(Kind::Finished, 0, 2, b"", b"")];
    destination_refuses(&both.concat(), "workload");
}

#[test]
fn a_port_in_use_is_told_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::Tcp(taken.local_addr().unwrap().to_string());
    let mut host = Host::prepared(Side::Destination);
    match host.ask(&Request::Listen { endpoint, session: SESSION }) {
        Reply::Refused { error, .. } => assert!(error.contains("port 0"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// A source that meets a destination played by `play`; it must go on running its guest.
#[track_caller]
fn source_survives(play: impl FnOnce(TcpStream) + Send + 'static, expected: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let liar = std::thread::spawn(move || play(listener.accept().unwrap().0));
    let mut host = Host::prepared(Side::Source);
    host.ask(&Request::Start);
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(address), session: SESSION });
    let error = host.wait_for(Phase::Failed).error.unwrap();
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
    liar.join().unwrap();
    assert_runs_on_unharmed(&mut host);
}

#[track_caller]
fn assert_runs_on_unharmed(host: &mut Host) {
    let writes = |host: &mut Host| match host.ask(&Request::Samples) {
        Reply::Samples(samples) => samples.samples.last().map(|it| it.counts.clone()),
        other => panic!("{other:?}"),
    };
    let before = writes(host);
    std::thread::sleep(Duration::from_millis(250));
    assert_ne!(writes(host), before, "the workload stands still");
    let found = host.verify();
    assert_eq!((found.pages_checked, found.corrupt_pages), (1024, 0));
}

/// Greets as it should, then swallows everything until the source says it has finished.
fn load_until_finished(stream: &mut TcpStream, writer: &mut MessageWriter) {
    greet(stream, writer);
    let mut skipped = vec![0; 2 << 20];
    // The greeting was frame 0.
    let mut next = 1;
    loop {
        let mut bytes = [0; 16];
        stream.read_exact(&mut bytes).unwrap();
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(header.sequence, next);
        next += 1;
        stream.read_exact(&mut skipped[..header.body_bytes as usize]).unwrap();
        if header.kind == Kind::Finished {
            return;
        }
    }
}

/// Keeps the connection open until the peer ends it, so that what was said arrives before a reset does.
fn swallow(stream: &mut TcpStream) {
    let _ = std::io::copy(stream, &mut std::io::sink());
}

fn greet(stream: &mut TcpStream, writer: &mut MessageWriter) {
    assert!(matches!(MessageReader::default().message(stream).unwrap(), Message::Hello(_)));
    let ack = HelloAck { version: VERSION, capabilities: 0 };
    writer.send(stream, &Message::HelloAck(ack)).unwrap();
}

#[test]
fn a_source_survives_a_destination_that_refuses_or_lies_in_its_greeting() {
    let say = |message: Message| {
        move |mut stream: TcpStream| {
            MessageWriter::default().send(&mut stream, &message).unwrap();
            swallow(&mut stream);
        }
    };
    source_survives(say(Message::Error("No room".to_owned())), "Destination: No room");
    source_survives(say(Message::Ready), "Ready where a greeting was due");
    let odd = HelloAck { version: 99, capabilities: 0 };
    source_survives(say(Message::HelloAck(odd)), "chose version 99");
    let odd = HelloAck { version: VERSION, capabilities: 4 };
    source_survives(say(Message::HelloAck(odd)), "capabilities 0x4");
    source_survives(
        |mut stream| {
            stream.write_all(b"SSH-2.0-x\r\n      ").unwrap();
            swallow(&mut stream);
        },
        "damaged",
    );
    source_survives(drop, "connection");
}

#[test]
fn a_source_survives_a_destination_that_breaks_off_late() {
    source_survives(
        |mut stream| {
            let mut writer = MessageWriter::default();
            greet(&mut stream, &mut writer);
            writer.send(&mut stream, &Message::Error("Out of memory".to_owned())).unwrap();
            swallow(&mut stream);
        },
        "Destination: Out of memory",
    );
    source_survives(
        |mut stream| load_until_finished(&mut stream, &mut MessageWriter::default()),
        "closed the connection",
    );
    source_survives(
        |mut stream| {
            let mut writer = MessageWriter::default();
            load_until_finished(&mut stream, &mut writer);
            writer.send(&mut stream, &Message::Running { resumed_ns: 1 }).unwrap();
        },
        "Running where READY was due",
    );
    source_survives(
        |mut stream| {
            let mut writer = MessageWriter::default();
            load_until_finished(&mut stream, &mut writer);
            let mut bytes = Vec::new();
            writer.send(&mut bytes, &Message::Ready).unwrap();
            bytes[8] ^= 1;
            stream.write_all(&bytes).unwrap();
        },
        "damaged",
    );
}

#[test]
fn a_source_survives_a_destination_that_is_not_there() {
    let mut host = Host::prepared(Side::Source);
    host.ask(&Request::Start);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(nowhere.to_string()), session: SESSION });
    let error = host.wait_for(Phase::Failed).error.unwrap();
    assert!(error.contains("Cannot connect"), "{error}");
    assert_runs_on_unharmed(&mut host);
}

#[test]
fn a_source_can_be_cancelled_while_its_destination_is_deaf() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let deaf = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        greet(&mut stream, &mut MessageWriter::default());
        stream
    });
    let mut host = Host::prepared(Side::Source);
    host.ask(&Request::Start);
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(address), session: SESSION });
    let stream = deaf.join().unwrap();
    let reply = host.ask(&Request::Act(Act::Cancel));
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    host.wait_for(Phase::Cancelled);
    assert_runs_on_unharmed(&mut host);
    drop(stream);
}

#[test]
fn past_the_commit_point_a_cancel_is_refused_and_silence_is_undecided() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mute = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut writer = MessageWriter::default();
        load_until_finished(&mut stream, &mut writer);
        writer.send(&mut stream, &Message::Ready).unwrap();
        let mut go = [0; 16];
        stream.read_exact(&mut go).unwrap();
        assert_eq!(Header::decode(&go).unwrap().kind, Kind::Go);
        stream
    });
    let mut host = Host::prepared(Side::Source);
    host.ask(&Request::Start);
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(address), session: SESSION });
    let stream = mute.join().unwrap();
    host.wait_for(Phase::Committed);
    match host.ask(&Request::Act(Act::Cancel)) {
        Reply::Refused { error, .. } => assert!(error.contains("commit point"), "{error}"),
        other => panic!("{other:?}"),
    }
    drop(stream);
    let status = host.wait_for(Phase::Undecided);
    assert_eq!(status.stamps.restored_ns, None);
    // The source never runs the guest again.
    let counts = |host: &mut Host| match host.ask(&Request::Samples) {
        Reply::Samples(it) => it.samples.last().map(|it| it.counts.clone()),
        other => panic!("{other:?}"),
    };
    std::thread::sleep(Duration::from_millis(250));
    let before = counts(&mut host);
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(counts(&mut host), before);
}
