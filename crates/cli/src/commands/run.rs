//! `sterna run`: from options to a report and an exit code.

mod fleet;
mod model;
mod strayed;

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sterna_emulator::{Emulator, EmulatorOptions, Place, Places};
use sterna_pilot::{Hypervisor, Identity, Interrupt, Pilot, RealClock, assemble_hops, judge};
use sterna_qemu::{Qemu, QemuOptions, Remotes};
use sterna_remote::Address;
use sterna_report::Report;
use sterna_scenario::{Builder, Origin, Scenario};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::Endpoint;

use super::baseline::Store;
use super::kept;
use crate::args::{EngineKind, Format, Machines, RunOptions};
use crate::output::Output;
use crate::{machine, progress, usage};

/// Runs a scenario.
pub fn run(options: RunOptions, output: Output) -> Result<u8> {
    let scenario = scenario(&options)?;
    if options.print_scenario {
        output.result(&scenario.to_toml())?;
        return Ok(0);
    }
    if let Some((flag, engines)) = &options.misplaced {
        let engine = options.engine.name();
        return Err(usage(anyhow!(
            "{flag} is for {engines}, and the engine is {engine}: leave it out, or choose another engine"
        )));
    }
    let store = Store::new(&options.store);
    let save_as = options.save_as.as_deref().map(|it| store.checked(it)).transpose()?;
    super::remove_leftovers(output);
    let interrupt = super::interrupt_on_signals()?;
    let (reports, code) = if options.repeat > 1 {
        if options.json_stream {
            return Err(usage(anyhow!(
                "--json-stream tells of one run; leave it out, or --repeat"
            )));
        }
        super::repeat::run(&scenario, &options, &interrupt, output)?
    } else {
        options.report.as_deref().map(super::check_writable).transpose()?;
        let report = fly(&scenario, &options, &interrupt, output)?;
        let code = tell(&report, &options, output)?;
        (vec![report], code)
    };
    if let Some(name) = save_as {
        keep(&store, name, &reports, code, output)?;
    }
    Ok(code)
}

/// Runs that did not all end well are nothing to compare others with.
fn keep(store: &Store, name: &str, reports: &[Report], code: u8, output: Output) -> Result<()> {
    if code != 0 {
        output.warn(&format!("Baseline {name} stays as it was, because of the exit code {code}"));
        return Ok(());
    }
    store.save(name, reports)
}

fn scenario(options: &RunOptions) -> Result<Scenario> {
    let mut builder = Builder::new();
    if let Some(path) = &options.file {
        let (name, text) = read(path)?;
        builder = builder.file(&name, &text).map_err(usage)?;
    }
    builder = builder.variables(variables()).map_err(usage)?;
    for (path, value, flag) in &options.settings {
        builder = builder.set(path, value, Origin::Flag(flag.clone())).map_err(usage)?;
    }
    builder.build().map_err(usage)
}

/// Variables that are no text cannot be ours.
fn variables() -> impl Iterator<Item = (String, String)> {
    // These are not settings of the scenario, though they begin alike.
    let ours = [
        "STERNA_TRACKER",
        "STERNA_HOST_TOKEN",
        "STERNA_TLS_DIR",
        "STERNA_ENGINE",
        "STERNA_KERNEL",
        "STERNA_QEMU_SOURCE",
        "STERNA_QEMU_DESTINATION",
        "STERNA_GUEST_AGENT",
    ];
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| !ours.contains(&name.as_str()))
}

fn read(path: &Path) -> Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("Cannot read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = match strayed::value(path, std::env::args_os()) {
            Some(hint) if !path.exists() => anyhow!("{hint}"),
            _ => anyhow!("Cannot read scenario {name}: {error}"),
        };
        usage(error)
    })?;
    Ok((name, text))
}

