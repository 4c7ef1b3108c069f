//! The whole API server, 1.20.2, from the source package of Debian 12.
//!
//! It is older than the Go that Debian 12 compiles it with, so two edits are needed; see [`mend`].

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{entry, quietly, with_go};
use crate::apt::{Apt, Mirror};
use crate::process::succeed;

pub const PROGRAM: &str = "kube-apiserver";

const GO: &str = "1.19";
const PACKAGES: [&str; 3] =
    ["golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev"];

/// The libraries of clouds, which are a large part of what would be compiled and have nothing to do here.
const LEFT_OUT: &str = "-tags=providerless";

/// What its main Makefile tells the one that generates code.
const LAYOUT: &str = "META_DIR=.make OUT_DIR=_output BIN_DIR=_output/bin PRJ_SRC_PATH=k8s.io/kubernetes GENERATED_FILE_PREFIX=zz_generated. KUBE_VERBOSE=1";

/// Its build copies its results with rsync, which is more than it takes to copy them.
const RSYNC: &str = "#!/bin/sh\nshift\nexec cp -p \"$@\"\n";

/// Fetches, mends and compiles.
pub fn build(work: &Path, result: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    let sources = mirror.line("deb", "bookworm") + &mirror.line("deb-src", "bookworm");
    let apt = Apt::new(&work.join("apt"), &sources, false)?;
    apt.download(PACKAGES)?;
    let root = work.join("root");
    apt.unpack(&root)?;
    let source = fetch_source(&apt, work)?;
    mend(&source, &root)?;

    let rsync = work.join("bin/rsync");
    fs::create_dir_all(work.join("bin"))?;
    fs::write(&rsync, RSYNC)?;
    fs::set_permissions(&rsync, fs::Permissions::from_mode(0o755))?;

    let workspace = source.join(".go/src/k8s.io");
    fs::create_dir_all(&workspace)?;
    symlink("../../..", workspace.join("kubernetes"))?;
    // The build tells from its folder's name, links not followed, where in the Go workspace it is. `make` alone would
    // generate all code anew first, of which the source package lacks only this.
    let script = format!(
        "cd \"$1\" && mkdir -p .make _output \
        && nice make -f Makefile.generated_files gen_openapi CALLED_FROM_MAIN_MAKEFILE=1 {LAYOUT} \
        && exec nice hack/make-rules/build.sh cmd/kube-apiserver"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(workspace.join("kubernetes"));
    with_go(&mut command, &root, GO, work)?;
    command.env("GOPATH", source.join(".go")).env("GOFLAGS", LEFT_OUT).env("GOLDFLAGS", "-s -w");
    quietly(&mut command, &work.join("log"))?;
    fs::rename(source.join("_output/local/go/bin/kube-apiserver"), result)?;
    Ok(())
}

fn fetch_source(apt: &Apt, work: &Path) -> Result<std::path::PathBuf> {
    let archives = apt.archives();
    succeed(apt.get().args(["--download-only", "source", "kubernetes"]).current_dir(&archives))?;
    let description = entry(&archives, "kubernetes_", ".dsc")?;
    let source = work.join("source");
    let mut unpack = Command::new("dpkg-source");
    unpack.args(["--no-check", "-x"]).arg(description).arg(&source);
    quietly(&mut unpack, &work.join("log"))?;
    Ok(source)
}

/// Makes it run when compiled by a Go that is newer than it is.
///
/// - Its copy of `reflect2` reads the runtime's maps as they were before Go 1.18, and crashes; Debian's package of the
///   same library knows both.
/// - Its validation takes an empty text for an absent one, so that a custom resource with the default `""` is refused.
fn mend(source: &Path, root: &Path) -> Result<()> {
    let reflect = "github.com/modern-go/reflect2";
    let old = source.join("vendor").join(reflect);
    ensure!(old.join("reflect2.go").exists(), "There is no {}", old.display());
    fs::remove_dir_all(&old)?;
    fs::rename(root.join("usr/share/gocode/src").join(reflect), &old)?;
    replace(
        &source.join("vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go"),
        "if data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data)) {",
        "if data == nil {",
    )
}

/// Replaces a text that must be there exactly once.
fn replace(file: &Path, from: &str, to: &str) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("Cannot read {}", file.display()))?;
    let count = text.matches(from).count();
    ensure!(
        count == 1,
        "{} has the text to replace {count} times, not once: {from}",
        file.display()
    );
    fs::write(file, text.replace(from, to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_there_once_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |text: &str, expected: Result<&str, &str>| {
            fs::write(file.path(), text).unwrap();
            let outcome = replace(file.path(), "old", "new").map_err(|it| it.to_string());
            match expected {
                Ok(text) => {
                    outcome.unwrap();
                    assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
                }
                Err(words) => assert!(outcome.unwrap_err().contains(words)),
            }
        };
        check("an old thing", Ok("an new thing"));
        check("a thing", Err("0 times, not once: old"));
        check("old old", Err("2 times"));
    }
}
