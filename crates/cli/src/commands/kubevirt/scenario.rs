//! `sterna run --engine kubevirt`: a scenario becomes a workload and a policy, is migrated once, and removed again.

use std::time::Duration;

use anyhow::Result;
use sterna_kubevirt::policy::PolicySpec;
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::stress::{Parameters, ParametersError};
use sterna_kubevirt::{
    ApplyEvent, ClusterFacts, GuestsTell, KubevirtError, MigrateEvent, MigrateOptions,
    MigrationRecord, Preflight, Session,
};
use sterna_pilot::Interrupt;
use sterna_report::{Engine, FailedIn, Report, Verdict, Warning};
use sterna_scenario::{LimitAction, Scenario};

use super::{connect, new_run_id, ready};
use crate::args::kubevirt::PlaceArgs;
use crate::machine;
use crate::output::Output;

/// How long a guest may take to answer, and an object to be gone.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an abort may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(120);
/// A cloud image does not boot with less.
const LEAST_MEMORY: u64 = 512 << 20;

/// Runs it; whatever happens, nothing of it is left on the cluster.
pub fn run_scenario(
    scenario: &Scenario,
    place: &PlaceArgs,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Report> {
    let session = connect(place, false)?;
    let preflight = ready(&session, Command::Apply, output)?;
    let migrating = ready(&session, Command::Migrate, output)?;
    ready(&session, Command::Cleanup, output)?;
    let run_id = new_run_id();
    let facts = ClusterFacts {
        run_id: Some(run_id.clone()),
        kubevirt_version: preflight.kubevirt_version.clone(),
        limits: preflight.limits.clone(),
        scenario: match serde_json::to_value(scenario)? {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        },
    };
    let parameters = match parameters(scenario, &session, &run_id, &preflight) {
        Ok(parameters) => parameters,
        Err(error) => return Ok(ended(&facts, Verdict::Unsupported, &error)),
    };
    let flown = fly(&session, scenario, &parameters, &migrating, interrupt, output);
    // A second signal is for whoever cannot wait for that.
    let removed = session.cleanup(Some(&run_id), PATIENCE, &interrupt.next(), &mut |_| ());
    let report = match flown {
        Ok(record) => {
            let mut report = record.report(machine::tool(), machine::host(), &facts);
            report.warnings.extend(policy_warnings(&parameters));
            report
        }
        Err(KubevirtError::Interrupted) => {
            ended(&facts, Verdict::Interrupted, &KubevirtError::Interrupted)
        }
        // No migration was recorded, so none came to an end.
        Err(error) => {
            let mut report = ended(&facts, Verdict::Failed, &error);
            report.summary.failed_in = Some(match error {
                KubevirtError::Unreachable { .. } => FailedIn::Connect,
                _ => FailedIn::Prepare,
            });
            report
        }
    };
    if let Err(error) = removed {
        output.warn(&format!(
            "Not all of it could be removed: {error}; `sterna kubevirt cleanup --run-id {run_id}` tries again"
        ));
    }
    Ok(report)
}

fn parameters(
    scenario: &Scenario,
    session: &Session,
    run_id: &str,
    preflight: &Preflight,
) -> Result<Parameters, KubevirtError> {
    let policy = PolicySpec::of_scenario(scenario, &preflight.feature_gates)
        .map_err(KubevirtError::Policy)?;
    if scenario.guest.memory.0 < LEAST_MEMORY {
        return Err(KubevirtError::Parameters(ParametersError::Value {
            field: "guest.memory",
            value: scenario.guest.memory.to_string(),
            way_out: "a cloud image needs 512MiB at least, and 8GiB are recommended".to_owned(),
        }));
    }
    let mut parameters = Parameters::new(run_id, &session.cluster().namespace);
    parameters.name = format!("sterna-run-{run_id}");
    parameters.memory = scenario.guest.memory;
    parameters.cores = scenario.guest.vcpus;
    parameters.workload = Some(scenario.workload_spec());
    parameters.policy = Some(policy);
    parameters.check()?;
    Ok(parameters)
}

fn fly(
    session: &Session,
    scenario: &Scenario,
    parameters: &Parameters,
    preflight: &Preflight,
    interrupt: &Interrupt,
    output: Output,
) -> Result<MigrationRecord, KubevirtError> {
    let run_id = &parameters.run_id;
    let mut tell = |event: ApplyEvent| match event {
        ApplyEvent::Applied(kind, name) => output.progress(&format!("{kind} {name} created\n")),
        ApplyEvent::Ready(name, ..) => output.progress(&format!("{name} answers\n")),
    };
    session.apply(parameters, &mut tell)?;
    session.wait_ready(run_id, 1, PATIENCE, interrupt, &mut tell)?;
    let timing = &scenario.timing;
    let guests_tell = GuestsTell {
        warm_up: timing.warmup.0,
        cool_down: timing.cooldown.0,
        check_memory: true,
        follow_disk: true,
    };
    let guests_tell = preflight.may_ask_guests().then_some(guests_tell);
    if guests_tell.is_none() {
        rest(timing.warmup.0, interrupt)?;
    }
    // A limit that cancels is ours to keep; the others stand in the policy.
    let limits = &scenario.limits;
    let max_time = limits.max_time.filter(|_| limits.then == LimitAction::Cancel);
    let options = MigrateOptions {
        run_id: Some(run_id.clone()),
        guests: Vec::new(),
        count: 1,
        at_once: 1,
        max_time: max_time.map(|it| it.0),
        abort_patience: ABORT_PATIENCE,
        read_logs: preflight.may("pods/log"),
        read_events: preflight.may("events"),
        guests_tell,
        prometheus: None,
    };
    let mut record = None;
    let migrated = session.migrate(&options, interrupt, &mut |event| {
        match event {
            MigrateEvent::Began(..) => {}
            MigrateEvent::Moved(it) => {
                output.progress(&format!("{}: {}\n", it.vmi, it.current_phase()));
            }
            MigrateEvent::Aborting(name) => output.progress(&format!("{name}: aborting\n")),
            MigrateEvent::Ended(it) => record = Some(it.clone()),
        }
        Ok(())
    });
    match (record, migrated) {
        // What was recorded is the result, also of a run that was cut short.
        (Some(record), _) => Ok(record),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(KubevirtError::NotReady("No migration was recorded".to_owned())),
    }
}

fn rest(length: Duration, interrupt: &Interrupt) -> Result<(), KubevirtError> {
    let end = std::time::Instant::now() + length;
    while std::time::Instant::now() < end {
        if interrupt.requested() {
            return Err(KubevirtError::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What the policy does not keep as the scenario asks for it.
fn policy_warnings(parameters: &Parameters) -> Vec<Warning> {
    let notes = parameters.policy.iter().flat_map(PolicySpec::notes);
    let warning = |text| Warning { code: "bandwidth-rounded".to_owned(), text, advice: None };
    notes.map(warning).collect()
}

/// A report of a run that came to no migration.
fn ended(facts: &ClusterFacts, verdict: Verdict, error: &KubevirtError) -> Report {
    let engine = Engine { name: "kubevirt".to_owned(), ..Engine::default() };
    let started_at = jiff::Timestamp::now().to_string();
    let scenario = facts.scenario.clone();
    let mut report = Report::new(machine::tool(), machine::host(), engine, started_at, scenario);
    report.summary.verdict = verdict;
    report.summary.verdict_reason = Some(error.to_string());
    report
}
