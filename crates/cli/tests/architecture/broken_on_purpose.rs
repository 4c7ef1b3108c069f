//! Each rule, and what the rules stand on, given something to find and something to leave alone.

use std::path::PathBuf;

use crate::rules;
use crate::rust_code::{code_only, has_word, without_test_items};
use crate::workspace::{Package, Source};

fn package(name: &str, dependencies: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        folder: PathBuf::new(),
        manifest: "[lints]\nworkspace = true\n".to_owned(),
        dependencies: dependencies.iter().map(|it| (*it).to_owned()).collect(),
        roots: Vec::new(),
    }
}

/// A file that is the root of its crate exactly if its name says so.
fn source(package: &str, path: &str, text: &str) -> Source {
    Source {
        package: package.to_owned(),
        path: PathBuf::from(path),
        text: text.to_owned(),
        is_root: path.ends_with("lib.rs"),
    }
}

#[test]
fn a_dependency_to_the_side_or_upwards_breaks_the_floors() {
    let check = |name: &str, dependency: &str, expected: &[&str]| {
        assert_eq!(rules::floor_breaches(&[package(name, &[dependency])]), expected);
    };
    check("sterna-report", "sterna-units", &[]);
    check("sterna-report", "serde", &[]);
    check(
        "sterna-report",
        "sterna-pilot",
        &["sterna-report uses sterna-pilot, which is not on a lower floor"],
    );
    check(
        "sterna-units",
        "sterna-sys",
        &["sterna-units uses sterna-sys, which is not on a lower floor"],
    );
    check("sterna-new", "sterna-units", &["sterna-new is on no floor"]);
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let mut careless = package("sterna-report", &[]);
    assert!(rules::lint_breaches(std::slice::from_ref(&careless)).is_empty());
    careless.manifest = "[lints.rust]\nmissing_docs = \"allow\"\n".to_owned();
    assert_eq!(
        rules::lint_breaches(&[careless]),
        ["sterna-report does not take the lints of the workspace"]
    );
}

#[test]
fn unsafe_code_is_found_wherever_it_hides() {
    let check = |package: &str, text: &str, expected: &[&str]| {
        let source = source(package, "src/a.rs", text);
        assert_eq!(rules::unsafe_breaches(&[source]), expected, "{text}");
    };
    check("sterna-report", "fn a() {\n    unsafe { b() }\n}", &["src/a.rs:2: unsafe"]);
    check("sterna-report", "unsafe impl Send for A {}", &["src/a.rs:1: unsafe"]);
    check("sterna-report", "#[unsafe(no_mangle)]", &["src/a.rs:1: unsafe"]);
    check("sterna-report", "#[cfg(test)]\nmod tests { unsafe fn a() {} }", &["src/a.rs:2: unsafe"]);
    check("sterna-sys", "unsafe { b() }", &[]);
    check("sterna-report", "// unsafe\nlet unsafe_code = \"unsafe\";", &[]);
}

#[test]
fn a_root_that_forbids_nothing_is_found() {
    let check = |package: &str, path: &str, text: &str, breaches: usize| {
        assert_eq!(
            rules::unguarded_roots(&[source(package, path, text)]).len(),
            breaches,
            "{text}"
        );
    };
    check("sterna-report", "src/lib.rs", "//! Docs.\n#![forbid(unsafe_code)]\n", 0);
    check("sterna-report", "src/lib.rs", "pub mod a;", 1);
    check("sterna-report", "src/lib.rs", "// #![forbid(unsafe_code)]\n", 1);
    check("sterna-report", "src/lib.rs", "#![deny(unsafe_code)]\n", 1);
    check("sterna-report", "src/a.rs", "", 0);
    check("sterna-sys", "src/lib.rs", "", 0);
}

#[test]
fn a_library_that_prints_is_found_and_a_test_that_prints_is_not() {
    let check = |package: &str, path: &str, text: &str, expected: &[&str]| {
        let source = source(package, path, text);
        assert_eq!(rules::print_breaches(&[source]), expected, "{text}");
    };
    check("sterna-pilot", "src/a.rs", "println!(\"a\");", &["src/a.rs:1: println!"]);
    check("sterna-pilot", "src/a.rs", "\nstd::eprint!(\"a\");", &["src/a.rs:2: eprint!"]);
    check("sterna-pilot", "src/a.rs", "let a = dbg!(b);", &["src/a.rs:1: dbg!"]);
    check("sterna-pilot", "src/a.rs", "my_println!(); // println!()", &[]);
    check("sterna-pilot", "src/a.rs", "#[cfg(test)]\nmod tests { fn a() { println!(); } }", &[]);
    check(
        "sterna-pilot",
        "src/a.rs",
        "#[cfg(test)]\nmod tests { fn a() {} }\nfn b() { println!(); }",
        &["src/a.rs:3: println!"],
    );
    check("sterna-pilot", "tests/a.rs", "eprintln!(\"skipped\");", &[]);
    check("sterna-pilot", "build.rs", "println!(\"cargo::rerun-if-changed=a\");", &[]);
    check("sterna-cli", "src/a.rs", "println!(\"a\");", &[]);
}

