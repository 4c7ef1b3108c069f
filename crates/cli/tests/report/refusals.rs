//! What cannot be read or written is refused with the reason, and nothing is lost.

use std::fs;
use std::fs::File;

use serde_json::json;

use crate::harness::{batch, refused, report, rich_report, write};

#[test]
fn a_bad_report_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let whole = serde_json::to_string(&rich_report(10)).unwrap();
    let mut newer = rich_report(10);
    newer["schema_version"] = json!("9.0");
    let mut odd = rich_report(10);
    odd["summary"]["downtime_seconds"] = json!("20 ms");
    let mut mixed = rich_report(10);
    let downtime = mixed["summary"].as_object_mut().unwrap().remove("downtime_seconds").unwrap();
    mixed["summary"]["downtime_ms"] = downtime;
    let table = [
        ("mixed", mixed.to_string(), "downtime_seconds"),
        ("truncated", whole[..whole.len() / 2].to_owned(), "not whole"),
        ("empty", String::new(), "it is empty"),
        (
            "other",
            r#"{"schema":"sterna-doctor","schema_version":"1.0"}"#.to_owned(),
            "sterna-doctor",
        ),
        ("newer", newer.to_string(), "newer version"),
        ("odd", odd.to_string(), "20 ms"),
        ("list", "[1,2,3]".to_owned(), "no result that can be read"),
        ("deep", "{\"a\":".repeat(100_000), "not whole"),
    ];
    for (name, text, why) in table {
        let path = directory.path().join(format!("{name}.json"));
        fs::write(&path, text).unwrap();
        for form in ["html", "summary", "csv", "openmetrics"] {
            let said = refused(&[form, path.to_str().unwrap()], 2);
            assert!(said.contains(why) && said.contains(name), "{form}: {said}");
        }
        assert!(!path.with_extension("html").exists(), "{name}");
    }
    let binary = directory.path().join("binary.json");
    fs::write(&binary, [0xff, 0xfe, 0, 1]).unwrap();
    assert!(refused(&["html", binary.to_str().unwrap()], 2).contains("no result that can be read"));
    let nowhere = directory.path().join("nowhere.json");
    assert!(refused(&["html", nowhere.to_str().unwrap()], 2).contains("No such file"));
}

#[test]
fn a_file_of_a_gigabyte_is_refused_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.json");
    // A hole: it takes no room, and has the size all the same.
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert!(refused(&["html", path.to_str().unwrap()], 2).contains("larger than 256 MiB"));
}

#[test]
fn a_report_is_never_replaced_and_neither_is_what_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("a.json"), &rich_report(10));
    let before = fs::read(&input).unwrap();
    assert!(refused(&["html", &input, "-o", &input], 2).contains("itself"));
    assert!(refused(&["csv", &input, "-o", &input], 2).contains("itself"));
    assert_eq!(fs::read(&input).unwrap(), before);

    let theirs = directory.path().join("a.html");
    fs::write(&theirs, "<p>mine</p>").unwrap();
    assert!(refused(&["html", &input], 2).contains("no page of a report"));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "<p>mine</p>");
    fs::remove_file(&theirs).unwrap();
    report(&["html", &input]);
    report(&["html", &input]);
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    let full = directory.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("index.html"), "mine").unwrap();
    let arguments = ["html", batch.to_str().unwrap(), "-o", full.to_str().unwrap()];
    assert!(refused(&arguments, 2).contains("something else"));
    assert_eq!(fs::read_to_string(full.join("index.html")).unwrap(), "mine");
}

#[test]
fn what_cannot_be_one_file_asks_for_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("a.json"), &rich_report(10));
    assert!(refused(&["html", &input, &input], 2).contains("-o FILE.html"));
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(refused(&["summary", empty.to_str().unwrap()], 2).contains("holds no report"));
    let missing = directory.path().join("no/such/place.html");
    let arguments = ["html", &input, "-o", missing.to_str().unwrap()];
    assert!(refused(&arguments, 1).contains("Cannot write"));
}

#[test]
fn a_damaged_report_of_a_batch_is_named_and_the_others_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    let damaged = batch.join("emulator/postcopy-0.1.json");
    let whole = fs::read_to_string(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let batch = batch.to_str().unwrap();
    let (pages, page) = (directory.path().join("pages"), directory.path().join("page.html"));
    let [pages, page] = [&pages, &page].map(|it| it.to_str().unwrap());
    for flags in [
        &["html", "-o", pages][..],
        &["html", "-o", page],
        &["summary"],
        &["csv"],
        &["markdown"],
        &["junit"],
    ] {
        let said = refused(&[flags, &[batch]].concat(), 2);
        assert!(
            said.contains("postcopy-0.1.json") && said.contains("not whole"),
            "{flags:?}: {said}"
        );
        assert_eq!(said.lines().count(), if flags.contains(&"-o") { 2 } else { 1 }, "{said}");
    }
    let index = fs::read_to_string(directory.path().join("pages/index.html")).unwrap();
    let over_each_other = fs::read_to_string(page).unwrap();
    for (what, text) in [("the pages", index), ("the page", over_each_other)] {
        assert!(text.contains("postcopy,bandwidth=0"), "{what} name the damaged one");
        assert!(text.contains("cannot be read") || text.contains("not whole"), "{what} say why");
        assert!(
            text.contains("precopy over 10Gbit/s") || text.contains("precopy,bandwidth=1"),
            "{what} show the others"
        );
    }
    // Corrupt memory is worse.
    let other = directory.path().join("batch/emulator/precopy-1.1.json");
    let corrupt = fs::read_to_string(&other).unwrap().replace("\"verified\"", "\"corrupt\"");
    fs::write(&other, corrupt).unwrap();
    refused(&["summary", batch], 4);
}
