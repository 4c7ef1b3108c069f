//! What a single page says of itself.

use std::sync::atomic::Ordering::Relaxed;

use sterna_sys::region::Region;

use crate::fill::Content;
use crate::image::Images;
use crate::method::stamp_word;
use crate::spec::{Method, Spec};
use crate::verify::check_page;

/// How often a page of the workload was written, by what it holds.
///
/// None if it is no page of the workload, if the method leaves no trace to count by, or if it holds what no number of writes leaves: a page that never arrived, or one that is being written right now.
pub fn writes_of_page(region: &Region, spec: &Spec, page: usize) -> Option<u64> {
    if page >= spec.pages().min(region.pages()) || spec.method == Method::Zero {
        return None;
    }
    let word = stamp_word(page);
    let at_first = Content::new(spec.seed).page(page).word(word);
    let writes = region.page(page)[word].load(Relaxed).wrapping_sub(at_first);
    let images = Images::new(spec.method, spec.seed);
    check_page(region, &images, page, writes).is_none().then_some(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::fill;
    use crate::testing::region;
    use sterna_units::Bytes;

    #[test]
    fn a_page_tells_its_writes_or_nothing() {
        for method in Method::ALL {
            let spec = Spec { method: *method, workers: 1, ..Spec::of(Bytes(8 * 4096)) };
            let region = region(10);
            assert_eq!(writes_of_page(&region, &spec, 3), None, "{method}: nothing has arrived");
            fill(&region, 0..8, spec.seed, 1);
            let images = Images::new(spec.method, spec.seed);
            let is_counted = *method != Method::Zero;
            for writes in 0..3 {
                let expected = is_counted.then_some(writes);
                assert_eq!(writes_of_page(&region, &spec, 3), expected, "{method}");
                let image = images.page(3, writes + 1);
                for (index, word) in region.page(3).iter().enumerate() {
                    word.store(image.word(index), Relaxed);
                }
            }
            region.page(3)[9].fetch_xor(1, Relaxed);
            assert_eq!(writes_of_page(&region, &spec, 3), None, "{method}: torn");
            assert_eq!(writes_of_page(&region, &spec, 9), None, "{method}: not the workload's");
        }
    }
}
