//! What happened in a migration, why, and what to set.
//!
//! All of it is from the report: its passes say how much was written again and what the link carried. A number that rests
//! on fewer than two passes is not given; then there are words only.

mod causes;
mod polls;

use sterna_report::foresight::Goal;
use sterna_report::{Advice, PAGE_BYTES, Pass, PassKind, Report, Tool, Verdict};
use sterna_units::{human_bits_per_second, human_bytes, human_bytes_per_second, human_seconds};

pub(crate) use polls::rates;

use crate::advise::{AdviseError, advise};
use crate::commands::Target;
use crate::evidence::{Evidence, Figures};
use crate::predict::Sampling;

/// What there is to say of one migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// What happened, in one sentence.
    pub what: String,
    /// Why, in sentences; empty where nothing needs to be explained.
    pub why: Vec<String>,
    /// What to set, the simplest first; empty where nothing is wrong or nothing is known to help.
    pub advice: Vec<Advice>,
}

/// Numbers need this many passes.
const FEWEST_PASSES: usize = 2;

/// From this share on, a pass finds as much as it sends.
const KEEPS_UP: f64 = 0.8;

/// A migration that completed after fewer passes than this needs no words about them.
const MANY_PASSES: usize = 8;

/// One pass took this share of the total time: it is the amount of memory that takes so long.
const FIRST_PASS_SHARE: f64 = 0.7;

/// The stream is held back by its limit from this share of it on.
const LIMIT_BINDS: f64 = 0.85;

/// Misses of xbzrle's cache from which on it is too small to be of use.
const MANY_MISSES: f64 = 0.5;

/// Worlds for advice at the end of each run: enough for a technique and a bandwidth to two digits.
const SAMPLING: Sampling = Sampling { draws: 80, seed: 1 };

/// What happened, why, and what to set.
pub fn diagnose(report: &Report) -> Diagnosis {
    if report.engine.is_instrument {
        return no_migration(report);
    }
    // A guest that moved several times: the last hop is the one that decided.
    if let Some(last) = report.hops.last() {
        let found = diagnose(&last.report);
        return Diagnosis { what: format!("Hop {}: {}", last.hop, found.what), ..found };
    }
    let seen = Seen::of(report);
    let mut why = seen.why();
    why.extend(seen.techniques());
    Diagnosis { what: seen.what(), why, advice: seen.advice() }
}

/// What there is to say of an instrument's file.
fn no_migration(report: &Report) -> Diagnosis {
    let measured = report.summary.verdict_reason.as_deref().unwrap_or(&report.tool.name);
    let way_out = "What happened in a migration is in its report, in an answer to `query-migrate`, in `info migrate`, `virsh domjobinfo` or virt-launcher's log: give that file; `sterna report html` and `compare` show this one";
    Diagnosis {
        what: format!("The file holds no migration: {measured}"),
        why: vec![way_out.to_owned()],
        advice: Vec::new(),
    }
}

/// The report with what follows from its passes.
struct Seen<'a> {
    report: &'a Report,
    /// Complete passes while the guest ran.
    passes: Vec<&'a Pass>,
    /// Distinct bytes that each of them found written at its end.
    written: Vec<f64>,
    limit: Option<f64>,
    downtime_limit: Option<f64>,
}

