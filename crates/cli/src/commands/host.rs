//! `sterna host`: one end of a migration, for the run that has started it, or for all that come to an address.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use sterna_emulator::host::server::{Notice, Server, ServerError, ServerOptions, is_local};
use sterna_emulator::host::{self, HostOptions};
use sterna_sys::process;
use sterna_wire::control::Endpoint;

use super::interrupt_on_signals;
use super::refusals::Refusals;
use super::token;
use crate::args::HostCommand;
use crate::output::Output;
use crate::usage;

/// A secret that can be guessed is none.
const SHORTEST_TOKEN: usize = 16;

/// Serves until the pilot says goodbye or is gone; a listening host until it is told to end.
pub fn run(options: HostCommand, output: Output) -> Result<u8> {
    match &options.listen {
        Some(address) => listen(endpoint(address)?, &options, output),
        None if std::env::var_os(sterna_remote::DIRECTORY_VARIABLE).is_some() => serve_session(),
        None => serve_parent(options),
    }
}

/// A `sterna run` on this machine has started this process, and speaks over its standard input.
fn serve_parent(options: HostCommand) -> Result<u8> {
    let control = process::stdin_socket().map_err(|_| {
        usage(anyhow!("No run has started this host; give it an address by --listen"))
    })?;
    let token = std::env::var("STERNA_HOST_TOKEN").context("STERNA_HOST_TOKEN is not set")?;
    let HostCommand { tls_directory, shared_link, .. } = options;
    let token = Some(token);
    host::serve(control, &HostOptions { token, tls_directory, shared_link, addresses: None })?;
    Ok(0)
}

/// A `sterna run` on another machine has started this process by ssh, which lets nobody else in.
fn serve_session() -> Result<u8> {
    let served = sterna_remote::served().context("The session cannot be taken over")?;
    let control = served.socket.try_clone().context("The session cannot be taken over")?;
    let options = HostOptions { addresses: ssh_addresses(), ..HostOptions::default() };
    let done = host::serve(control, &options);
    served.finish();
    done?;
    Ok(0)
}

/// This machine's address and the other's, as ssh tells them: `CLIENT PORT SERVER PORT`.
fn ssh_addresses() -> Option<(String, String)> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    let mut words = connection.split_whitespace();
    let (theirs, ours) = (words.next()?, words.nth(1)?);
    Some((ours.to_owned(), theirs.to_owned()))
}

fn listen(endpoint: Endpoint, options: &HostCommand, output: Output) -> Result<u8> {
    let DoorToken { token, made } =
        door_token(options.token_file.as_deref(), is_local(&endpoint), output)?;
    let program = std::env::current_exe().context("Cannot find my own program file")?;
    super::warn_of_open_keys(options.tls_directory.as_deref(), output);
    super::remove_leftovers(output);
    let interrupt = interrupt_on_signals()?;
    let server = Server::bind(ServerOptions {
        listen: endpoint,
        token,
        tls_directory: options.tls_directory.clone(),
        host_command: vec![program.into_os_string(), OsString::from("host")],
    })
    .map_err(door_error)?;
    if let Some(token) = made {
        output.note(&format!(
            "No token was given, so this one was made; runs need it as STERNA_HOST_TOKEN or in a --token-file:\n{token}\n"
        ));
    }
    output.result(&format!("sterna://{}\n", show(server.endpoint())))?;
    let refusals = Arc::new(Refusals::default());
    let shown = Arc::clone(&refusals);
    server.run(&interrupt, move |notice| output.progress(&describe(&notice, &shown)))?;
    output.progress(&refusals.rest());
    Ok(0)
}

/// The secret of whoever listens.
pub struct DoorToken {
    /// What visitors have to know; `None` lets everybody in.
    pub token: Option<String>,
    /// The same, where it was made for the purpose and has to be told.
    pub made: Option<String>,
}

/// What other machines can reach has a secret, and one is made where none was given.
pub fn door_token(file: Option<&Path>, is_local: bool, output: Output) -> Result<DoorToken> {
    let given = token(file, output)?;
    let made = match &given {
        None if !is_local => Some(host::new_token().map_err(|it| anyhow!(it))?),
        Some(token) if token.len() < SHORTEST_TOKEN => {
            return Err(usage(anyhow!(
                "The token has {} characters; {SHORTEST_TOKEN} are the least (`openssl rand -hex 16` makes one)",
                token.len()
            )));
        }
        _ => None,
    };
    Ok(DoorToken { token: given.or_else(|| made.clone()), made })
}

/// Who cannot listen as it was told has mostly been told wrong.
pub fn door_error(error: ServerError) -> anyhow::Error {
    match error {
        ServerError::NeedsTls(_) | ServerError::NeedsToken(_) | ServerError::Tls(_) => usage(error),
        other => other.into(),
    }
}

fn describe(notice: &Notice, refusals: &Refusals) -> String {
    match notice {
        Notice::Begun { peer, pid } => format!("{peer}: a session begins, as process {pid}\n"),
        Notice::Ended { peer, how } => format!("{peer}: the session has ended: {how}\n"),
        Notice::Refused { peer, reason } => refusals.line(peer, reason),
    }
}

/// `HOST:PORT`, a port on loopback, or a path.
fn endpoint(text: &str) -> Result<Endpoint> {
    if text.contains('/') {
        return Ok(Endpoint::Unix(absolute(Path::new(text))?));
    }
    if text.parse::<u16>().is_ok() {
        return Ok(Endpoint::Tcp(format!("127.0.0.1:{text}")));
    }
    match text.rsplit_once(':') {
        Some((host, port))
            if port.parse::<u16>().is_ok()
                && !host.is_empty()
                && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']'))) =>
        {
            Ok(Endpoint::Tcp(text.to_owned()))
        }
        _ => Err(usage(anyhow!(
            "--listen {text}: write HOST:PORT (with an IPv6 address as [::]:PORT), PORT, or the path of a Unix socket, which has a slash in it"
        ))),
    }
}

fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).context("The working directory is unknown")?;
    Ok(path.to_string_lossy().into_owned())
}

fn show(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Unix(text) | Endpoint::Tcp(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let found = match endpoint(text) {
                Ok(it) => format!("{it:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        }
        check("7000", r#"Tcp("127.0.0.1:7000")"#);
        check("0.0.0.0:0", r#"Tcp("0.0.0.0:0")"#);
        check("[::]:7000", r#"Tcp("[::]:7000")"#);
        check("box.example:7000", r#"Tcp("box.example:7000")"#);
        check("/run/x.sock", r#"Unix("/run/x.sock")"#);
        for text in ["", "box", "::1:7000", ":7000", "box:70000"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
