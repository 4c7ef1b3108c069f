//! `manifests`, `apply` and `cleanup`.

use std::time::Duration;

use anyhow::Result;
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::stress::{Parameters, manifests as objects_of};
use sterna_kubevirt::{ApplyEvent, KubevirtError, Preflight};

use super::{connect, new_run_id, objects, ready};
use crate::args::kubevirt::{ApplyArgs, CleanupArgs, DryRun, ManifestsArgs, PlaceArgs, duration};
use crate::output::Output;

/// Prints the objects, the same on every call with the same run id.
pub fn manifests(args: &ManifestsArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let namespace = place.namespace.as_deref().unwrap_or("default");
    let run_id = args.workload.run_id.clone().unwrap_or_else(new_run_id);
    let parameters = args.workload.parameters(namespace, &run_id);
    let objects = objects_of(&parameters)?;
    warn(&parameters, output);
    let header = header(&parameters);
    output.result(&objects::text(&objects, args.output, &header))?;
    Ok(0)
}

fn header(parameters: &Parameters) -> Vec<String> {
    vec![
        format!("The workload migration-stress, run {}", parameters.run_id),
        "Apply it with `kubectl apply --server-side -f FILE`: the Secret holds the agent, and"
            .to_owned(),
        "client-side apply would copy it into an annotation, which holds 256 KiB at most."
            .to_owned(),
        format!("Remove it with `sterna kubevirt cleanup --run-id {}`.", parameters.run_id),
    ]
}

fn warn(parameters: &Parameters, output: Output) {
    for warning in parameters.warnings() {
        output.warn(&warning);
    }
}

/// Creates and waits.
pub fn apply(args: &ApplyArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let run_id = args.workload.run_id.clone().unwrap_or_else(new_run_id);
    if args.dry_run == DryRun::Client {
        let namespace = place.namespace.as_deref().unwrap_or("default");
        let parameters = args.workload.parameters(namespace, &run_id);
        let objects = objects_of(&parameters)?;
        warn(&parameters, output);
        output.result(&objects::text(&objects, args.output, &header(&parameters)))?;
        return Ok(0);
    }
    let is_dry = args.dry_run == DryRun::Server;
    let session = connect(place, is_dry)?;
    let parameters = args.workload.parameters(&session.cluster().namespace, &run_id);
    // What cannot be made is known before anything is asked.
    let objects = objects_of(&parameters)?;
    warn(&parameters, output);
    let preflight = ready(&session, Command::Apply, output)?;
    check(&parameters, &preflight)?;
    let interrupt = super::super::interrupt_on_signals()?;
    let mut tell = |event: ApplyEvent| match event {
        ApplyEvent::Applied(kind, name) => output.progress(&format!("{kind} {name} created\n")),
        ApplyEvent::Ready(name, ready, count) => {
            output.progress(&format!("{name} answers ({ready} of {count})\n"));
        }
    };
    session.apply(&parameters, &mut tell)?;
    if !args.no_wait && !is_dry {
        let (count, patience) = (parameters.count as usize, duration(args.timeout));
        session.wait_ready(&run_id, count, patience, &interrupt, &mut tell)?;
    }
    output.result(&objects::text(&objects, args.output, &header(&parameters)))?;
    output.progress(&format!("Run id: {run_id}\n"));
    Ok(0)
}

/// What the flags ask for and the account may not do.
fn check(parameters: &Parameters, preflight: &Preflight) -> Result<()> {
    let denied = |flag: &str, resource: &str| {
        anyhow::anyhow!(
            "{flag} needs permission to create {resource}; see `sterna kubevirt rbac apply`"
        )
    };
    if parameters.policy.is_some() && !preflight.may("migrationpolicies") {
        return Err(denied("A policy", "migrationpolicies of migrations.kubevirt.io"));
    }
    if parameters.probe_image.is_some() && !preflight.may("pods") {
        return Err(denied("--probe-image", "pods"));
    }
    // Who may not read the gates learns it from KubeVirt's webhook.
    if let Some(policy) = parameters.policy.as_ref().filter(|_| preflight.limits.is_some()) {
        let missing = policy.without_gate(&preflight.feature_gates);
        if !missing.is_empty() {
            return Err(KubevirtError::Policy(missing).into());
        }
    }
    Ok(())
}

/// Removes.
pub fn cleanup(args: &CleanupArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, args.dry_run == DryRun::Server)?;
    let run_id = args.run_id.as_deref();
    if args.dry_run == DryRun::Client {
        let found = session.find(run_id)?;
        let lines: String = found.iter().map(|it| format!("{} {}\n", it.kind, it.name)).collect();
        output.result(&lines)?;
        return Ok(0);
    }
    ready(&session, Command::Cleanup, output)?;
    let interrupt = super::super::interrupt_on_signals()?;
    let patience: Duration = duration(args.timeout);
    let removed = session.cleanup(run_id, patience, &interrupt, &mut |ours| {
        output.progress(&format!("{} {} deleted\n", ours.kind, ours.name));
    })?;
    let verb = if args.dry_run == DryRun::Server { "would be removed" } else { "removed" };
    output.result(&format!("{removed} objects {verb}\n"))?;
    Ok(0)
}
