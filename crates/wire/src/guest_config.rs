//! What an engine tells the agent in a guest before it runs: a small text file, one `key=value` a line.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

use crate::guest_line::PORT_NAME;

/// The agent's configuration.
///
/// `Display` and `FromStr` are its file form. Only `workload` is required there; empty lines and those that begin with
/// `#` are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// The workload in its compact text form, as in `memory=64MiB workers=2 rate=32MiB/s`.
    pub workload: String,
    /// Memory that is filled and then left alone.
    pub ballast_bytes: u64,
    /// Time between two samples.
    pub sample_interval_ns: u64,
    /// Standstills of a worker from this length on are told.
    pub gap_threshold_ns: u64,
    /// Whether the workload runs at once, or waits for the command.
    pub start_at_once: bool,
    /// Stands in the marker page.
    pub nonce: u64,
    /// The virtio-serial port on which to speak.
    pub port_name: String,
    /// How long to wait for that port to appear before the serial port is taken.
    pub port_wait_ns: u64,
    /// The serial port to fall back on, as in `/dev/ttyS1`; None means that without a virtio port the agent fails.
    pub serial: Option<String>,
    /// The network interface to configure; None takes the first that is not the loopback.
    pub interface: Option<String>,
    /// Its address and prefix length; None leaves the network alone.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Where packets for other networks go.
    pub gateway: Option<Ipv4Addr>,
    /// The port on which UDP and TCP are echoed; None echoes nothing.
    pub echo_port: Option<u16>,
    /// The port on which counters are told over HTTP; None tells nothing there.
    pub metrics_port: Option<u16>,
    /// The directory to which records are written, for probes of the echo's port and for `/disk/begin` of the metrics'
    /// port; None writes none.
    pub disk: Option<String>,
    /// Whether `/disk/begin` writes there only while a file system is mounted on that very directory: otherwise a disk
    /// that is missing would be taken for a sound one.
    pub disk_is_mount: bool,
}

/// Why a text is not a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GuestConfigError {
    /// A line of another form.
    #[error("Line {line} of the agent's configuration, `{text}`, is not of the form key=value")]
    NotAPair {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A key that does not exist.
    #[error("Unknown key `{key}` in line {line} of the agent's configuration; known are {}", KEYS.join(", "))]
    Unknown {
        /// Counted from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value that cannot be read.
    #[error("{key} in the agent's configuration cannot be `{value}`; {way_out}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would be accepted.
        way_out: &'static str,
    },
    /// The one key without a default is absent.
    #[error("The agent's configuration has no `workload`; give one, as in workload=memory=64MiB")]
    NoWorkload,
}

const KEYS: &[&str] = &[
    "workload",
    "ballast-bytes",
    "sample-interval-ns",
    "gap-threshold-ns",
    "start-at-once",
    "nonce",
    "port-name",
    "port-wait-ns",
    "serial",
    "interface",
    "address",
    "gateway",
    "echo-port",
    "metrics-port",
    "disk",
    "disk-is-mount",
];

