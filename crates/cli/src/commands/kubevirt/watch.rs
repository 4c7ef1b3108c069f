//! `watch`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::{WatchOptions, open_metrics, table};
use sterna_probe::serve::pages::serve_metrics;

use super::{connect, ready};
use crate::args::kubevirt::{PlaceArgs, WatchArgs, duration};
use crate::output::Output;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Shows rows; on a terminal they replace the ones before.
pub fn run(args: &WatchArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = ready(&session, Command::Watch, output)?;
    let shown = Arc::new(Mutex::new(open_metrics(&[])));
    if let Some(port) = args.metrics_port {
        let (address, pages) = (SocketAddr::new(args.metrics_address, port), Arc::clone(&shown));
        let page = move || Some(pages.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let address = serve_metrics(address, OPEN_METRICS, page)
            .with_context(|| format!("Cannot serve metrics on {address}"))?;
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
