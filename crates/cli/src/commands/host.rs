//! `sterna host`: one end of a migration, steered over the socket on standard input.

use anyhow::{Context, Result};
use sterna_emulator::host::{self, HostOptions};
use sterna_sys::process;

/// Serves until the pilot says goodbye or is gone.
pub fn run() -> Result<u8> {
    let control = process::stdin_socket()
        .context("Standard input is no control connection; `sterna run` starts hosts by itself")?;
    let token = std::env::var("STERNA_HOST_TOKEN").context("STERNA_HOST_TOKEN is not set")?;
    let tls_directory = std::env::var_os("STERNA_TLS_DIR").map(Into::into);
    host::serve(control, &HostOptions { token, tls_directory })?;
    Ok(0)
}
