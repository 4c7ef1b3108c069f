//! From a scenario to two QEMUs, the source with a guest that is ready to work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_report::Side;
use sterna_scenario::{Scenario, TlsMode};
use sterna_wire::guest_config::GuestConfig;

use crate::QemuOptions;
use crate::accelerator::{self, Choice};
use crate::command_line::{self, Files, Start};
use crate::guest::{GAP_RESOLUTION_NS, Guest, Hello};
use crate::guest_image::{self, GuestImage, ImageOptions};
use crate::guest_link::GuestLink;
use crate::network;
use crate::process::QemuProcess;
use crate::qmp::Schema;
use crate::settings::{self, Wish};
use crate::tls;
use crate::transport::{self, Places, Way};

/// How long a guest may take to boot. Under emulation, with other runs beside it, half a minute has been seen.
const BOOT_TIMEOUT: Duration = Duration::from_secs(90);

/// With KVM a guest is there within two seconds or, where KVM only pretends to work, never.
const BOOT_TIMEOUT_KVM: Duration = Duration::from_secs(20);

/// Entries of the dirty ring where a technique needs one and no number was given.
const DIRTY_RING_ENTRIES: u32 = 4096;

/// How much of what the guest's kernel said goes into a message.
const CONSOLE_LINES: usize = 4;

/// Both sides, running.
pub(crate) struct Launched {
    pub source: QemuProcess,
    pub destination: QemuProcess,
    pub guest: Guest,
    pub hello: Hello,
    /// The way that is ready for the stream.
    pub way: Way,
    pub accelerator: Choice,
    pub machine: String,
    pub image: GuestImage,
    /// Settings that a side does not have and that were not insisted on.
    pub left_out: Vec<&'static str>,
    /// What the guest's kernel writes, by side.
    pub consoles: [PathBuf; 2],
}

/// What does not change from one attempt to the next.
pub(crate) struct Plan<'a> {
    pub scenario: &'a Scenario,
    pub options: &'a QemuOptions,
    /// The run's private directory.
    pub directory: &'a Path,
    /// Where a stream goes that is a file.
    pub stream_directory: &'a Path,
    pub nonce: u64,
    pub interrupt: &'a Interrupt,
    /// The switch's ports for the guest's network card, source and destination.
    pub network: Option<[PathBuf; 2]>,
}

