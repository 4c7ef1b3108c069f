//! A host in this process, steered as the pilot would.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sterna_emulator::host::{self, HostOptions};
use sterna_wire::control::{
    self, HostConfig, HostStatus, Phase, PostcopyConfig, Reply, Request, Side,
};

pub const MEMORY_BYTES: u64 = 4 << 20;
pub const SESSION: [u8; 16] = [7; 16];

/// A host in this process, steered as the pilot would. It is left behind when its guest waits for pages.
pub struct Host {
    control: UnixStream,
}

impl Host {
    pub fn prepared(side: Side, change: impl FnOnce(&mut HostConfig)) -> Host {
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
        let mut config = config(side);
        change(&mut config);
        let reply = host.ask(&Request::Prepare(Box::new(config)));
        assert!(matches!(reply, Reply::Prepared(_)), "{reply:?}");
        host
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        control::send(&mut self.control, request).unwrap();
        loop {
            match control::receive(&mut self.control).unwrap() {
                Reply::Progress { .. } => {}
                reply => return reply,
            }
        }
    }

    pub fn status(&mut self) -> HostStatus {
        match self.ask(&Request::Status { passes_seen: 0 }) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn wait_for(&mut self, phase: Phase) -> HostStatus {
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
    config.postcopy = Some(PostcopyConfig {
        preempt: false,
        recover: false,
        max_bandwidth_bytes_per_second: None,
    });
    config
}

pub fn has_faults() -> bool {
    let probed = sterna_sys::tracking::probe_missing_faults();
    probed.inspect_err(|error| eprintln!("skipped: {error}")).is_ok()
}