#[test]
fn a_command_that_writes_to_the_terminal_by_itself_is_found() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        let source = source("sterna-cli", path, text);
        assert_eq!(rules::terminal_breaches(&[source]), expected, "{text}");
    };
    check("src/a.rs", "io::stdout().write(b);", &["src/a.rs:1: stdout()"]);
    check("src/a.rs", "use std::io::stderr;\nlet a = stderr();", &["src/a.rs:2: stderr()"]);
    check("src/a.rs", "println!(\"a\");", &["src/a.rs:1: println!"]);
    check("src/output.rs", "io::stdout().write(b);", &[]);
    check("src/live.rs", "io::stdout().write(b);", &["src/live.rs:1: stdout()"]);
    check("src/a.rs", "ProgressBar::new(1);", &["src/a.rs:1: ProgressBar"]);
    check("src/live.rs", "ProgressBar::new(1);", &[]);
    check("src/a.rs", "command.stdout(Stdio::piped());", &[]);
    check("tests/a.rs", "println!();", &[]);
}

#[test]
fn tokio_is_found_in_manifests_and_in_code() {
    let manifest = |name: &str, dependency: &str| {
        rules::tokio_dependencies(&[package(name, &["serde", dependency])]).len()
    };
    assert_eq!(manifest("sterna-pilot", "tokio"), 1);
    assert_eq!(manifest("sterna-pilot", "tokio-rustls"), 1);
    assert_eq!(manifest("sterna-pilot", "tokioni"), 0);
    assert_eq!(manifest("sterna-kubevirt", "tokio"), 0);

    let code = |package: &str| {
        rules::tokio_breaches(&[source(package, "src/a.rs", "tokio::spawn(a());")]).len()
    };
    assert_eq!(code("sterna-pilot"), 1);
    assert_eq!(code("sterna-kubevirt"), 0);
}

#[test]
fn a_file_one_line_too_long_is_found() {
    let check = |lines: usize, breaches: usize| {
        let source = source("sterna-pilot", "src/a.rs", &"//\n".repeat(lines));
        assert_eq!(rules::long_files(&[source]).len(), breaches, "{lines} lines");
    };
    check(600, 0);
    check(601, 1);
}

#[test]
fn comments_and_texts_are_not_code() {
    let check = |source: &str, code: &str| assert_eq!(code_only(source), code, "{source}");
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", "a                   e");
    check("a /* é\n */ e", "a     \n    e");
    check(r#"a("b \" c") d"#, r"a(        ) d");
    check(r##"a(r#"b " c"#) d"##, r"a(          ) d");
    check(r#"br"\" a"#, "b     a");
    check("for r#type in bar \"\"", "for r#type in bar   ");
    check(r"['a', '\'', '\u{1f}', '\\'] b", "[   ,     ,         ,     ] b");
    check("fn a<'b, 'c>(d: &'b str) 'e: {}", "fn a<'b, 'c>(d: &'b str) 'e: {}");
    check("// it's \"open\na", "             \na");
    check("\"a", "  ");
}

#[test]
fn only_the_item_under_test_is_left_out() {
    let check = |code: &str, kept: &str| {
        let words = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&without_test_items(code)), kept, "{code}");
    };
    check("a #[cfg(test)] mod tests { b { c } d } e", "a e");
    check("a #[cfg(test)] mod tests; b", "a b");
    check("a #[cfg(test)] #[allow(b)] use c; d #[cfg(test)] fn e() {} f", "a d f");
    check("a #[cfg(not(test))] b", "a #[cfg(not(test))] b");
}

#[test]
fn a_word_is_no_part_of_a_longer_one() {
    assert!(has_word("std::println!()", "println!"));
    assert!(!has_word("eprintln!()", "println!"));
    assert!(has_word("unsafe{", "unsafe"));
    assert!(!has_word("unsafe_op", "unsafe"));
    assert!(has_word("unsafe_op unsafe", "unsafe"));
}
