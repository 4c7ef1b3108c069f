//! Trying out on a few pages what this kernel really does; its version says nothing, since features
//! are backported and forbidden.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Features, Mode, Placed, TrackingError, WpTracker, uffd};
use crate::{
    PAGE_BYTES,
    region::{HugePages, Region, RegionOptions},
};

const PAGES: usize = 4;

/// What userfaultfd can do here; `wp_async` only if a trial of the tracker succeeded too.
///
/// # Errors
/// There is no userfaultfd at all, or it is forbidden.
pub fn probe() -> Result<Features, TrackingError> {
    let mut features = throwaway()?.uffd()?.features();
    features.wp_async &= probe_write_tracking().is_ok();
    features.wp_hugetlb &= features.wp_async;
    Ok(features)
}

/// Tracks a write to a few pages made for it.
///
/// # Errors
/// What exactly is missing for [`WpTracker`].
pub fn probe_write_tracking() -> Result<(), TrackingError> {
    let region = Arc::new(throwaway()?);
    region.page(0)[0].store(1, Relaxed);
    let mut tracker = WpTracker::attach(&region)?;
    tracker.sync(&mut |_, _| {})?;
    // One page that existed when it was armed, and one that did not.
    region.page(0)[0].store(2, Relaxed);
    region.page(2)[0].store(2, Relaxed);
    let mut seen = Vec::new();
    tracker.sync(&mut |first, count| seen.push((first, count)))?;
    if seen == [(0, 1), (2, 1)] {
        Ok(())
    } else {
        Err(TrackingError::Untrustworthy { seen: format!("{seen:?}") })
    }
}

/// Places a missing page, without anybody waiting for it.
///
/// # Errors
/// What is missing for serving page faults.
pub fn probe_missing_faults() -> Result<(), TrackingError> {
    let region = throwaway()?;
    let uffd = region.uffd()?;
    uffd.register(Mode::Missing)?;
    let register_error =
        |source| TrackingError::Register { bytes: region.bytes(), mode: "missing-page", source };
    let placed = uffd.copy_page(1, &[7; PAGE_BYTES]).map_err(register_error)?;
    let word = region.page(1)[0].load(Relaxed);
    if placed == Placed::Now && word == u64::from_ne_bytes([7; 8]) {
        Ok(())
    } else {
        Err(TrackingError::Untrustworthy { seen: format!("{placed:?}, {word:#x}") })
    }
}

/// Opens a userfaultfd that serves faults taken in the kernel too, as post-copy of a KVM guest
/// needs it. Sterna itself never does.
///
/// # Errors
/// `Forbidden` for a process without privilege where `vm.unprivileged_userfaultfd` is 0.
pub fn probe_kernel_faults() -> Result<(), TrackingError> {
    uffd::try_kernel_faults()
}

fn throwaway() -> Result<Region, TrackingError> {
    let bytes = (PAGES * PAGE_BYTES) as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    Region::new(&options).map_err(|error| TrackingError::Open(std::io::Error::other(error)))
}
