//! One attempt to boot the guest, with one accelerator.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::Value;
use sterna_pilot::{EngineError, Progress};
use sterna_report::Side;
use sterna_scenario::{HugePages, Verify};
use sterna_sys::clock::monotonic_ns;

use super::lines::Lines;
use super::{Console, Launched, Plan, Prepared};
use crate::accelerator::Choice;
use crate::command_line::{self, GUEST_LINE_NUMBER, NETWORK_NUMBER, Start};
use crate::footprint::Footprints;
use crate::guest::{Guest, Hello};
use crate::guest_link::GuestLink;
use crate::guest_memory::WholeMemory;
use crate::memory_size::MemorySize;
use crate::network::{Plug, Prober};
use crate::place::{self, Place};
use crate::process::{Order, QemuProcess, Starting, side_name};
use crate::qmp::Schema;
use crate::resources;
use crate::settings::{self, Wish};
use crate::tls::{self, Keys};
use crate::transport::{self, Places, Way};

/// How long a guest may take to boot. Under emulation, with other runs beside it, half a minute has been seen.
const BOOT_TIMEOUT: Duration = Duration::from_secs(90);

/// Distributions' kernels boot in this much.
const ROOMY_BYTES: u64 = 128 << 20;

/// With KVM a guest is there within two seconds or, where KVM only pretends to work, never.
const BOOT_TIMEOUT_KVM: Duration = Duration::from_secs(20);

/// Starts both sides, has them agree to everything, and boots the guest.
pub(super) fn attempt(
    plan: &Plan,
    prepared: &Prepared,
    accelerator: Choice,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Launched, Option<Keys>, Option<u32>), EngineError> {
    resources::check(plan.scenario, &plan.places)?;
    let source_version = prepared.binaries[Side::Source as usize].version.as_str();
    let is_careful = !plan.is_broken("even-memory");
    let memory = MemorySize::choose(plan.scenario, accelerator.name, source_version, is_careful);
    let needs_ring = plan.scenario.migration.dirty_limit.is_some();
    let ring = accelerator.dirty_ring(plan.options.dirty_ring_entries, needs_ring)?;
    let tls = plan.scenario.migration.tls.as_ref();
    let keys = tls.map(|it| Keys::make(it, plan.directory, plan.is_broken("strangers")));
    let keys = keys.transpose()?;
    let lines = |side| Lines::new(&plan.places[side as usize], side).map_err(no_line);
    let (mut ours, mut theirs) = (lines(Side::Source)?, lines(Side::Destination)?);
    let start =
        |side, it: &mut Lines| start(plan, prepared, side, &accelerator, memory.bytes, ring, it);
    // Both allocate their memory at the same time.
    let source = start(Side::Source, &mut ours)?;
    let destination = start(Side::Destination, &mut theirs)?;
    let greeted = |side, it: Starting| {
        it.greeted(memory.bytes).map_err(|error| resources::explain(error, side, plan.scenario))
    };
    let mut source = greeted(Side::Source, source)?;
    let mut destination = greeted(Side::Destination, destination)?;
    let whole_memory = whole_memory(plan, &mut source, &mut destination, memory.bytes)?;
    // What either side refuses is refused before the guest's first instruction.
    let (left_out, way) =
        agree(plan, &prepared.wishes, keys.as_ref(), [&mut source, &mut destination])?;

    let [here, there] = &plan.places;
    let link = ours.connect(here).and_then(GuestLink::new).map_err(no_line)?;
    let mut guest = Guest::new(link);
    let line = theirs.connect(there);
    line.and_then(|it| guest.link().add_destination(it)).map_err(no_line)?;
    let consoles =
        [Console::new(here, ours.files.console), Console::new(there, theirs.files.console)];
    let booting_ns = monotonic_ns();
    source.execute("cont", Value::Null)?;
    let limit = if accelerator.name == "kvm" { BOOT_TIMEOUT_KVM } else { BOOT_TIMEOUT };
    let both = [&mut source, &mut destination];
    let hello = await_hello(&mut guest, both, &consoles[0], limit, plan, progress)?;
    let boot_ns = monotonic_ns() - booting_ns;
    guest.align(Duration::from_secs(2));
    let footprints = [&mut source, &mut destination].map(|it| Footprints::new(it, memory.bytes));
    let launched = Launched {
        source,
        destination,
        guest,
        hello,
        boot_ns,
        way,
        accelerator,
        memory,
        machine: prepared.machine.clone(),
        image: prepared.images[Side::Source as usize].clone(),
        left_out,
        consoles,
        footprints,
        whole_memory,
        logs: [ours.files.log, theirs.files.log],
        held: ours.held.into_iter().chain(theirs.held).collect(),
        places: plan.places.clone(),
        spare: None,
    };
    Ok((launched, keys, ring))
}

