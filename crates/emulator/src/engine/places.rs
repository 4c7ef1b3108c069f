//! Where the two sides are, how each is met, and by which address memory travels.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_pilot::{EngineError, Interrupt};
use sterna_remote::{Program, RemoteError, Ssh};
use sterna_report::Warning;
use sterna_scenario::{Scenario, TlsMode, Transport};
use sterna_units::human_bytes;
use sterna_wire::control::{Endpoint, Side, Welcome};
use sterna_wire::tls::Credentials;

use super::huge_pages;
use crate::host;
use crate::host_process::{HostProcess, Meeting, side_name};

/// The name of a host on this machine.
const OWN_NAME: &str = "localhost";

/// Where one side runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// A process of ours, here.
    #[default]
    Here,
    /// Where a `sterna host --listen` listens.
    Listening {
        /// Its address.
        endpoint: Endpoint,
        /// The name that its certificate is for.
        name: String,
    },
    /// Started there by ssh.
    Ssh(sterna_remote::Target),
}

/// Where both sides run, and how they are met.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Where the guest runs first.
    pub source: Place,
    /// Where it goes.
    pub destination: Place,
    /// The token of hosts that listen; empty where they ask for none.
    pub token: String,
    /// How ssh is called.
    pub ssh: Ssh,
    /// The address, or the network interface of the destination, by which memory travels; `None` for the one by which the host is reached.
    pub address: Option<String>,
}

/// What a host is started or met with.
pub struct Start<'a> {
    /// Where and how.
    pub places: &'a Places,
    /// The program and its arguments, for a host here.
    pub command: &'a [OsString],
    /// Certificates.
    pub tls_directory: Option<&'a Path>,
    /// Ends the wait for ssh.
    pub interrupt: &'a Interrupt,
}

impl Places {
    /// Where a side runs.
    pub fn of(&self, side: Side) -> &Place {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Whether both sides are started on this machine.
    pub fn are_here(&self) -> bool {
        self.source == Place::Here && self.destination == Place::Here
    }

    /// The name by which the destination shows itself where connections are encrypted.
    pub fn tls_name(&self, scenario: &Scenario) -> Option<String> {
        let name = match &self.destination {
            Place::Here => OWN_NAME.to_owned(),
            Place::Listening { name, .. } => name.clone(),
            Place::Ssh(target) => target.host.clone(),
        };
        (scenario.migration.tls_mode() != TlsMode::Off).then_some(name)
    }

    /// What cannot be had with these places.
    pub fn check(&self, scenario: &Scenario, has_tls_directory: bool) -> Result<(), EngineError> {
        let unsupported = |text: &str| Err(EngineError::Unsupported(text.to_owned()));
        let is_far = |it: &Place| {
            !matches!(it, Place::Here | Place::Listening { endpoint: Endpoint::Unix(_), .. })
        };
        let both = [&self.source, &self.destination];
        if scenario.migration.transport == Transport::Unix && both.iter().any(|it| is_far(it)) {
            return unsupported(
                "migration.transport = \"unix\": a Unix socket does not lead to another machine; use \"tcp\"",
            );
        }
        if scenario.fleet.is_some() && !self.are_here() {
            return unsupported(
                "fleet: all guests share a link that is emulated on this machine; leave out --source and --destination, or drop [fleet]",
            );
        }
        if scenario.probes.are_asked_for() && !self.are_here() {
            return unsupported(
                "probes: the guest's network of the emulator does not leave this machine; drop [[probe]], or run both sides here",
            );
        }
        let is_encrypted = scenario.migration.tls_mode() != TlsMode::Off;
        if is_encrypted && both.iter().any(|it| matches!(it, Place::Ssh(_))) {
            return unsupported(
                "migration.tls.mode: a host that ssh starts has no certificates; use a `sterna host --listen --tls-dir DIR` there, and sterna://",
            );
        }
        if is_encrypted && !self.are_here() && !has_tls_directory {
            return unsupported(
                "migration.tls.mode: hosts that were not started by this run need certificates of the same authority; give --tls-dir DIR, which `sterna certs` makes",
            );
        }
        Ok(())
    }
}

impl Start<'_> {
    /// Starts or meets the host of one side.
    pub fn host(&self, side: Side) -> Result<HostProcess, EngineError> {
        match self.places.of(side) {
            Place::Here => {
                HostProcess::start(self.command, side, self.tls_directory, self.interrupt)
            }
            Place::Listening { endpoint, name } => {
                let credentials = self.credentials()?;
                let meeting =
                    Meeting { endpoint: endpoint.clone(), name: name.clone(), credentials };
                let token = self.places.token.clone();
                HostProcess::meet(&meeting, side, token, self.interrupt).map_err(unreachable)
            }
            Place::Ssh(target) => {
                let file = PathBuf::from("/proc/self/exe");
                let program = Program { file: &file, arguments: &["host"] };
                let is_cancelled = || self.interrupt.requested();
                let session = self.places.ssh.start(target, &program, &is_cancelled);
                let session = session.map_err(|error| match error {
                    RemoteError::Interrupted => EngineError::Interrupted,
                    other => EngineError::Connect(format!("{} host: {other}", side_name(side))),
                })?;
                HostProcess::begun(session, side, self.interrupt)
            }
        }
    }

