//! When a cached page gives up its place.

/// A page that was used within this many generations keeps its place (QEMU: `CACHED_PAGE_LIFETIME`).
const LIFETIME: u64 = 2;

/// Whether a cached page that was last used in generation `used` keeps its place in generation `now` against another page.
///
/// Otherwise two hot pages that share a place would replace each other in turn, and neither would ever be found.
pub fn keeps_its_place(used: u64, now: u64) -> bool {
    used + LIFETIME > now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_unused_for_two_generations_gives_up_its_place() {
        assert!(keeps_its_place(10, 10) && keeps_its_place(10, 11));
        assert!(!keeps_its_place(10, 12));
    }
}
