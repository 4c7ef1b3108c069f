use serde_json::json;
use sterna_pilot::PassRow;

use super::*;

const MS: u64 = 1_000_000;

fn event(name: &str, at_ms: u64, data: Value) -> Event {
    Event { name: name.to_owned(), data, at_ns: at_ms * MS, received_ns: at_ms * MS }
}

fn ram(status: &str, syncs: u64, remaining_pages: u64, sent_pages: u64) -> Value {
    json!({ "status": status, "ram": {
        "dirty-sync-count": syncs,
        "page-size": 4096, "total": 4096 * 1000, "remaining": remaining_pages * 4096,
        "normal": sent_pages, "duplicate": 0, "transferred": sent_pages * 4104,
        "mbps": 80.0, "dirty-pages-rate": 0,
    }})
}

/// A migration of 1000 pages with two passes, as 10.0 tells it.
fn two_passes() -> (Trace, Vec<Status>) {
    let mut trace = Trace::new(300 * MS, None);
    let mut seen = Vec::new();
    trace.source_event(&event("MIGRATION_PASS", 1, json!({"pass": 1})));
    trace.source_event(&event("MIGRATION", 1, json!({"status": "active"})));
    seen.push(trace.poll(10 * MS, &ram("active", 1, 900, 100)));
    seen.push(trace.poll(50 * MS, &ram("active", 1, 100, 900)));
    trace.source_event(&event("MIGRATION_PASS", 55, json!({"pass": 2})));
    seen.push(trace.poll(60 * MS, &ram("active", 2, 250, 950)));
    seen.push(trace.poll(70 * MS, &ram("active", 2, 50, 1150)));
    trace.source_event(&event("STOP", 75, Value::Null));
    trace.source_event(&event("MIGRATION_PASS", 76, json!({"pass": 3})));
    seen.push(trace.poll(78 * MS, &ram("device", 3, 20, 1200)));
    trace.source_event(&event("MIGRATION", 90, json!({"status": "completed"})));
    seen.push(trace.poll(91 * MS, &ram("completed", 3, 0, 1220)));
    trace.destination_event(&event("RESUME", 89, Value::Null));
    seen.push(trace.poll(95 * MS, &ram("completed", 3, 0, 1220)));
    (trace, seen)
}

#[test]
fn states_follow_what_both_sides_say() {
    let (trace, seen) = two_passes();
    let states: Vec<&str> = seen.iter().map(|it| it.state.as_str()).collect();
    let expected = ["active", "active", "active", "active", "switchover", "committed", "completed"];
    assert_eq!(states, expected);
    let moments = trace.moments();
    assert_eq!(moments.setup_done_ns, Some(MS));
    assert_eq!(moments.stopped_ns, Some(75 * MS));
    assert_eq!(moments.final_sync_done_ns, Some(76 * MS));
    assert_eq!(moments.resumed_ns, Some(89 * MS));
    assert_eq!(moments.ended_ns, Some(90 * MS));
}

#[test]
fn passes_are_told_once_with_what_was_sent_in_them() {
    let (trace, seen) = two_passes();
    assert_eq!(trace.passes(), 1);
    let rows: Vec<PassRow> = seen.iter().flat_map(|it| it.new_passes.clone()).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!((rows[0].number, rows[0].dirty_pages), (1, Some(1000)));
    assert_eq!((rows[0].started_ns, rows[0].ended_ns), (MS, Some(55 * MS)));
    assert_eq!(rows[0].pages_sent, Some(925));
    // 100 remained, 250 were sent, 50 remain: the synchronisation added 200.
    assert_eq!((rows[1].dirty_pages, rows[1].remaining_bytes), (Some(200), Some(50 * 4096)));
    // 50 remained, 70 were sent, none remains: that at the stop added 20.
    assert_eq!(rows[2].dirty_pages, Some(20));
    assert!(rows[2].is_final && rows[2].ended_ns == Some(90 * MS));
    assert_eq!(seen.last().unwrap().pages_resent, Some(150));
    assert_eq!(seen[0].threshold_bytes, Some(3_000_000));
}

