//! Real Kubernetes API servers for tests, built from Debian's packages alone into a cache outside the tree.
//!
//! Two, because none has all: a current engine of custom resources, which validates strictly as today's clusters do but
//! knows no core types; and a whole API server of 2021, which is the newest that Debian 12 has the source of.

mod current;
mod full;
mod pinned;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::apt::cache;
use crate::process::succeed;

/// Which to build.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = [current::PROGRAM, full::PROGRAM])]
    only: Option<String>,
}

/// Builds what is not in the cache; prints the programs.
pub fn run(options: &Options) -> Result<()> {
    let cache = cache("kube-apiserver")?;
    std::fs::create_dir_all(&cache)?;
    type Build = fn(&Path, &Path) -> Result<()>;
    let builds: [(&str, Build); 2] =
        [(full::PROGRAM, full::build), (current::PROGRAM, current::build)];
    for (name, build) in builds {
        if options.only.as_ref().is_some_and(|it| it != name) {
            continue;
        }
        let program = cache.join(name);
        if !program.exists() {
            make(name, &cache, &program, build)?;
        }
        println!("{}", program.display());
    }
    Ok(())
}

/// In a folder that is removed afterwards; the program appears whole or not at all.
fn make(
    name: &str,
    cache: &Path,
    program: &Path,
    build: fn(&Path, &Path) -> Result<()>,
) -> Result<()> {
    eprintln!("Building {name}; this takes some minutes");
    let work = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(cache)?;
    let result = work.path().join("result");
    build(work.path(), &result).with_context(|| format!("{name} cannot be built"))?;
    std::fs::rename(&result, program)?;
    // Go makes its cache of modules read-only at times; what cannot be removed is not worth failing for.
    drop(work.close());
    Ok(())
}

/// A command with a Go of its own and nothing of the user's.
fn with_go(command: &mut Command, root: &Path, version: &str, work: &Path) -> Result<()> {
    let goroot = root.join(format!("usr/lib/go-{version}"));
    ensure!(goroot.join("bin/go").exists(), "{} has no Go", goroot.display());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = [work.join("bin"), goroot.join("bin")];
    let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path)))?;
    command
        .env("PATH", path)
        .env("GOROOT", &goroot)
        .env("GOCACHE", work.join("go-cache"))
        .env("HOME", work)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", std::env::var_os("GOFLAGS").unwrap_or_default());
    Ok(())
}

/// Runs with low priority, and its output kept for the case that it fails.
fn quietly(command: &mut Command, log: &Path) -> Result<()> {
    let file = std::fs::File::create(log)?;
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
    succeed(command).with_context(|| {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(12).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    })
}

/// The one entry of a folder that begins so.
fn entry(directory: &Path, prefix: &str, suffix: &str) -> Result<PathBuf> {
    let names = std::fs::read_dir(directory)?.filter_map(|it| Some(it.ok()?.path()));
    let fits = |it: &PathBuf| {
        let name = it.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    let found = names.into_iter().find(fits);
    found.with_context(|| format!("{} has no {prefix}*{suffix}", directory.display()))
}
