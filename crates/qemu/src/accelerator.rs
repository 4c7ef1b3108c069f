//! Which accelerator a guest gets on this machine, and why.

use std::fs;
use std::path::Path;

use sterna_pilot::EngineError;

use crate::Accelerator;

/// One way to run the guest, as QEMU names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `kvm` or `tcg`.
    pub name: &'static str,
    /// Why this one, as the rest of a sentence.
    pub reason: String,
}

/// Entries of the dirty ring where a technique needs one and no number was given.
const DIRTY_RING_ENTRIES: u32 = 4096;

impl Choice {
    /// The ring that was asked for, or that a technique needs; only KVM has one.
    ///
    /// A technique that needs it under another accelerator is refused by QEMU itself.
    pub fn dirty_ring(
        &self,
        asked: Option<u32>,
        is_needed: bool,
    ) -> Result<Option<u32>, EngineError> {
        match (self.name, asked) {
            ("kvm", None) => Ok(is_needed.then_some(DIRTY_RING_ENTRIES)),
            ("kvm", asked) => Ok(asked),
            (_, None) => Ok(None),
            (name, Some(_)) => Err(EngineError::Unsupported(format!(
                "--dirty-ring-size: only KVM has a dirty ring, and the guest runs on {name}: {}",
                self.reason
            ))),
        }
    }
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

/// A machine without KVM refuses a scenario that insists on it: nothing about the migration has failed.
pub(crate) fn refuse_without_kvm(
    wish: Accelerator,
    obstacles: &[String],
    error: EngineError,
) -> EngineError {
    let words = match &error {
        EngineError::Failed(words) => words,
        EngineError::SideGone { reason, .. } => reason,
        EngineError::Unsupported(_)
        | EngineError::Interrupted
        | EngineError::GuestDied(_)
        | EngineError::Connect(_)
        | EngineError::Silent { .. } => return error,
    };
    let (is_kvms, obstacle) = match obstacles.first() {
        Some(obstacle) => (true, format!("{obstacle}; ")),
        None => (is_about_kvm(words), String::new()),
    };
    if wish != Accelerator::Kvm || !is_kvms {
        return error;
    }
    EngineError::Unsupported(format!(
        "--accelerator kvm: {obstacle}{words}; use --accelerator auto or tcg"
    ))
}

/// How QEMU says that it was built without KVM, or that the kernel does not give it.
fn is_about_kvm(words: &str) -> bool {
    let words = words.to_lowercase();
    ["failed to initialize kvm", "could not access kvm", "invalid accelerator kvm"]
        .iter()
        .any(|it| words.contains(it))
}

/// Tries one after the other; who comes after a failure has its words in the reason.
///
/// What is refused is refused for good: the next one has no more of what a scenario asks for.
pub(crate) fn first_that_works<T>(
    choices: Vec<Choice>,
    mut attempt: impl FnMut(Choice) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut failure = None;
    let mut choices = choices.into_iter().peekable();
    while let Some(mut choice) = choices.next() {
        if let Some(words) = failure.take() {
            choice.reason = format!("{}: {words}", choice.reason);
        }
        match attempt(choice) {
            Err(error @ (EngineError::Failed(_) | EngineError::SideGone { .. }))
                if choices.peek().is_some() =>
            {
                failure = Some(error.to_string());
            }
            outcome => return outcome,
        }
    }
    Err(EngineError::Failed("There is no accelerator to try".to_owned()))
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

    #[test]
    fn a_ring_is_kvms_and_there_when_it_is_needed() {
        let [kvm, tcg] = ["kvm", "tcg"].map(|name| Choice { name, reason: "so".to_owned() });
        assert_eq!(kvm.dirty_ring(None, false).unwrap(), None);
        assert_eq!(kvm.dirty_ring(None, true).unwrap(), Some(4096));
        assert_eq!(kvm.dirty_ring(Some(8192), true).unwrap(), Some(8192));
        assert_eq!(tcg.dirty_ring(None, true).unwrap(), None);
        let refused = tcg.dirty_ring(Some(8192), false).unwrap_err().to_string();
        assert_eq!(
            refused,
            "--dirty-ring-size: only KVM has a dirty ring, and the guest runs on tcg: so"
        );
    }

    #[test]
    fn a_machine_without_kvm_refuses_who_insists_on_it() {
        let no_device = "/dev/kvm cannot be opened: No such file".to_owned();
        let no_flag = "the processor offers neither vmx nor svm here".to_owned();
        let gone = |words: &str| EngineError::SideGone { side: "source", reason: words.to_owned() };
        let hung = || EngineError::Failed("The guest did not boot within 20 s".to_owned());
        let table: [(_, &[String], _, Option<&str>); 6] = [
            (Accelerator::Kvm, &[no_device], gone("x"), Some("kvm: /dev/kvm cannot be opened")),
            (Accelerator::Kvm, std::slice::from_ref(&no_flag), hung(), Some("did not boot within")),
            (Accelerator::Kvm, &[], gone("invalid accelerator kvm"), Some("accelerator kvm")),
            // With a KVM that works the guest has another trouble.
            (Accelerator::Kvm, &[], hung(), None),
            (Accelerator::Auto, std::slice::from_ref(&no_flag), hung(), None),
            (Accelerator::Kvm, std::slice::from_ref(&no_flag), EngineError::Interrupted, None),
        ];
        for (wish, obstacles, error, expected) in table {
            let before = error.to_string();
            match (refuse_without_kvm(wish, obstacles, error), expected) {
                (EngineError::Unsupported(text), Some(words)) => {
                    assert!(text.contains(words) && text.contains("auto or tcg"), "{text}");
                }
                (error, None) => assert_eq!(error.to_string(), before),
                (error, _) => panic!("{error}"),
            }
        }
    }

    /// What a machine's KVM answers to an attempt, and what becomes of the run.
    #[test]
    fn a_kvm_that_does_not_boot_gives_way_and_one_that_refuses_does_not() {
        let failed = || EngineError::Failed("It hung".to_owned());
        let gone = || EngineError::SideGone { side: "source", reason: "no".to_owned() };
        let refused = || EngineError::Unsupported("no such ring".to_owned());
        let table = [
            (Accelerator::Auto, None, Ok("kvm: the processor has it and /dev/kvm opens")),
            (
                Accelerator::Auto,
                Some(failed()),
                Ok("tcg: the guest did not boot with KVM: It hung"),
            ),
            (
                Accelerator::Auto,
                Some(gone()),
                Ok("tcg: the guest did not boot with KVM: source host: no"),
            ),
            (Accelerator::Auto, Some(refused()), Err("no such ring")),
            (Accelerator::Auto, Some(EngineError::Interrupted), Err("Interrupted")),
            (Accelerator::Kvm, Some(failed()), Err("It hung")),
            (Accelerator::Tcg, Some(failed()), Ok("tcg: as asked for")),
        ];
        for (wish, answer, expected) in table {
            let mut answer = answer;
            let outcome = first_that_works(choices(wish, &[]), |choice| match answer.take() {
                Some(error) if choice.name == "kvm" => Err(error),
                _ => Ok(format!("{}: {}", choice.name, choice.reason)),
            });
            let outcome = outcome.map_err(|error| error.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(outcome, expected, "{wish:?}");
        }
    }
}
