//! Two real hosts and a wire between them that is cut at random: no byte may be lost or wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sterna_wire::control::{Act, Endpoint, HostConfig, HostStatus, Phase, Reply, Request, Side};

use crate::host::{Host, SESSION, has_faults};

/// Carries every connection to the destination, until as many bytes have passed as it was given; then it cuts all of them, in the middle of a byte stream.
struct Wire {
    address: String,
    destination: String,
    shared: Arc<Shared>,
}

struct Shared {
    left_bytes: AtomicI64,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Wire {
    fn to(destination: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared =
            Arc::new(Shared { left_bytes: AtomicI64::new(i64::MAX), sockets: Mutex::default() });
        let carried = Arc::clone(&shared);
        let theirs = destination.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let Ok(far) = TcpStream::connect(&theirs) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    from.set_nodelay(true).unwrap();
                    carried.sockets.lock().unwrap().push(from.try_clone().unwrap());
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let carried = Arc::clone(&carried);
                    std::thread::spawn(move || carried.carry(from, to));
                }
            }
        });
        Wire { address, destination, shared }
    }

    fn cut_after(&self, bytes: i64) {
        self.shared.left_bytes.store(bytes, Ordering::SeqCst);
    }
}

impl Shared {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            let left = self.left_bytes.fetch_sub(count as i64, Ordering::SeqCst);
            let passes = left.clamp(0, count as i64) as usize;
            let is_carried = to.write_all(&bytes[..passes]).is_ok();
            if left >= 0 && passes < count {
                // Whatever comes next has a wire again.
                self.left_bytes.store(i64::MAX, Ordering::SeqCst);
                for socket in self.sockets.lock().unwrap().drain(..) {
                    let _ = socket.shutdown(Shutdown::Both);
                }
                return;
            }
            if count == 0 || !is_carried {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn pick(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as i64
    }
}

struct Pair {
    source: Host,
    destination: Host,
    wire: Wire,
}

impl Pair {
    fn started(preempt: bool, breakage: Option<&str>) -> Pair {
        let change = |config: &mut HostConfig| {
            let postcopy = config.postcopy.as_mut().unwrap();
            (postcopy.preempt, postcopy.recover) = (preempt, true);
            postcopy.max_bandwidth_bytes_per_second = Some(40_000_000);
            config.breakage = breakage.map(str::to_owned);
        };
        let mut source = Host::prepared(Side::Source, change);
        let mut destination = Host::prepared(Side::Destination, change);
        let endpoint = Endpoint::Tcp("127.0.0.1:0".to_owned());
        let wire = match destination.ask(&Request::Listen { endpoint, session: SESSION }) {
            Reply::Listening { endpoint: Endpoint::Tcp(address) } => Wire::to(address),
            other => panic!("{other:?}"),
        };
        source.ask(&Request::Start);
        let endpoint = Endpoint::Tcp(wire.address.clone());
        source.ask(&Request::Migrate { endpoint, session: SESSION });
        assert!(matches!(source.ask(&Request::Act(Act::StartPostcopy)), Reply::Done { .. }));
        Pair { source, destination, wire }
    }

    /// Cuts the wire after each number of bytes in turn and has it mended each time, as a pilot would; returns what the source says in the end.
    fn fly(&mut self, cuts: &[i64]) -> HostStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut cuts = cuts.iter();
        let mut seen = 0;
        loop {
            assert!(Instant::now() < deadline, "{:?}", self.source.status());
            let status = self.source.status();
            let phase = status.phase;
            let made_anew = status.served.as_ref().map_or(0, |it| it.recoveries);
            match phase {
                Phase::Completed => return status,
                Phase::Undecided | Phase::Failed => panic!("{phase:?}: {:?}", status.error),
                Phase::PostcopyPaused => {
                    if self.destination.status().phase == Phase::Completed {
                        return status;
                    }
                    // The next cut may hit the very first bytes of the new link.
                    if let Reply::Done { .. } = self.source.ask(&Request::Act(Act::Recover))
                        && let Some(bytes) = cuts.next()
                    {
                        self.wire.cut_after(*bytes);
                    }
                }
                Phase::Postcopy if seen <= made_anew => {
                    seen = made_anew + 1;
                    if let Some(bytes) = cuts.next() {
                        self.wire.cut_after(*bytes);
                    }
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn corrupt_pages(&mut self) -> u64 {
        self.destination.wait_for(Phase::Completed);
        match self.destination.ask(&Request::Verify) {
            Reply::Verified(found) => {
                assert!(found.pages_checked > 0);
                found.corrupt_pages
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_link_that_is_cut_at_random_moments_loses_nothing() {
    if !has_faults() {
        return;
    }
    let (mut recoveries, mut again) = (0, 0);
    for seed in 0..16 {
        let mut dice = Dice(seed);
        // Some cuts come soon enough to hit the greeting of a new link.
        let cuts: Vec<i64> = (0..1 + dice.pick(5))
            .map(|_| if dice.pick(3) == 0 { dice.pick(400) } else { dice.pick(1_200_000) })
            .collect();
        let mut pair = Pair::started(seed % 2 == 0, None);
        eprintln!("seed {seed}: cuts after {cuts:?} bytes");
        let status = pair.fly(&cuts);
        let served = status.served.unwrap();
        recoveries += served.recoveries;
        again += served.pages_sent_again;
        assert_eq!(pair.corrupt_pages(), 0, "seed {seed}: {served:?}");
    }
    assert!(recoveries >= 16, "{recoveries} recoveries");
    assert!(again > 0, "nothing was ever under way when the link was cut");
}

#[test]
fn strays_at_the_door_do_not_keep_the_source_out() {
    if !has_faults() {
        return;
    }
    for preempt in [false, true] {
        let mut pair = Pair::started(preempt, None);
        let stray = |said: &[u8]| {
            let mut stray = TcpStream::connect(&pair.wire.destination).unwrap();
            stray.write_all(said).unwrap();
            stray
        };
        let strays: Vec<TcpStream> =
            (0..40).map(|it| stray(&b"GET / HTTP/1.1\r\n\r\n"[..it % 3 * 8])).collect();
        let began = Instant::now();
        let status = pair.fly(&[200_000, 300_000]);
        assert!(status.served.unwrap().recoveries >= 1);
        // Nobody waited for those that say nothing, which are cut after two seconds each.
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(pair.corrupt_pages(), 0);
        drop(strays);
    }
}

#[test]
fn a_page_that_is_claimed_and_not_there_is_corruption() {
    if !has_faults() {
        return;
    }
    let mut pair = Pair::started(true, Some("destination:claim-page"));
    pair.fly(&[300_000]);
    assert_eq!(pair.corrupt_pages(), 1);
}
