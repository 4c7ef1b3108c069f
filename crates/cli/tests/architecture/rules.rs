//! The rules: from packages and sources to a list of breaches, empty when all is well.

use crate::rust_code::{code_only, has_word, without_test_items};
use crate::workspace::{Package, Source};

/// Which floor each crate is on; a crate uses only crates on lower floors.
///
/// A new crate needs a line here, and that line is a decision about the design.
const FLOORS: [(&str, u32); 22] = [
    ("sterna-sys", 0),
    ("sterna-units", 0),
    ("sterna-workload", 1),
    ("sterna-probe", 1),
    ("sterna-wire", 1),
    ("sterna-scenario", 2),
    ("sterna-remote", 2),
    ("sterna-guest", 2),
    // The bytes of the guest agent; its build script builds `guest`.
    ("sterna-agent", 3),
    ("sterna-report", 3),
    ("sterna-converge", 3),
    ("sterna-model", 4),
    ("sterna-render", 4),
    ("sterna-pilot", 5),
    ("sterna-emulator", 6),
    ("sterna-qemu", 6),
    ("sterna-kubevirt", 6),
    ("sterna-simulated", 6),
    ("sterna-watch", 7),
    ("sterna-advice", 7),
    ("sterna-cli", 8),
    // The chores stand outside and may look into every room.
    ("xtask", 9),
];

const MAY_BE_UNSAFE: &[&str] = &["sterna-sys"];
const MAY_PRINT: &[&str] = &["sterna-cli", "sterna-guest", "xtask"];
const MAY_USE_TOKIO: &[&str] = &["sterna-kubevirt"];
const MOST_LINES: usize = 600;

/// Dependencies of every kind count, also those of tests: a test that reaches upwards ties the
/// crate to the floor above as firmly as its code would.
pub fn floor_breaches(packages: &[Package]) -> Vec<String> {
    let floor = |name: &str| FLOORS.iter().find(|it| it.0 == name).map(|it| it.1);
    let mut breaches = Vec::new();
    for Package { name, dependencies, .. } in packages {
        let Some(own) = floor(name) else {
            breaches.push(format!("{name} is on no floor"));
            continue;
        };
        for it in dependencies.iter().filter(|it| floor(it).is_some_and(|it| it >= own)) {
            breaches.push(format!("{name} uses {it}, which is not on a lower floor"));
        }
    }
    breaches
}

/// Lints hold only in crates that ask for them.
pub fn lint_breaches(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|it| !it.manifest.contains("[lints]\nworkspace = true"))
        .map(|it| format!("{} does not take the lints of the workspace", it.name))
        .collect()
}

/// Tests and examples count too: the compiler's `forbid` holds for one crate root at a time.
pub fn unsafe_breaches(sources: &[Source]) -> Vec<String> {
    outside(sources, MAY_BE_UNSAFE)
        .flat_map(|it| places(it, &code_only(&it.text), &["unsafe"]))
        .collect()
}

pub fn unguarded_roots(sources: &[Source]) -> Vec<String> {
    outside(sources, MAY_BE_UNSAFE)
        .filter(|it| it.is_root && !code_only(&it.text).contains("#![forbid(unsafe_code)]"))
        .map(|it| format!("{} does not forbid unsafe code", it.path.display()))
        .collect()
}

/// Tests may print, and build scripts must.
pub fn print_breaches(sources: &[Source]) -> Vec<String> {
    const MACROS: [&str; 5] = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    outside(sources, MAY_PRINT)
        .filter(|it| it.is_library_code())
        .flat_map(|it| places(it, &without_test_items(&code_only(&it.text)), &MACROS))
        .collect()
}

/// Peers and files choose parts of what a program shows; one file makes all of it safe, and one does for live lines.
pub fn terminal_breaches(sources: &[Source]) -> Vec<String> {
    const STREAMS: [&str; 7] =
        ["stdout()", "stderr()", "print!", "println!", "eprint!", "eprintln!", "dbg!"];
    let program = || sources.iter().filter(|it| it.package == "sterna-cli" && it.is_library_code());
    let find = |file: &'static str, words: &'static [&'static str]| {
        let others = program().filter(move |it| !it.path.ends_with(file));
        others.flat_map(|it| places(it, &without_test_items(&code_only(&it.text)), words))
    };
    find("src/output.rs", &STREAMS).chain(find("src/live.rs", &["ProgressBar"])).collect()
}

pub fn tokio_dependencies(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|it| !MAY_USE_TOKIO.contains(&it.name.as_str()))
        .flat_map(|it| it.dependencies.iter().map(move |dependency| (&it.name, dependency)))
        .filter(|(_, dependency)| dependency.split('-').next() == Some("tokio"))
        .map(|(name, dependency)| format!("{name} uses {dependency}"))
        .collect()
}

pub fn tokio_breaches(sources: &[Source]) -> Vec<String> {
    outside(sources, MAY_USE_TOKIO)
        .flat_map(|it| places(it, &code_only(&it.text), &["tokio"]))
        .collect()
}

pub fn long_files(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .map(|it| (it.path.display(), it.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines, more than {MOST_LINES}"))
        .collect()
}

fn outside<'a>(sources: &'a [Source], packages: &[&str]) -> impl Iterator<Item = &'a Source> {
    sources.iter().filter(move |it| !packages.contains(&it.package.as_str()))
}

/// Each line of the code on which one of the words stands.
fn places(source: &Source, code: &str, words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for word in words.iter().filter(|it| has_word(line, it)) {
            places.push(format!("{}:{}: {word}", source.path.display(), index + 1));
        }
    }
    places
}
