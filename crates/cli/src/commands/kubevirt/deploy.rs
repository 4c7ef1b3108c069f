//! `preflight`, `explain`, `rbac`, `dashboard` and `demo`.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};
use sterna_kubevirt::explain::Explanation;
use sterna_kubevirt::rbac::{self, Command};
use sterna_kubevirt::simulate::{Failure, SimulateOptions};
use sterna_kubevirt::{Level, dashboard as shown, yaml};

use super::{connect, objects, ready};
use crate::args::kubevirt::{
    Dashboard, DashboardArgs, DemoArgs, DemoFailure, ExplainArgs, PlaceArgs, PreflightArgs,
    RbacArgs, TextFormat,
};
use crate::output::Output;

/// The command of this name; clap has refused all others.
fn command(name: &str) -> Command {
    Command::of_name(name).unwrap_or(Command::Apply)
}

/// Prints everything that was looked at.
pub fn preflight(args: &PreflightArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = session.preflight(command(&args.command))?;
    let word = |level: Level| match level {
        Level::Ok => "ok",
        Level::Limited => "limited",
        Level::Missing => "missing",
    };
    let text = match args.output {
        TextFormat::Text => preflight
            .findings
            .iter()
            .map(|it| format!("{:<8} {:<11} {}\n", word(it.level), it.name, it.text))
            .collect(),
        TextFormat::Json => {
            let findings: Vec<Value> = preflight
                .findings
                .iter()
                .map(|it| json!({"name": it.name, "level": word(it.level), "text": it.text}))
                .collect();
            let all = json!({
                "command": args.command,
                "findings": findings,
                "server_version": preflight.server_version,
                "kubevirt_version": preflight.kubevirt_version,
                "schedulable_nodes": preflight.schedulable_nodes,
                "limits": preflight.limits,
            });
            format!("{all:#}\n")
        }
    };
    output.result(&text)?;
    Ok(if preflight.is_well() { 0 } else { 5 })
}

/// Prints which policy wins and what follows.
pub fn explain(args: &ExplainArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = ready(&session, Command::Explain, output)?;
    let found = session.explain(&args.vm, &preflight)?;
    let text = match args.output {
        TextFormat::Text => in_words(&found),
        TextFormat::Json => {
            let candidates: Vec<Value> = found
                .candidates
                .iter()
                .map(|it| json!({"name": it.0, "wins": it.1, "why": it.2}))
                .collect();
            let all = json!({
                "guest": found.guest,
                "obstacle": found.obstacle,
                "policy": found.policy,
                "candidates": candidates,
                "effective_configuration": found.effective,
                "memory_bytes": found.memory_bytes,
                "completion_timeout_seconds": found.timeout_seconds,
                "at_timeout": found.at_timeout,
                "multifd": found.multifd.text,
                "multifd_connections": found.multifd.count,
                "bandwidth_bytes_per_second": found.bandwidth_bytes_per_second,
                "eviction": found.eviction,
            });
            format!("{all:#}\n")
        }
    };
    output.result(&text)?;
    Ok(0)
}

fn in_words(found: &Explanation) -> String {
    let mut text = String::new();
    let policy = found.policy.as_deref().unwrap_or("none; the cluster's configuration holds");
    match &found.obstacle {
        Some(why) => {
            let _ = writeln!(text, "{} cannot be migrated: {why}", found.guest);
            let _ = writeln!(text, "  Once it can be, this holds:");
        }
        None => {
            let _ = writeln!(text, "{}", found.guest);
        }
    }
    let _ = writeln!(text, "  policy       {policy}");
    for (name, wins, why) in &found.candidates {
        let _ = writeln!(text, "    {} {name}: {why}", if *wins { "*" } else { " " });
    }
    let each = found.effective.completion_timeout_per_gi_b.unwrap_or(150);
    let timeout = match (found.timeout_seconds, found.memory_bytes) {
        (Some(0), _) => "none".to_owned(),
        (Some(seconds), Some(bytes)) => format!(
            "{seconds} s: {each} s for each of {} decimal GB, rounded up; copied disks count too, and come on top",
            sterna_kubevirt::policy::gigabytes(bytes)
        ),
        _ => "unknown, since the machine does not say its memory".to_owned(),
    };
    let _ = writeln!(text, "  timeout      {timeout}");
    let _ = writeln!(text, "  then         {}", found.at_timeout);
    let progress = found.effective.progress_timeout.unwrap_or(150);
    let _ = writeln!(text, "  no progress  aborted when nothing less remains for {progress} s");
    let bandwidth = match found.bandwidth_bytes_per_second {
        Some(rate) => format!("{} MiB/s", rate >> 20),
        None => "unlimited".to_owned(),
    };
    let note = found.bandwidth_note.as_ref().map_or_else(String::new, |it| format!("; {it}"));
    let _ = writeln!(text, "  bandwidth    {bandwidth}{note}");
    let converge = found.effective.allow_auto_converge == Some(true);
    let _ = writeln!(text, "  throttling   {}", if converge { "auto-converge" } else { "none" });
    let _ = writeln!(text, "  multifd      {}", found.multifd.text);
    let _ = writeln!(text, "  on a drain   {}", found.eviction);
    text
}

/// Prints roles.
pub fn rbac(args: &RbacArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let namespace = place.namespace.as_deref().unwrap_or("default");
    let command = command(&args.command);
    let all = rbac::objects(command, namespace, &args.service_account);
    let mut header = vec![format!(
        "The least that `sterna kubevirt {}` needs in namespace {namespace}",
        command.name()
    )];
    for rule in command.rules() {
        if let Some(without) = rule.optional {
            header.push(format!("Without {}: {without}", rule.resource));
        }
    }
    output.result(&objects::text(&all, args.output, &header))?;
    Ok(0)
}

/// Prints a dashboard or rules.
pub fn dashboard(args: &DashboardArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let namespace = place.namespace.as_deref().unwrap_or("default");
    let text = match args.what {
        Dashboard::Grafana => format!("{:#}\n", shown::grafana()),
        Dashboard::Rules => yaml::document(&shown::rules(namespace)),
    };
    output.result(&text)?;
    Ok(0)
}

/// Acts as KubeVirt's controllers.
pub fn demo(args: &DemoArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let words = "simulated: it fails on purpose".to_owned();
    let options = SimulateOptions {
        nodes: args.nodes,
        speed: args.speed.clamp(0.01, 10_000.0),
        bandwidth_bytes_per_second: args.bandwidth.bytes_per_second_f64(),
        dirty_bytes_per_second: args.dirty_rate.bytes_per_second_f64(),
        failure: match args.fail {
            None => Failure::None,
            Some(DemoFailure::Reject) => Failure::Reject(words),
            Some(DemoFailure::Unschedulable) => Failure::Unschedulable,
            Some(DemoFailure::Break) => Failure::Break(words),
            Some(DemoFailure::NotMigratable) => Failure::NotMigratable(words),
        },
        ..SimulateOptions::default()
    };
    let interrupt = super::super::interrupt_on_signals()?;
    output.note(&format!(
        "Simulated controllers act on {}; there are no guests, and memory moves by arithmetic. Ctrl-C ends them.\n",
        session.cluster().server
    ));
    session.simulate(options, &interrupt)?;
    Ok(0)
}
