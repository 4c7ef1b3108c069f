//! What the machine should have besides Rust and a C linker, and how to get it.
//!
//! The linker itself is not in the list: without one this program would not exist. Nothing here
//! is worth failing for either, because a test that misses its tool skips and says so.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::process::{cargo, shown, succeed, works};

/// No program, but looked for like one.
const KERNEL: &str = "a kernel in /boot";

const KERNEL_PACKAGE: &str = match cfg!(target_arch = "aarch64") {
    true => "linux-image-cloud-arm64",
    false => "linux-image-cloud-amd64",
};

struct Tool {
    program: &'static str,
    debian_package: &'static str,
    used_for: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "ip", debian_package: "iproute2", used_for: "links of a test's own" },
    Tool { program: "tc", debian_package: "iproute2", used_for: "real link delay and bandwidth" },
    Tool { program: "nft", debian_package: "nftables", used_for: "loss on one way" },
    Tool {
        program: "qemu-system-x86_64",
        debian_package: "qemu-system-x86",
        used_for: "migrations of real guests",
    },
    Tool { program: KERNEL, debian_package: KERNEL_PACKAGE, used_for: "real guests" },
    Tool { program: "cpio", debian_package: "cpio", used_for: "what a guest boots, unpacked" },
    Tool { program: "busybox", debian_package: "busybox-static", used_for: "guests with a shell" },
    Tool { program: "mkfs.ext4", debian_package: "e2fsprogs", used_for: "disks of guests" },
    Tool { program: "ssh", debian_package: "openssh-client", used_for: "another machine" },
    Tool { program: "sshd", debian_package: "openssh-server", used_for: "another machine" },
    Tool { program: "jq", debian_package: "jq", used_for: "reading reports as a script would" },
    Tool { program: "iperf3", debian_package: "iperf3", used_for: "a figure beside benchmarks" },
    Tool {
        program: "etcd",
        debian_package: "etcd-server",
        used_for: "a real Kubernetes API server",
    },
    Tool {
        program: "sockperf",
        debian_package: "sockperf",
        used_for: "a figure beside benchmarks",
    },
    Tool { program: "strace", debian_package: "strace", used_for: "calls of a hot loop" },
    Tool { program: "chromium", debian_package: "chromium", used_for: "pages of reports, opened" },
];

/// Makes the machine ready: installs what is missing if it may and can, lists what is left.
pub fn prepare(may_install: bool) -> Result<()> {
    components(may_install)?;
    let mut missing = missing_tools();
    if !missing.is_empty() && may_install && is_root() && on_path("apt-get").is_some() {
        install(&packages(&missing));
        missing = missing_tools();
    }
    for tool in &missing {
        println!(
            "Missing: {} ({}); without it tests that need it skip. Debian package: {}",
            tool.program, tool.used_for, tool.debian_package
        );
    }
    if !works(&mut cargo(&["nextest", "--version"])) {
        println!(
            "Missing: cargo-nextest; `cargo test` is used. Get it: cargo install cargo-nextest"
        );
    }
    if missing.is_empty() {
        println!("Every system tool is here");
    }
    Ok(())
}

/// rustfmt and clippy come with the usual toolchain but not with the minimal one.
fn components(may_install: bool) -> Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if works(&mut cargo(&[command, "--version"])) {
            continue;
        }
        let mut add = Command::new("rustup");
        add.args(["component", "add", component]).stdin(Stdio::null());
        anyhow::ensure!(may_install, "`cargo {command}` is missing; run `{}`", shown(&add));
        succeed(&mut add)?;
    }
    Ok(())
}

fn missing_tools() -> Vec<&'static Tool> {
    let is_missing = |it: &&Tool| match it.program {
        KERNEL => !has_kernel(),
        program => on_path(program).is_none(),
    };
    TOOLS.iter().filter(is_missing).collect()
}

fn has_kernel() -> bool {
    let files = std::fs::read_dir("/boot").into_iter().flatten().flatten();
    files.into_iter().any(|it| it.file_name().to_string_lossy().starts_with("vmlinuz"))
}

fn packages(tools: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|it| it.debian_package).collect();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        // A mirror that does not answer must cost seconds, not the whole time budget.
        command.args(["-qq", "-o", "Acquire::http::Timeout=20", "-o", "DPkg::Lock::Timeout=60"]);
        command.args(["-o", "Dpkg::Use-Pty=0"]);
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command
    };
    println!("Installing {}", packages.join(" "));
    let outcome = succeed(&mut apt(&["update"]))
        .and_then(|()| succeed(apt(&["install", "-y", "--no-install-recommends"]).args(packages)));
    if let Err(error) = outcome {
        println!("Could not install: {error:#}");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// Where a program lies; `/usr/sbin` counts even where an unprivileged PATH leaves it out.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|it| it.join(program))
        .find(|it| is_executable(it))
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_only_where_they_can_be_run() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-of-sterna").is_none());
        assert!(!is_executable(Path::new("/proc/self/status")));
        assert!(!is_executable(Path::new("/")));
    }

    #[test]
    fn a_package_with_two_tools_is_installed_once() {
        let tools: Vec<&Tool> = TOOLS.iter().collect();
        assert_eq!(
            packages(&tools),
            [
                "iproute2",
                "nftables",
                "qemu-system-x86",
                KERNEL_PACKAGE,
                "cpio",
                "busybox-static",
                "e2fsprogs",
                "openssh-client",
                "openssh-server",
                "jq",
                "iperf3",
                "etcd-server",
                "sockperf",
                "strace",
                "chromium"
            ]
        );
    }
}
