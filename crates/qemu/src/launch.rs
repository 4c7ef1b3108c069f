//! From a scenario to two QEMUs, the source with a guest that is ready to work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_report::Side;
use sterna_scenario::{HugePages, Scenario};
use sterna_wire::guest_config::GuestConfig;

use crate::QemuOptions;
use crate::accelerator::{self, Choice, kvm_obstacle};
use crate::command_line::{self, Files, Start, TAP_NUMBER};
use crate::footprint::Footprint;
use crate::guest::{GAP_RESOLUTION_NS, Guest, Hello};
use crate::guest_image::{self, GuestImage, ImageOptions};
use crate::guest_link::GuestLink;
use crate::network::{self, Plug, Prober};
use crate::place::{self, Place};
use crate::process::{Order, QemuProcess, side_name};
use crate::qmp::Schema;
use crate::resources;
use crate::settings::{self, Wish};
use crate::tls::{self, Folders};
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
    pub consoles: [Console; 2],
    /// Which pages each side's memory got, once the guest had booted.
    pub footprints: [Footprint; 2],
    /// What QEMU writes down of itself, by side.
    pub logs: [PathBuf; 2],
    /// Where each side runs.
    pub places: [Place; 2],
}

/// What a guest's kernel writes.
pub(crate) struct Console {
    place: Place,
    path: PathBuf,
}

/// What does not change from one attempt to the next.
pub(crate) struct Plan<'a> {
    pub scenario: &'a Scenario,
    pub options: &'a QemuOptions,
    /// The run's private directory.
    pub directory: &'a Path,
    /// Where each side runs.
    pub places: [Place; 2],
    /// Where a stream goes that is a file.
    pub stream_directory: &'a Path,
    pub nonce: u64,
    pub interrupt: &'a Interrupt,
    /// What the guest's network card is plugged into, if it has one.
    pub network: Option<&'a Prober>,
}

impl Plan<'_> {
    fn is_broken(&self, defect: &str) -> bool {
        self.options.breakage.as_deref() == Some(defect)
    }
}

