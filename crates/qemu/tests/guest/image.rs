//! The image of a guest, built from this machine's kernel and from broken or unusual ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sterna_qemu::guest_image::{GuestImage, ImageError, ImageOptions, build};

const CONFIG: &str = "workload=memory=1MiB";

/// With some other program for an agent, since none of these guests is booted.
fn image(kernel: Option<&Path>, directory: &Path) -> Result<GuestImage, ImageError> {
    let agent = Some(Path::new("/proc/self/comm"));
    let initramfs = &directory.join("initramfs");
    build(&ImageOptions { kernel, agent, config: CONFIG, initramfs })
}

/// A copy of the kernel and its virtio modules as a distribution packs them; None if that cannot be had here.
fn packed_copy(of: &GuestImage, root: &Path, program: &str, suffix: &str) -> Option<PathBuf> {
    let release = &of.kernel_release;
    let from = Path::new("/lib/modules").join(release);
    let to = root.join("lib/modules").join(release);
    let list = fs::read_to_string(from.join("modules.dep")).ok()?;
    let files = list.lines().filter_map(|it| it.split_once(':')).map(|it| it.0);
    for file in files.filter(|it| it.contains("virtio") || it.contains("failover")) {
        if !file.ends_with(".ko") {
            return None;
        }
        fs::create_dir_all(to.join(file).parent()?).ok()?;
        fs::copy(from.join(file), to.join(file)).ok()?;
        let mut pack = Command::new(program);
        if !pack.arg("-q").arg(to.join(file)).status().ok()?.success() {
            return None;
        }
        let _ = fs::remove_file(to.join(file));
    }
    fs::write(to.join("modules.dep"), list.replace(".ko", &format!(".ko.{suffix}"))).ok()?;
    let kernel = root.join("boot").join(format!("vmlinuz-{release}"));
    fs::create_dir_all(kernel.parent()?).ok()?;
    fs::copy(&of.kernel, &kernel).ok()?;
    Some(kernel)
}

#[test]
fn packed_modules_make_the_same_image() {
    let directory = tempfile::tempdir().unwrap();
    let plain = match image(None, directory.path()) {
        Ok(plain) => plain,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let expected = fs::read(&plain.initramfs).unwrap();
    for (program, suffix) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let root = tempfile::tempdir().unwrap();
        let Some(kernel) = packed_copy(&plain, root.path(), program, suffix) else {
            eprintln!("skipped: modules cannot be packed with {program} here");
            continue;
        };
        let packed = image(Some(&kernel), root.path()).unwrap();
        assert_eq!(packed.kernel_release, plain.kernel_release);
        assert!(packed.missing.is_empty(), "{:?}", packed.missing);
        assert!(fs::read(&packed.initramfs).unwrap() == expected, "{program}: another image");
    }
}

#[test]
fn a_kernel_without_modules_is_taken_and_what_is_missing_told() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("bzImage");
    let mut bytes = vec![0; 0x800];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20E..0x210].copy_from_slice(&0x300u16.to_le_bytes());
    bytes[0x500..0x50C].copy_from_slice(b"0.0.1-none x");
    fs::write(&kernel, bytes).unwrap();
    let found = image(Some(&kernel), directory.path()).unwrap();
    assert_eq!(found.kernel_release, "0.0.1-none");
    assert_eq!(found.missing, ["virtio_pci", "virtio_console", "virtio_net"]);
}

#[test]
fn what_cannot_be_built_is_said_before_a_guest_is_booted() {
    let directory = tempfile::tempdir().unwrap();
    let check = |kernel: &str, config: &str, agent: &str, expected: &str| {
        let options = ImageOptions {
            kernel: Some(Path::new(kernel)),
            agent: Some(Path::new(agent)),
            config,
            initramfs: &directory.path().join("initramfs"),
        };
        let error = build(&options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?}, wanted {expected:?}");
    };
    let agent = "/proc/self/comm";
    check("/nowhere/vmlinuz", CONFIG, agent, "Kernel /nowhere/vmlinuz cannot be read");
    check("/proc/self/comm", CONFIG, agent, "/proc/self/comm is not a kernel");
    check("/nowhere/vmlinuz", CONFIG, "/nowhere/agent", "agent /nowhere/agent cannot be read");
    check("/nowhere/vmlinuz", "speed=9", agent, "Unknown key `speed`");
}
