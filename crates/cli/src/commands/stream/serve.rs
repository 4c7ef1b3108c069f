//! `sterna stream serve`.

use std::sync::Arc;

use anyhow::Result;
use sterna_emulator::host::server::is_local;
use sterna_emulator::stream::{Notice, ServeOptions, StreamServer};
use sterna_wire::control::Endpoint;

use super::{available, text};
use crate::args::ServeCommand;
use crate::commands::host::{DoorToken, door_error, door_token};
use crate::commands::refusals::Refusals;
use crate::commands::{interrupt_on_signals, warn_of_open_keys};
use crate::output::Output;

/// Listens until it is told to end.
pub fn run(command: ServeCommand, output: Output) -> Result<u8> {
    let DoorToken { token, made } =
        door_token(command.token_file.as_deref(), is_local(&command.listen), output)?;
    warn_of_open_keys(command.tls_directory.as_deref(), output);
    let most_memory_bytes = match command.memory {
        sterna_units::Size::Bytes(bytes) => bytes.0,
        share @ sterna_units::Size::Percent(_) => share.of(sterna_units::Bytes(available())).0,
    };
    let interrupt = interrupt_on_signals()?;
    let server = StreamServer::bind(&ServeOptions {
        listen: command.listen,
        token,
        tls_directory: command.tls_directory,
        most_memory_bytes,
        once: command.once,
    })
    .map_err(door_error)?;
    if let Some(token) = made {
        output.note(&format!(
            "No token was given, so this one was made; clients need it as STERNA_HOST_TOKEN or in a --token-file:\n{token}\n"
        ));
    }
    let (Endpoint::Tcp(address) | Endpoint::Unix(address)) = server.endpoint();
    output.result(&format!("{address}\n"))?;
    let refusals = Arc::new(Refusals::default());
    let shown = Arc::clone(&refusals);
    server.run(command.once, &interrupt, move |notice| {
        output.progress(&describe(&notice, &shown));
    })?;
    output.progress(&refusals.rest());
    Ok(0)
}

fn describe(notice: &Notice, refusals: &Refusals) -> String {
    match notice {
        Notice::Begun { peer, what } => format!("{peer}: a trial begins: {what}\n"),
        Notice::Ended { peer, summary } => {
            format!("{peer}: the trial has ended: {}\n", text::in_one_line(summary))
        }
        Notice::Refused { peer, reason } => refusals.line(peer, reason),
    }
}
