//! From a scenario to two QEMUs, the source with a guest that is ready to work.

//!
//! ```text
//! ask both QEMUs what they are ── write the guest's image ── bring it to where the sides run
//!   for each accelerator that may work:
//!     start both ── have both agree to all settings ── let the destination listen ── boot the guest on the source
//! ```

mod attempt;
mod binaries;
mod console;
mod lines;
mod turn;

use std::path::{Path, PathBuf};

use sterna_pilot::{EngineError, Interrupt, Progress};
use sterna_scenario::Scenario;
use sterna_sys::nameless::NamelessFile;
use sterna_wire::guest_config::GuestConfig;

use crate::QemuOptions;
use crate::accelerator::{self, Choice, kvm_obstacle};
use crate::footprint::Footprints;
use crate::guest::{GAP_RESOLUTION_NS, Guest, Hello};
use crate::guest_image::{self, GuestImage, ImageOptions};
use crate::guest_memory::WholeMemory;
use crate::memory_size::MemorySize;
use crate::network::{self, Prober};
use crate::place::Place;
use crate::process::QemuProcess;
use crate::settings::{self, Wish};
use crate::tls::Keys;
use crate::transport::Way;
use crate::workload_size;
use binaries::Binary;
pub(crate) use console::Console;
pub(crate) use turn::turn;

/// Both sides, running.
pub(crate) struct Launched {
    pub source: QemuProcess,
    pub destination: QemuProcess,
    pub guest: Guest,
    pub hello: Hello,
    /// From the guest's first instruction to its agent's greeting.
    pub boot_ns: u64,
    /// The way that is ready for the stream.
    pub way: Way,
    pub accelerator: Choice,
    pub memory: MemorySize,
    pub machine: String,
    pub image: GuestImage,
    /// Settings that a side does not have and that were not insisted on.
    pub left_out: Vec<&'static str>,
    /// What the guest's kernel writes, by side.
    pub consoles: [Console; 2],
    /// Which pages each side's memory got.
    pub footprints: [Footprints; 2],
    /// All memory of both sides, where it is to be compared.
    pub whole_memory: Option<[WholeMemory; 2]>,
    /// What QEMU writes down of itself, by side.
    pub logs: [PathBuf; 2],
    /// Where each side runs.
    pub places: [Place; 2],
    /// The files behind consoles and logs, where these have no names.
    held: Vec<NamelessFile>,
    /// What another destination is started with, where the guest moves more than once.
    spare: Option<Spare>,
}

/// What a destination of a later hop is started with, beside what the plan says.
struct Spare {
    prepared: Prepared,
    keys: Option<Keys>,
    ring: Option<u32>,
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
    /// Whether the guest goes back: the sides have changed places, and ports of the network belong to places.
    pub is_back: bool,
}

impl Plan<'_> {
    fn is_broken(&self, defect: &str) -> bool {
        self.options.breakage.as_deref() == Some(defect)
    }
}

/// What is the same for each accelerator.
struct Prepared {
    wishes: Vec<Wish>,
    binaries: [Binary; 2],
    machine: String,
    images: [GuestImage; 2],
    /// The initramfs; it has no name, so that nothing of it can be left behind.
    _initramfs: NamelessFile,
}

/// Boots with the best accelerator that works.
pub(crate) fn launch(
    plan: &Plan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Launched, EngineError> {
    let prepared = prepare(plan)?;
    // On purpose: a KVM that only pretends to work, as some virtual machines have it.
    let obstacles =
        if plan.is_broken("pretend-kvm") { Vec::new() } else { obstacles(&plan.places) };
    let wish = plan.options.accelerator;
    let choices = accelerator::choices(wish, &obstacles);
    let attempt = |it| attempt::attempt(plan, &prepared, it, progress);
    let launched = accelerator::first_that_works(choices, attempt);
    let (mut launched, keys, ring) =
        launched.map_err(|error| accelerator::refuse_without_kvm(wish, &obstacles, error))?;
    if plan.scenario.migration.hops > 1 {
        launched.spare = Some(Spare { prepared, keys, ring });
    } else if let Some(keys) = &keys {
        keys.forget(&plan.places);
    }
    Ok(launched)
}

fn prepare(plan: &Plan) -> Result<Prepared, EngineError> {
    let mut wishes = settings::wishes(plan.scenario);
    if plan.is_broken("clear-text") {
        wishes.retain(|it| it.name != "tls-creds");
    }
    let config = guest_config(plan);
    let initramfs = NamelessFile::new("sterna-initramfs")
        .map_err(|error| EngineError::Failed(format!("Cannot create the initramfs: {error}")))?;
    let options = ImageOptions {
        kernel: plan.options.kernel.as_deref(),
        agent: plan.options.guest_agent.as_deref(),
        config: &config,
        initramfs: initramfs.path(),
    };
    // A QEMU takes as long to start as an image to be written. It is this thread that starts it, for it dies with its thread.
    let (image, binaries) = std::thread::scope(|scope| {
        let image = scope.spawn(|| guest_image::build(&options));
        let binaries = binaries::ask(plan);
        (image.join(), binaries)
    });
    let binaries = binaries?;
    let image = image
        .map_err(|_| EngineError::Failed("The guest's image could not be written".to_owned()))?
        .map_err(|error| EngineError::Unsupported(with_causes(&error)))?;
    let machine = binaries::machine(plan, &binaries)?;
    let images = images(plan, &image)?;
    let [source, destination] = &binaries;
    settings::check_pair(&wishes, [&source.version, &destination.version])?;
    Ok(Prepared { wishes, machine, images, binaries, _initramfs: initramfs })
}

fn guest_config(plan: &Plan) -> String {
    let Scenario { timing, .. } = plan.scenario;
    let mut config = GuestConfig::of(&workload_size::workload(plan.scenario).to_string());
    config.ballast_bytes = plan.scenario.ballast_bytes().0;
    config.sample_interval_ns = timing.sample_interval.0.as_nanos() as u64;
    config.gap_threshold_ns = GAP_RESOLUTION_NS;
    config.nonce = plan.nonce;
    config.serial = None;
    config.address = plan.network.as_ref().map(|_| network::GUEST_ADDRESS);
    config.echo_port = plan.network.as_ref().map(|_| network::ECHO_PORT);
    config.to_string()
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

/// An error with everything that it came from.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, it| format!("{text}: {it}"))
}
