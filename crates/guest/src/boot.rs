//! What only a guest's first process does.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use crate::error::AgentError;

/// Modules that must be loaded, already in the order of their dependencies: names begin with a number.
const MODULES: &str = "/modules";

/// Mounts the kernel's own file systems.
pub fn mount_all() -> Result<(), AgentError> {
    let mounts = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];
    for (kind, target) in mounts {
        let failed = |source: io::Error| AgentError::Mount { target, source };
        fs::create_dir_all(target).map_err(failed)?;
        match mount(kind, target, kind, MountFlags::empty(), None) {
            // Some kernels have mounted /dev already.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(())
}

/// Loads what is in [`MODULES`], if there is anything.
pub fn load_modules() -> Result<(), AgentError> {
    let Ok(entries) = fs::read_dir(MODULES) else { return Ok(()) };
    let mut modules: Vec<_> = entries.flatten().map(|it| it.path()).collect();
    modules.sort();
    modules.iter().try_for_each(|module| {
        load(module).map_err(|source| AgentError::Module { module: module.clone(), source })
    })
}

fn load(module: &Path) -> io::Result<()> {
    let file = File::open(module)?;
    match finit_module(file, c"", 0) {
        // Built in, or loaded by the kernel itself meanwhile.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends the guest.
pub fn power_off() -> ! {
    // What was said last is still on its way through the port.
    std::thread::sleep(Duration::from_millis(50));
    rustix::fs::sync();
    // Does not return, unless the machine cannot switch itself off.
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