/// Runs the scenario once, and judges the numbers by its thresholds.
pub(super) fn fly(
    scenario: &Scenario,
    options: &RunOptions,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Report> {
    let mut report = flown(scenario, options, interrupt, output)?;
    judge(scenario, &mut report);
    Ok(report)
}

fn flown(
    scenario: &Scenario,
    options: &RunOptions,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Report> {
    // On a cluster its controllers decide when a guest is stopped, so there is nothing for a pilot to fly.
    #[cfg(feature = "kubevirt")]
    if options.engine == EngineKind::Kubevirt {
        return super::kubevirt::run_scenario(scenario, &options.place, interrupt, output);
    }
    if let Some(fleet) = scenario.fleet.filter(|_| options.engine == EngineKind::Emulator) {
        return fleet::fly(scenario, fleet, options, interrupt, output);
    }
    if options.engine == EngineKind::Model {
        return model::fly(scenario, options, interrupt, output);
    }
    let mut engine = engine(options, output)?;
    let started_at = jiff::Timestamp::now().to_string();
    let clock = RealClock::starting_at(monotonic_ns());
    let mut watcher = progress::watcher(options.progress, options.json_stream, output);
    let records = Pilot {
        scenario,
        hypervisor: engine.as_mut(),
        clock: &clock,
        interrupt,
        observer: &mut |notice| watcher.notice(None, &notice),
    }
    .fly_hops();
    watcher.finish();
    let mut report = assemble_hops(&identity(scenario, started_at)?, &records);
    report.advice = sterna_advice::diagnose(&report).advice;
    for hop in &mut report.hops {
        hop.report.advice = sterna_advice::diagnose(&hop.report).advice;
    }
    Ok(report)
}

fn identity(scenario: &Scenario, started_at: String) -> Result<Identity> {
    Ok(Identity {
        tool: machine::tool(),
        host: machine::host(),
        started_at,
        scenario: match serde_json::to_value(scenario)? {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        },
        guest_bytes: scenario.guest.memory.0,
    })
}

fn engine(options: &RunOptions, output: Output) -> Result<Box<dyn Hypervisor>> {
    if options.engine == EngineKind::Qemu {
        let remotes = remotes(&options.machines)?;
        return Ok(Box::new(Qemu::new(QemuOptions { remotes, ..options.qemu.clone() })));
    }
    Ok(Box::new(Emulator::new(emulator(options, output)?)))
}

fn emulator(options: &RunOptions, output: Output) -> Result<EmulatorOptions> {
    let program = std::env::current_exe().context("Cannot find my own program file")?;
    super::warn_of_open_keys(options.tls_directory.as_deref(), output);
    Ok(EmulatorOptions {
        host_command: vec![program.into_os_string(), OsString::from("host")],
        tracker: options.tracker.clone(),
        places: places(&options.machines, output)?,
        tls_directory: options.tls_directory.clone(),
        available_bytes: None,
        breakage: options.breakage.clone(),
    })
}

/// The emulator's hosts are started by ssh, or listen already.
fn places(machines: &Machines, output: Output) -> Result<Places> {
    let place = |address: &Option<Address>| match address {
        None => Place::Here,
        Some(Address::Ssh(target)) => Place::Ssh(target.clone()),
        Some(address @ Address::Listening { host, .. }) => {
            let text = address.to_string();
            let text = text.strip_prefix("sterna://").unwrap_or(&text);
            Place::Listening { endpoint: Endpoint::Tcp(text.to_owned()), name: host.clone() }
        }
        Some(Address::Socket(path)) => Place::Listening {
            endpoint: Endpoint::Unix(path.to_string_lossy().into_owned()),
            name: "localhost".to_owned(),
        },
    };
    let Machines { source, destination, ssh, address, token_file } = machines;
    Ok(Places {
        source: place(source),
        destination: place(destination),
        token: super::token(token_file.as_deref(), output)?.unwrap_or_default(),
        ssh: ssh.clone(),
        address: address.clone(),
    })
}

/// QEMU is looked after by a program that ssh starts.
fn remotes(machines: &Machines) -> Result<Remotes> {
    let target = |flag: &str, address: &Option<Address>| match address {
        None => Ok(None),
        Some(Address::Ssh(target)) => Ok(Some(target.clone())),
        Some(address @ Address::Listening { host, .. }) => Err(usage(anyhow!(
            "{flag} {address}: the engine QEMU goes to other machines by ssh; write ssh://{host}"
        ))),
        Some(address @ Address::Socket(_)) => Err(usage(anyhow!(
            "{flag} {address}: the engine QEMU goes to other machines by ssh; write ssh://user@host"
        ))),
    };
    if let Some(name) = machines.address.as_deref()
        && !name.contains([':', '.'])
    {
        return Err(usage(anyhow!(
            "--migration-address {name}: the engine QEMU needs an IP address, not an interface"
        )));
    }
    Ok(Remotes {
        source: target("--source", &machines.source)?,
        destination: target("--destination", &machines.destination)?,
        ssh: machines.ssh.clone(),
        program: "/proc/self/exe".into(),
        address: machines.address.clone(),
    })
}

/// The result to stdout, then the report to its file, then warnings to stderr; returns the exit code.
fn tell(report: &Report, options: &RunOptions, output: Output) -> Result<u8> {
    let printed = print(report, options, output);
    let code = match &options.report {
        Some(path) => kept::report(path, &report.to_json_pretty(), report.exit_code(), output),
        None => report.exit_code(),
    };
    printed?;
    if options.format == Format::Json || options.json_stream {
        for warning in &report.warnings {
            let advice = warning.advice.as_ref().map(|it| format!(" {it}.")).unwrap_or_default();
            output.warn(&format!("{}.{advice}", warning.text));
        }
    }
    Ok(code)
}

fn print(report: &Report, options: &RunOptions, output: Output) -> Result<()> {
    if options.json_stream {
        return progress::stream_report(report, output);
    }
    if options.format == Format::Json {
        return Ok(output.result(&report.to_json_pretty())?);
    }
    let style = sterna_render::Style { colour: output.colour(), width: output.width() };
    Ok(output.result(&sterna_render::text(report, style))?)
}
