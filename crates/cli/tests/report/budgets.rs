//! How large and how slow pages may be.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::browser::{Browser, View};
use crate::harness::{batch, report, rich_report, write};

const MB: u64 = 1_000_000;

#[test]
fn a_time_line_of_10_000_rows_opens_soon_and_its_page_is_small() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("long.json"), &rich_report(10_000));
    report(&["html", &input]);
    let page = directory.path().join("long.html");
    let size = fs::metadata(&page).unwrap().len();
    assert!(size < 6 * MB, "{size}");

    let Some(mut browser) = Browser::start() else { return };
    // The first page of a browser also starts its processes.
    browser.open(&page, View::DESK);
    let took = browser.open(&page, View::DESK);
    assert_eq!(browser.value("document.documentElement.dataset.drawn"), "9");
    // Two seconds on a quiet machine; this one may be anything but.
    assert!(took < Duration::from_secs(15), "{took:?}");
    eprintln!("10,000 rows: {size} bytes, open and drawn in {took:?}");
}

#[test]
fn the_pages_of_a_batch_are_small() {
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    report(&["html", batch.to_str().unwrap()]);
    let size = size_of(&batch.join("html"));
    let runs = 3;
    assert!(size < 5 * MB + runs * 200_000, "{size}");
}

fn size_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    entries.map(|it| if it.is_dir() { size_of(&it) } else { fs::metadata(it).unwrap().len() }).sum()
}