#[test]
fn a_migration_that_is_held_has_no_threshold() {
    let mut trace = Trace::new(300 * MS, Some(1_000_000));
    let mut threshold = |is_held, at_ms| {
        trace.set_held(is_held);
        trace.poll(at_ms * MS, &ram("active", 1, 100, 900)).threshold_bytes
    };
    assert_eq!([threshold(true, 10), threshold(false, 20)], [None, Some(300_000)]);
    assert_eq!(threshold(true, 30), None);
}

#[test]
fn an_end_without_counters_keeps_the_last_ones() {
    let mut trace = Trace::new(MS, None);
    trace.poll(10 * MS, &ram("active", 1, 900, 100));
    let failed = json!({"status": "failed", "error-desc": "Connection reset"});
    let status = trace.poll(20 * MS, &failed);
    assert_eq!((status.state, status.pages_sent), (State::Failed, Some(100)));
    assert_eq!(status.reason.as_deref(), Some("Connection reset"));
    assert_eq!(status.moments.ended_ns, Some(20 * MS));
}

#[test]
fn a_stop_that_was_taken_back_is_told_as_such() {
    let mut trace = Trace::new(MS, None);
    trace.source_event(&event("RESUME", 1, Value::Null));
    trace.source_event(&event("STOP", 5, Value::Null));
    trace.source_event(&event("RESUME", 9, Value::Null));
    let status = trace.poll(20 * MS, &json!({"status": "cancelled"}));
    assert_eq!(status.state, State::Cancelled);
    assert_eq!(status.moments.restored_ns, Some(9 * MS));
}

#[test]
fn post_copy_is_past_the_point_of_return_in_either_order_of_events() {
    for status_first in [true, false] {
        let mut trace = Trace::new(MS, None);
        let active = event("MIGRATION", 5, json!({"status": "postcopy-active"}));
        if status_first {
            trace.source_event(&active);
        }
        trace.source_event(&event("STOP", 5, Value::Null));
        trace.source_event(&active);
        let status = trace.poll(20 * MS, &ram("postcopy-active", 2, 5, 5));
        assert_eq!(status.state, State::Postcopy);
        assert!(trace.has_postcopy_begun());
    }
}

#[test]
fn pages_count_as_sent_however_they_are_sent() {
    let mut trace = Trace::new(300 * MS, None);
    let mut answer = ram("active", 1, 100, 600);
    answer["xbzrle-cache"] = json!({ "pages": 300 });
    answer["compression"] = json!({ "pages": 200 });
    let status = trace.poll(10 * MS, &answer);
    assert_eq!(status.pages_sent, Some(1100));
    // Of 1000 pages, so a hundred of them were sent again.
    assert_eq!(status.pages_resent, Some(100));
}

/// Answers `(ms, dirty-sync-count, pages that remain, pages sent)` and the moments of the events.
fn rows_of(events_ms: &[u64], answers: &[(u64, u64, u64, u64)]) -> Vec<PassRow> {
    let mut trace = Trace::new(300 * MS, None);
    for (number, at_ms) in (1..).zip(events_ms) {
        trace.source_event(&event("MIGRATION_PASS", *at_ms, json!({ "pass": number })));
    }
    let polls = answers.iter().map(|(at_ms, syncs, remaining, sent)| {
        trace.poll(at_ms * MS, &ram("active", *syncs, *remaining, *sent)).new_passes
    });
    polls.flatten().collect()
}

