//! Which accelerator a guest gets on this machine, and why.

use std::fs;
use std::path::Path;

use crate::Accelerator;

/// One way to run the guest, as QEMU names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `kvm` or `tcg`.
    pub name: &'static str,
    /// Why this one, as the rest of a sentence.
    pub reason: String,
}

/// What to try, best first. A guest that does not boot on one gets the next.
///
/// `obstacles` are those of the machines that take part.
pub(crate) fn choices(wish: Accelerator, obstacles: &[String]) -> Vec<Choice> {
    let tcg = |reason: String| Choice { name: "tcg", reason };
    let kvm = |reason: &str| Choice { name: "kvm", reason: reason.to_owned() };
    match wish {
        Accelerator::Kvm => vec![kvm("as asked for")],
        Accelerator::Tcg => vec![tcg("as asked for".to_owned())],
        Accelerator::Auto => match obstacles {
            [] => vec![
                kvm("the processor has it and /dev/kvm opens"),
                tcg("the guest did not boot with KVM".to_owned()),
            ],
            [obstacle, ..] => vec![tcg(obstacle.clone())],
        },
    }
}

/// Why KVM is out of the question, if it is.
///
/// The device alone proves nothing: a software KVM inside a virtual machine has one too, and there a Linux guest hangs while it boots.
pub(crate) fn kvm_obstacle() -> Option<String> {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    obstacle(&flags, Path::new("/dev/kvm"))
}

fn obstacle(cpuinfo: &str, device: &Path) -> Option<String> {
    let has_flag = |line: &str| line.split_whitespace().any(|it| it == "vmx" || it == "svm");
    let flags = cpuinfo.lines().filter(|it| it.starts_with("flags"));
    if cfg!(target_arch = "x86_64") && !flags.clone().any(has_flag) {
        return Some("the processor offers neither vmx nor svm here".to_owned());
    }
    let opened = fs::OpenOptions::new().read(true).write(true).open(device);
    opened.err().map(|error| format!("{} cannot be opened: {error}", device.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_the_processor_and_the_device() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let (there, missing) = (device.path(), Path::new("/nonexistent/kvm"));
        let with = "processor: 0\nflags\t\t: fpu vmx sse2\n";
        let without = "flags\t\t: fpu hypervisor svml\nvmx flags : ept\n";
        assert_eq!(obstacle(with, there), None);
        if cfg!(target_arch = "x86_64") {
            assert!(obstacle(without, there).unwrap().contains("vmx"));
        }
        assert!(obstacle(with, missing).unwrap().contains("/nonexistent/kvm"));
    }

    #[test]
    fn a_wish_is_never_second_guessed() {
        assert_eq!(choices(Accelerator::Kvm, &["no".to_owned()]).len(), 1);
        assert_eq!(choices(Accelerator::Tcg, &[])[0].name, "tcg");
        assert_eq!(choices(Accelerator::Auto, &[]).last().unwrap().name, "tcg");
        let other = "the processor of the other machine has none".to_owned();
        let found = choices(Accelerator::Auto, std::slice::from_ref(&other));
        assert_eq!(found, [Choice { name: "tcg", reason: other }]);
    }
}
