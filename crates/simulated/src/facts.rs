//! What a report says of the model: what it assumed, and why the migration went as it did.

use serde_json::{Value, json};
use sterna_model::{Outcome, Plan};
use sterna_report::{Engine, Warning};

/// The engine's part of the report.
pub(crate) fn facts(plan: Option<&Plan>, outcome: Option<&Outcome>) -> Engine {
    let mut engine = Engine { name: "model".to_owned(), ..Engine::default() };
    if let Some(plan) = plan {
        engine.tracking_page_bytes = Some(4096);
        engine.details.insert("assumptions".to_owned(), json!(plan.host.assumptions()));
    }
    if let Some(outcome) = outcome {
        engine.details.insert("explanation".to_owned(), explanation(outcome));
        engine.details.insert("synchronisations".to_owned(), json!(outcome.syncs));
        let steps = outcome.throttle.iter();
        let steps: Vec<Value> = steps
            .map(|(at_ns, percent)| json!({"t_seconds": seconds(*at_ns), "percent": percent}))
            .collect();
        engine.details.insert("throttle_steps".to_owned(), json!(steps));
        if let Some(stall) = outcome.stall_seconds {
            engine.details.insert("postcopy_stall_seconds".to_owned(), json!(stall));
        }
    }
    engine
}

/// For each pass what was sent, written and found, and against which threshold.
fn explanation(outcome: &Outcome) -> Value {
    let rows = outcome.passes.iter().map(|it| {
        json!({
            "pass": it.number,
            "is_final": it.is_final,
            "seconds": seconds(it.ended_ns.saturating_sub(it.started_ns)),
            "found_bytes": bytes(it.dirty_pages),
            "found_new_bytes": bytes(it.new_pages),
            "pending_bytes": bytes(it.pending_pages),
            "sent_bytes": bytes(it.pages_sent + it.zero_pages),
            "wire_bytes": it.wire_bytes.round() as u64,
            "remaining_bytes": it.remaining_bytes,
            "threshold_bytes": it.threshold_bytes,
            "throttle_percent": it.throttle_percent,
        })
    });
    Value::Array(rows.collect())
}

/// What a reader must know before believing a number.
pub(crate) fn warnings(plan: &Plan) -> Vec<Warning> {
    vec![Warning {
        code: "model".to_owned(),
        text: format!(
            "Nothing was measured: this is a model in simulated time, with these assumptions: {}",
            plan.host.assumptions().join("; ")
        ),
        advice: Some(
            "Run the same scenario with --engine emulator or --engine qemu to measure it"
                .to_owned(),
        ),
    }]
}

fn bytes(pages: f64) -> u64 {
    (pages * 4096.0).round() as u64
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
