//! Sides that cannot be compared with each other.

use anyhow::{Result, anyhow};

use sterna_report::comparison::Side;

use crate::usage;

/// Runs whose guest stood still for a comparison of all memory have no times, and what they did otherwise depends on that.
pub fn refuse_at_rest_beside_running(sides: &[Side]) -> Result<()> {
    let has = |side: &&Side, wanted: bool| {
        side.reports.iter().any(|it| it.is_compared_at_rest() == wanted)
    };
    let at_rest = sides.iter().find(|it| has(it, true));
    if let (Some(at_rest), Some(_)) = (at_rest, sides.iter().find(|it| has(it, false))) {
        return Err(usage(anyhow!(
            "{} has runs with verify = \"all-memory\", which have no downtime, beside others without; compare either kind with its own",
            at_rest.label
        )));
    }
    Ok(())
}

/// What was computed is no evidence beside what was measured, unless that is the question.
pub fn refuse_model_beside_measured(sides: &[Side]) -> Result<()> {
    let is_model = |it: &&Side| it.reports.iter().any(|it| it.engine.name == "model");
    let is_measured = |it: &&Side| it.reports.iter().any(|it| it.engine.name != "model");
    let model = sides.iter().find(is_model);
    let measured = sides.iter().find(is_measured);
    let Some((model, measured)) = model.zip(measured) else { return Ok(()) };
    Err(usage(anyhow!(
        "{} has runs of the engine `model`, which were computed, and {} has runs that were measured; add --allow-model to see how far they agree",
        model.label,
        measured.label
    )))
}
