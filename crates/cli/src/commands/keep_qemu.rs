//! `sterna keep-qemu`: looks after a QEMU on another machine, for a `sterna run` that has started it there.

use anyhow::{Context, Result};

/// Serves until the other end is gone.
pub fn run() -> Result<u8> {
    let served = sterna_remote::served()
        .context("This is no session; `sterna run --destination` starts it by itself")?;
    sterna_qemu::keeper::serve(served).context("The session cannot be taken over")?;
    Ok(0)
}
