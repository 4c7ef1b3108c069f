//! Prints how fast the page kernels are on this machine; asserts nothing about time, which is not
//! ours to promise.

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
        time::Instant,
    };

    use sterna_sys::{
        PAGE_BYTES,
        region::{HugePages, Region, RegionOptions},
    };

    const TOTAL_PAGES: usize = 16 << 10;

    fn region(pages: usize) -> Region {
        let bytes = (pages * PAGE_BYTES) as u64;
        let region =
            Region::new(&RegionOptions { bytes, huge_pages: HugePages::None, locked: false })
                .unwrap();
        region.prealloc(2, &AtomicU64::new(0)).unwrap();
        region
    }

    /// Runs `work` over all pages of the region until TOTAL_PAGES pages are done, five times, and
    /// prints the best.
    fn measure(what: &str, region: &Region, mut work: impl FnMut(usize)) {
        let once = |_| {
            let start = Instant::now();
            (0..TOTAL_PAGES).for_each(|index| work(index % region.pages()));
            start.elapsed().as_secs_f64()
        };
        let best = (0..5).map(once).fold(f64::INFINITY, f64::min);
        let gigabytes = (TOTAL_PAGES * PAGE_BYTES) as f64 / 1e9;
        eprintln!("{what:32} {:6.1} GB/s", gigabytes / best);
    }

    #[test]
    fn speed_of_the_page_kernels() {
        for (name, region) in [("hot", region(4)), ("cold", region(TOTAL_PAGES))] {
            let mut to = vec![0; PAGE_BYTES];
            let mut run = vec![0; PAGE_BYTES * 4];
            measure(&format!("{name} copy_out"), &region, |page| {
                assert!(region.copy_out(page, &mut to));
            });
            measure(&format!("{name} copy_out_summed"), &region, |page| {
                assert!(region.copy_out_summed(page, &mut to, 0).0);
            });
            measure(&format!("{name} copy_out_run (4 pages)"), &region, |page| {
                if page % 4 == 0 {
                    region.copy_out_run(page, 4, black_box(&mut run));
                }
            });
            measure(&format!("{name} copy_in"), &region, |page| region.copy_in(page, &to));
            measure(&format!("{name} is_zero"), &region, |page| assert!(region.is_zero(page)));
            measure(&format!("{name} crc32c"), &region, |page| {
                black_box(region.crc32c(page, 1, 0));
            });
            measure(&format!("{name} zero (written pages)"), &region, |page| {
                region.page(page)[0].store(1, Relaxed);
                region.zero(page);
            });
        }
    }
}