    fn credentials(&self) -> Result<Option<Arc<Credentials>>, EngineError> {
        let Some(directory) = self.tls_directory else { return Ok(None) };
        let credentials =
            Credentials::load(directory).and_then(|it| it.check_client().map(|()| it));
        match credentials {
            Ok(it) => Ok(Some(Arc::new(it))),
            Err(error) => Err(EngineError::Connect(error.to_string())),
        }
    }
}

/// A host that listens and cannot be reached, or does not accept this run, is no failure of a migration.
fn unreachable(error: EngineError) -> EngineError {
    match error {
        EngineError::SideGone { .. } | EngineError::Failed(_) => {
            EngineError::Connect(error.to_string())
        }
        other => other,
    }
}

/// Where the destination shall listen for memory: where it is reached anyhow, unless `address` says otherwise. An interface is looked up by the destination.
pub fn data_endpoint(address: Option<&str>, source: &Welcome, destination: &Welcome) -> Endpoint {
    let loopback = "127.0.0.1";
    let ours = || match (&destination.address, &source.pilot_address) {
        (Some(there), _) => there.as_str(),
        // The destination is where the pilot is, and the source reaches it as it reaches the pilot.
        (None, Some(here)) => here.as_str(),
        (None, None) => loopback,
    };
    let text = address.unwrap_or_else(ours);
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => Endpoint::Tcp(format!("[{text}]:0")),
        _ if text.contains(':') => Endpoint::Tcp(format!("[{text}]:0")),
        _ => Endpoint::Tcp(format!("{text}:0")),
    }
}

/// Both sides take their memory here at the same time, so each alone would find enough, and the kernel's OOM killer would end one of them. A host elsewhere checks for itself.
pub fn check_memory(
    scenario: &Scenario,
    source: &Welcome,
    destination: &Welcome,
    available_bytes: Option<u64>,
) -> Result<(), EngineError> {
    let here = host::machine();
    if here.is_none() || source.machine != here || destination.machine != here {
        return Ok(());
    }
    let guests = scenario.fleet.map_or(1, |it| u64::from(it.guests));
    let sides = guests.saturating_mul(2);
    huge_pages::check(scenario, sides, Path::new(huge_pages::FOLDER))?;
    let needed = scenario.guest.memory.0.saturating_mul(sides);
    let who = match guests {
        1 => "both sides".to_owned(),
        _ => format!("both sides of {guests} guests"),
    };
    match available_bytes {
        Some(available) if scenario.guest.prealloc && needed > available => {
            Err(EngineError::Unsupported(format!(
                "guest.memory = {}: {who} on this machine need {}, and {} are available; choose at most {}, or guest.prealloc = false",
                scenario.guest.memory,
                human_bytes(needed as f64),
                human_bytes(available as f64),
                human_bytes(available as f64 / sides as f64),
            )))
        }
        _ => Ok(()),
    }
}

