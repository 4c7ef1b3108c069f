//! The table of waits in docs/reliability.md, compared with the constants that it names.

use std::path::Path;
use std::time::Duration;

/// One row of the table that names a constant.
#[derive(Debug)]
struct Wait {
    longest: String,
    file: String,
    constant: String,
}

#[test]
fn every_wait_in_the_docs_is_as_long_as_in_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let waits = waits(&page);
    assert!(waits.len() > 40, "the table was not understood: {} rows", waits.len());
    let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    assert_eq!(breaches(&waits, &read), Vec::<String>::new());
}

#[test]
fn a_wait_that_is_gone_or_was_changed_is_found() {
    let page = "| a | 3 s | b | `x.rs` `A` |\n| a | 3 s | b | `x.rs` `B` |\n| a | 4 s | b | `y.rs` `A` |\n| a | 2 s | b | `x.rs` `C` |\n";
    let code = "const A: Duration = Duration::from_secs(30);\npub(super) const C_NS: u64 = 1;\npub const C: u64 = 2_000_000_000;\n";
    let read = |file: &str| (file == "x.rs").then(|| code.to_owned());
    let found = breaches(&waits(page), &read);
    assert_eq!(found, ["x.rs: A is 30s and not `3 s`", "x.rs has no `B`", "y.rs cannot be read"],);
}

/// Rows of four cells, the last of which is a file and a constant, each in backquotes.
fn waits(page: &str) -> Vec<Wait> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [_, longest, _, place] = cells[..] else { return None };
        let words: Vec<&str> = place.split('`').collect();
        let [_, file, _, constant, _] = words[..] else { return None };
        Some(Wait {
            longest: longest.trim().to_owned(),
            file: file.to_owned(),
            constant: constant.to_owned(),
        })
    };
    page.lines().filter_map(row).collect()
}

fn breaches(waits: &[Wait], read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let breach = |wait: &Wait| {
        let Wait { longest, file, constant } = wait;
        let Some(code) = read(file) else { return Some(format!("{file} cannot be read")) };
        let Some(length) = length(&code, constant) else {
            return Some(format!("{file} has no `{constant}`"));
        };
        (!begins_with(longest, length))
            .then(|| format!("{file}: {constant} is {length:?} and not `{longest}`"))
    };
    waits.iter().filter_map(breach).collect()
}

/// The value of a constant that is a duration, or a number of nanoseconds.
fn length(code: &str, constant: &str) -> Option<Duration> {
    let declared = format!("const {constant}: ");
    let line = code.lines().find(|it| it.contains(&declared))?;
    let value = line.split_once(" = ")?.1;
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().ok()?;
    if line.contains("from_secs(") {
        Some(Duration::from_secs(number))
    } else if line.contains("from_millis(") {
        Some(Duration::from_millis(number))
    } else {
        line.contains(": u64").then(|| Duration::from_nanos(number))
    }
}

/// Whether a text begins with this length, in seconds or milliseconds.
fn begins_with(text: &str, length: Duration) -> bool {
    let mut words = text.split([' ', ',']);
    let number: Option<u64> = words.next().and_then(|it| it.parse().ok());
    let unit = match words.next() {
        Some("ms") => Duration::from_millis,
        _ => Duration::from_secs,
    };
    number.map(unit) == Some(length)
}
