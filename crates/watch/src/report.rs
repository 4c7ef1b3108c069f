//! From a chronicle to a report: the pilot's assembly, and what a watcher has to say beside it.

use serde_json::{Value, json};
use sterna_pilot::{Identity, ProbeSeen, Record, Samples, assemble};
use sterna_report::{Host, Report, Tool, Verdict, Warning};

use crate::chronicle::{Began, Chronicle};

/// A migration of others, as it was seen.
pub struct Watched {
    chronicle: Chronicle,
}

impl Watched {
    pub(crate) fn new(mut chronicle: Chronicle) -> Watched {
        let details = details(&chronicle);
        chronicle.record.engine.details.extend(details);
        Watched { chronicle }
    }

    /// What was seen.
    pub fn record(&self) -> &Record {
        &self.chronicle.record
    }

    /// Adds what was seen of the guest from the network meanwhile.
    pub fn add_probes(&mut self, probes: Vec<ProbeSeen>) {
        self.chronicle.record.add_samples(Samples { probes, ..Samples::default() });
    }

    /// The report. `started_at` is when the watch began, as RFC 3339 text in UTC.
    pub fn report(&self, tool: Tool, host: Host, started_at: String) -> Report {
        let Chronicle { record, settings, place, memory_bytes, dirty_syncs, .. } = &self.chronicle;
        let identity = Identity {
            tool,
            host,
            started_at,
            scenario: settings.to_scenario(&place.guest),
            guest_bytes: memory_bytes.unwrap_or(0),
        };
        let mut report = assemble(identity, record);
        // The first synchronisation belongs to the setup, and each one after it ends a pass.
        report.summary.passes = report.summary.passes.max(dirty_syncs.saturating_sub(1));
        let found = warnings(&self.chronicle, &report);
        report.warnings.extend(found);
        report
    }
}

fn details(chronicle: &Chronicle) -> Vec<(String, Value)> {
    let Chronicle { place, settings, memory_bytes, .. } = chronicle;
    let mut watch = json!({
        "way": place.way,
        "seen": chronicle.seen(),
        "has_pass_events": chronicle.has_pass_events,
        "end_uncertainty_seconds": chronicle.end_uncertainty_ns as f64 / 1e9,
        "dirty_syncs": Some(chronicle.dirty_syncs).filter(|it| *it > 0),
    });
    for (name, value) in &place.facts {
        watch[name] = value.clone();
    }
    let mut details = vec![
        ("watch".to_owned(), watch),
        ("parameters".to_owned(), settings.parameters.clone()),
        ("capabilities".to_owned(), json!(settings.capabilities)),
        ("memory_bytes".to_owned(), json!(memory_bytes)),
    ];
    details.extend(chronicle.table().map(|it| ("polls_source".to_owned(), it)));
    details
}

fn warnings(chronicle: &Chronicle, report: &Report) -> Vec<Warning> {
    let found = [
        began_before(chronicle),
        downtime_unseen(chronicle, report),
        passes_bounded(chronicle, report),
        end_late(chronicle, report),
        destination_unseen(chronicle, report),
    ];
    found.into_iter().flatten().collect()
}

fn began_before(chronicle: &Chronicle) -> Option<Warning> {
    let text = match chronicle.began? {
        Began::Seen => return None,
        Began::UnderWay(pass) => format!(
            "The migration was under way when the watch began, in pass {pass}: the table of passes begins with the one after it, and QEMU's own clock says when the migration began"
        ),
        Began::Over => "The migration was over when the watch began: the figures are what QEMU remembers, and nothing is known of its course".to_owned(),
    };
    Some(warning("began-before", text, Some("Begin to watch before the migration begins")))
}

fn downtime_unseen(chronicle: &Chronicle, report: &Report) -> Option<Warning> {
    if report.summary.verdict != Verdict::Completed || report.summary.downtime_seconds.is_some() {
        return None;
    }
    let place = &chronicle.place;
    let moments = &chronicle.record.moments;
    let (why, advice) = if !place.hears_source {
        (
            "this way of watching hears no events",
            "A monitor of Sterna's own hears them: leave --shared out where the socket may be held",
        )
    } else if moments.stopped_ns.is_none() {
        (
            "the guest was not seen to stop; it was paused, or had stopped before the watch began",
            "Begin to watch before the migration begins",
        )
    } else if !place.hears_destination {
        (
            "the guest was seen to stop, and the destination was not listened to",
            "--destination-qmp names the monitor of the other side, and --destination its libvirt",
        )
    } else {
        (
            "the guest was seen to stop, and not to go on",
            "A guest that is paused on the source stays paused on the destination",
        )
    };
    let claimed = match report.summary.downtime_claimed_seconds {
        Some(_) => "; `downtime_claimed_seconds` is QEMU's own figure",
        None => "",
    };
    Some(warning(
        "downtime-not-seen",
        format!("The downtime is unknown: {why}{claimed}"),
        Some(advice),
    ))
}

fn passes_bounded(chronicle: &Chronicle, report: &Report) -> Option<Warning> {
    if chronicle.has_pass_events || chronicle.began == Some(Began::Over) {
        return None;
    }
    let text = format!(
        "QEMU does not tell synchronisations by events here, so two answers tell passes apart: {} of {} passes have a row, a row may hold several passes, and it begins when it was noticed",
        report.passes.iter().filter(|it| it.length_seconds.is_some()).count(),
        report.summary.passes
    );
    let advice = "With --may-change Sterna asks QEMU for these events (capability `events`) before the migration";
    Some(warning("passes-lower-bound", text, Some(advice)))
}

fn end_late(chronicle: &Chronicle, report: &Report) -> Option<Warning> {
    let late_ns = chronicle.end_uncertainty_ns;
    (late_ns > 0 && report.summary.total_time_seconds.is_some()).then(|| {
        let text = format!(
            "No event says when the end was, so the total time may be up to {} ms too long",
            late_ns / 1_000_000
        );
        warning("end-noticed-late", text, None)
    })
}

fn destination_unseen(chronicle: &Chronicle, report: &Report) -> Option<Warning> {
    let is_unseen =
        report.summary.verdict == Verdict::Completed && !chronicle.place.asks_destination;
    is_unseen.then(|| {
        let text = "That the guest runs on the destination is the source's word; the destination was not looked at";
        let advice = "--destination-qmp names its monitor, and --destination its libvirt";
        warning("destination-not-seen", text.to_owned(), Some(advice))
    })
}

fn warning(code: &str, text: String, advice: Option<&str>) -> Warning {
    Warning { code: code.to_owned(), text, advice: advice.map(str::to_owned) }
}