/// Memory of a guest holds its secrets, so a way that others may listen on is worth a word.
pub fn clear_warning(data: Option<&Endpoint>, scenario_tls: bool) -> Option<Warning> {
    let Some(Endpoint::Tcp(address)) = data else { return None };
    if scenario_tls || host::server::is_local(&Endpoint::Tcp(address.clone())) {
        return None;
    }
    Some(Warning {
        code: "memory-in-clear".to_owned(),
        text: format!(
            "The guest's memory travelled in clear to {address}, where others on the network can read it"
        ),
        advice: Some(
            "Set migration.tls.mode = \"x509\"; `sterna certs` makes the certificates".to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_travels_where_the_destination_is_reached() {
        #[track_caller]
        fn check(
            address: Option<&str>,
            source: Option<&str>,
            destination: Option<&str>,
            expected: &str,
        ) {
            let owned = |it: Option<&str>| it.map(str::to_owned);
            let source = Welcome { pilot_address: owned(source), ..Welcome::default() };
            let destination = Welcome { address: owned(destination), ..Welcome::default() };
            let found = data_endpoint(address, &source, &destination);
            assert_eq!(found, Endpoint::Tcp(expected.to_owned()));
        }
        check(None, None, None, "127.0.0.1:0");
        check(None, None, Some("10.0.0.2"), "10.0.0.2:0");
        check(None, Some("10.0.0.1"), None, "10.0.0.1:0");
        check(None, Some("10.0.0.1"), Some("10.0.0.2"), "10.0.0.2:0");
        check(None, None, Some("fd00::2"), "[fd00::2]:0");
        check(Some("192.168.9.2"), None, Some("10.0.0.2"), "192.168.9.2:0");
        check(Some("fe80::1%eth1"), None, Some("10.0.0.2"), "[fe80::1%eth1]:0");
        check(Some("eth1"), None, Some("10.0.0.2"), "eth1:0");
    }

    #[test]
    fn only_what_others_can_read_is_warned_of() {
        let tcp = |it: &str| Endpoint::Tcp(it.to_owned());
        assert!(clear_warning(Some(&tcp("10.0.0.2:7")), false).is_some());
        assert!(clear_warning(Some(&tcp("10.0.0.2:7")), true).is_none());
        assert!(clear_warning(Some(&tcp("127.0.0.1:7")), false).is_none());
        assert!(clear_warning(Some(&tcp("[::1]:7")), false).is_none());
        assert!(clear_warning(Some(&Endpoint::Unix("/x".to_owned())), false).is_none());
        assert!(clear_warning(None, false).is_none());
    }

    #[test]
    fn hosts_elsewhere_check_their_memory_themselves() {
        let scenario = "guest.memory = \"256TiB\"";
        let scenario =
            sterna_scenario::Builder::new().file("t", scenario).unwrap().build().unwrap();
        let here = Welcome { machine: host::machine(), ..Welcome::default() };
        let there = Welcome { machine: Some("another".to_owned()), ..Welcome::default() };
        if here.machine.is_none() {
            eprintln!("skipped: this kernel does not tell its boot_id");
            return;
        }
        let check = |source, destination| {
            check_memory(&scenario, source, destination, Some(1 << 30)).is_ok()
        };
        assert!(!check(&here, &here));
        assert!(check(&here, &there));
        assert!(check(&there, &here));
    }

    #[test]
    fn all_guests_of_a_fleet_must_find_room() {
        let Some(machine) = host::machine() else {
            eprintln!("skipped: this kernel does not tell its boot_id");
            return;
        };
        let here = Welcome { machine: Some(machine), ..Welcome::default() };
        let check = |text: &str| {
            let builder = sterna_scenario::Builder::new().file("t", text).unwrap();
            check_memory(&builder.build().unwrap(), &here, &here, Some(1 << 30))
        };
        assert!(check("guest.memory = \"512MiB\"").is_ok());
        let error = check("guest.memory = \"512MiB\"\nfleet.guests = 2").unwrap_err().to_string();
        assert!(error.contains("both sides of 2 guests"), "{error}");
        assert!(error.contains("choose at most 256 MiB"), "{error}");
    }
}
