//! This workspace as data, as cargo and the file system tell it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::dependencies::Dependency;

/// One package of the workspace.
pub struct Package {
    pub name: String,
    pub folder: PathBuf,
    /// The text of its Cargo.toml.
    pub manifest: String,
    /// Of every kind: normal, for tests, for building.
    pub dependencies: Vec<String>,
    /// The files at which its library and its programs begin.
    pub roots: Vec<PathBuf>,
}

/// One file of Rust code.
pub struct Source {
    pub package: String,
    /// From the root of the repository, so that no folder above it can matter.
    pub path: PathBuf,
    pub text: String,
    /// Whether a library or a program begins with this file.
    pub is_root: bool,
}

/// Every package of the workspace.
pub fn packages() -> Vec<Package> {
    list(&metadata(&["--no-deps"])["packages"]).iter().map(package).collect()
}

/// Every crate that is built in for this platform, with all features, and those of tests.
pub fn dependencies() -> Vec<Dependency> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&["--all-features", "--locked", "--filter-platform", &target]);
    list(&metadata["packages"]).iter().map(dependency).collect()
}

/// The rules for them.
pub fn deny_rules() -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deny.toml"))
}

fn metadata(more: &[&str]) -> Value {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is here, for it built this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

fn dependency(metadata: &Value) -> Dependency {
    let asked = list(&metadata["dependencies"]).iter();
    // A path within the workspace needs no version.
    let wildcards = asked.filter(|it| it["req"] == "*" && it["path"].is_null());
    Dependency {
        name: text(&metadata["name"]).to_owned(),
        version: text(&metadata["version"]).to_owned(),
        license: metadata["license"].as_str().map(str::to_owned),
        source: metadata["source"].as_str().map(str::to_owned),
        wildcards: wildcards.map(|it| text(&it["name"]).to_owned()).collect(),
    }
}

/// Every file of Rust code in the packages, tests and build scripts included.
pub fn sources(packages: &[Package]) -> Vec<Source> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let repository = crates.and_then(Path::parent).expect("this crate lies in crates/cli");
    let mut sources = Vec::new();
    for package in packages {
        for path in rust_files(&package.folder) {
            sources.push(Source {
                package: package.name.clone(),
                text: read(&path),
                is_root: package.roots.contains(&path),
                path: path.strip_prefix(repository).unwrap_or(&path).to_owned(),
            });
        }
    }
    sources
}

impl Source {
    /// Whether this is code that others run, not a test, a benchmark or a build script.
    pub fn is_library_code(&self) -> bool {
        let names: Vec<_> = self.path.components().map(|it| it.as_os_str()).collect();
        names.iter().any(|it| *it == "src")
            && !names.iter().any(|it| *it == "tests" || *it == "tests.rs")
    }
}

fn package(metadata: &Value) -> Package {
    let manifest_path = PathBuf::from(text(&metadata["manifest_path"]));
    let targets = list(&metadata["targets"]).iter();
    let roots = targets.filter(|it| {
        let kinds = list(&it["kind"]);
        kinds.iter().any(|it| matches!(text(it), "lib" | "bin" | "proc-macro"))
    });
    Package {
        name: text(&metadata["name"]).to_owned(),
        folder: manifest_path.parent().expect("a manifest lies in a folder").to_owned(),
        manifest: read(&manifest_path),
        dependencies: list(&metadata["dependencies"])
            .iter()
            .map(|it| text(&it["name"]).to_owned())
            .collect(),
        roots: roots.map(|it| PathBuf::from(text(&it["src_path"]))).collect(),
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a package's folder can be read") {
        let path = entry.expect("a folder's entry can be read").path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a text here")
}
