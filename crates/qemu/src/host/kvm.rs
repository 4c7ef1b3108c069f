//! Whether QEMU can use KVM here, and post-copy under it.

use std::fs::{self, File};
use std::io;

use sterna_pilot::{Availability, Finding};
use sterna_sys::tracking::probe_kernel_faults;

const GROUP: &str = "hypervisor";
const DEVICE: &str = "/dev/kvm";

/// What was seen of KVM.
///
/// # Why an openable device is not enough
///
/// Inside some virtual machines there is a `/dev/kvm` that can be opened although the processor shows neither `vmx` nor `svm`.
/// It is a KVM in software: firmware and 16-bit code run on it, slowly, and a 64-bit Linux kernel hangs at boot.
/// Whoever took it for KVM would wait for a guest that never comes.
/// So on x86 the processor's flag counts as much as the device.
/// Elsewhere `/proc/cpuinfo` has no such flag, and the device decides alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    device: Device,
    cpu: Cpu,
    is_x86: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Device {
    Absent,
    /// There, but not for us; the system's reason.
    Refused(String),
    Opened,
}

/// What `/proc/cpuinfo` says of virtualization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cpu {
    /// `vmx` (Intel) or `svm` (AMD).
    flag: Option<&'static str>,
    /// Whether this machine is a virtual one itself.
    is_virtual: bool,
}

/// Whether KVM can be used, as far as can be seen without booting a guest.
pub fn device() -> Finding {
    let device = match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Device::Opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Device::Absent,
        Err(error) => Device::Refused(error.to_string()),
    };
    let cpu = cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    let is_x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    judge(&Sight { device, cpu, is_x86 })
}

fn cpu(cpuinfo: &str) -> Cpu {
    let flags = cpuinfo.lines().find_map(|line| {
        let (name, flags) = line.split_once(':')?;
        (name.trim() == "flags").then_some(flags)
    });
    let has = |flag: &str| flags.unwrap_or_default().split_whitespace().any(|it| it == flag);
    Cpu { flag: ["vmx", "svm"].into_iter().find(|it| has(it)), is_virtual: has("hypervisor") }
}

fn judge(sight: &Sight) -> Finding {
    let Sight { device, cpu, is_x86 } = sight;
    let lacks_flag = *is_x86 && cpu.flag.is_none();
    let value = match (device, lacks_flag) {
        (Device::Absent, true) => {
            format!("there is no {DEVICE}, and the CPU has neither vmx nor svm")
        }
        (Device::Absent, false) => format!("there is no {DEVICE}"),
        (_, true) => format!(
            "{DEVICE} is there, but the CPU has neither vmx nor svm: a software KVM that cannot run a 64-bit Linux guest"
        ),
        (Device::Refused(reason), false) => format!("{DEVICE} cannot be opened: {reason}"),
        (Device::Opened, false) => match cpu.flag {
            Some(flag) => format!("{DEVICE} can be opened, and the CPU has {flag}"),
            None => format!("{DEVICE} can be opened"),
        },
    };
    let availability = if *device == Device::Opened && !lacks_flag {
        Availability::Ok
    } else {
        Availability::missing(
            "TCG will be used: QEMU guests run many times slower, and their dirty rates and downtimes are not those of a real host",
            remedy(sight),
        )
    };
    Finding::new(GROUP, "kvm", value, availability)
        .fact("is_device_present", *device != Device::Absent)
        .fact("is_device_openable", *device == Device::Opened)
        .fact("cpu_flag", cpu.flag)
        .fact("is_virtual_machine", cpu.is_virtual)
}

fn remedy(sight: &Sight) -> &'static str {
    let Sight { device, cpu, is_x86 } = sight;
    match (device, cpu.flag) {
        (_, None) if *is_x86 && cpu.is_virtual => {
            "Switch on nested virtualization for this virtual machine, where it is hosted"
        }
        (_, None) if *is_x86 => "Switch on virtualization (VT-x, AMD-V, SVM) in the firmware",
        (Device::Refused(_), _) => {
            "sudo usermod -aG kvm $USER, and log in again; or hand the device to this container"
        }
        (_, Some("svm")) => "sudo modprobe kvm_amd, or hand the device to this container",
        (_, Some(_)) => "sudo modprobe kvm_intel, or hand the device to this container",
        (_, None) => "Boot a kernel that has KVM at the level at which it may host guests",
    }
}

/// What post-copy of a guest under KVM needs: its faults are taken in the kernel.
pub fn kernel_faults() -> Finding {
    const SWITCH: &str = "/proc/sys/vm/unprivileged_userfaultfd";
    let switch = fs::read_to_string(SWITCH).ok().and_then(|it| it.trim().parse().ok());
    let device = File::options().read(true).write(true).open("/dev/userfaultfd").is_ok();
    judge_kernel_faults(switch, probe_kernel_faults().is_ok(), device)
}

/// What to do where QEMU refuses post-copy because this machine keeps the faults from it; empty where it does not.
pub fn postcopy_advice() -> String {
    advice_of(&kernel_faults())
}

fn advice_of(finding: &Finding) -> String {
    match &finding.availability {
        Availability::Ok => String::new(),
        Availability::Limited(shortfall) | Availability::Missing(shortfall) => format!(
            "; on this machine {}: {}",
            finding.value.as_deref().unwrap_or("userfaultfd is not allowed"),
            shortfall.remedy
        ),
    }
}