#[test]
fn an_answer_belongs_to_the_pass_that_its_own_count_says() {
    let found = |events: &[u64], answers: &[(u64, u64, u64, u64)]| {
        let rows = rows_of(events, answers);
        rows.iter().map(|it| (it.dirty_pages, it.remaining_bytes)).collect::<Vec<_>>()
    };
    let pages = |number: u64| Some(number * 4096);
    // The answer at 54 ms has the synchronisation in it whose event is stamped 55.
    let answers = [(50, 1, 100, 900), (54, 2, 400, 900), (60, 2, 300, 1000), (90, 3, 600, 1300)];
    let first = (Some(1000), pages(100));
    assert_eq!(found(&[1, 55, 80], &answers), [first, (Some(300), pages(300))]);
    // It had found a part of them by then.
    let answers = [(50, 1, 100, 900), (54, 2, 150, 900), (60, 2, 300, 1000), (90, 3, 600, 1300)];
    assert_eq!(found(&[1, 55, 80], &answers), [first, (Some(300), pages(300))]);
    // Nothing else is known of a pass that went by between two answers, or of which only its beginning was seen.
    let answers = [(50, 1, 100, 900), (54, 2, 150, 900), (90, 3, 600, 1300)];
    assert_eq!(found(&[1, 55, 80], &answers), [first, (None, None)]);
    let answers = [(50, 1, 100, 900), (90, 3, 600, 1300)];
    assert_eq!(found(&[1, 55, 80], &answers), [first, (None, None)]);
}

#[test]
fn what_a_pass_sent_ends_where_the_next_synchronisation_begins() {
    let answers = [(50, 1, 100, 900), (54, 2, 400, 900), (94, 2, 0, 1300), (100, 3, 9, 1300)];
    let rows = rows_of(&[1, 60, 99], &answers);
    let sent: Vec<_> = rows.iter().map(|it| it.pages_sent).collect();
    assert_eq!(sent, [Some(900), Some(400)]);
}

#[test]
fn pages_that_are_compared_with_a_cache_may_be_in_no_counter() {
    let mut trace = Trace::new(300 * MS, None);
    for (number, at_ms) in [(1, 1), (2, 55), (3, 80)] {
        trace.source_event(&event("MIGRATION_PASS", at_ms, json!({ "pass": number })));
    }
    let mut rows = Vec::new();
    for (at_ms, syncs, remaining) in [(50, 1, 100), (60, 2, 300), (90, 3, 100)] {
        let mut answer = ram("active", syncs, remaining, 900);
        answer["xbzrle-cache"] = json!({ "pages": 0 });
        rows.extend(trace.poll(at_ms * MS, &answer).new_passes);
    }
    let found: Vec<_> = rows.iter().map(|it| it.dirty_pages).collect();
    assert_eq!(found, [Some(1000), None]);
}

#[test]
fn setup_ends_where_the_first_pass_begins() {
    let (trace, seen) = two_passes();
    let row = seen.iter().flat_map(|it| &it.new_passes).next().unwrap();
    assert_eq!(trace.moments().setup_done_ns, Some(row.started_ns));
    let mut trace = Trace::new(MS, None);
    trace.source_event(&event("MIGRATION_PASS", 3, json!({ "pass": 1 })));
    trace.source_event(&event("MIGRATION", 5, json!({ "status": "active" })));
    assert_eq!(trace.moments().setup_done_ns, Some(3 * MS));
}

#[test]
fn a_total_time_is_not_below_qemus_own() {
    let end_ms = |total_ms: u64| {
        let mut trace = Trace::new(MS, None);
        trace.accepted(100 * MS);
        trace.source_event(&event("MIGRATION", 500, json!({ "status": "completed" })));
        trace.destination_event(&event("RESUME", 490, Value::Null));
        let mut answer = ram("completed", 2, 0, 1000);
        answer["total-time"] = json!(total_ms);
        let status = trace.poll(510 * MS, &answer);
        status.moments.ended_ns.map(|it| it / MS)
    };
    assert_eq!(end_ms(380), Some(500));
    // QEMU stopped its clock after its event.
    assert_eq!(end_ms(407), Some(507));
}
