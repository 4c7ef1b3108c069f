//! Post-copy between a real host and a peer that is played, also by liars.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sterna_emulator::host::{self, HostOptions};
use sterna_wire::control::{
    self, Act, Endpoint, HostConfig, HostStatus, Phase, PostcopyConfig, Reply, Request, Side,
};
use sterna_wire::stream::{
    Header, Hello, HelloAck, Kind, Message, MessageReader, MessageWriter, PageRun, State, VERSION,
};
use sterna_workload::CrewState;

const MEMORY_BYTES: u64 = 4 << 20;
const SESSION: [u8; 16] = [7; 16];

/// A page of the ballast, which no worker touches.
const BALLAST: u64 = 300;

/// A host in this process, steered as the pilot would. It is left behind when its guest waits for pages.
struct Host {
    control: UnixStream,
}

impl Host {
    fn prepared(side: Side) -> Host {
        let (control, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let options = HostOptions { token: Some("token".to_owned()), ..HostOptions::default() };
            host::serve(theirs, &options)
        });
        let mut host = Host { control };
        host.ask(&Request::Hello {
            version: control::VERSION,
            oldest_version: 0,
            token: "token".to_owned(),
        });
        let reply = host.ask(&Request::Prepare(Box::new(config(side))));
        assert!(matches!(reply, Reply::Prepared(_)), "{reply:?}");
        host
    }

    fn ask(&mut self, request: &Request) -> Reply {
        control::send(&mut self.control, request).unwrap();
        loop {
            match control::receive(&mut self.control).unwrap() {
                Reply::Progress { .. } => {}
                reply => return reply,
            }
        }
    }

    fn status(&mut self) -> HostStatus {
        match self.ask(&Request::Status { passes_seen: 0 }) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn wait_for(&mut self, phase: Phase) -> HostStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status();
            if status.phase == phase {
                return status;
            }
            assert!(Instant::now() < deadline, "still {:?}: {:?}", status.phase, status.error);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn config(side: Side) -> HostConfig {
    let text = serde_json::json!({
        "side": if side == Side::Source { "source" } else { "destination" },
        "memory-bytes": MEMORY_BYTES,
        "ballast-bytes": 1 << 20,
        "workload": "memory=1MiB workers=1 pattern=sequential method=counter rate=4MiB/s seed=1 latency=off",
        "huge-pages": "none",
        "prealloc": true,
        "locked": false,
        "cpus": [],
        "numa-nodes": [],
        "tracker": "auto",
        "sample-interval-ns": 100_000_000,
        "max-bandwidth-bytes-per-second": null,
        "limit-in-switchover": false,
        "downtime-limit-ns": 300_000_000,
        "zero-page": true,
        "device-state-bytes": 1000,
        "link-latency-ns": 0,
        "link-bytes-per-second": null,
        "faults": "",
        "breakage": null,
    });
    let mut config: HostConfig = serde_json::from_value(text).unwrap();
    config.postcopy = Some(PostcopyConfig { preempt: false, max_bandwidth_bytes_per_second: None });
    config
}

/// A source that is played, connected to a real destination.
struct Source {
    host: Host,
    stream: TcpStream,
    writer: MessageWriter,
    reader: MessageReader,
}

impl Source {
    fn greeted() -> Source {
        let mut host = Host::prepared(Side::Destination);
        let endpoint = Endpoint::Tcp("127.0.0.1:0".to_owned());
        let stream = match host.ask(&Request::Listen { endpoint, session: SESSION }) {
            Reply::Listening { endpoint: Endpoint::Tcp(address) } => {
                TcpStream::connect(address).unwrap()
            }
            other => panic!("{other:?}"),
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (writer, reader) = Default::default();
        let mut source = Source { host, stream, writer, reader };
        source.send(&Message::Hello(Hello {
            oldest_version: 1,
            version: VERSION,
            capabilities: 0,
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
        let mut source = Source::greeted();
        source.send(&Message::Discard(vec![PageRun { first, count }]));
        let counts = CrewState::fresh(1).counts;
        source.send(&Message::State(State { counts, device: vec![1; 10] }));
        source.send(&Message::Listen);
        assert_eq!(source.receive(), Message::Ready);
        source.send(&Message::Go);
        assert!(matches!(source.receive(), Message::Running { .. }));
        source.host.wait_for(Phase::Postcopy);
        source
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

fn has_faults() -> bool {
    let probed = sterna_sys::tracking::probe_missing_faults();
    probed.inspect_err(|error| eprintln!("skipped: {error}")).is_ok()
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
    lied(&|it| it.send_page(BALLAST, &[0; 4096], 1), "Checksum mismatch");
    lied(&|it| it.send(&Message::Abort("changed my mind".to_owned())), "Abort frame");
    lied(&|it| it.send(&Message::Go), "Go frame");
    lied(&|it| it.stream.write_all(&[0; 64]).unwrap(), "Unknown frame kind 0");
    lied(&|it| it.stream.shutdown(std::net::Shutdown::Both).unwrap(), "closed the connection");
}

/// Plays a destination up to the moment when the guest would run there, and then what `play` does.
#[track_caller]
fn source_is_undecided(
    play: impl FnOnce(&mut TcpStream, &mut MessageWriter) + Send + 'static,
    expected: &str,
) -> HostStatus {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let played = std::thread::spawn(move || {
        let (mut stream, mut writer) = (listener.accept().unwrap().0, MessageWriter::default());
        let mut reader = MessageReader::default();
        assert!(matches!(reader.message(&mut stream).unwrap(), Message::Hello(_)));
        let ack = HelloAck { version: VERSION, capabilities: 0 };
        writer.send(&mut stream, &Message::HelloAck(ack)).unwrap();
        take_until(&mut stream, Kind::Listen);
        writer.send(&mut stream, &Message::Ready).unwrap();
        take_until(&mut stream, Kind::Go);
        writer.send(&mut stream, &Message::Running { resumed_ns: 1 }).unwrap();
        play(&mut stream, &mut writer);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut host = Host::prepared(Side::Source);
    host.ask(&Request::Start);
    host.ask(&Request::Migrate { endpoint: Endpoint::Tcp(address), session: SESSION });
    assert!(matches!(host.ask(&Request::Act(Act::StartPostcopy)), Reply::Done { .. }));
    let status = host.wait_for(Phase::Undecided);
    let error = status.error.clone().unwrap();
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
    // The source never runs the guest again.
    assert_eq!(status.stamps.restored_ns, None);
    assert!(matches!(host.ask(&Request::Act(Act::Cancel)), Reply::Refused { .. }));
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
    source_is_undecided(
        |stream, _| stream.shutdown(std::net::Shutdown::Both).unwrap(),
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