/// Boots with the best accelerator that works.
pub(crate) fn launch(
    plan: &Plan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Launched, EngineError> {
    let wishes = settings::wishes(plan.scenario);
    if plan.scenario.migration.tls_mode() == TlsMode::Psk {
        tls::write_key(plan.directory)
            .map_err(|error| EngineError::Failed(format!("No key can be written: {error}")))?;
    }
    let image = image(plan)?;
    let machine = machine(plan.options)?;
    let mut choices = accelerator::choices(plan.options.accelerator).into_iter().peekable();
    while let Some(choice) = choices.next() {
        match attempt(plan, &wishes, &image, &machine, choice, progress) {
            Err(EngineError::Failed(_) | EngineError::SideGone { .. })
                if choices.peek().is_some() => {}
            outcome => return outcome,
        }
    }
    Err(EngineError::Failed("There is no accelerator to try".to_owned()))
}

fn image(plan: &Plan) -> Result<GuestImage, EngineError> {
    let Scenario { timing, .. } = plan.scenario;
    let mut config = GuestConfig::of(&plan.scenario.workload_spec().to_string());
    config.ballast_bytes = plan.scenario.ballast_bytes().0;
    config.sample_interval_ns = timing.sample_interval.0.as_nanos() as u64;
    config.gap_threshold_ns = GAP_RESOLUTION_NS;
    config.nonce = plan.nonce;
    config.serial = None;
    config.address = plan.network.as_ref().map(|_| network::GUEST_ADDRESS);
    config.echo_port = plan.network.as_ref().map(|_| network::ECHO_PORT);
    let options = ImageOptions {
        kernel: plan.options.kernel.as_deref(),
        agent: plan.options.guest_agent.as_deref(),
        config: &config.to_string(),
        directory: plan.directory,
    };
    guest_image::build(&options).map_err(|error| EngineError::Unsupported(error.to_string()))
}

fn attempt(
    plan: &Plan,
    wishes: &[Wish],
    image: &GuestImage,
    machine: &str,
    accelerator: Choice,
    progress: &mut dyn FnMut(Progress),
) -> Result<Launched, EngineError> {
    let ring = dirty_ring(plan, &accelerator)?;
    let start = |side: Side| {
        let files = Files::of(side, plan.directory);
        let network = plan.network.as_ref().map(|it| it[side as usize].clone());
        let arguments = command_line::arguments(&Start {
            side,
            scenario: plan.scenario,
            options: plan.options,
            image,
            machine,
            accelerator: accelerator.name,
            dirty_ring_entries: ring,
            files,
            network,
        });
        let program = match side {
            Side::Source => &plan.options.source,
            Side::Destination => &plan.options.destination,
        };
        QemuProcess::start(side, program, &arguments, &command_line::cpus(side, plan.scenario))
    };
    let mut source = start(Side::Source)?;
    let mut destination = start(Side::Destination)?;
    // What either side refuses is refused before the guest's first instruction.
    let (mut left_out, _) = prepare(&mut source, Side::Source, wishes, plan)?;
    let (theirs_left_out, schema) = prepare(&mut destination, Side::Destination, wishes, plan)?;
    left_out.extend(theirs_left_out);
    let places = Places {
        directory: plan.directory,
        files: plan.stream_directory,
        rdma: plan.options.rdma_address,
    };
    let transport = plan.scenario.migration.transport;
    let way = transport::prepare(transport, &mut destination, &schema, &places)?;
    let files = Files::of(Side::Source, plan.directory);
    let link = GuestLink::connect(&files.guest_line).map_err(no_line)?;
    source.execute("cont", Value::Null)?;
    left_out.sort_unstable();
    left_out.dedup();
    let theirs = Files::of(Side::Destination, plan.directory);
    let mut guest = Guest::new(link);
    guest.link().add_destination(&theirs.guest_line).map_err(no_line)?;

    let limit = if accelerator.name == "kvm" { BOOT_TIMEOUT_KVM } else { BOOT_TIMEOUT };
    let hello = await_hello(&mut guest, &mut source, &files.console, limit, plan, progress)?;
    guest.align(Duration::from_secs(2));
    let consoles = [files.console, theirs.console];
    let (image, machine) = (image.clone(), machine.to_owned());
    Ok(Launched {
        source,
        destination,
        guest,
        hello,
        way,
        accelerator,
        machine,
        image,
        left_out,
        consoles,
    })
}

/// The ring that was asked for, or that a technique needs; only KVM has one.
fn dirty_ring(plan: &Plan, accelerator: &Choice) -> Result<Option<u32>, EngineError> {
    let asked = plan.options.dirty_ring_entries;
    match (accelerator.name, asked) {
        ("kvm", None) if plan.scenario.migration.dirty_limit.is_some() => {
            Ok(Some(DIRTY_RING_ENTRIES))
        }
        ("kvm", asked) => Ok(asked),
        (_, None) => Ok(None),
        (name, Some(_)) => Err(EngineError::Unsupported(format!(
            "--dirty-ring-size: only KVM has a dirty ring, and the guest runs on {name}: {}",
            accelerator.reason
        ))),
    }
}

fn prepare(
    qemu: &mut QemuProcess,
    side: Side,
    wishes: &[Wish],
    plan: &Plan,
) -> Result<(Vec<&'static str>, Schema), EngineError> {
    let schema = Schema::new(&qemu.execute("query-qmp-schema", Value::Null)?);
    if plan.scenario.migration.tls_mode() == TlsMode::Psk {
        tls::add_key(qemu, side, plan.directory)?;
    }
    let left_out = settings::apply(qemu, side, wishes, &schema)?;
    Ok((left_out, schema))
}

fn await_hello(
    guest: &mut Guest,
    source: &mut QemuProcess,
    console: &Path,
    limit: Duration,
    plan: &Plan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Hello, EngineError> {
    let began = Instant::now();
    let mut next_word = Duration::from_secs(1);
    loop {
        if let Some(hello) = guest.hello() {
            return Ok(hello);
        }
        if plan.interrupt.requested() {
            return Err(EngineError::Interrupted);
        }
        if let Some(reason) = guest.fatal() {
            return Err(EngineError::Failed(format!("The agent in the guest gave up: {reason}")));
        }
        if let Some(end) = source.is_gone() {
            let words = last_words(console);
            return Err(EngineError::Failed(format!("The guest did not boot; {end}{words}")));
        }
        if began.elapsed() >= limit {
            let (seconds, words) = (limit.as_secs(), last_words(console));
            return Err(EngineError::Failed(format!(
                "The guest did not boot within {seconds} s{words}"
            )));
        }
        if began.elapsed() >= next_word {
            next_word += Duration::from_secs(1);
            let what = "source boots the guest, in seconds of patience".to_owned();
            progress(Progress { what, done: began.elapsed().as_secs(), total: limit.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The end of what the guest's kernel said, as the rest of a sentence.
pub(crate) fn last_words(console: &Path) -> String {
    let bytes = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let panic = lines.iter().position(|it| it.contains("Kernel panic"));
    let from = panic.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    let words: Vec<String> = lines[from..]
        .iter()
        .take(CONSOLE_LINES)
        .map(|it| it.chars().filter(|it| !it.is_control()).take(200).collect())
        .collect();
    if words.is_empty() {
        "; its kernel said nothing".to_owned()
    } else {
        format!("; its kernel said: {}", words.join(" | "))
    }
}

/// The machine type: as asked for, or what the one QEMU calls `pc`, or the newest of that family that both have.
fn machine(options: &QemuOptions) -> Result<String, EngineError> {
    if let Some(machine) = &options.machine {
        return Ok(machine.clone());
    }
    if options.source == options.destination {
        return Ok("pc".to_owned());
    }
    let source = machines(Side::Source, &options.source)?;
    let destination = machines(Side::Destination, &options.destination)?;
    let common = source.iter().filter(|it| destination.contains(it));
    let newest = common.max_by_key(|it| version_of(it)).map(|it| format!("pc-i440fx-{it}"));
    newest.ok_or_else(|| {
        EngineError::Unsupported(
            "The two QEMUs have no machine type of the family pc-i440fx in common; name one by --machine".to_owned(),
        )
    })
}

/// The versions of `pc-i440fx` that a QEMU has.
fn machines(side: Side, program: &Path) -> Result<Vec<String>, EngineError> {
    let words = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-S"];
    let monitor = ["-chardev", "socket,id=qmp,fd=0", "-mon", "chardev=qmp,mode=control"];
    let arguments: Vec<_> = words.iter().chain(&monitor).map(Into::into).collect();
    let mut qemu = QemuProcess::start(side, program, &arguments, &[])?;
    let answer = qemu.execute("query-machines", Value::Null)?;
    let names = answer.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    let versions = names.filter_map(|it| it.strip_prefix("pc-i440fx-"));
    Ok(versions.map(str::to_owned).collect())
}

fn version_of(name: &str) -> Vec<u32> {
    name.split('.').filter_map(|it| it.parse().ok()).collect()
}

fn no_line(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("The guest's port at QEMU cannot be opened: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let names = ["9.2", "10.0", "7.2"];
        assert_eq!(names.iter().max_by_key(|it| version_of(it)), Some(&"10.0"));
    }

    #[test]
    fn a_panic_is_what_a_kernel_said_last() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(last_words(file.path()), "; its kernel said nothing");
        std::fs::write(
            file.path(),
            "a\n\nb\n[1] Kernel panic - not syncing: no init\nc\nd\ne\nf\n",
        )
        .unwrap();
        let words = last_words(file.path());
        assert_eq!(words, "; its kernel said: [1] Kernel panic - not syncing: no init | c | d | e");
    }
}
