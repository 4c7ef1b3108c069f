//! A second QEMU, newer than the distribution's, in a cache beside it.
//!
//! Sterna promises to work from QEMU 7.2 on; on Debian 12 the newer one comes from backports. Its packages are
//! fetched with lists of our own and unpacked, not installed: the machine's sources and packages stay as they are, and
//! no privilege is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::succeed;

const PACKAGE: &str = "qemu-system-x86";

/// A script in place of the program, since a program that was not installed finds neither its libraries nor its
/// firmware by itself. `exec` keeps the process's number, which Sterna watches.
const WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
lib=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
QEMU_MODULE_DIR="$lib/qemu"
export LD_LIBRARY_PATH QEMU_MODULE_DIR
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L /usr/share/qemu -L /usr/lib/ipxe/qemu "$@"
"#;

/// Fetches and unpacks, unless it was done before; prints the program.
pub fn run() -> Result<()> {
    let program = program()?;
    let cache = cache()?;
    if !program.exists() {
        fs::create_dir_all(&cache)?;
        let packages = fetch(&cache.join("apt"))?;
        let root = cache.join("root");
        for package in &packages {
            succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        }
        // Last, so that an attempt that was cut short is made again.
        fs::write(&program, WRAPPER)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let version = Command::new(&program).arg("--version").output()?;
    if !version.status.success() {
        let words = String::from_utf8_lossy(&version.stderr);
        bail!("{} does not run: {}", program.display(), words.trim());
    }
    eprint!("{}", String::from_utf8_lossy(&version.stdout));
    println!("{}", program.display());
    Ok(())
}

/// The program, whether it has been fetched or not.
pub fn program() -> Result<PathBuf> {
    Ok(cache()?.join("qemu-system-x86_64"))
}

/// The program, if it was fetched before.
pub fn fetched() -> Option<PathBuf> {
    let program = program().ok()?;
    program.exists().then_some(program)
}

fn cache() -> Result<PathBuf> {
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache"));
    let place = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(usual);
    Ok(place.context("Neither XDG_CACHE_HOME nor HOME is set")?.join("sterna/qemu"))
}

/// The package and what it needs that is not installed.
fn fetch(directory: &Path) -> Result<Vec<PathBuf>> {
    let archives = directory.join("cache/archives");
    fs::create_dir_all(archives.join("partial"))?;
    fs::create_dir_all(directory.join("lists/partial"))?;
    let (site, release, key) = source()?;
    let suite = format!("{release}-backports");
    let line = |suite: &str| format!("deb {key}{site} {suite} main\n");
    fs::write(directory.join("sources.list"), line(&release) + &line(&suite))?;
    succeed(apt_get(directory).arg("update"))?;
    let install = ["install", "--yes", "--download-only", "--no-install-recommends", "-t"];
    succeed(apt_get(directory).args(install).args([suite.as_str(), PACKAGE]))?;
    let entries = fs::read_dir(&archives)?.filter_map(|it| Some(it.ok()?.path()));
    let packages: Vec<PathBuf> =
        entries.filter(|it| it.extension().is_some_and(|it| it == "deb")).collect();
    let name =
        |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(PACKAGE));
    if !packages.iter().any(name) {
        bail!("{suite} has no {PACKAGE} newer than the one that is installed");
    }
    Ok(packages)
}

/// `apt-get` with lists and archives of its own.
fn apt_get(directory: &Path) -> Command {
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    let mut command = Command::new("apt-get");
    for word in [
        option("Dir::Etc::sourcelist", &directory.join("sources.list")),
        option("Dir::Etc::sourceparts", Path::new("/dev/null")),
        option("Dir::State::lists", &directory.join("lists")),
        option("Dir::Cache", &directory.join("cache")),
        "Debug::NoLocking=1".to_owned(),
    ] {
        command.arg("-o").arg(word);
    }
    // What is printed there is for people; the result of this chore is a path.
    command.arg("-qq").stdout(std::process::Stdio::null());
    command
}

/// The mirror that this machine uses, its release, and how the mirror is trusted.
fn source() -> Result<(String, String, String)> {
    let format = "$(SITE) $(CODENAME) $(COMPONENT) $(SIGNED_BY)";
    let mut command = Command::new("apt-get");
    let command = command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let output =
        command.output().context("There is no apt-get; QEMU 10 is fetched on Debian only")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let key = if Path::new(key).exists() { format!("[signed-by={key}] ") } else { String::new() };
    let found = text.lines().find_map(release);
    let (site, release) = found.context("apt has no source of Debian's main packages")?;
    Ok((site, release, key))
}

/// Mirror and release from one line, if it is the release itself and not its updates.
fn release(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [site, release, "main", ..] if !release.contains('-') && site.contains("debian") => {
            Some((site.to_owned(), release.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_itself_is_chosen() {
        let of = |line: &str| release(line).map(|it| it.1);
        assert_eq!(
            of("http://mirror/debian bookworm main $(SIGNED_BY)").as_deref(),
            Some("bookworm")
        );
        assert_eq!(of("http://mirror/debian bookworm-updates main"), None);
        assert_eq!(of("http://other/repo nodistro main"), None);
        assert_eq!(of(""), None);
    }
}
