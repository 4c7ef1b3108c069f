//! What the guest's kernel says, which is all that is left of a guest that panics.

use std::path::PathBuf;

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

    /// The end of what the guest's kernel said, as the rest of a sentence.
    pub fn last_words(&self) -> String {
        last_words(&self.place.tail(&self.path))
    }
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let panic = lines.iter().position(|it| it.contains("Kernel panic"));
    let from = panic.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    let words: Vec<String> = lines[from..]
        .iter()
        .take(CONSOLE_LINES)
        .map(|it| it.chars().filter(|it| !it.is_control()).take(200).collect())
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
    fn a_panic_is_what_a_kernel_said_last() {
        assert_eq!(last_words(b""), "; its kernel said nothing");
        let said = b"a\n\nb\n[1] Kernel panic - not syncing: no init\nc\nd\ne\nf\n";
        let expected = "; its kernel said: [1] Kernel panic - not syncing: no init | c | d | e";
        assert_eq!(last_words(said), expected);
    }
}
