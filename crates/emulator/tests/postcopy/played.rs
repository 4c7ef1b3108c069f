//! Post-copy between a real host and a peer that is played, also by liars.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sterna_emulator::migration::device;
use sterna_wire::control::{Act, Endpoint, HostStatus, Phase, Reply, Request, Side};
use sterna_wire::stream::{
    Header, Hello, HelloAck, Kind, Message, MessageReader, MessageWriter, PageRun, ReceivedMap,
    State, VERSION, capability,
};
use sterna_workload::CrewState;

use crate::host::{Host, MEMORY_BYTES, SESSION, has_faults};

/// A page of the ballast, which no worker touches.
const BALLAST: u64 = 300;

/// A source that is played, connected to a real destination.
struct Source {
    host: Host,
    address: String,
    stream: TcpStream,
    writer: MessageWriter,
    reader: MessageReader,
}

impl Source {
    fn greeted() -> Source {
        Source::greeted_with(0)
    }

    fn greeted_with(capabilities: u32) -> Source {
        let mut host = Host::prepared(Side::Destination, |_| {});
        let endpoint = Endpoint::Tcp("127.0.0.1:0".to_owned());
        let address = match host.ask(&Request::Listen { endpoint, session: SESSION }) {
            Reply::Listening { endpoint: Endpoint::Tcp(address) } => address,
            other => panic!("{other:?}"),
        };
        let stream = connect(&address);
        let (writer, reader) = Default::default();
        let mut source = Source { host, address, stream, writer, reader };
        source.send(&Message::Hello(Hello {
            oldest_version: 1,
            version: VERSION,
            capabilities,
            session: SESSION,
            page_bytes: 4096,
            multifd_channels: 0,
            ram_bytes: MEMORY_BYTES,
        }));
        assert!(matches!(source.receive(), Message::HelloAck(_)));
        source
    }

    /// The guest runs there, and lacks `pages`.
    fn switched(first: u64, count: u16) -> Source {
        Source::greeted().switch(first, count)
    }

    fn switch(mut self, first: u64, count: u16) -> Source {
        let source = &mut self;
        source.send(&Message::Discard(vec![PageRun { first, count }]));
        let counts = CrewState::fresh(1).counts;
        source.send(&Message::State(State { counts, device: device::state(1000, 1) }));
        source.send(&Message::Listen);
        assert_eq!(source.receive(), Message::Ready);
        source.send(&Message::Go);
        assert!(matches!(source.receive(), Message::Running { .. }));
        source.host.wait_for(Phase::Postcopy);
        self
    }

    /// Comes on a new connection.
    fn come_back(&mut self, session: [u8; 16]) {
        self.stream = connect(&self.address);
        (self.writer, self.reader) = Default::default();
        self.send(&Message::Resume(session));
    }

    fn send(&mut self, message: &Message) {
        self.writer.send(&mut self.stream, message).unwrap();
    }

    fn receive(&mut self) -> Message {
        self.reader.message(&mut self.stream).unwrap()
    }

    fn send_page(&mut self, page: u64, content: &[u8], damage: u32) {
        let mut run = page.to_le_bytes()[..6].to_vec();
        run.extend_from_slice(&1u16.to_le_bytes());
        let header = self.writer.header(Kind::Pages, 1, run.len() + content.len());
        let crc = sterna_sys::crc32c(sterna_sys::crc32c(damage, content), &run);
        let bytes = [&header.seal(crc).encode(), &run[..], content].concat();
        self.stream.write_all(&bytes).unwrap();
    }

