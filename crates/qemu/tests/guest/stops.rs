//! A guest that is stopped and continued over the monitor, and what a client of its sees of that.

use std::net::Ipv4Addr;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use sterna_probe::Target;
use sterna_probe::watch::{Plan, Task, Watch};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::GuestMessage;

use crate::machine::{Machine, Port, boots};

/// Set to 20 for the long form: so many stops of each length, of which 19 in 20 have to be told to one interval and 2 ms.
const STOPS: &str = "STERNA_SOAK_STOPS";

const INTERVAL: Duration = Duration::from_millis(1);
const MARGIN: Duration = Duration::from_millis(400);

/// For how long the guest was stopped at least and at most, and what was told, in seconds.
struct Trial {
    truth: (f64, f64),
    told: f64,
}

impl Trial {
    fn off(&self) -> f64 {
        let (least, most) = self.truth;
        (least - self.told).max(self.told - most).max(0.0)
    }
}

#[test]
fn a_guest_that_is_stopped_over_the_monitor_is_away_for_as_long() {
    if !boots() {
        return;
    }
    if let Some(count) = std::env::var(STOPS).ok().and_then(|it| it.parse().ok()) {
        return many(count);
    }
    let mut machine = Machine::boot(&config([10, 0, 2, 15]), Port::Virtio, Some(7));
    machine.wait(|it| matches!(it, GuestMessage::Hello { .. }));
    drop(machine.connect());
    let target = Target { host: "127.0.0.1".to_owned(), port: machine.echo_port() };
    let Trial { truth, told } = stop(&mut machine, target, Duration::from_millis(600));
    // A busy machine answers late, and a probe that is held up itself tells less.
    assert!(told > truth.0 * 0.7 && told < truth.1 + 3.0, "{told} s instead of {truth:?}");
}

fn config(address: [u8; 4]) -> GuestConfig {
    GuestConfig {
        address: Some((Ipv4Addr::from(address), 24)),
        echo_port: Some(7),
        ..GuestConfig::of("memory=1MiB")
    }
}

/// The long form, in a network namespace of its own.
///
/// What reaches a guest while it is stopped waits in a queue of QEMU's own network, and a guest whose code is translated
/// needs milliseconds to work off hundreds of messages before its first answer. So it is plugged into a tap device here,
/// whose queue is as short as the kernel allows.
fn many(count: usize) {
    const TAP: &str = "guest";
    let mut machine = Machine::boot_on_tap(&config([10, 53, 77, 2]), Port::Virtio, TAP);
    for words in ["addr add 10.53.77.1/24 dev guest", "link set guest up txqueuelen 1"] {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.is_ok_and(|it| it.success()), "ip {words}: `unshare --net` it");
    }
    machine.wait(|it| matches!(it, GuestMessage::Hello { .. }));
    let target = || Target { host: "10.53.77.2".to_owned(), port: 7 };
    let mut are_good = true;
    for length_ms in [50, 100, 500, 2000] {
        let length = Duration::from_millis(length_ms);
        let mut off: Vec<f64> =
            (0..count).map(|_| stop(&mut machine, target(), length).off()).collect();
        off.sort_by(f64::total_cmp);
        let most = INTERVAL.as_secs_f64() + 0.002;
        let good = off.iter().filter(|it| **it <= most).count();
        eprintln!(
            "stopped for {length_ms} ms: {good} of {count} within 3 ms; off by {:.2} ms in the median, {:.2} ms at most",
            off[off.len() / 2] * 1e3,
            off[off.len() - 1] * 1e3
        );
        are_good &= good >= count - count / 20;
    }
    assert!(are_good, "fewer than 19 of 20 were told well enough");
}

fn stop(machine: &mut Machine, target: Target, length: Duration) -> Trial {
    let task = Task::Udp { target, size: None };
    let plan = Plan { task, interval: INTERVAL, patience: Duration::from_secs(60), follow: false };
    let mut watch = Watch::start(plan).unwrap();
    while watch.look().seen.is_none() {
        assert!(!watch.is_over(), "{:?}", watch.join());
        sleep(Duration::from_millis(5));
    }
    sleep(MARGIN);
    let before = Instant::now();
    machine.qmp("stop", json!({}));
    let stopped = Instant::now();
    sleep(length);
    let least = stopped.elapsed();
    machine.qmp("cont", json!({}));
    let most = before.elapsed();
    sleep(MARGIN);
    watch.end_at(monotonic_ns(), true);
    assert!(watch.join().is_none());
    let outages = watch.look().seen.map(|it| it.outages).unwrap_or_default();
    let told_ns = outages.iter().map(|it| it.end_ns - it.start_ns).max().unwrap_or(0);
    Trial { truth: (least.as_secs_f64(), most.as_secs_f64()), told: told_ns as f64 / 1e9 }
}
