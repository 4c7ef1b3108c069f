//! The walls of the house, held by tests; ARCHITECTURE.md says what they are for.
//!
//! Every rule is a pure function from data to a list of breaches. Here each is applied to this
//! workspace; `broken_on_purpose` breaks each one, for a check that cannot fail checks nothing.

#![forbid(unsafe_code)]

mod broken_on_purpose;
mod dependencies;
mod rules;
mod rust_code;
mod waits;
mod workspace;

use std::path::Path;

use workspace::{packages, sources};

const NONE: [String; 0] = [];

#[test]
fn crates_use_only_lower_floors() {
    assert_eq!(rules::floor_breaches(&packages()), NONE);
}

#[test]
fn crates_obey_the_lints_of_the_workspace() {
    assert_eq!(rules::lint_breaches(&packages()), NONE);
}

#[test]
fn unsafe_code_stays_behind_its_wall() {
    let sources = sources(&packages());
    assert_eq!(rules::unsafe_breaches(&sources), NONE);
    assert_eq!(rules::unguarded_roots(&sources), NONE);
}

#[test]
fn only_programs_print() {
    assert_eq!(rules::print_breaches(&sources(&packages())), NONE);
}

#[test]
fn only_one_file_writes_to_the_terminal() {
    assert_eq!(rules::terminal_breaches(&sources(&packages())), NONE);
}

#[test]
fn no_async_runtime_comes_near_a_measurement() {
    let packages = packages();
    assert_eq!(rules::tokio_dependencies(&packages), NONE);
    assert_eq!(rules::tokio_breaches(&sources(&packages)), NONE);
}

#[test]
fn only_allowed_licences_sources_and_versions_are_built_in() {
    let rules = dependencies::Rules::read(&workspace::deny_rules());
    let all = workspace::dependencies();
    assert!(all.len() > 100, "the dependencies of dependencies are read, too");
    assert_eq!(dependencies::license_breaches(&all, &rules), NONE);
    assert_eq!(dependencies::source_breaches(&all, &rules), NONE);
    assert_eq!(dependencies::ban_breaches(&all, &rules), NONE);
    assert_eq!(dependencies::duplicates(&all, &rules), NONE);
}

#[test]
fn files_stay_readable() {
    assert_eq!(rules::long_files(&sources(&packages())), NONE);
}

/// Without this, a mistake in reading the workspace would make every rule above hold.
#[test]
fn the_rules_see_the_real_workspace() {
    let packages = packages();
    let sys = packages.iter().find(|it| it.name == "sterna-sys").expect("sys is in the workspace");
    assert!(sys.dependencies.contains(&"rustix".to_owned()), "{:?}", sys.dependencies);

    let sources = sources(&packages);
    let find = |path: &str| sources.iter().find(|it| it.path == Path::new(path)).expect(path);
    assert!(find("crates/cli/src/main.rs").is_root);
    assert!(!find("crates/cli/tests/architecture/rules.rs").is_root);
    assert_eq!(find("xtask/src/main.rs").package, "xtask");
}
