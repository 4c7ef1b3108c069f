//! Distinct pages written, over time.

use crate::{PAGE_BYTES, Pass, PassKind};

/// Dirty rate over one pass, in bytes per second: the distinct pages that the synchronisation at
/// its end found, which is the one that opens `next`, x 4 KiB / the pass's length.
///
/// `None` when the guest stood still (`final`), when a value is unknown, and for a pass without length.
pub fn pass_dirty_rate(pass: &Pass, next: &Pass) -> Option<f64> {
    let (pages, seconds) = dirtied(pass, next)?;
    rate(pages, seconds)
}

/// Dirty rate over all complete passes, in bytes per second: the pages that [`pass_dirty_rate`]
/// takes, summed, over the summed lengths. `None` without a complete pass.
pub fn mean_dirty_rate(passes: &[Pass]) -> Option<f64> {
    let complete = passes.windows(2).filter_map(|pair| dirtied(&pair[0], &pair[1]));
    let (pages, seconds) = complete.fold((0, 0.0), |sum, pass| (sum.0 + pass.0, sum.1 + pass.1));
    rate(pages, seconds)
}

/// Whether nearly every one of the `written_pages` that the workload writes was found written in each complete pass.
/// `None` without a complete pass, or without anything to write.
pub fn all_was_written_again(passes: &[Pass], written_pages: u64) -> Option<bool> {
    /// A worker that ends its round just after a synchronisation leaves some pages out.
    const NEARLY_ALL: f64 = 0.99;
    let mut found = passes.windows(2).filter_map(|pair| dirtied(&pair[0], &pair[1])).peekable();
    found.peek().filter(|_| written_pages > 0)?;
    Some(found.all(|(pages, _)| pages as f64 >= NEARLY_ALL * written_pages as f64))
}

fn dirtied(pass: &Pass, next: &Pass) -> Option<(u64, f64)> {
    let seconds = pass.length_seconds.filter(|_| pass.kind == PassKind::Pass)?;
    Some((next.dirty_pages_at_sync?, seconds))
}

fn rate(pages: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| (pages * PAGE_BYTES) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::testing;

    fn pass(number: u64, kind: PassKind, length: Option<f64>, dirty: Option<u64>) -> Pass {
        Pass {
            length_seconds: length,
            dirty_pages_at_sync: dirty,
            ..testing::pass(number, kind, 0.0, 0.0)
        }
    }

    #[test]
    fn the_pages_of_the_closing_sync_belong_to_the_pass_before() {
        let passes = [
            pass(1, PassKind::Pass, Some(2.0), Some(65536)),
            pass(2, PassKind::Pass, Some(0.5), Some(1000)),
            pass(3, PassKind::Final, Some(0.1), Some(250)),
        ];
        assert_eq!(pass_dirty_rate(&passes[0], &passes[1]), Some(500.0 * 4096.0));
        assert_eq!(pass_dirty_rate(&passes[1], &passes[2]), Some(500.0 * 4096.0));
        assert_eq!(mean_dirty_rate(&passes), Some(1250.0 * 4096.0 / 2.5));
    }

    #[test]
    fn a_rate_is_a_lower_bound_where_every_page_was_written_again_in_every_pass() {
        #[track_caller]
        fn check(dirty: &[u64], written: u64, expected: Option<bool>) {
            let pass = |(number, dirty): (usize, &u64)| {
                pass(number as u64 + 1, PassKind::Pass, Some(1.0), Some(*dirty))
            };
            let passes: Vec<Pass> = dirty.iter().enumerate().map(pass).collect();
            assert_eq!(all_was_written_again(&passes, written), expected, "{dirty:?}");
        }
        // The first synchronisation finds all memory, whatever was written.
        check(&[65_536, 1000, 1000], 1000, Some(true));
        check(&[65_536, 1000, 995], 1000, Some(true));
        check(&[65_536, 1000, 900], 1000, Some(false));
        check(&[65_536, 1200], 1000, Some(true));
        check(&[65_536], 1000, None);
        check(&[65_536, 0], 0, None);
    }

    #[test]
    fn what_is_not_known_has_no_rate() {
        let complete = pass(1, PassKind::Pass, Some(1.0), Some(10));
        let table = [
            (pass(1, PassKind::Pass, None, Some(1)), complete.clone()),
            (pass(1, PassKind::Pass, Some(0.0), Some(1)), complete.clone()),
            (pass(1, PassKind::Final, Some(1.0), Some(1)), complete.clone()),
            (complete.clone(), pass(2, PassKind::Pass, Some(1.0), None)),
        ];
        for (this, next) in table {
            assert_eq!(pass_dirty_rate(&this, &next), None, "{this:?}");
            assert_eq!(mean_dirty_rate(&[this, next]), None);
        }
        assert_eq!(mean_dirty_rate(&[]), None);
        assert_eq!(mean_dirty_rate(&[complete]), None);
    }

    #[test]
    fn a_pass_in_which_nothing_was_written_has_a_measured_zero() {
        let next = pass(2, PassKind::Final, None, Some(0));
        assert_eq!(pass_dirty_rate(&pass(1, PassKind::Pass, Some(1.0), Some(9)), &next), Some(0.0));
    }
}
