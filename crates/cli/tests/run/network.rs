//! The guest's network on the emulator: its blackout is that of the guest, and as long as the guest was away.

use serde_json::Value;

use crate::harness::Run;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_guest_that_is_away_is_missed_on_the_network_for_as_long() {
    let probes = ["--probes", "kind=udp,interval=2ms"];
    let late = ["--x-break", "destination:late-resume=400ms"];
    let outcome = Run::small(&[&probes[..], &late].concat()).outcome();
    outcome.assert_ended(0, "completed", "verified");
    let probe = &outcome.report()["probes"][0];
    assert!(number(&probe["received"]) > 200.0, "{probe}");
    let downtime = number(outcome.summary("downtime_seconds"));
    assert!(downtime > 0.4);
    let outages = probe["outages"].as_array().unwrap();
    let longest = outages
        .iter()
        .max_by(|a, b| number(&a["length_seconds"]).total_cmp(&number(&b["length_seconds"])));
    let longest = longest.unwrap_or_else(|| panic!("no outage: {probe}"));
    let (start, length) = (number(&longest["start_seconds"]), number(&longest["length_seconds"]));
    // A busy machine may hold up whoever answers, and the announcement.
    assert!(length > downtime - 0.05 && length < downtime + 0.3, "{length} {downtime}");
    assert!(start > 0.0 && longest["has_ended"] == true, "{longest}");
    assert!(
        number(&longest["lost"]) > 50.0,
        "what reaches a guest that is stopped is lost: {longest}"
    );
}

#[test]
fn a_video_from_the_guest_is_frozen_for_as_long_as_the_guest_is_away() {
    let probes = ["--probes", "kind=udp,interval=10ms;kind=playout,interval=20ms"];
    let late = ["--x-break", "destination:late-resume=600ms"];
    let outcome = Run::small(&[&probes[..], &late].concat()).outcome();
    outcome.assert_ended(0, "completed", "verified");
    let probe = &outcome.report()["probes"][1];
    assert_eq!(probe["kind"], "playout");
    let downtime = number(outcome.summary("downtime_seconds"));
    let freezes = probe["outages"].as_array().unwrap();
    let (length, missed) = freezes
        .iter()
        .map(|it| (number(&it["length_seconds"]), number(&it["lost"])))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or_else(|| panic!("no freeze: {probe}"));
    // A player shows what it holds for 100 ms more, and begins again when it holds as much.
    assert!(length > downtime - 0.15 && length < downtime + 0.4, "{length} {downtime}");
    assert!(missed > 15.0, "a camera sends nothing of the past: {probe}");
    let (sent, received) = (number(&probe["sent"]), number(&probe["received"]));
    assert!(received > 20.0 && sent >= received + missed, "{probe}");
    assert_eq!(probe["duplicates"], 0, "pictures of the destination are new ones: {probe}");
}

#[test]
fn other_kinds_of_probes_are_refused() {
    let outcome = Run::small(&["--probes", "kind=icmp"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("\"udp\" and \"playout\" only");
}
