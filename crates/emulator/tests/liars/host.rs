//! A host in this process, steered as the pilot would.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sterna_emulator::host::{self, HostOptions};
use sterna_wire::control::{
    self, ControlError, Endpoint, HostConfig, HostStatus, Phase, Reply, Request, Side, Techniques,
    Verified,
};

pub const MEMORY_BYTES: u64 = 4 << 20;
pub const SESSION: [u8; 16] = [7; 16];

/// A host in this process, steered as the pilot would.
pub struct Host {
    control: UnixStream,
    server: Option<JoinHandle<Result<(), ControlError>>>,
}

impl Host {
    pub fn prepared(side: Side) -> Host {
        Host::prepared_as(side, |_| {})
    }

    /// The same with a configuration that `change` has changed.
    pub fn prepared_as(side: Side, change: impl FnOnce(&mut HostConfig)) -> Host {
        let (control, theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let options = HostOptions { token: Some("token".to_owned()), ..HostOptions::default() };
            host::serve(theirs, &options)
        });
        let mut host = Host { control, server: Some(server) };
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

    pub fn listen(&mut self) -> TcpStream {
        TcpStream::connect(self.listen_at()).unwrap()
    }

    /// Lets a source come, and tells where.
    pub fn listen_at(&mut self) -> String {
        let endpoint = Endpoint::Tcp("127.0.0.1:0".to_owned());
        match self.ask(&Request::Listen { endpoint, session: SESSION }) {
            Reply::Listening { endpoint: Endpoint::Tcp(address) } => address,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&mut self) -> HostStatus {
        match self.ask(&Request::Status { passes_seen: 0 }) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

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

    pub fn verify(&mut self) -> Verified {
        match self.ask(&Request::Verify) {
            Reply::Verified(found) => found,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn config(side: Side) -> HostConfig {
    HostConfig {
        side,
        paused: false,
        memory_bytes: MEMORY_BYTES,
        ballast_bytes: 1 << 20,
        workload:
            "memory=1MiB workers=1 pattern=random method=counter rate=4MiB/s seed=1 latency=off"
                .to_owned(),
        huge_pages: "none".to_owned(),
        prealloc: true,
        locked: false,
        cpus: Vec::new(),
        numa_nodes: Vec::new(),
        tracker: "auto".to_owned(),
        sample_interval_ns: 100_000_000,
        max_bandwidth_bytes_per_second: None,
        limit_in_switchover: false,
        downtime_limit_ns: 300_000_000,
        zero_page: true,
        multifd: None,
        postcopy: None,
        device_state_bytes: 0,
        link_latency_ns: 0,
        link_bytes_per_second: None,
        techniques: Techniques::default(),
        answers_probes: false,
        faults: String::new(),
        tls_name: None,
        breakage: None,
    }
}
