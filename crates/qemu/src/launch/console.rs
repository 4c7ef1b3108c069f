//! What the guest's kernel says, which is all that is left of a guest that panics.

use std::path::PathBuf;

use sterna_units::printable;

use crate::place::Place;

/// How much of what the guest's kernel said goes into a message.
const CONSOLE_LINES: usize = 4;

/// What a guest's kernel writes.
pub(crate) struct Console {
    place: Place,
    path: PathBuf,
}

impl Console {
    /// That of a side in this place.
    pub fn new(place: &Place, path: PathBuf) -> Console {
        Console { place: place.clone(), path }
    }

    /// What the guest's kernel panicked of, if it did.
    pub fn panic(&self) -> Option<String> {
        panic(&self.place.tail(&self.path))
    }

    /// The end of what the guest's kernel said, as the rest of a sentence.
    pub fn last_words(&self) -> String {
        last_words(&self.place.tail(&self.path))
    }
}

/// What a kernel writes before it says what it panicked of.
const PANIC: &str = "Kernel panic - not syncing: ";

/// How a kernel begins to say that it has no memory left: the first is of version 4.17 or later, when nothing is left to be killed.
const WITHOUT_MEMORY: [&str; 2] = ["System is deadlocked on memory", "Out of memory"];

fn panic(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let reason = text.lines().find_map(|it| Some(it.split_once(PANIC)?.1.trim()))?;
    if WITHOUT_MEMORY.iter().any(|it| reason.starts_with(it)) {
        return Some("kernel panic: out of memory".to_owned());
    }
    let reason: String = reason.chars().filter(|it| !it.is_control()).take(200).collect();
    Some(format!("kernel panic: {reason}"))
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let panic = lines.iter().position(|it| it.contains("Kernel panic"));
    let from = panic.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    let words: Vec<String> = lines[from..]
        .iter()
        .take(CONSOLE_LINES)
        .map(|it| printable(it).chars().take(200).collect())
        .collect();
    if words.is_empty() {
        "; its kernel said nothing".to_owned()
    } else {
        format!("; its kernel said: {}", words.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_memory_is_named_as_such_and_other_panics_by_their_words() {
        let panic = |reason: &str| {
            let said = format!("[1] x\n[2] Kernel panic - not syncing: {reason}\n[3] CPU: 0\n");
            panic(said.as_bytes())
        };
        let out = Some("kernel panic: out of memory".to_owned());
        assert_eq!(panic("System is deadlocked on memory"), out);
        assert_eq!(panic("Out of memory: compulsory panic_on_oom is enabled"), out);
        let other = Some("kernel panic: NMI: Not continuing".to_owned());
        assert_eq!(panic("NMI: Not continuing"), other);
        assert_eq!(super::panic(b"[1] no panic here\n"), None);
    }

    #[test]
    fn a_panic_is_what_a_kernel_said_last() {
        assert_eq!(last_words(b""), "; its kernel said nothing");
        let said = b"a\n\nb\n[1] Kernel panic - not syncing: no init\nc\nd\ne\nf\n";
        let expected = "; its kernel said: [1] Kernel panic - not syncing: no init | c | d | e";
        assert_eq!(last_words(said), expected);
    }
}