/// Boots with the best accelerator that works.
pub(crate) fn launch(
    plan: &Plan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Launched, EngineError> {
    let mut wishes = settings::wishes(plan.scenario);
    if plan.is_broken("clear-text") {
        wishes.retain(|it| it.name != "tls-creds");
    }
    let image = image(plan)?;
    let images = images(plan, &image)?;
    let machine = machine(plan)?;
    let obstacles = obstacles(&plan.places);
    let mut choices =
        accelerator::choices(plan.options.accelerator, &obstacles).into_iter().peekable();
    while let Some(choice) = choices.next() {
        match attempt(plan, &wishes, &images, &machine, choice, progress) {
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
    guest_image::build(&options).map_err(|error| EngineError::Unsupported(with_causes(&error)))
}

/// The image as each side finds it.
fn images(plan: &Plan, image: &GuestImage) -> Result<[GuestImage; 2], EngineError> {
    let brought = |place: &Place| {
        Ok(GuestImage {
            kernel: place.bring(&image.kernel, "kernel")?,
            initramfs: place.bring(&image.initramfs, "initramfs")?,
            ..image.clone()
        })
    };
    let [here, there] = &plan.places;
    Ok([brought(here)?, brought(there)?])
}

/// Why KVM is out of the question on the machines that take part.
fn obstacles(places: &[Place; 2]) -> Vec<String> {
    let of = |place: &Place| match place.keeper() {
        None => kvm_obstacle(),
        Some(keeper) => {
            let obstacle = keeper.hello().kvm_obstacle.as_ref()?;
            Some(format!("on {}, {obstacle}", keeper.target()))
        }
    };
    places.iter().filter_map(of).collect()
}

fn attempt(
    plan: &Plan,
    wishes: &[Wish],
    images: &[GuestImage; 2],
    machine: &str,
    accelerator: Choice,
    progress: &mut dyn FnMut(Progress),
) -> Result<Launched, EngineError> {
    let ring = dirty_ring(plan, &accelerator)?;
    let start = |side: Side| {
        let place = &plan.places[side as usize];
        let files = Files::of(side, place.directory());
        let plug = plan.network.map(|it| plug(it, side, place)).transpose()?;
        let arguments = command_line::arguments(&Start {
            side,
            scenario: plan.scenario,
            options: plan.options,
            image: &images[side as usize],
            machine,
            accelerator: accelerator.name,
            dirty_ring_entries: ring,
            files,
            network: plug.as_ref(),
        });
        let program = match side {
            Side::Source => &plan.options.source,
            Side::Destination => &plan.options.destination,
        };
        let order = Order {
            program,
            arguments: &arguments,
            cpus: &command_line::cpus(side, plan.scenario),
            small_pages: plan.scenario.guest.huge_pages == HugePages::None,
            inherited: plug.as_ref().and_then(Plug::descriptor).map(|it| (it, TAP_NUMBER)),
        };
        QemuProcess::start(side, place, &order)
            .map_err(|error| resources::explain(error, side, plan.scenario))
    };
    resources::check(plan.scenario, &plan.places)?;
    let mut source = start(Side::Source)?;
    let mut destination = start(Side::Destination)?;
    // What either side refuses is refused before the guest's first instruction.
    let (mut left_out, _) = prepare(&mut source, Side::Source, wishes, plan)?;
    let (theirs_left_out, schema) = prepare(&mut destination, Side::Destination, wishes, plan)?;
    left_out.extend(theirs_left_out);
    let stream_places = Places {
        directory: plan.directory,
        files: plan.stream_directory,
        rdma: plan.options.rdma_address,
        address: place::stream_address(plan.options.remotes.address.as_deref(), &plan.places)?,
    };
    let transport = plan.scenario.migration.transport;
    let way = transport::prepare(transport, &mut destination, &schema, &stream_places)?;
    let [here, there] = &plan.places;
    let files = Files::of(Side::Source, here.directory());
    let link = here.connect(&files.guest_line).and_then(GuestLink::new).map_err(no_line)?;
    source.execute("cont", Value::Null)?;
    left_out.sort_unstable();
    left_out.dedup();
    let theirs = Files::of(Side::Destination, there.directory());
    let mut guest = Guest::new(link);
    let line = there.connect(&theirs.guest_line);
    line.and_then(|it| guest.link().add_destination(it)).map_err(no_line)?;

    let limit = if accelerator.name == "kvm" { BOOT_TIMEOUT_KVM } else { BOOT_TIMEOUT };
    let console = Console { place: here.clone(), path: files.console };
    let hello =
        await_hello(&mut guest, [&mut source, &mut destination], &console, limit, plan, progress)?;
    guest.align(Duration::from_secs(2));
    let footprints = [&source, &destination].map(|it| it.local_pid().map(Footprint::of));
    let footprints = footprints.map(Option::unwrap_or_default);
    let logs = [files.log, theirs.log];
    let consoles = [console, Console { place: there.clone(), path: theirs.console }];
    let (image, machine) = (images[0].clone(), machine.to_owned());
    let places = plan.places.clone();
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
        footprints,
        logs,
        places,
    })
}

/// What a side's network card is plugged into, as a QEMU in that place finds it.
fn plug(prober: &Prober, side: Side, place: &Place) -> Result<Plug, EngineError> {
    match prober.plug(side).map_err(no_plug)? {
        Plug::Socket(path) => {
            place.reach(&path, &format!("{}.net", side_name(side))).map(Plug::Socket)
        }
        tap @ Plug::Tap(_) => Ok(tap),
    }
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
    if let Some(tls) = &plan.scenario.migration.tls {
        let folders = Folders::make(tls, plan.directory, plan.is_broken("strangers"))?;
        tls::give(qemu, side, tls.mode, &folders, &plan.places[side as usize])?;
    }
    let left_out = settings::apply(qemu, side, wishes, &schema)?;
    Ok((left_out, schema))
}

fn await_hello(
    guest: &mut Guest,
    [source, destination]: [&mut QemuProcess; 2],
    console: &Console,
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
            let words = console.last_words();
            return Err(EngineError::Failed(format!("The guest did not boot; {end}{words}")));
        }
        if destination.has_hung_up()
            && let Some(end) = destination.is_gone()
        {
            return Err(EngineError::Failed(format!("The destination is gone: {end}")));
        }
        if began.elapsed() >= limit {
            let (seconds, words) = (limit.as_secs(), console.last_words());
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

impl Console {
    /// The end of what the guest's kernel said, as the rest of a sentence.
    pub fn last_words(&self) -> String {
        last_words(&self.place.tail(&self.path))
    }
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
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
fn machine(plan: &Plan) -> Result<String, EngineError> {
    let options = plan.options;
    let [here, there] = &plan.places;
    if let Some(machine) = &options.machine {
        return Ok(machine.clone());
    }
    // The same name on another machine may be another version.
    let is_one_machine = here.keeper().is_none() && there.keeper().is_none();
    if is_one_machine && options.source == options.destination {
        return Ok("pc".to_owned());
    }
    let source = machines(Side::Source, here, &options.source)?;
    let destination = machines(Side::Destination, there, &options.destination)?;
    let common = source.iter().filter(|it| destination.contains(it));
    let newest = common.max_by_key(|it| version_of(it)).map(|it| format!("pc-i440fx-{it}"));
    newest.ok_or_else(|| {
        EngineError::Unsupported(
            "The two QEMUs have no machine type of the family pc-i440fx in common; name one by --machine".to_owned(),
        )
    })
}

/// The versions of `pc-i440fx` that a QEMU has.
fn machines(side: Side, place: &Place, program: &Path) -> Result<Vec<String>, EngineError> {
    let words = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-S"];
    let monitor = ["-chardev", "socket,id=qmp,fd=0", "-mon", "chardev=qmp,mode=control"];
    let arguments: Vec<_> = words.iter().chain(&monitor).map(Into::into).collect();
    let order =
        Order { program, arguments: &arguments, cpus: &[], small_pages: false, inherited: None };
    let mut qemu = QemuProcess::start(side, place, &order)?;
    let answer = qemu.execute("query-machines", Value::Null)?;
    let names = answer.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    let versions = names.filter_map(|it| it.strip_prefix("pc-i440fx-"));
    Ok(versions.map(str::to_owned).collect())
}

fn version_of(name: &str) -> Vec<u32> {
    name.split('.').filter_map(|it| it.parse().ok()).collect()
}

/// An error with everything that it came from.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, it| format!("{text}: {it}"))
}

fn no_line(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("The guest's port at QEMU cannot be opened: {error}"))
}

fn no_plug(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("The guest's network card cannot be plugged in: {error}"))
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
        assert_eq!(last_words(b""), "; its kernel said nothing");
        let said = b"a\n\nb\n[1] Kernel panic - not syncing: no init\nc\nd\ne\nf\n";
        let expected = "; its kernel said: [1] Kernel panic - not syncing: no init | c | d | e";
        assert_eq!(last_words(said), expected);
    }
}
