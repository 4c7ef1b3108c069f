//! What was said, in order, and what it comes to: the beginning, moments, passes, the end.
//!
//! Events say when something happened, answers how much; a way without events leaves moments unknown, and passes are then those that two answers tell apart.

use serde_json::{Value, json};
use sterna_pilot::{ClockOffset, Record, RecordedEvent, State, Status};
use sterna_qemu::qmp::Event;
use sterna_qemu::{RawPolls, Trace, recorded_event};
use sterna_report::{Control, Engine, EventSide, PeerVersions, Side, Verdict};

use crate::{Answer, Look, Place, Settings};

/// QEMU counts a migration's time in whole milliseconds, so an event may seem to come this long before its beginning.
const SLACK_NS: u64 = 2_000_000;

/// How much of the migration there was to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// All of it.
    Seen,
    /// It was under way, in this pass.
    UnderWay(u64),
    /// It was over, and the source remembers how it went.
    Over,
}

impl Began {
    fn as_str(self) -> &'static str {
        match self {
            Began::Seen => "seen",
            Began::UnderWay(_) => "under-way",
            Began::Over => "over",
        }
    }
}

/// One migration of others, as far as it was seen.
pub(crate) struct Chronicle {
    pub place: Place,
    pub settings: Settings,
    pub record: Record,
    pub began: Option<Began>,
    /// Synchronisations by QEMU's own count, as far as it was heard.
    pub dirty_syncs: u64,
    /// Whether QEMU tells each synchronisation by an event.
    pub has_pass_events: bool,
    pub memory_bytes: Option<u64>,
    /// Bounds how late the end was noticed, where no event says when it was; 0 where one does.
    pub end_uncertainty_ns: u64,
    trace: Trace,
    polls: RawPolls,
    /// The last answer about an earlier migration.
    earlier: Option<Value>,
    has_looked: bool,
    is_beginning_exact: bool,
    last_word: String,
    last_answer_ns: Option<u64>,
    last_state: Option<State>,
}

impl Chronicle {
    pub fn new(place: Place, now_ns: u64) -> Chronicle {
        let mut record = Record::default();
        record.began_ns = now_ns;
        record.engine = Engine {
            name: "qemu".to_owned(),
            control: Control::Observed,
            peer_versions: PeerVersions {
                source: place.source_version.clone(),
                destination: place.destination_version.clone(),
            },
            ..Engine::default()
        };
        let sides = [
            (Side::Source, place.hears_source && place.source_clock_is_ours),
            (Side::Destination, place.hears_destination && place.destination_clock_is_ours),
        ];
        record.clocks = sides
            .into_iter()
            .filter(|it| it.1)
            .map(|(side, _)| ClockOffset {
                side,
                offset_ns: 0,
                uncertainty_ns: place.event_uncertainty_ns,
            })
            .collect();
        Chronicle {
            place,
            settings: Settings::default(),
            record,
            began: None,
            dirty_syncs: 0,
            has_pass_events: false,
            memory_bytes: None,
            end_uncertainty_ns: 0,
            trace: Trace::default(),
            polls: RawPolls::default(),
            earlier: None,
            has_looked: false,
            is_beginning_exact: false,
            last_word: String::new(),
            last_answer_ns: None,
            last_state: None,
        }
    }

    /// Whether a look shows that a migration has begun; if so, the chronicle begins with what it shows.
    pub fn begins(&mut self, look: &Look, answer: Option<&Answer>) -> bool {
        let is_first = !std::mem::replace(&mut self.has_looked, true) && answer.is_some();
        let setup = look.source_events.iter().find(|it| is_beginning(it));
        if let Some(event) = setup {
            self.begin(Began::Seen, event.at_ns, true);
            return true;
        }
        let Some(answer) = answer else {
            self.has_looked = false;
            return false;
        };
        let word = word(&answer.query);
        let began_ns = answer.at_ns.saturating_sub(length_ns(&answer.query).unwrap_or(0));
        let is_other = self.earlier.as_ref().is_some_and(|it| differ(it, &answer.query));
        let is_over_already = is_first && word == "completed" && has_left(&self.place);
        if is_live(word) {
            let syncs = syncs(&answer.query).unwrap_or(0);
            let began = if is_first { Began::UnderWay(syncs) } else { Began::Seen };
            self.begin(began, began_ns, length_ns(&answer.query).is_some());
            return true;
        }
        if is_over_already || (is_terminal(word) && is_other) {
            let began = if is_first { Began::Over } else { Began::Seen };
            self.begin(began, began_ns, false);
            return true;
        }
        self.earlier = Some(answer.query.clone());
        false
    }

