//! `sterna probe serve`: the other end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use sterna_probe::disk::remote::DiskResponder;
use sterna_probe::serve::{Streams, answer_datagrams, bind, spawn};
use sterna_probe::{Responder, Target};

use crate::output::Output;
use crate::usage;

/// The counts of at least so many probes are remembered.
const MOST_PROBES: usize = 32_768;

/// Serves until a signal comes.
pub fn run(listen: &str, disk: Option<PathBuf>, echo: bool, output: Output) -> Result<u8> {
    let address = address(listen)?;
    if let Some(directory) = disk.as_ref().filter(|it| !it.is_dir()) {
        return Err(usage(anyhow!("--disk {} is no directory", directory.display())));
    }
    // Before anybody can be told the address, so that an early signal ends it in good order, too.
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (udp, tcp) = bind(address).with_context(|| {
        format!("Cannot listen on {address}; choose another address with --listen")
    })?;
    let address = tcp.local_addr()?;
    let streams = Streams::new(tcp, usize::MAX, Some(Box::new(DiskResponder { directory: disk })))?;
    let responder = Responder::new(MOST_PROBES);
    let responder = if echo { responder.with_echo(address.port()) } else { responder };
    // Either loop ends only when the kernel does not let it go on; the other is still of use then.
    spawn("udp-echo", move || {
        if let Err(error) = answer_datagrams(&udp, responder) {
            output.error(&format!("No datagrams are answered any more: {error}"));
        }
    })?;
    spawn("tcp-echo", move || {
        if let Err(error) = streams.run() {
            output.error(&format!("No connections are served any more: {error}"));
        }
    })?;
    output.result(&format!("{address}\n"))?;
    output.progress("Answering udp, tcp, playout, clock and disk probes there until interrupted\n");
    signals.forever().next();
    Ok(0)
}

fn address(listen: &str) -> Result<SocketAddr> {
    if let Ok(port) = listen.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Ok(address) = listen.parse() {
        return Ok(address);
    }
    let target = Target::parse(listen, sterna_probe::DEFAULT_PORT).map_err(|_| {
        usage(anyhow!("--listen {listen} is no address; use HOST:PORT, or PORT on loopback alone"))
    })?;
    target.resolve().map_err(|error| usage(anyhow!("--listen {listen}: {error}")))
}