impl<'a> Seen<'a> {
    fn of(report: &'a Report) -> Seen<'a> {
        let next = report.passes.iter().skip(1).map(Some).chain([None]);
        let rows = report.passes.iter().zip(next);
        let complete = rows.filter_map(|(pass, next)| {
            let is_complete = pass.kind == PassKind::Pass && pass.length_seconds.is_some();
            let written = next.and_then(|it| it.dirty_pages_at_sync)?;
            is_complete.then_some((pass, (written * PAGE_BYTES) as f64))
        });
        let (passes, written) = complete.unzip();
        let migration = report.scenario.get("migration");
        let text = |key: &str| migration.and_then(|it| it.get(key)).and_then(|it| it.as_str());
        let limit = text("max-bandwidth").and_then(|it| it.parse::<sterna_units::Rate>().ok());
        let downtime = text("downtime-limit").and_then(|it| it.parse::<sterna_units::Span>().ok());
        Seen {
            report,
            passes,
            written,
            limit: limit.map(|it| it.bytes_per_second_f64()),
            downtime_limit: downtime.map(|it| it.seconds()),
        }
    }

    fn what(&self) -> String {
        let summary = &self.report.summary;
        let total = summary.total_time_seconds;
        let after = total.map_or_else(String::new, |it| format!(" after {}", human_seconds(it)));
        let passes = match summary.passes {
            0 => String::new(),
            1 => ", in one pass".to_owned(),
            passes => format!(", in {passes} passes"),
        };
        match summary.verdict {
            Verdict::Completed | Verdict::CompletedForced => {
                let forced = if summary.verdict == Verdict::CompletedForced {
                    ", but only because it was forced"
                } else {
                    ""
                };
                let freeze = match (summary.downtime_seconds, summary.downtime_claimed_seconds) {
                    (Some(seconds), _) => {
                        format!("; the guest was frozen for {}", human_seconds(seconds))
                    }
                    (None, Some(seconds)) => {
                        format!("; the engine claims a downtime of {}", human_seconds(seconds))
                    }
                    (None, None) => String::new(),
                };
                format!("The migration completed{after}{passes}{forced}{freeze}")
            }
            Verdict::Cancelled => format!(
                "The migration was cancelled{after}{passes}; the guest runs on at the source"
            ),
            Verdict::Failed => format!("The migration failed{after}{}", self.reason()),
            Verdict::Lost => format!("The guest was lost{after}{}", self.reason()),
            Verdict::Unsupported => format!("Nothing was started{}", self.reason()),
            Verdict::Interrupted if !self.began() => {
                format!("No migration was under way when it was last seen{}", self.reason())
            }
            Verdict::Interrupted => {
                format!("The migration was under way{after}{passes} when it was last seen")
            }
        }
    }

    /// Whether a migration was seen at all: a pass, a time, or a state after the setup.
    fn began(&self) -> bool {
        let summary = &self.report.summary;
        let is_past_setup = |state: &str| !matches!(state, "none" | "setup");
        summary.passes > 0
            || summary.total_time_seconds.is_some()
            || self.report.timeline.iter().any(|it| is_past_setup(&it.state))
    }

    fn reason(&self) -> String {
        let reason = self.report.summary.verdict_reason.as_deref();
        reason.map_or_else(String::new, |it| format!(": {it}"))
    }

    /// The passes after the first, which is all memory: their written bytes, length and bandwidth, summed.
    fn later(&self) -> Option<Later> {
        let rows = self.passes.iter().zip(&self.written);
        let mut it = Later::default();
        for (pass, written) in rows {
            let length = pass.length_seconds.unwrap_or(0.0);
            it.written += written;
            it.seconds += length;
            it.wire += pass.wire_bytes.map_or(0.0, |it| it as f64);
            it.most_written = it.most_written.max(*written);
        }
        (self.passes.len() >= FEWEST_PASSES && it.seconds > 0.0 && it.wire > 0.0).then_some(it)
    }

    fn did_not_end(&self) -> bool {
        matches!(
            self.report.summary.verdict,
            Verdict::Cancelled | Verdict::CompletedForced | Verdict::Interrupted
        )
    }

    fn why(&self) -> Vec<String> {
        let mut why = Vec::new();
        let summary = &self.report.summary;
        match self.later() {
            // Without a migration there is nothing to explain by its passes.
            _ if self.did_not_end() && !self.began() => {}
            Some(later) => {
                let (guest, link) = (later.written / later.seconds, later.wire / later.seconds);
                let goes_on = self.did_not_end() || self.passes.len() >= MANY_PASSES;
                if goes_on && guest >= KEEPS_UP * link {
                    let last = self.written.last().copied().unwrap_or(0.0);
                    why.push(format!(
                        "Each pass found as much written again as it had sent: over {} passes the guest wrote {} in distinct pages and the link carried {}; {} were found at the last synchronisation",
                        self.passes.len(),
                        human_bytes_per_second(guest),
                        human_bytes_per_second(link),
                        human_bytes(last),
                    ));
                } else if self.did_not_end() {
                    why.push(format!(
                        "It came nearer: over {} passes the guest wrote {} in distinct pages and the link carried {}",
                        self.passes.len(),
                        human_bytes_per_second(guest),
                        human_bytes_per_second(link),
                    ));
                }
            }
            None if self.did_not_end() => {
                why.extend(polls::why(self.report));
                if summary.passes < FEWEST_PASSES as u64 {
                    why.push("Fewer than two passes were completed, so it cannot be said whether it would have ended; the first pass sends all memory, and its time is memory over bandwidth".to_owned());
                } else if why.is_empty() {
                    why.push("What was written in each pass is not in this report, so it cannot be said whether it would have ended".to_owned());
                }
            }
            None => {}
        }
        let reason = summary.verdict_reason.as_deref().unwrap_or_default();
        why.extend(causes::meaning(reason).map(str::to_owned));
        why.extend(self.first_pass());
        why.extend(self.held_by_limit());
        if let (Some(downtime), Some(limit)) = (summary.downtime_seconds, self.downtime_limit)
            && downtime > limit
        {
            why.push(format!(
                "The downtime of {} is above its limit of {}: the limit is held against what the engine expects to send, and not against devices and the destination's part",
                human_seconds(downtime),
                human_seconds(limit)
            ));
        }
        why
    }

    fn first_pass(&self) -> Option<String> {
        let total = self.report.summary.total_time_seconds?;
        let first = self.passes.first()?.length_seconds?;
        let is_most = first >= FIRST_PASS_SHARE * total && total > 1.0;
        (is_most && !self.did_not_end()).then(|| {
            format!(
                "The first pass took {:.0} % of the time: what takes long is the amount of memory, and only bandwidth or fewer bytes (compression) shorten it",
                100.0 * first / total
            )
        })
    }

    fn held_by_limit(&self) -> Option<String> {
        let limit = self.limit?;
        let later = self.later()?;
        (later.wire / later.seconds >= LIMIT_BINDS * limit).then(|| {
            format!(
                "The stream was held back by its limit max-bandwidth of {}, not by the link",
                human_bits_per_second(limit)
            )
        })
    }

    fn techniques(&self) -> Vec<String> {
        let mut all = Vec::new();
        let throttles = self.report.timeline.iter().filter_map(|it| it.throttle_percent);
        let most = throttles.fold(0.0, f64::max);
        if most > 0.0 {
            all.push(format!(
                "The guest was throttled, by up to {most:.0} % of its processor time"
            ));
        }
        let details = &self.report.engine.details;
        let misses = ["xbzrle", "xbzrle-cache"].iter().find_map(|key| {
            let cache = details.get(*key)?;
            cache.get("cache-miss-rate").or_else(|| cache.get("cache_miss_rate"))?.as_f64()
        });
        if let Some(rate) = misses.filter(|it| *it >= MANY_MISSES) {
            all.push(format!(
                "xbzrle's cache missed {:.0} % of the pages, so it saved next to nothing and cost processor time: a larger cache, or none",
                rate * 100.0
            ));
        }
        all
    }

    fn advice(&self) -> Vec<Advice> {
        let summary = &self.report.summary;
        let is_over =
            summary.downtime_seconds.zip(self.downtime_limit).is_some_and(|(is, limit)| is > limit);
        let is_well = summary.verdict == Verdict::Completed && !is_over;
        if is_well
            || matches!(summary.verdict, Verdict::Unsupported)
            || self.passes.len() < FEWEST_PASSES
        {
            return Vec::new();
        }
        self.settings().unwrap_or_default()
    }

    /// What the model finds that would have ended it.
    fn settings(&self) -> Option<Vec<Advice>> {
        let evidence = Evidence::from_report(self.report, None, &Figures::default()).ok()?;
        let goal = Goal {
            max_downtime_seconds: self
                .downtime_limit
                .map(|it| it + evidence.host.fixed_downtime_ns as f64 / 1e9),
            max_time_seconds: None,
            max_lost_work_seconds: None,
            confidence: 0.9,
            allows_postcopy: true,
            allows_throttle: true,
            allows_pause: false,
        };
        let found: Result<_, AdviseError> =
            advise(&evidence, &goal, SAMPLING, no_tool(), &Target::Scenario);
        let found = found.ok()?;
        let passes = Some(self.passes.len() as u64);
        let mut all = Vec::new();
        if let Some(best) = &found.best {
            let time = best.outcome.total_time_seconds;
            let time = time.map_or_else(String::new, |it| {
                format!(" in {} to {}", human_seconds(it.p5), human_seconds(it.p95))
            });
            let risk = best.risks.first().map_or_else(String::new, |it| format!("; {it}"));
            all.push(Advice {
                code: "technique".to_owned(),
                text: format!(
                    "{} completes in {:.0} % of simulated migrations{time}{risk}",
                    best.outcome.technique,
                    best.outcome.completes_probability * 100.0
                ),
                command: found.commands.first().map(|it| it.text.clone()),
                passes,
            });
        }
        for text in found.would_change {
            let code = if text.contains("downtime") { "least-downtime" } else { "least-bandwidth" };
            all.push(Advice { code: code.to_owned(), text, command: None, passes });
        }
        Some(all)
    }
}

/// Sums over all passes.
#[derive(Clone, Copy, Debug, Default)]
struct Later {
    written: f64,
    wire: f64,
    seconds: f64,
    most_written: f64,
}

/// The document is not shown, so what made it does not matter.
fn no_tool() -> Tool {
    Tool { name: String::new(), version: String::new(), ..Tool::default() }
}