impl GuestConfig {
    /// Samples every 100 ms and gaps from 2 ms, on the virtio port within 5 s or else on `/dev/ttyS1`, waiting for the
    /// command to start; no network.
    pub fn of(workload: &str) -> GuestConfig {
        GuestConfig {
            workload: workload.to_owned(),
            ballast_bytes: 0,
            sample_interval_ns: 100_000_000,
            gap_threshold_ns: 2_000_000,
            start_at_once: false,
            nonce: 0,
            port_name: PORT_NAME.to_owned(),
            port_wait_ns: 5_000_000_000,
            serial: Some("/dev/ttyS1".to_owned()),
            interface: None,
            address: None,
            gateway: None,
            echo_port: Some(7),
            metrics_port: None,
            disk: None,
            disk_is_mount: false,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        const NUMBER: &str = "give a whole number";
        const TRUTH: &str = "give true or false";
        const ADDRESS: &str = "give an IPv4 address with its prefix, as in 10.0.2.15/24";
        const PORT: &str = "give a port from 1 to 65535, or none";
        match key {
            "workload" => value.clone_into(&mut self.workload),
            "ballast-bytes" => self.ballast_bytes = value.parse().map_err(|_| NUMBER)?,
            "sample-interval-ns" => {
                let interval = value.parse().ok().filter(|it| *it > 0);
                self.sample_interval_ns = interval.ok_or("give a whole number above 0")?;
            }
            "gap-threshold-ns" => self.gap_threshold_ns = value.parse().map_err(|_| NUMBER)?,
            "start-at-once" => {
                self.start_at_once = value.parse().map_err(|_| TRUTH)?;
            }
            "nonce" => self.nonce = value.parse().map_err(|_| NUMBER)?,
            "port-name" => value.clone_into(&mut self.port_name),
            "port-wait-ns" => self.port_wait_ns = value.parse().map_err(|_| NUMBER)?,
            "serial" => self.serial = unless_none(value),
            "interface" => self.interface = unless_none(value),
            "address" => self.address = optional(value, address).ok_or(ADDRESS)?,
            "gateway" => {
                let gateway = optional(value, |it| it.parse().ok());
                self.gateway = gateway.ok_or("give an IPv4 address")?;
            }
            "echo-port" => self.echo_port = optional(value, port).ok_or(PORT)?,
            "metrics-port" => self.metrics_port = optional(value, port).ok_or(PORT)?,
            "disk" => self.disk = unless_none(value),
            _ => self.disk_is_mount = value.parse().map_err(|_| TRUTH)?,
        }
        Ok(())
    }
}

impl fmt::Display for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_none<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "none".to_owned(), |it| it.to_string())
        }
        writeln!(f, "workload={}", self.workload)?;
        writeln!(f, "ballast-bytes={}", self.ballast_bytes)?;
        writeln!(f, "sample-interval-ns={}", self.sample_interval_ns)?;
        writeln!(f, "gap-threshold-ns={}", self.gap_threshold_ns)?;
        writeln!(f, "start-at-once={}", self.start_at_once)?;
        writeln!(f, "nonce={}", self.nonce)?;
        writeln!(f, "port-name={}", self.port_name)?;
        writeln!(f, "port-wait-ns={}", self.port_wait_ns)?;
        writeln!(f, "serial={}", or_none(self.serial.as_deref()))?;
        writeln!(f, "interface={}", or_none(self.interface.as_deref()))?;
        let address = self.address.map(|(address, prefix)| format!("{address}/{prefix}"));
        writeln!(f, "address={}", or_none(address))?;
        writeln!(f, "gateway={}", or_none(self.gateway))?;
        writeln!(f, "echo-port={}", or_none(self.echo_port))?;
        writeln!(f, "metrics-port={}", or_none(self.metrics_port))?;
        writeln!(f, "disk={}", or_none(self.disk.as_deref()))?;
        writeln!(f, "disk-is-mount={}", self.disk_is_mount)
    }
}

impl FromStr for GuestConfig {
    type Err = GuestConfigError;

    fn from_str(text: &str) -> Result<GuestConfig, GuestConfigError> {
        let mut config = GuestConfig::of("");
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| GuestConfigError::NotAPair { line, text: text.to_owned() })?;
            if !KEYS.contains(&key) {
                return Err(GuestConfigError::Unknown { line, key: key.to_owned() });
            }
            config.set(key, value).map_err(|way_out| GuestConfigError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                way_out,
            })?;
        }
        if config.workload.is_empty() { Err(GuestConfigError::NoWorkload) } else { Ok(config) }
    }
}

fn unless_none(value: &str) -> Option<String> {
    (value != "none").then(|| value.to_owned())
}

fn optional<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if value == "none" { Some(None) } else { read(value).map(Some) }
}

fn port(value: &str) -> Option<u16> {
    value.parse().ok().filter(|it| *it > 0)
}

fn address(value: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = value.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|it| *it <= 32)?;
    Some((address.parse().ok()?, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_form_round_trips() {
        let plain = GuestConfig::of("memory=64MiB workers=2");
        assert_eq!(plain.to_string().parse(), Ok(plain.clone()));
        let full = GuestConfig {
            ballast_bytes: 5,
            start_at_once: true,
            nonce: u64::MAX,
            serial: None,
            interface: Some("eth1".to_owned()),
            address: Some((Ipv4Addr::new(10, 0, 2, 15), 24)),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 1)),
            echo_port: None,
            metrics_port: Some(9107),
            disk: Some("/var/tmp".to_owned()),
            disk_is_mount: true,
            ..plain
        };
        assert_eq!(full.to_string().parse(), Ok(full));
    }

    #[test]
    fn every_key_is_written_and_read() {
        let text = GuestConfig::of("memory=1MiB").to_string();
        let keys: Vec<&str> =
            text.lines().filter_map(|it| it.split_once('=')).map(|it| it.0).collect();
        assert_eq!(keys, KEYS);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<GuestConfig>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}, wanted {expected:?}");
        };
        check("", "no `workload`");
        check("# only a comment\n\n", "no `workload`");
        check("workload=memory=1MiB\nnonsense", "Line 2");
        check("wrokload=memory=1MiB", "Unknown key `wrokload` in line 1");
        check("address=10.0.2.15", "address in the agent's configuration cannot be `10.0.2.15`");
        check("address=10.0.2.15/33", "with its prefix");
        check("echo-port=0", "from 1 to 65535");
        check("sample-interval-ns=0", "above 0");
        check("start-at-once=yes", "true or false");
    }
}