    fn begin(&mut self, began: Began, accepted_ns: u64, is_exact: bool) {
        self.began = Some(began);
        self.is_beginning_exact = is_exact;
        let limit_ns = self.settings.downtime_limit_ns().unwrap_or(0);
        self.trace = Trace::new(limit_ns, self.settings.switchover_bandwidth());
        if !self.place.hears_destination {
            self.trace.without_destination();
        }
        self.accepted(accepted_ns);
    }

    fn accepted(&mut self, at_ns: u64) {
        self.record.accepted_ns = Some(at_ns);
        self.trace.accepted(at_ns);
    }

    /// What others ask of the migration, as it is now.
    pub fn set(&mut self, settings: Settings) {
        self.memory_bytes = settings.memory_bytes.or(self.memory_bytes);
        self.has_pass_events |= settings.has("events") && self.place.hears_source;
        if let Some(ns) = settings.downtime_limit_ns() {
            self.trace.set_downtime_limit(ns);
            // The limit of before the stop is the one that decided.
            if self.trace.moments().stopped_ns.is_none() {
                self.record.downtime_limit_ns = Some(ns);
            }
        }
        self.settings = settings;
    }

    /// Takes in one look of a migration that has begun; returns the status, where there was an answer.
    pub fn take(&mut self, look: &Look, answer: Option<&Answer>) -> Option<Status> {
        let since_ns = self.record.accepted_ns.unwrap_or(0).saturating_sub(SLACK_NS);
        for event in look.source_events.iter().filter(|it| it.at_ns >= since_ns) {
            self.source_event(event);
        }
        for event in look.destination_events.iter().filter(|it| it.at_ns >= since_ns) {
            self.trace.destination_event(event);
            self.record.events.extend(recorded_event(EventSide::Destination, event));
        }
        answer.map(|it| self.answer(it))
    }

    fn source_event(&mut self, event: &Event) {
        let is_given_up = ["failed", "cancelled", "cancelling"].contains(&self.last_word.as_str());
        let has_stopped = self.trace.moments().stopped_ns.is_some();
        self.has_pass_events |= event.name == "MIGRATION_PASS";
        if event.name == "MIGRATION" {
            event.data["status"].as_str().unwrap_or_default().clone_into(&mut self.last_word);
        }
        self.trace.source_event(event);
        if event.name == "RESUME" && has_stopped && !is_given_up {
            // It was paused by those to whom it belongs, and goes on.
            self.trace.forget_stop();
            self.record.moments.stopped_ns = None;
            self.record.moments.restored_ns = None;
        }
        self.record.events.extend(recorded_event(EventSide::Source, event));
    }

    fn answer(&mut self, answer: &Answer) -> Status {
        let Answer { at_ns, query } = answer;
        let word = word(query);
        if !self.is_beginning_exact
            && is_live(word)
            && let Some(ns) = length_ns(query)
        {
            self.is_beginning_exact = true;
            self.accepted(at_ns.saturating_sub(ns));
        }
        word.clone_into(&mut self.last_word);
        self.polls.add(*at_ns, query);
        self.notice_syncs(*at_ns, query);
        self.memory_bytes = self.memory_bytes.or(query["ram"]["total"].as_u64());
        let mut status = self.trace.poll(*at_ns, query);
        status.pass = status.pass.or(Some(self.dirty_syncs).filter(|it| *it > 0));
        if status.state.is_terminal() && length_ns(query).is_none() && !self.has_pass_events {
            let before_ns = self.last_answer_ns.unwrap_or(*at_ns);
            self.end_uncertainty_ns = self.end_uncertainty_ns.max(at_ns - before_ns.min(*at_ns));
        }
        self.last_answer_ns = Some(*at_ns);
        self.tell(&status);
        self.record.add_status(&status);
        status
    }

