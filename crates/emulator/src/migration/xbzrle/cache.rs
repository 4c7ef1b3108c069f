//! What the destination holds of some pages.

use sterna_converge::keeps_its_place;
use sterna_wire::stream::{PAGE_BYTES, PageContent};

/// A cache in which each page has one possible place, as QEMU's.
///
/// A page that comes to a place taken by another one gets it only when the other was neither put there nor looked up in this generation and the one before: otherwise two hot pages that share a place would drive each other out, and neither would ever be found.
/// QEMU rounds the number of places to a power of two, and this does not, so a cache is as large as was asked for.
#[derive(Debug)]
pub struct PageCache {
    places: Vec<Place>,
    /// One page for each place; the kernel gives memory to those that are used.
    contents: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    page: usize,
    generation: u64,
}

/// No page has this number.
const FREE: usize = usize::MAX;

impl PageCache {
    /// A cache of so many bytes, in whole pages and at least one.
    pub fn new(bytes: u64) -> PageCache {
        let places = usize::try_from(bytes).unwrap_or(usize::MAX) / PAGE_BYTES;
        let places = places.max(1);
        PageCache {
            places: vec![Place { page: FREE, generation: 0 }; places],
            contents: vec![0; places * PAGE_BYTES],
        }
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.contents.len() as u64
    }

    /// What the cache holds of a page, which is thereby used; the caller may renew it.
    pub fn look_up(&mut self, page: usize, generation: u64) -> Option<&mut PageContent> {
        let at = page % self.places.len();
        let place = self.places.get_mut(at).filter(|it| it.page == page)?;
        place.generation = generation;
        self.content(at)
    }

    /// Keeps the content of a page, unless its place is taken; whether it is kept.
    pub fn insert(&mut self, page: usize, content: &PageContent, generation: u64) -> bool {
        let at = page % self.places.len();
        let place = &mut self.places[at];
        let is_taken = place.page != FREE && place.page != page;
        if is_taken && keeps_its_place(place.generation, generation) {
            return false;
        }
        *place = Place { page, generation };
        if let Some(kept) = self.content(at) {
            *kept = *content;
        }
        true
    }

    fn content(&mut self, at: usize) -> Option<&mut PageContent> {
        self.contents.get_mut(at * PAGE_BYTES..)?.first_chunk_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NO_CONTENT: PageContent = [0; PAGE_BYTES];

    #[test]
    fn a_place_is_given_up_after_two_generations_without_use() {
        let mut cache = PageCache::new(4 * 4096);
        assert!(cache.insert(1, &NO_CONTENT, 10));
        assert!(!cache.insert(5, &NO_CONTENT, 10));
        assert!(!cache.insert(5, &NO_CONTENT, 11));
        assert!(cache.look_up(1, 11).is_some());
        assert!(!cache.insert(5, &NO_CONTENT, 12));
        assert!(cache.insert(5, &NO_CONTENT, 13));
        assert!(cache.look_up(1, 13).is_none());
        assert!(cache.look_up(5, 13).is_some());
        // Its own place is always its own.
        assert!(cache.insert(5, &NO_CONTENT, 13));
    }

    #[test]
    fn sizes_are_whole_pages_and_at_least_one() {
        let bytes = |bytes| PageCache::new(bytes).bytes();
        assert_eq!((bytes(0), bytes(4096), bytes(3 * 4096 + 1)), (4096, 4096, 3 * 4096));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_kept_last(
            places in 1u64..9,
            steps in prop::collection::vec((0usize..20, any::<u8>(), any::<bool>()), 0..80),
        ) {
            let mut cache = PageCache::new(places * 4096);
            let mut last = BTreeMap::new();
            for (generation, (page, byte, inserts)) in (0..).zip(steps) {
                let generation = generation / 3;
                if inserts {
                    if cache.insert(page, &[byte; PAGE_BYTES], generation) {
                        last.insert(page, byte);
                    }
                } else if let Some(found) = cache.look_up(page, generation) {
                    prop_assert_eq!(Some(&found[17]), last.get(&page));
                }
            }
        }
    }
}
