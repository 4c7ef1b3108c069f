//! Pages in a browser without a network: drawn, usable, accessible.

use std::path::Path;

use serde_json::{Value, json};

use crate::browser::{Browser, View};
use crate::harness::{batch, real_report, report, rich_report, write};

const ACCESSIBILITY: &str = include_str!("accessibility.js");

/// The first series' colour, light and dark, as the style says.
const BLUE: [u8; 3] = [0x00, 0x72, 0xb2];
const BLUE_AT_NIGHT: [u8; 3] = [0x58, 0xb4, 0xf2];
const ALL_CHARTS: [&str; 9] = [
    "guest",
    "memory",
    "rates",
    "latency",
    "histogram",
    "tail",
    "cpu-source",
    "cpu-destination",
    "probes",
];

#[track_caller]
fn check_accessible(browser: &mut Browser, what: &str) {
    let found = browser.value(ACCESSIBILITY);
    assert_eq!(found, json!([]), "{what}: {found:#}");
}

#[track_caller]
fn check_quiet(browser: &mut Browser, directory: &Path) {
    let complaints = browser.complaints(directory);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_page_of_a_report_is_drawn_usable_and_accessible_without_a_network() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("rich.json"), &rich_report(2000));
    report(&["html", &input]);
    let page = directory.path().join("rich.html");

    browser.open(&page, View::DESK);
    check_quiet(&mut browser, directory.path());
    for chart in ALL_CHARTS {
        let drawn = browser
            .value(&format!("document.querySelectorAll('#{chart} .plot svg .trace').length"));
        assert!(drawn.as_u64() > Some(0), "{chart}: {drawn}");
    }
    let seen = browser.pixels("#guest .plot").count(BLUE);
    assert!(seen > 300, "the guest's throughput must be seen, {seen} pixels are blue");
    check_accessible(&mut browser, "by day");

    a_map_is_drawn(&mut browser);
    a_tooltip_appears(&mut browser);
    a_legend_entry_toggles_its_series(&mut browser);
    all_charts_show_the_same_time(&mut browser);
    a_table_can_be_sorted_with_the_keyboard(&mut browser);

    browser.open(&page, View::NIGHT);
    let seen = browser.pixels("#guest .plot").count(BLUE_AT_NIGHT);
    assert!(seen > 300, "at night {seen} pixels are light blue");
    check_accessible(&mut browser, "at night");
    browser.value("document.querySelector('[data-theme-button]').click()");
    let seen = browser.pixels("#guest .plot").count(BLUE);
    assert!(seen > 300, "by choice {seen} pixels are blue");

    browser.open(&page, View::PHONE);
    check_accessible(&mut browser, "on a phone");
    browser.view(View::DESK);
    assert!(browser.print() > 20_000);
    check_quiet(&mut browser, directory.path());
}

/// The map of how long writes took is there, strong where most writes were, and can be hidden.
fn a_map_is_drawn(browser: &mut Browser) {
    const STRONG: [u8; 3] = [0x23, 0x62, 0x99];
    let seen = browser.pixels("#latency .plot").count(STRONG);
    assert!(seen > 2000, "{seen} pixels of the map are strong");
    browser.value("document.querySelector('#latency .legend button').click()");
    let left = browser.pixels("#latency .plot").count(STRONG);
    assert!(left < seen / 10, "{left} of {seen} pixels are left of a map that is hidden");
}

fn a_tooltip_appears(browser: &mut Browser) {
    let at = browser.value(
        "(() => { const plot = document.querySelector('#guest .plot'); plot.scrollIntoView({ block: 'center' }); \
         const r = plot.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()",
    );
    let (x, y) = (at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    browser.move_mouse(x - 20.0, y);
    browser.move_mouse(x, y);
    let text = browser.value(
        "new Promise((done) => { const look = (left) => { const text = document.querySelector('#guest .hoverlayer').textContent; \
         if (text || !left) done(text); else setTimeout(look, 50, left - 1); }; look(100); })",
    );
    let text = text.as_str().unwrap();
    assert!(text.contains("all workers") && text.contains("pages/s"), "{text:?}");
    browser.move_mouse(2.0, 2.0);
}

fn a_legend_entry_toggles_its_series(browser: &mut Browser) {
    let traces = "document.querySelectorAll('#guest .plot svg .scatterlayer .trace').length";
    let before = browser.value(traces).as_u64().unwrap();
    let pressed = "document.querySelector('#guest .legend button').getAttribute('aria-pressed')";
    browser.value("document.querySelector('#guest .legend button').focus()");
    browser.press("Enter");
    assert_eq!(browser.value(pressed), "false");
    assert_eq!(browser.value(traces).as_u64().unwrap(), before - 1);
    browser.press(" ");
    assert_eq!(browser.value(pressed), "true");
    assert_eq!(browser.value(traces).as_u64().unwrap(), before);
}

fn all_charts_show_the_same_time(browser: &mut Browser) {
    browser.value("document.querySelector('[data-window=switchover]').click()");
    let ranges = browser.value(
        "new Promise((done) => setTimeout(() => done(['guest', 'memory', 'probes'].map((id) => \
         document.querySelector(`#${id} .plot`).layout.xaxis.range.map((it) => Math.round(it * 100)))), 300))",
    );
    assert_eq!(ranges[0], ranges[1], "{ranges}");
    assert_eq!(ranges[0], ranges[2], "{ranges}");
    // The guest stood from 15.0 to 15.2 s; four times that are shown around it.
    assert_eq!(ranges[0], json!([1420, 1600]), "{ranges}");
}

fn a_table_can_be_sorted_with_the_keyboard(browser: &mut Browser) {
    browser.value(
        "[...document.querySelectorAll('table[data-sortable] thead button')].find((it) => it.textContent === 'dirty').focus()",
    );
    browser.press("Enter");
    let column = "[...document.querySelectorAll('table[data-sortable] tbody tr')].map((it) => Number(it.cells[4].dataset.value))";
    assert_eq!(browser.value(column), json!([40_000, 50_000, 66_666, 100_000, 200_000]));
    browser.press("Enter");
    assert_eq!(browser.value(column), json!([200_000, 100_000, 66_666, 50_000, 40_000]));
}

#[test]
fn the_pages_of_a_batch_lead_to_each_other() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    let pages = directory.path().join("pages");
    report(&["html", batch.to_str().unwrap(), "-o", pages.to_str().unwrap()]);

    for view in [View::DESK, View::NIGHT, View::PHONE] {
        browser.open(&pages.join("index.html"), view);
        check_accessible(&mut browser, "the index");
        check_quiet(&mut browser, &pages);
    }
    let cells = "[...document.querySelectorAll('.grid tbody tr')].map((row) => [...row.cells].slice(1).map((it) => it.textContent))";
    let cells = browser.value(cells);
    assert!(cells[0][0].as_str().unwrap().contains("cancelled"), "{cells}");
    assert!(cells[1][1].as_str().unwrap().contains("no report"), "{cells}");
    browser.value("document.querySelector('[data-kind=lost]').click()");
    assert_eq!(browser.value("document.querySelector('.grid .cell .main').textContent"), "1.00 s");

    let ways = browser
        .value("[...document.querySelectorAll('.grid a')].map((it) => it.getAttribute('href'))");
    let ways: Vec<&str> = ways.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(ways.len(), 5, "three runs and two rows: {ways:?}");
    for way in ways {
        browser.open(&pages.join(way), View::DESK);
        let drawn = browser.value("document.querySelectorAll('.plot svg .trace').length");
        assert!(drawn.as_u64() > Some(1), "{way}: {drawn}");
        check_quiet(&mut browser, &pages);
        check_accessible(&mut browser, way);
        let back = browser.value("document.querySelector('.top nav a').getAttribute('href')");
        assert!(pages.join(way).parent().unwrap().join(back.as_str().unwrap()).is_file(), "{back}");
    }
}