    #[track_caller]
    fn assert_incomplete(mut self, expected: &str) {
        let error = self.host.wait_for(Phase::Incomplete).error.unwrap();
        assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
        assert!(error.contains("pages are missing"), "{error}");
        // Whoever verified it would wait for ever.
        match self.host.ask(&Request::Verify) {
            Reply::Refused { error, .. } => assert!(error.contains("arrived"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn who_comes_back_is_told_what_is_there_and_what_is_waited_for() {
    if !has_faults() {
        return;
    }
    let mut source = Source::greeted_with(capability::RECOVER).switch(0, 20);
    let wanted = Message::Request(vec![PageRun { first: 0, count: 1 }]);
    assert_eq!(source.receive(), wanted);
    source.send_page(9, &[9; 4096], 0);
    source.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let error = source.host.wait_for(Phase::PostcopyPaused).error.unwrap();
    assert!(error.contains("19 pages are missing"), "{error}");
    source.come_back([8; 16]);
    let text = "The connection belongs to another migration".to_owned();
    assert_eq!(source.receive(), Message::Error(text));
    // The second time it comes although the link before stands.
    for _ in 0..2 {
        source.come_back(SESSION);
        let mut map = ReceivedMap::new(MEMORY_BYTES / 4096);
        while !map.is_whole() {
            let Message::Received(part) = source.receive() else { panic!() };
            map.add(&part).unwrap();
        }
        assert_eq!(map.marks()[..4], [0, 0b10, 0xf0, 0xff]);
        assert_eq!(source.receive(), wanted);
        source.host.wait_for(Phase::Postcopy);
    }
    for page in (0..20).filter(|it| *it != 9) {
        source.send_page(page, &[page as u8; 4096], 0);
    }
    source.send(&Message::Finished);
    while source.receive() != Message::Loaded {}
    let faults = source.host.wait_for(Phase::Completed).page_faults.unwrap();
    assert_eq!((faults.missing_pages, faults.duplicates), (0, 0));
    assert!(faults.latency.unwrap().count >= 1);
}

#[test]
fn a_source_that_comes_back_and_never_brings_a_page_is_given_up() {
    if !has_faults() {
        return;
    }
    let mut source = Source::greeted_with(capability::RECOVER).switch(BALLAST, 3);
    let deadline = Instant::now() + Duration::from_secs(30);
    while source.host.status().phase != Phase::Incomplete {
        assert!(Instant::now() < deadline, "it is never given up");
        let _ = source.stream.shutdown(std::net::Shutdown::Both);
        let Ok(stream) = TcpStream::connect(&source.address) else { continue };
        source.stream = stream;
        (source.writer, source.reader) = Default::default();
        let _ = source.writer.send(&mut source.stream, &Message::Resume(SESSION));
        let _ = source.stream.read(&mut [0; 64]);
    }
    source.assert_incomplete("have brought no page");
}

#[test]
fn a_worker_waits_for_its_page_and_gets_it() {
    if !has_faults() {
        return;
    }
    // The first pages that the worker writes, and one that it does not.
    let mut source = Source::switched(0, 2);
    for page in 0..2 {
        let wanted = vec![PageRun { first: page, count: 1 }];
        assert_eq!(source.receive(), Message::Request(wanted));
        std::thread::sleep(Duration::from_millis(20));
        source.send_page(page, &[page as u8; 4096], 0);
    }
    source.send(&Message::Finished);
    assert_eq!(source.receive(), Message::Loaded);
    let faults = source.host.wait_for(Phase::Completed).page_faults.unwrap();
    assert_eq!((faults.discarded_pages, faults.missing_pages, faults.duplicates), (2, 0, 0));
    let latency = faults.latency.unwrap();
    assert_eq!(latency.count, 2);
    assert!(latency.p50_ns >= 20_000_000, "{latency:?}");
    assert!(faults.blocked_ns[0] >= 40_000_000, "{faults:?}");
    assert_eq!(faults.all_blocked_ns, faults.blocked_ns[0]);
}

#[test]
fn pages_that_nobody_asked_for_or_that_are_there_do_no_harm() {
    if !has_faults() {
        return;
    }
    let mut source = Source::switched(BALLAST, 2);
    source.send_page(BALLAST, &[1; 4096], 0);
    source.send_page(BALLAST, &[2; 4096], 0);
    source.send_page(BALLAST + 40, &[3; 4096], 0);
    source.send_page(BALLAST + 1, &[4; 4096], 0);
    source.send(&Message::Finished);
    assert_eq!(source.receive(), Message::Loaded);
    let faults = source.host.wait_for(Phase::Completed).page_faults.unwrap();
    assert_eq!((faults.missing_pages, faults.duplicates, faults.faults), (0, 2, 0));
}

#[test]
fn a_destination_refuses_lies_before_the_commit_point() {
    #[track_caller]
    fn check(messages: &[Message], expected: &str) {
        let mut source = Source::greeted();
        for message in messages {
            source.send(message);
        }
        let error = source.host.wait_for(Phase::Failed).error.unwrap();
        assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
        assert_eq!(source.receive(), Message::Error(error));
    }
    let discard = |first, count| Message::Discard(vec![PageRun { first, count }]);
    check(&[discard(1023, 2)], "outside the guest's 1024 pages");
    check(&[discard(u64::from(u32::MAX), 1)], "outside");
    check(&[discard(0, 1), Message::Finished], "Finished frame while waiting");
    check(&[discard(0, 1), Message::Listen], "no state");
    check(&[Message::Request(vec![PageRun { first: 0, count: 1 }])], "Request frame");
}

#[test]
fn a_destination_past_the_commit_point_says_what_it_lacks() {
    if !has_faults() {
        return;
    }
    let lied = |lie: &dyn Fn(&mut Source), expected: &str| {
        let mut source = Source::switched(BALLAST, 3);
        lie(&mut source);
        source.assert_incomplete(expected);
    };
    lied(&|it| it.send(&Message::Finished), "3 pages never came");
    lied(&|it| it.send_page(1024, &[0; 4096], 0), "outside the guest's");
    lied(&|it| it.send_page(BALLAST, &[0; 100], 0), "100 bytes of content for 1 pages");
    lied(&|it| it.send(&Message::Abort("changed my mind".to_owned())), "Abort frame");
    lied(&|it| it.send(&Message::Go), "Go frame");
    lied(&|it| it.stream.write_all(&[0; 64]).unwrap(), "Unknown frame kind 0");
}

#[test]
fn a_destination_without_its_source_waits_with_what_it_has() {
    if !has_faults() {
        return;
    }
    let paused = |lose: &dyn Fn(&mut Source), expected: &str| {
        let mut source = Source::switched(BALLAST, 3);
        source.send_page(BALLAST, &[1; 4096], 0);
        lose(&mut source);
        let error = source.host.wait_for(Phase::PostcopyPaused).error.unwrap();
        assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
        assert!(error.contains("2 pages are missing"), "{error}");
        assert!(matches!(source.host.ask(&Request::Verify), Reply::Refused { .. }));
    };
    paused(&|it| it.stream.shutdown(std::net::Shutdown::Both).unwrap(), "closed the connection");
    // What a link damages is no lie of the source.
    paused(&|it| it.send_page(BALLAST + 1, &[0; 4096], 1), "Checksum mismatch");
}

#[test]
fn a_link_that_breaks_behind_the_last_page_has_done_its_work() {
    if !has_faults() {
        return;
    }
    let mut source = Source::switched(BALLAST, 2);
    source.send_page(BALLAST, &[1; 4096], 0);
    source.send_page(BALLAST + 1, &[1; 4096], 0);
    source.stream.shutdown(std::net::Shutdown::Both).unwrap();
    let status = source.host.wait_for(Phase::Completed);
    assert_eq!(status.page_faults.unwrap().missing_pages, 0);
    assert!(matches!(source.host.ask(&Request::Verify), Reply::Verified(_)));
    match source.host.ask(&Request::Samples) {
        Reply::Samples(it) => assert_eq!(it.events[0].kind, "link-lost", "{:?}", it.events),
        other => panic!("{other:?}"),
    }
    // One that lies is not believed, whatever it has sent before.
    let mut source = Source::switched(BALLAST, 1);
    source.send_page(BALLAST, &[1; 4096], 0);
    source.send(&Message::Go);
    source.assert_incomplete("Go frame");
}

/// Plays a destination up to the moment when the guest would run there, and then what `play` does.
#[track_caller]
fn source_is_undecided(
    play: impl FnOnce(&mut TcpStream, &mut MessageWriter) + Send + 'static,
    expected: &str,
) -> HostStatus {
    source_is_left(play, Phase::Undecided, expected)
}

#[track_caller]
fn source_is_left(
    play: impl FnOnce(&mut TcpStream, &mut MessageWriter) + Send + 'static,
    phase: Phase,
    expected: &str,
) -> HostStatus {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let played = std::thread::spawn(move || {
        let (mut stream, mut writer) = (listener.accept().unwrap().0, MessageWriter::default());
        let mut reader = MessageReader::default();
        let Message::Hello(hello) = reader.message(&mut stream).unwrap() else { panic!() };
        let ack = HelloAck { version: VERSION, capabilities: hello.capabilities };
        writer.send(&mut stream, &Message::HelloAck(ack)).unwrap();
        take_until(&mut stream, Kind::Prepare);
        writer.send(&mut stream, &Message::Prepared).unwrap();
        take_until(&mut stream, Kind::Listen);
        writer.send(&mut stream, &Message::Ready).unwrap();
        take_until(&mut stream, Kind::Go);
        writer.send(&mut stream, &Message::Running { resumed_ns: 1 }).unwrap();
        play(&mut stream, &mut writer);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut host = Host::prepared(Side::Source, |_| {});
    host.ask(&Request::Start);
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(address), session: SESSION });
    assert!(matches!(host.ask(&Request::Act(Act::StartPostcopy)), Reply::Done { .. }));
    let status = host.wait_for(phase);
    let error = status.error.clone().unwrap();
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
    // The source never runs the guest again.
    assert_eq!(status.stamps.restored_ns, None);
    assert!(matches!(host.ask(&Request::Act(Act::Cancel)), Reply::Refused { .. }));
    assert!(matches!(host.ask(&Request::Act(Act::Recover)), Reply::Refused { .. }));
    played.join().unwrap();
    status
}

/// Reads frames, whatever they are, up to one of a kind.
fn take_until(stream: &mut TcpStream, last: Kind) {
    let mut body = vec![0; 2 << 20];
    loop {
        let mut bytes = [0; 16];
        stream.read_exact(&mut bytes).unwrap();
        let header = Header::decode(&bytes).unwrap();
        stream.read_exact(&mut body[..header.body_bytes as usize]).unwrap();
        if header.kind == last {
            return;
        }
    }
}

#[test]
fn a_source_hears_lies_past_the_commit_point_and_never_runs_the_guest_again() {
    let request = |first, count| Message::Request(vec![PageRun { first, count }]);
    source_is_undecided(
        move |stream, writer| drop(writer.send(stream, &request(1020, 5))),
        "outside the guest's 1024 pages",
    );
    source_is_undecided(
        |stream, writer| drop(writer.send(stream, &Message::Ready)),
        "Ready where a request was due",
    );
    source_is_undecided(
        |stream, writer| drop(writer.send(stream, &Message::Error("No room".to_owned()))),
        "Destination: No room",
    );
    source_is_left(
        |stream, _| stream.shutdown(std::net::Shutdown::Both).unwrap(),
        Phase::PostcopyPaused,
        "connection",
    );
}

#[test]
fn a_page_that_is_asked_for_again_and_again_is_sent_once() {
    let status = source_is_undecided(
        |stream, writer| {
            for _ in 0..50 {
                let runs = vec![PageRun { first: 2, count: 3 }; 2];
                writer.send(stream, &Message::Request(runs)).unwrap();
            }
            take_until(stream, Kind::Finished);
            writer.send(stream, &Message::Go).unwrap();
        },
        "Go where a request was due",
    );
    let served = status.served.unwrap();
    assert_eq!(served.requests, 300);
    assert!(served.pages_by_request <= 3);
    // Nothing but the pages of the guest was ever sent.
    assert!(served.pages_by_request + served.pages_by_background <= 1024);
}
