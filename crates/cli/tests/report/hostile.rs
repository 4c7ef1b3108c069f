//! Reports that want to do harm: every text of them stays a text.

use serde_json::{Value, json};

use crate::browser::{Browser, View};
use crate::harness::{batch, report, rich_report, write};

const HARM: &str = "\"'><script>window.harmed=1</script><img src=x onerror=window.harmed=2><b>%{x}</b></script>\u{2028}${1}|@x\u{1}";

/// Fields whose text is one of a few words.
const WORDS: [&str; 7] =
    ["schema", "schema_version", "verdict", "integrity", "side", "direction", "kind"];

/// Every text that may be anything becomes harmful.
fn spoil(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let is_word = WORDS.contains(&name.as_str()) && field.is_string();
                if !is_word {
                    spoil(field);
                }
            }
            let is_named_freely = ["control", "vcpus"].iter().any(|it| fields.contains_key(*it));
            if is_named_freely {
                fields.insert(HARM.to_owned(), json!(1.0));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spoil),
        Value::String(text) => *text = HARM.to_owned(),
        _ => {}
    }
}

fn hostile_report() -> Value {
    let mut hostile = rich_report(400);
    spoil(&mut hostile);
    hostile["events"][0]["kind"] = json!(HARM);
    hostile["probes"][0]["kind"] = json!(HARM);
    hostile
}

fn check_unharmed(browser: &mut Browser, directory: &std::path::Path) {
    let complaints = browser.complaints(directory);
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_eq!(browser.value("window.harmed === undefined"), true);
    assert_eq!(
        browser.value(
            "document.querySelectorAll('img, iframe, object, b, body script[src*=x]').length"
        ),
        0
    );
    assert_eq!(
        browser.value(
            "document.querySelector('main').textContent.includes('<script>window.harmed=1')"
        ),
        true
    );
}

#[test]
fn a_page_shows_harmful_texts_as_texts() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let a = write(&directory.path().join("a.json"), &hostile_report());
    let b = write(
        &directory.path().join("b <script>window.harmed=3<").with_extension("json"),
        &hostile_report(),
    );
    report(&["html", &a]);
    browser.open(&directory.path().join("a.html"), View::DESK);
    check_unharmed(&mut browser, directory.path());
    let drawn = browser.value("document.querySelectorAll('.plot svg .trace').length");
    assert!(drawn.as_u64() > Some(8), "{drawn}");

    let both = directory.path().join("both.html");
    report(&["html", &a, &b, "-o", both.to_str().unwrap()]);
    browser.open(&both, View::DESK);
    assert_eq!(browser.value("window.harmed === undefined"), true);
}

#[test]
fn the_pages_of_a_harmful_batch_do_no_harm_either() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    let path = batch.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["suite"] = json!(HARM);
    manifest["about"] = json!(HARM);
    for run in manifest["runs"].as_array_mut().unwrap() {
        for field in ["name", "variant", "point", "engine"] {
            run[field] = json!(HARM);
        }
    }
    write(&path, &manifest);
    let pages = directory.path().join("pages");
    report(&["html", batch.to_str().unwrap(), "-o", pages.to_str().unwrap()]);
    browser.open(&pages.join("index.html"), View::DESK);
    check_unharmed(&mut browser, &pages);
}

#[test]
fn other_forms_keep_harmful_texts_in_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("a.json"), &hostile_report());
    let markdown = report(&["markdown", &input]);
    assert!(!markdown.contains("<script") && !markdown.contains("<img"), "{markdown}");
    let junit = report(&["junit", &input]);
    assert!(!junit.contains("<script") && !junit.contains('\u{1}'), "{junit}");
    let metrics = report(&["openmetrics", &input]);
    assert!(
        metrics.lines().all(|it| it.starts_with('#') || it.starts_with("sterna_")),
        "{metrics}"
    );
    let csv = report(&["csv", &input]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
}