/// A side whose memory cannot be read is refused before the guest's first instruction.
fn whole_memory(
    plan: &Plan,
    source: &mut QemuProcess,
    destination: &mut QemuProcess,
    bytes: u64,
) -> Result<Option<[WholeMemory; 2]>, EngineError> {
    if plan.scenario.verify != Verify::AllMemory {
        return Ok(None);
    }
    let source = WholeMemory::open(source, Side::Source, bytes)?;
    Ok(Some([source, WholeMemory::open(destination, Side::Destination, bytes)?]))
}

pub(super) fn start(
    plan: &Plan,
    prepared: &Prepared,
    side: Side,
    accelerator: &Choice,
    memory_bytes: u64,
    dirty_ring_entries: Option<u32>,
    lines: &mut Lines,
) -> Result<Starting, EngineError> {
    let place = &plan.places[side as usize];
    let port = if plan.is_back { other(side) } else { side };
    let plug = plan.network.map(|it| plug(it, port, place)).transpose()?;
    let arguments = command_line::arguments(&Start {
        side,
        scenario: plan.scenario,
        options: plan.options,
        image: &prepared.images[side as usize],
        machine: &prepared.machine,
        accelerator: accelerator.name,
        memory_bytes,
        dirty_ring_entries,
        files: lines.files.clone(),
        network: plug.as_ref(),
    });
    // Ours are closed with this function, so that the end of QEMU is the end of its lines.
    let line = lines.inherited.take();
    let network = plug.as_ref().and_then(Plug::descriptor).map(|it| (it.as_fd(), NETWORK_NUMBER));
    let line = line.as_ref().map(|it| (it.as_fd(), GUEST_LINE_NUMBER));
    let inherited: Vec<_> = network.into_iter().chain(line).collect();
    let order = Order {
        program: plan.options.program(side),
        arguments: &arguments,
        cpus: &command_line::cpus(side, plan.scenario),
        small_pages: plan.scenario.guest.huge_pages == HugePages::None,
        inherited: &inherited,
    };
    Starting::new(side, place, &order)
        .map_err(|error| resources::explain(error, side, plan.scenario))
}

fn other(side: Side) -> Side {
    match side {
        Side::Source => Side::Destination,
        Side::Destination => Side::Source,
    }
}

/// What a side's network card is plugged into, as a QEMU in that place finds it.
fn plug(prober: &Prober, side: Side, place: &Place) -> Result<Plug, EngineError> {
    match prober.plug(side, place.keeper().is_none()).map_err(no_plug)? {
        Plug::Path(path) => place.reach(&path, &format!("{}.net", side_name(side))).map(Plug::Path),
        other => Ok(other),
    }
}

/// Has both sides take keys and settings, and lets the destination listen; gives what was left out, and the way.
pub(super) fn agree(
    plan: &Plan,
    wishes: &[Wish],
    keys: Option<&Keys>,
    [source, destination]: [&mut QemuProcess; 2],
) -> Result<(Vec<&'static str>, Way), EngineError> {
    let (mut left_out, _) = prepare(source, Side::Source, wishes, keys, plan)?;
    let (theirs, schema) = prepare(destination, Side::Destination, wishes, keys, plan)?;
    left_out.extend(theirs);
    left_out.sort_unstable();
    left_out.dedup();
    let places = Places {
        directory: plan.directory,
        files: plan.stream_directory,
        rdma: plan.options.rdma_address,
        address: place::stream_address(plan.options.remotes.address.as_deref(), &plan.places)?,
    };
    let way = transport::prepare(plan.scenario.migration.transport, destination, &schema, &places)?;
    Ok((left_out, way))
}

fn prepare(
    qemu: &mut QemuProcess,
    side: Side,
    wishes: &[Wish],
    keys: Option<&Keys>,
    plan: &Plan,
) -> Result<(Vec<&'static str>, Schema), EngineError> {
    let schema = Schema::new(&qemu.execute("query-qmp-schema", Value::Null)?);
    if let Some(keys) = keys {
        tls::give(qemu, side, keys, &plan.places[side as usize])?;
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
            let hint = smallness(plan);
            return Err(EngineError::Failed(format!("The guest did not boot; {end}{words}{hint}")));
        }
        if destination.has_hung_up()
            && let Some(end) = destination.is_gone()
        {
            return Err(EngineError::Failed(format!("The destination is gone: {end}")));
        }
        if began.elapsed() >= limit {
            let (seconds, words) = (limit.as_secs(), console.last_words());
            let hint = smallness(plan);
            return Err(EngineError::Failed(format!(
                "The guest did not boot within {seconds} s{words}{hint}"
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

/// A kernel without room to unpack itself says nothing.
fn smallness(plan: &Plan) -> String {
    let memory = plan.scenario.guest.memory;
    if memory.0 >= ROOMY_BYTES {
        return String::new();
    }
    format!("; a guest.memory of {memory} may be too little for it, 128MiB is enough for most")
}

pub(super) fn no_line(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("The guest's port at QEMU cannot be opened: {error}"))
}

fn no_plug(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("The guest's network card cannot be plugged in: {error}"))
}