fn judge_kernel_faults(switch: Option<u64>, by_call: bool, by_device: bool) -> Finding {
    let mut value = switch.map_or_else(
        || "there is no vm.unprivileged_userfaultfd".to_owned(),
        |it| format!("vm.unprivileged_userfaultfd = {it}"),
    );
    match (by_call, by_device) {
        (true, _) if switch == Some(0) => value.push_str(", but this user is privileged"),
        (false, true) => value.push_str(", but /dev/userfaultfd can be opened"),
        _ => {}
    }
    let consequence = "Post-copy of QEMU guests started by this user is refused";
    let availability = match (by_call, by_device) {
        (true, _) => Availability::Ok,
        (false, true) => Availability::limited(
            "Post-copy needs a QEMU that knows the device (8.0 or later)",
            "sudo sysctl vm.unprivileged_userfaultfd=1 for older ones",
        ),
        (false, false) => Availability::missing(
            consequence,
            "sudo sysctl vm.unprivileged_userfaultfd=1, or allow this user to read and write /dev/userfaultfd for QEMU 8.0 or later",
        ),
    };
    Finding::new(GROUP, "userfaultfd_kernel_faults", value, availability)
        .fact("unprivileged_userfaultfd", switch)
        .fact("is_call_allowed", by_call)
        .fact("is_device_openable", by_device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_processor_are_whole_words() {
        #[track_caller]
        fn check(cpuinfo: &str, flag: Option<&'static str>, is_virtual: bool) {
            assert_eq!(cpu(cpuinfo), Cpu { flag, is_virtual });
        }
        check("processor\t: 0\nflags\t\t: fpu vmx sse\n", Some("vmx"), false);
        check("flags : fpu svm hypervisor\nflags : fpu\n", Some("svm"), true);
        check("flags : fpu svm_lock vmx_ept\nvmx flags : vnmi\n", None, false);
        check("Features : fp asimd\n", None, false);
        check("", None, false);
    }

    #[test]
    fn kvm_is_usable_by_device_and_processor_together() {
        #[track_caller]
        fn check(device: Device, cpu: Cpu, is_x86: bool, word: &str, value: &str, remedy: &str) {
            let finding = judge(&Sight { device, cpu, is_x86 });
            assert_eq!(finding.availability.as_str(), word);
            let told = finding.value.as_deref().unwrap();
            assert!(told.contains(value), "{told}");
            let told = finding.availability.shortfall().map_or("", |it| it.remedy.as_str());
            assert!(told.contains(remedy), "{told}");
        }
        let denied = || Device::Refused("Permission denied".to_owned());
        let none = Cpu { flag: None, is_virtual: false };
        let inside = Cpu { flag: None, is_virtual: true };
        let vmx = Cpu { flag: Some("vmx"), is_virtual: false };
        let svm = Cpu { flag: Some("svm"), is_virtual: true };
        check(Device::Opened, vmx, true, "ok", "can be opened, and the CPU has vmx", "");
        check(Device::Opened, inside, true, "missing", "a software KVM", "nested");
        check(denied(), inside, true, "missing", "a software KVM", "nested");
        check(denied(), vmx, true, "missing", "Permission denied", "usermod -aG kvm");
        check(Device::Absent, vmx, true, "missing", "no /dev/kvm", "kvm_intel");
        check(Device::Absent, svm, true, "missing", "no /dev/kvm", "kvm_amd");
        check(Device::Absent, none, true, "missing", "neither vmx nor svm", "firmware");
        check(Device::Opened, none, false, "ok", "/dev/kvm can be opened", "");
        check(denied(), none, false, "missing", "Permission denied", "usermod");
        check(Device::Absent, none, false, "missing", "no /dev/kvm", "Boot a kernel");
    }

    #[test]
    fn post_copy_needs_the_call_or_the_device() {
        #[track_caller]
        fn check(switch: Option<u64>, by_call: bool, by_device: bool, word: &str, value: &str) {
            let finding = judge_kernel_faults(switch, by_call, by_device);
            assert_eq!(finding.availability.as_str(), word);
            assert!(finding.value.as_deref().unwrap().ends_with(value));
        }
        check(Some(1), true, false, "ok", "userfaultfd = 1");
        check(Some(0), true, true, "ok", "this user is privileged");
        check(Some(0), false, true, "limited", "/dev/userfaultfd can be opened");
        check(Some(0), false, false, "missing", "userfaultfd = 0");
        check(None, true, false, "ok", "no vm.unprivileged_userfaultfd");
        check(None, false, false, "missing", "no vm.unprivileged_userfaultfd");
    }

    #[test]
    fn a_refusal_of_post_copy_says_what_this_machine_keeps_back() {
        let advice = |switch, by_call| advice_of(&judge_kernel_faults(switch, by_call, false));
        assert_eq!(advice(Some(1), true), "");
        let text = advice(Some(0), false);
        assert!(text.contains("on this machine vm.unprivileged_userfaultfd = 0"), "{text}");
        assert!(text.contains("sudo sysctl vm.unprivileged_userfaultfd=1"), "{text}");
    }
}
