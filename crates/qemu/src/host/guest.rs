//! Whether a guest can be made here: a kernel with its drivers, and the agent.

use sterna_pilot::{Availability, Finding};

use super::GROUP;
use crate::guest_image::{self, ImageError};

/// The kernel that a run would boot without `--kernel`, with the modules that it would take along.
pub fn image() -> Finding {
    match guest_image::look() {
        Ok(found) => {
            let modules = found.modules.join(", ");
            let with = if modules.is_empty() { "drivers built in".to_owned() } else { modules };
            let value = format!("{} ({}; {with})", found.kernel.display(), found.release);
            Finding::new(GROUP, "guest_image", value, Availability::Ok)
                .fact("kernel", found.kernel.to_string_lossy())
                .fact("kernel_release", found.release)
                .fact("modules", found.modules)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &ImageError) -> Finding {
    let availability = Availability::missing(
        "A QEMU guest boots only with --kernel",
        "Install a kernel package with its modules (Debian: linux-image-cloud-amd64), or make the one in /boot readable",
    );
    Finding::new(GROUP, "guest_image", error.to_string(), availability)
        .fact("kernel", None::<String>)
        .fact("kernel_release", None::<String>)
        .fact("modules", None::<Vec<String>>)
}

/// The program that runs in the guest.
pub fn agent() -> Finding {
    judge_agent(sterna_agent::program().map(<[u8]>::len))
}

fn judge_agent(bytes: Option<usize>) -> Finding {
    let (value, availability) = match bytes {
        Some(bytes) => (format!("built in, {} KiB", bytes >> 10), Availability::Ok),
        None => (
            "not built in".to_owned(),
            Availability::missing(
                "A QEMU guest has nothing to run without --guest-agent",
                "Build Sterna where the C library can be linked statically (Fedora: glibc-static), or use its release",
            ),
        ),
    };
    Finding::new(GROUP, "guest_agent", value, availability).fact("bytes", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelError;

    #[test]
    fn what_is_missing_is_told_with_the_way_to_get_it() {
        assert_eq!(judge_agent(Some(2 << 20)).value.as_deref(), Some("built in, 2048 KiB"));
        assert!(judge_agent(None).availability.is_missing());
        let tried = vec![("/boot/vmlinuz".into(), "it cannot be read: x".to_owned())];
        let finding = refused(&KernelError::None { tried }.into());
        assert!(finding.value.unwrap().contains("/boot/vmlinuz (it cannot be read: x)"));
        assert!(finding.availability.is_missing());
    }
}
