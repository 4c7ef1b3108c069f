//! What the two QEMUs say of themselves before they get a guest.

use std::path::Path;

use serde_json::Value;
use sterna_pilot::EngineError;
use sterna_report::Side;

use super::Plan;
use crate::place::Place;
use crate::process::{Order, QemuProcess, side_name};

/// The family of machine types from which one is taken unless the user names another.
const FAMILY: &str = "pc-i440fx-";

/// A QEMU.
#[derive(Clone, Debug)]
pub(super) struct Binary {
    /// As it greets.
    pub version: String,
    /// The versions of [`FAMILY`] that it has.
    machines: Vec<String>,
}

/// The QEMUs of both sides; one that is the same file on the same machine is asked once.
pub(super) fn ask(plan: &Plan) -> Result<[Binary; 2], EngineError> {
    let [here, there] = &plan.places;
    let source = Binary::ask(Side::Source, here, &plan.options.source)?;
    let destination = match is_one(plan) {
        true => source.clone(),
        false => Binary::ask(Side::Destination, there, &plan.options.destination)?,
    };
    Ok([source, destination])
}

/// The machine type: as asked for, or what the one QEMU calls `pc`, or the newest of that family that both have.
pub(super) fn machine(plan: &Plan, binaries: &[Binary; 2]) -> Result<String, EngineError> {
    if let Some(machine) = &plan.options.machine {
        return Ok(machine.clone());
    }
    if is_one(plan) {
        return Ok("pc".to_owned());
    }
    let [source, destination] = binaries;
    let common = source.machines.iter().filter(|it| destination.machines.contains(it));
    let newest = common.max_by_key(|it| version_of(it)).map(|it| format!("{FAMILY}{it}"));
    newest.ok_or_else(|| {
        EngineError::Unsupported(
            "The two QEMUs have no machine type of the family pc-i440fx in common; name one by --machine".to_owned(),
        )
    })
}

/// The same name on another machine may be another version.
fn is_one(plan: &Plan) -> bool {
    let is_one_machine = plan.places.iter().all(|it| it.keeper().is_none());
    is_one_machine && plan.options.source == plan.options.destination
}

impl Binary {
    /// Starts it without a machine, which takes a tenth of a second.
    fn ask(side: Side, place: &Place, program: &Path) -> Result<Binary, EngineError> {
        let words = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"];
        let monitor = ["-S", "-chardev", "socket,id=qmp,fd=0", "-mon", "chardev=qmp,mode=control"];
        let arguments: Vec<_> = words.iter().chain(&monitor).map(Into::into).collect();
        let order =
            Order { program, arguments: &arguments, cpus: &[], small_pages: false, inherited: &[] };
        let mut qemu = QemuProcess::start(side, place, &order)
            .map_err(|error| no_qemu(error, side, program))?;
        let answer = qemu.execute("query-machines", Value::Null)?;
        let names = answer.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
        let machines = names.filter_map(|it| it.strip_prefix(FAMILY)).map(str::to_owned).collect();
        Ok(Binary { version: qemu.greeting().version.clone(), machines })
    }
}

/// What does not even greet is something else, or lacks what it is made of.
fn no_qemu(error: EngineError, side: Side, program: &Path) -> EngineError {
    let EngineError::SideGone { reason, .. } = &error else { return error };
    let (program, flag) = (program.display(), side_name(side));
    EngineError::Unsupported(format!(
        "{program} is no QEMU that runs here: {reason}; name another by --qemu-{flag}"
    ))
}

fn version_of(name: &str) -> Vec<u32> {
    name.split('.').filter_map(|it| it.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let names = ["9.2", "10.0", "7.2"];
        assert_eq!(names.iter().max_by_key(|it| version_of(it)), Some(&"10.0"));
    }
}
