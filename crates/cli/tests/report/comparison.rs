//! The page of a comparison in a browser without a network.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::browser::{Browser, View};
use crate::harness::{rich_report, sterna, words, write};

const ACCESSIBILITY: &str = include_str!("accessibility.js");
/// The colours of reference and candidate, as the style says.
const BLUE: [u8; 3] = [0x00, 0x72, 0xb2];
const ORANGE: [u8; 3] = [0xc2, 0x41, 0x0c];

/// Eight runs of a scenario that scatter by a percent.
fn runs(directory: &Path, side: &str, name: &str, total: f64) {
    let directory = directory.join(side);
    fs::create_dir_all(&directory).unwrap();
    for number in 0..8 {
        let mut report = rich_report(300);
        let scatter = 1.0 + (f64::from(number * 3 % 8) / 8.0 - 0.5) * 0.02;
        // Lines of one side must not hide those of the other.
        if side == "after" {
            for poll in report["timeline"].as_array_mut().unwrap() {
                poll["remaining_bytes"] = json!(poll["remaining_bytes"].as_u64().unwrap() / 2);
            }
        }
        report["scenario"]["name"] = json!(name);
        report["summary"]["total_time_seconds"] = json!(total * scatter);
        let file: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        write(&directory.join(format!("{file}-{number}.json")), &report);
    }
}

/// Compares `before` with `after` and opens the page.
fn open(browser: &mut Browser, directory: &Path, view: View) {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (before, after, page) = (path("before"), path("after"), path("page.html"));
    let told = sterna(&["compare", &before, &after, "--format", "html", "-o", &page]);
    assert_eq!(told.status.code(), Some(0), "{}", words(&told.stderr));
    assert!(words(&told.stderr).contains("compared: "), "{}", words(&told.stderr));
    browser.open(Path::new(&page), view);
}

#[track_caller]
fn check(browser: &mut Browser, directory: &Path) {
    let complaints = browser.complaints(directory);
    assert!(complaints.is_empty(), "{complaints:#?}");
    let found = browser.value(ACCESSIBILITY);
    assert_eq!(found, json!([]), "{found:#}");
}

#[test]
fn a_comparison_is_a_page_on_which_the_sides_are_told_apart() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    runs(here, "before", "small", 19.0);
    runs(here, "after", "small", 23.0);
    for view in [View::DESK, View::NIGHT, View::PHONE] {
        open(&mut browser, here, view);
        check(&mut browser, here);
    }
    open(&mut browser, here, View::DESK);
    assert_eq!(browser.value("document.querySelector('.badge').textContent"), "✕ regressed");
    let charts = browser.value("[...document.querySelectorAll('figure.chart')].map((it) => it.id)");
    assert_eq!(charts, json!(["s0-values", "s0-guest", "s0-memory", "s0-rates", "s0-throttle"]));
    // A dot for each run and metric, in the colour of its side.
    let dots = browser.value("document.querySelectorAll('#s0-values .points path').length");
    let metrics =
        browser.value("document.querySelectorAll('#s0-values .yaxislayer-above text').length");
    assert_eq!(dots.as_u64(), metrics.as_u64().map(|it| 16 * it), "{metrics} metrics");
    let pixels = browser.pixels("#s0-memory .plot");
    for (side, colour) in [("reference", BLUE), ("candidate", ORANGE)] {
        let seen = pixels.count(colour);
        assert!(seen > 20, "of the {side} {seen} pixels are seen");
    }
    a_side_can_be_hidden(&mut browser);
}

fn a_side_can_be_hidden(browser: &mut Browser) {
    let traces = "document.querySelectorAll('#s0-memory .plot svg .scatterlayer .trace').length";
    assert_eq!(browser.value(traces), 2);
    browser.value("document.querySelector('#s0-memory .legend button').click()");
    assert_eq!(browser.value(traces), 1);
    let names = "[...document.querySelectorAll('#s0-values .legend button')].length";
    assert_eq!(browser.value(names), 4, "two sides with their intervals");
}

#[test]
fn scenarios_of_different_length_have_times_of_their_own() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    for side in ["before", "after"] {
        runs(here, side, "long", 19.0);
        runs(here, side, "short", 19.0);
        for number in 0..8 {
            let file = here.join(side).join(format!("short-{number}.json"));
            let mut report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            for series in ["timeline", "guest"] {
                let rows = report[series].as_array_mut().unwrap();
                rows.retain(|it| it["t_seconds"].as_f64().unwrap() < 4.0);
            }
            write(&file, &report);
        }
    }
    open(&mut browser, here, View::DESK);
    check(&mut browser, here);
    let end = |browser: &mut Browser, chart: &str| {
        let range = format!("document.querySelector('#{chart} .plot').layout.xaxis.range[1]");
        browser.value(&range).as_f64().unwrap()
    };
    let (long, short) = (end(&mut browser, "s0-memory"), end(&mut browser, "s1-memory"));
    assert!(long > 19.0 && short < 5.0, "{long} {short}");
}

#[test]
fn harmful_names_stay_texts_in_a_comparison() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let harm = "\"'><script>window.harmed=1</script><img src=x onerror=window.harmed=2><b>%{x}</b>\u{2028}";
    runs(here, "before", harm, 19.0);
    runs(here, "after", harm, 19.0);
    let odd = "after <script>window.harmed=3<";
    fs::rename(here.join("after"), here.join(odd)).unwrap();
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
    let page = path("page.html");
    let told = sterna(&["compare", &path("before"), &path(odd), "--format", "html", "-o", &page]);
    assert_eq!(told.status.code(), Some(0), "{}", words(&told.stderr));
    browser.open(Path::new(&page), View::DESK);
    check(&mut browser, here);
    assert_eq!(browser.value("window.harmed === undefined"), true);
    let elements = "document.querySelectorAll('main img, main b, main script').length";
    assert_eq!(browser.value(elements), 0);
    let text = "document.querySelector('main').textContent.includes('<script>window.harmed=1')";
    assert_eq!(browser.value(text), true);
}
