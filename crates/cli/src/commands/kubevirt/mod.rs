//! `sterna kubevirt`: hard migrations on a real cluster.

mod deploy;
mod drain;
mod migrate;
mod objects;
mod records;
mod scenario;
mod watch;
mod workload;

use std::collections::HashMap;

use anyhow::Result;
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::stress::ParametersError;
use sterna_kubevirt::{ConnectOptions, KubevirtError, Level, MigrationRecord, Preflight, Session};

pub use scenario::run_scenario;

use crate::args::kubevirt::{KubevirtCommand, PlaceArgs, Task};
use crate::output::Output;

/// Does what was asked; returns the exit code.
pub fn run(command: KubevirtCommand, output: Output) -> Result<u8> {
    let KubevirtCommand { place, task } = command;
    match task {
        Task::Manifests(args) => workload::manifests(&args, &place, output),
        Task::Preflight(args) => deploy::preflight(&args, &place, output),
        Task::Apply(args) => workload::apply(&args, &place, output),
        Task::Migrate(args) => migrate::run(&args, &place, output),
        Task::Watch(args) => watch::run(&args, &place, output),
        Task::Drain(args) => drain::run(&args, &place, output),
        Task::Report(args) => records::report(&args, output),
        Task::Cleanup(args) => workload::cleanup(&args, &place, output),
        Task::Explain(args) => deploy::explain(&args, &place, output),
        Task::Rbac(args) => deploy::rbac(&args, &place, output),
        Task::Dashboard(args) => deploy::dashboard(&args, &place, output),
        Task::Demo(args) => deploy::demo(&args, &place, output),
    }
}

/// The cluster that was asked for.
fn connect(place: &PlaceArgs, dry_run: bool) -> Result<Session> {
    Ok(Session::connect(&ConnectOptions {
        kubeconfig: place.kubeconfig.clone(),
        context: place.context.clone(),
        namespace: place.namespace.clone(),
        qps: place.qps,
        burst: (place.qps * 2.0).clamp(1.0, 10_000.0) as u32,
        dry_run,
    })?)
}

/// Looks whether the command can work; what is merely limited is a warning.
fn ready(session: &Session, command: Command, output: Output) -> Result<Preflight> {
    judge(session.preflight(command)?, output)
}

fn judge(preflight: Preflight, output: Output) -> Result<Preflight> {
    for finding in preflight.findings.iter().filter(|it| it.level == Level::Limited) {
        output.warn(&finding.text);
    }
    Ok(preflight.require()?)
}

/// The exit code of an error that has one of its own.
pub fn exit_code(error: &anyhow::Error) -> Option<u8> {
    if error.is::<ParametersError>() {
        return Some(2);
    }
    match error.downcast_ref::<KubevirtError>()? {
        KubevirtError::Interrupted => Some(130),
        KubevirtError::NotReady(_) | KubevirtError::Policy(_) => Some(5),
        KubevirtError::Parameters(_) => Some(2),
        _ => Some(1),
    }
}

/// Phases as they were told, so that each is told once.
#[derive(Default)]
struct Phases(HashMap<String, String>);

impl Phases {
    fn tell(&mut self, record: &MigrationRecord, output: Output) {
        let phase = record.current_phase();
        let told = self.0.insert(record.uid.clone(), phase.to_owned());
        if !phase.is_empty() && told.as_deref() != Some(phase) {
            output.progress(&format!("{}: {phase}\n", record.vmi));
        }
    }
}

/// A name for a run: short, and not that of another.
fn new_run_id() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    let mixed =
        (now as u64 ^ u64::from(std::process::id()) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}", mixed >> 32)
}
