//! `sterna-guest`, the agent inside a guest: it dirties memory as told, and tells how that goes.
//!
//! It is one static program for two places. As a guest's first process, in an initramfs, it mounts what it needs, loads
//! the modules beside it, gives the network interface its address, and powers the guest off at the end or on an error,
//! with the reason on the console. As an ordinary program (`sterna-guest --config FILE`) it does the same work as a
//! service and leaves the system alone.
//!
//! - `boot`: what only a first process does.
//! - `port`: the way out: a virtio-serial port, a serial port, or standard input and output.
//! - `speaker`, `session`: the line to the engine ([`sterna_wire::guest_line`]).
//! - `memory`: the workload and its memory. `sampler`, `marker`: what is told and shown of it.
//! - `network`: the interface, and the echo for probes. `metrics`: counters over HTTP.
//! - `disk`: records that prove whether a disk keeps its word while the guest is migrated.
//!
//! Each KiB of it travels in an initramfs or in a cloud's user data, so it has no argument parser, no async runtime, no
//! JSON and no name resolution: addresses are literals.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a first process has the console and nobody else to tell")]

mod boot;
mod disk;
mod error;
mod marker;
mod memory;
mod metrics;
mod network;
mod port;
mod sampler;
mod session;
mod speaker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::{env, fs};

use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::GuestMessage;

use error::AgentError;
use speaker::Speaker;

/// Where the configuration is in an initramfs.
const BOOT_CONFIG: &str = "/etc/sterna-guest";

const USAGE: &str = "Usage: sterna-guest --config FILE\n\n\
    Dirties memory as FILE says and reports on the port that FILE names.\n\
    Without a FILE only as a guest's first process, which reads /etc/sterna-guest.";

/// Whom to tell the reason when everything ends, as soon as there is somebody.
static SPEAKER: OnceLock<Arc<Speaker>> = OnceLock::new();

fn main() -> ExitCode {
    let is_first = std::process::id() == 1;
    if is_first {
        // A panic aborts, which in a first process is a kernel panic; the reason must be out before.
        std::panic::set_hook(Box::new(|panic| {
            complain(&format!("The agent has a defect: {panic}"));
            boot::power_off();
        }));
    }
    match arguments(is_first) {
        Ok(config) => end(is_first, run(&config, is_first)),
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}

fn end(is_first: bool, result: Result<(), AgentError>) -> ExitCode {
    if let Err(error) = &result {
        complain(&error::chain(error));
    }
    if is_first {
        boot::power_off();
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On the console in any case, and on the line if there is one.
fn complain(reason: &str) {
    eprintln!("sterna-guest: {reason}");
    if let Some(speaker) = SPEAKER.get() {
        speaker.last_words(&GuestMessage::Fatal(reason.to_owned()));
    }
}

fn run(config: &Path, is_first: bool) -> Result<(), AgentError> {
    if is_first {
        boot::mount_all()?;
        boot::load_modules()?;
    }
    let text = fs::read_to_string(config)
        .map_err(|source| AgentError::File { path: config.to_owned(), source })?;
    let config: GuestConfig = text.parse()?;
    let port = port::open(&config)?;
    let speaker = Arc::new(Speaker::new(port.writer));
    SPEAKER.get_or_init(|| Arc::clone(&speaker));
    network::set_up(&config)?;
    session::run(&config, is_first, port.reader, &speaker)
}

/// The file that `--config` names; a first process has one anyway, and the kernel may hand it words of its command line.
fn arguments(is_first: bool) -> Result<PathBuf, &'static str> {
    let mut arguments = env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(flag), Some(file)) if flag == "--config" => Ok(file.into()),
        _ if is_first => Ok(BOOT_CONFIG.into()),
        _ => Err(USAGE),
    }
}