#[test]
fn several_reports_lie_over_each_other() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let a = write(&directory.path().join("a.json"), &rich_report(500));
    let b = write(&directory.path().join("b.json"), &rich_report(500));
    let page = directory.path().join("both.html");
    report(&["html", &a, &b, "-o", page.to_str().unwrap()]);
    browser.open(&page, View::DESK);
    check_quiet(&mut browser, directory.path());
    check_accessible(&mut browser, "two runs");
    let names = browser.value(
        "[...document.querySelectorAll('#guest .legend button')].map((it) => it.textContent)",
    );
    assert_eq!(names, json!(["a", "b", "marks"]));
}

#[test]
fn results_of_guestperf_become_pages_too() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    for name in ["guestperf-2016", "guestperf-7.2", "guestperf-10.0"] {
        let input = format!("{}/../report/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let page = directory.path().join(format!("{name}.html"));
        report(&["html", &input, "-o", page.to_str().unwrap()]);
        browser.open(&page, View::NIGHT);
        check_quiet(&mut browser, directory.path());
        check_accessible(&mut browser, name);
        let drawn = browser.value("document.querySelectorAll('#memory .plot svg .trace').length");
        assert!(drawn.as_u64() > Some(0), "{name}: {drawn}");
    }
}

/// A browser makes the window as small as that for a moment when it takes a picture, or hides a page.
#[test]
fn a_window_that_was_next_to_nothing_for_a_moment_leaves_charts_as_they_were() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("rich.json"), &rich_report(500));
    report(&["html", &input]);
    browser.open(&directory.path().join("rich.html"), View::DESK);
    let settled = "new Promise((done) => setTimeout(done, 700)).then(() => \
        [...document.querySelectorAll('.plot')].map((it) => it._fullLayout.yaxis.range.map((end) => end.toFixed(3))))";
    let before = browser.value(settled);
    browser.view(View { width: 1, height: 1, ..View::DESK });
    browser.value(settled);
    browser.view(View::DESK);
    assert_eq!(browser.value(settled), before);
}

#[test]
fn the_samples_of_a_real_run_carry_histograms_of_all_timed_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = real_report(directory.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let mut timed = 0;
    for sample in report["guest"].as_array().unwrap() {
        let samples = sample["latency"]["samples"].as_u64().unwrap_or(0);
        let writes = sample["latency_histogram"]["writes"].as_array();
        let counted: u64 = writes.into_iter().flatten().filter_map(Value::as_u64).sum();
        assert_eq!(counted, samples, "{sample}");
        timed += samples;
    }
    assert!(timed > 100, "{timed}");
    assert!(text.lines().any(|it| it.contains("\"from_ns\": [") && it.contains(", ")));
}

/// The check must find what it looks for, or it would find nothing anywhere.
#[test]
fn the_check_for_accessibility_finds_what_is_wrong() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("bad.html");
    let html = "<!doctype html><html><head><title>x</title></head><body style='background:#fff'>\
        <h1>a</h1><h3>b</h3><button></button><p style='color:#bbb'>faint</p><img src='data:,'>\
        <table><tr><td>1</td></tr></table><p id=twice></p><p id=twice></p>\
        <div style='width:3000px'>wide</div><div tabindex=3>first</div></body></html>";
    std::fs::write(&page, html).unwrap();
    browser.open(&page, View::DESK);
    let found = browser.value(ACCESSIBILITY).to_string();
    for word in [
        "lang",
        "main",
        "skips",
        "no name",
        "contrast",
        "no headings",
        "twice",
        "wider",
        "tabindex",
    ] {
        assert!(found.contains(word), "{word} in {found}");
    }
}
