//! The next hop: the QEMU that has the guest becomes the source, and the other place gets a new destination.

use std::time::Duration;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;

use super::attempt::{agree, no_line, start};
use super::lines::Lines;
use super::{Console, Launched, Plan, Spare};
use crate::footprint::Footprints;
use crate::process::QemuProcess;
use crate::resources;
use crate::settings::TLS_OBJECT;

/// Takes a guest that has arrived to the beginning of another hop. `plan` is that hop's: its source is where the guest is.
pub(crate) fn turn(plan: &Plan, before: Launched) -> Result<Launched, EngineError> {
    let Launched { source: mut left, destination: mut source, mut guest, held, .. } = before;
    left.end();
    let Some(mut spare) = before.spare else {
        return Err(EngineError::Failed("The guest was started for one hop".to_owned()));
    };
    let Spare { prepared, keys, ring } = &mut spare;
    prepared.images.swap(0, 1);
    prepared.binaries.swap(0, 1);
    source.set_side(Side::Source);
    let [here, there] = &plan.places;
    let mut lines = Lines::new(there, Side::Destination).map_err(no_line)?;
    let bytes = before.memory.bytes;
    let side = Side::Destination;
    let starting = start(plan, prepared, side, &before.accelerator, bytes, *ring, &mut lines)?;
    let mut destination =
        starting.greeted(bytes).map_err(|error| resources::explain(error, side, plan.scenario))?;
    if keys.is_some() {
        // It was the listener's, and is to be the caller's.
        source.execute("object-del", json!({ "id": TLS_OBJECT }))?;
    }
    let sides = [&mut source, &mut destination];
    let (left_out, way) = agree(plan, &prepared.wishes, keys.as_ref(), sides)?;
    let line = lines.connect(there);
    line.and_then(|it| guest.turn(it)).map_err(no_line)?;
    guest.align(Duration::from_secs(2));
    let [_, console] = before.consoles;
    let [_, log] = before.logs;
    let footprints = footprints(&mut source, &mut destination, bytes);
    // A guest that does not run here cannot be migrated from here.
    let status = source.execute("query-status", Value::Null)?;
    if status["running"] != true {
        let status = &status["status"];
        return Err(EngineError::Failed(format!("The guest does not run after the hop: {status}")));
    }
    Ok(Launched {
        source,
        destination,
        guest,
        way,
        image: prepared.images[Side::Source as usize].clone(),
        left_out,
        consoles: [console, Console::new(there, lines.files.console)],
        footprints,
        whole_memory: None,
        logs: [log, lines.files.log],
        places: [here.clone(), there.clone()],
        held: held.into_iter().chain(lines.held).collect(),
        spare: Some(spare),
        hello: before.hello,
        boot_ns: before.boot_ns,
        accelerator: before.accelerator,
        memory: before.memory,
        machine: before.machine,
    })
}

fn footprints(
    source: &mut QemuProcess,
    destination: &mut QemuProcess,
    bytes: u64,
) -> [Footprints; 2] {
    [source, destination].map(|it| Footprints::new(it, bytes))
}
