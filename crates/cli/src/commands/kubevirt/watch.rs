//! `watch`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::{WatchOptions, open_metrics, table};

use super::{connect, ready};
use crate::args::kubevirt::{PlaceArgs, WatchArgs, duration};
use crate::output::Output;

/// Shows rows; on a terminal they replace the ones before.
pub fn run(args: &WatchArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = ready(&session, Command::Watch, output)?;
    let shown = Arc::new(Mutex::new(open_metrics(&[])));
    if let Some(port) = args.metrics_port {
        let address = serve(SocketAddr::new(args.metrics_address, port), &shown)?;
        output.progress(&format!("Metrics at http://{address}/metrics\n"));
    }
    let options = WatchOptions {
        all_namespaces: args.all_namespaces,
        once: args.once,
        length: args.length.map(duration),
        read_logs: preflight.may("pods/log"),
    };
    let interrupt = super::super::interrupt_on_signals()?;
    let is_live = output.is_terminal() && !args.once;
    session.watch(&options, &interrupt, &mut |rows| {
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = open_metrics(rows);
        let is_read = !is_live || output.clear().unwrap_or(false);
        is_read && output.line(&table(rows)).unwrap_or(false)
    })?;
    Ok(0)
}

/// Answers every request with what is shown.
fn serve(address: SocketAddr, shown: &Arc<Mutex<String>>) -> Result<SocketAddr> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("Cannot serve metrics on {address}"))?;
    let address = listener.local_addr()?;
    let shown = Arc::clone(shown);
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.read(&mut [0; 4096]);
            let body = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    })?;
    Ok(address)
}
