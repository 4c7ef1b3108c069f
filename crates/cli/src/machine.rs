//! What a report says of this program and the machine that it ran on.

use std::fs;

use sterna_report::{Host, Tool};

/// This program.
pub fn tool() -> Tool {
    Tool {
        name: "sterna".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Vec::new(),
    }
}

/// The facts that this machine gives.
pub fn host() -> Host {
    let uname = rustix::system::uname();
    let text =
        |it: &std::ffi::CStr| Some(it.to_string_lossy().into_owned()).filter(|it| !it.is_empty());
    Host {
        hostname: text(uname.nodename()),
        kernel: text(uname.release()),
        cpu_model: field("/proc/cpuinfo", "model name", ':'),
        cpus: sterna_sys::cpu::allowed().ok().map(|it| it.len() as u64),
        memory_bytes: field("/proc/meminfo", "MemTotal", ':')
            .and_then(|it| it.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)),
        os: field("/etc/os-release", "PRETTY_NAME", '=').map(|it| it.trim_matches('"').to_owned()),
    }
}

/// The first `name<separator>value` line of a file.
fn field(path: &str, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}
