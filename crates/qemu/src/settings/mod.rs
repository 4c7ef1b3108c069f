//! From the scenario's techniques to QEMU's capabilities and parameters.
//!
//! One table ([`wishes`]), set line by line; what the binary says it has serves for advice.
//! QEMU checks every setting against the others as it is set, so each is set alone and in order: a refusal then has one field to blame.

mod impossible;
mod pair;
mod table;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;
use sterna_scenario::Scenario;

pub(crate) use impossible::impossible;
pub(crate) use pair::{check_pair, major};
pub(crate) use table::wishes;

use crate::process::{QemuProcess, side_name};
use crate::qmp::{QmpError, Schema};

/// One thing that a run sets on both QEMUs.
#[derive(Clone, Debug, PartialEq)]
pub struct QmpSetting {
    /// The scenario's field that asks for it.
    pub field: &'static str,
    /// The capability or parameter.
    pub name: &'static str,
    /// The parameter's value; `None` is a capability to switch on.
    pub value: Option<Value>,
}

/// What a run of this scenario sets, in order; what a binary may lack is in it as well.
pub fn qmp_settings(scenario: &Scenario) -> Vec<QmpSetting> {
    let all = wishes(scenario).into_iter();
    all.map(|it| QmpSetting { field: it.field, name: it.name, value: it.value }).collect()
}

/// The object that holds the keys of an encrypted stream.
pub(crate) const TLS_OBJECT: &str = "sterna-tls";

/// The name in the certificates that are made for a run, whatever the transport.
pub(crate) const TLS_HOSTNAME: &str = "sterna-destination";

/// One thing to set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    /// The scenario's field that asks for it.
    pub field: &'static str,
    /// QEMU's name for it.
    pub name: &'static str,
    /// What to set; `None` is a capability to switch on.
    pub value: Option<Value>,
    /// What happens without it.
    pub need: Need,
}

/// What happens when a QEMU does not have something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The scenario is refused.
    Must,
    /// The run tells less, or does the same in the only way that it can.
    May,
}

/// Sets everything on one side, and tells what was left out.
///
/// What a binary lacks is tried all the same, for the sake of its own words.
///
/// # Errors
/// [`EngineError::Unsupported`] with the field and the binary's own reason.
pub(crate) fn apply(
    qemu: &mut QemuProcess,
    side: Side,
    wishes: &[Wish],
    schema: &Schema,
) -> Result<Vec<&'static str>, EngineError> {
    let mut left_out = Vec::new();
    for wish in wishes {
        let outcome = match &wish.value {
            None => set(
                qemu,
                "migrate-set-capabilities",
                json!({ "capabilities": [{ "capability": wish.name, "state": true }] }),
            )?,
            Some(value) => set(qemu, "migrate-set-parameters", json!({ wish.name: value }))?,
        };
        match outcome {
            Ok(()) => {}
            Err(_) if wish.need == Need::May => left_out.push(wish.name),
            Err(reason) => {
                let advice = advice(wish.name, schema);
                return Err(refused(qemu, side, wish.field, &format!("{reason}{advice}")));
            }
        }
    }
    Ok(left_out)
}

/// A field that a QEMU does not take, with its reason.
pub(crate) fn refused(qemu: &QemuProcess, side: Side, field: &str, reason: &str) -> EngineError {
    let version = &qemu.greeting().version;
    EngineError::Unsupported(format!("{field}: {reason} (QEMU {version}, {})", side_name(side)))
}

/// What to use in place of something that was refused.
fn advice(name: &str, schema: &Schema) -> String {
    match name {
        "compress" => {
            "; QEMU has it up to 9.0, later ones compress by `migration.multifd.compression`"
                .to_owned()
        }
        "multifd-compression" => {
            let words: Vec<String> = schema.parameter_values(name).into_iter().collect();
            format!("; it has {}", words.join(", "))
        }
        "postcopy-ram" => crate::host::postcopy_advice(),
        _ => String::new(),
    }
}

/// QEMU counts limits of downtime in whole milliseconds, and 0 would end a migration at once.
pub(crate) fn milliseconds(ns: u64) -> u64 {
    ns.div_ceil(1_000_000).max(1)
}

/// The inner error is QEMU's refusal, the outer one its end.
fn set(
    qemu: &mut QemuProcess,
    command: &str,
    arguments: Value,
) -> Result<Result<(), String>, EngineError> {
    match qemu.try_execute(command, arguments) {
        Ok(_) => Ok(Ok(())),
        Err(error @ QmpError::Refused { .. }) => Ok(Err(error.text())),
        Err(error) => Err(qemu.explain(error)),
    }
}