    /// Synchronisations that no event tells.
    fn notice_syncs(&mut self, at_ns: u64, query: &Value) {
        let accepted_ns = self.record.accepted_ns.unwrap_or(at_ns);
        let setup_ns = query["setup-time"].as_u64().map(|ms| accepted_ns + ms * 1_000_000);
        if let Some(ns) = setup_ns.filter(|_| !self.has_pass_events) {
            self.trace.set_up_until(ns.min(at_ns));
        }
        let Some(count) = syncs(query).filter(|it| *it > self.dirty_syncs) else { return };
        let known = std::mem::replace(&mut self.dirty_syncs, count);
        let is_stop = is_terminal(word(query)) && self.trace.moments().stopped_ns.is_none();
        if self.has_pass_events || (known == 0 && self.began != Some(Began::Seen)) {
            return;
        }
        if known == 0
            && let Some(ns) = setup_ns
        {
            self.trace.sync_noticed(1, ns.min(at_ns));
        }
        // That at the stop begins no pass, and without events it is not known when it was.
        if count > 1 && !is_stop {
            self.trace.sync_noticed(count, at_ns);
        }
    }

    fn tell(&mut self, status: &Status) {
        for pass in status.new_passes.iter().filter(|it| !it.is_final) {
            if let Some(at_ns) = pass.ended_ns {
                self.note(at_ns, "pass", format!("Pass {} ended", pass.number));
            }
        }
        if self.last_state != Some(status.state) {
            self.last_state = Some(status.state);
            let word = status.state.as_str();
            let reason = status.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
            self.note(status.at_ns, "state", format!("State {word}{reason}"));
        }
    }

    pub fn note(&mut self, at_ns: u64, kind: &str, text: String) {
        let side = EventSide::Pilot;
        self.record.events.push(RecordedEvent { at_ns, side, kind: kind.to_owned(), text });
    }

    /// The last word about the migration, by an event or an answer.
    pub fn last_word(&self) -> &str {
        &self.last_word
    }

    /// Whether the guest may have run on the destination before its memory was there.
    pub fn has_postcopy_begun(&self) -> bool {
        self.trace.has_postcopy_begun()
    }

    /// The source cannot be asked any more; what it said last by an event stands for its answer.
    pub fn close(&mut self, at_ns: u64) {
        let answer = Answer { at_ns, query: json!({ "status": self.last_word }) };
        self.answer(&answer);
    }

    /// The destination is known to run the guest, though no event of it was heard.
    pub fn arrived_unheard(&mut self) {
        self.trace.without_destination();
    }

    /// Ends it.
    pub fn end(&mut self, verdict: Verdict, reason: Option<String>) {
        self.record.verdict = verdict;
        self.record.reason = reason;
    }

    /// The answers as a table; `None` where there were none.
    pub fn table(&self) -> Option<Value> {
        let zero_ns = self.record.accepted_ns.unwrap_or(self.record.began_ns);
        (!self.polls.is_empty()).then(|| self.polls.to_table(zero_ns))
    }

    /// How much of it there was to see, as a word.
    pub fn seen(&self) -> Option<&'static str> {
        self.began.map(Began::as_str)
    }
}

/// The status in an answer; one without says that there never was a migration.
pub(crate) fn word(query: &Value) -> &str {
    query["status"].as_str().unwrap_or("none")
}

fn is_terminal(word: &str) -> bool {
    ["completed", "failed", "cancelled"].contains(&word)
}

fn is_live(word: &str) -> bool {
    word != "none" && !is_terminal(word)
}

fn is_beginning(event: &Event) -> bool {
    event.name == "MIGRATION" && event.data["status"] == "setup"
}

/// A machine whose guest has gone elsewhere.
fn has_left(place: &Place) -> bool {
    place.run_state.as_deref() == Some("postmigrate")
}

fn length_ns(query: &Value) -> Option<u64> {
    query["total-time"].as_u64().filter(|it| *it > 0).map(|ms| ms.saturating_mul(1_000_000))
}

fn syncs(query: &Value) -> Option<u64> {
    query["ram"]["dirty-sync-count"].as_u64().filter(|it| *it > 0)
}

/// Whether two answers about ended migrations are about different ones.
fn differ(a: &Value, b: &Value) -> bool {
    let same = |path: &str| a.pointer(path) == b.pointer(path);
    !["/status", "/error-desc", "/total-time", "/ram/transferred"].into_iter().all(same)
}
