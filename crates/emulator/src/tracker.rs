//! Which pages were written since the last look.

use std::sync::Arc;

use sterna_sys::region::Region;
use sterna_sys::tracking::{TrackingError, WpTracker};
use sterna_workload::{Crew, DirtyBitmap};

use crate::probe::remedy;

/// Finds the pages that the workers wrote.
///
/// `WpAsync` is what a hypervisor's guest pays too: the kernel write-protects all pages at each synchronisation, and the first write to a page afterwards takes a fault of about a microsecond.
/// `Cooperative` is for kernels without it: the workers mark pages themselves, which costs them next to nothing, so tracking cost is then not real and the report says so.
pub enum Tracker {
    /// Write protection by userfaultfd, read and re-armed by PAGEMAP_SCAN.
    WpAsync(WpTracker),
    /// A bitmap that the workers keep.
    Cooperative(Arc<DirtyBitmap>),
}

/// A tracker, and why this one.
pub struct Choice {
    /// The tracker.
    pub tracker: Tracker,
    /// One sentence.
    pub reason: String,
}

/// Why no tracker can be had.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The name is none of ours.
    #[error("Unknown tracker `{0}`; known are auto, wp-async and cooperative")]
    Unknown(String),
    /// The one that was asked for is not available here.
    #[error(
        "Tracker wp-async is not available here ({0}). {remedy}; or use cooperative, or auto to let Sterna choose",
        remedy = remedy(.0)
    )]
    Unavailable(#[source] TrackingError),
    /// It failed while in use.
    #[error("Reading the dirty pages failed")]
    Sync(#[from] TrackingError),
}

impl Tracker {
    /// Chooses by name: `auto` takes `wp-async` where the kernel has it.
    ///
    /// `attach` is [`WpTracker::attach`], or what takes its place in a test.
    pub fn choose(
        name: &str,
        region: &Arc<Region>,
        attach: fn(&Arc<Region>) -> Result<WpTracker, TrackingError>,
    ) -> Result<Choice, TrackerError> {
        match name {
            "auto" => Ok(match attach(region) {
                Ok(tracker) => Choice {
                    tracker: Tracker::WpAsync(tracker),
                    reason: "the kernel has asynchronous write protection".to_owned(),
                },
                Err(error) => Choice {
                    tracker: Tracker::cooperative(region),
                    reason: format!("wp-async is not available here: {error}. {}", remedy(&error)),
                },
            }),
            "wp-async" => attach(region)
                .map(|it| Choice { tracker: Tracker::WpAsync(it), reason: "asked for".to_owned() })
                .map_err(TrackerError::Unavailable),
            "cooperative" => {
                Ok(Choice { tracker: Tracker::cooperative(region), reason: "asked for".to_owned() })
            }
            other => Err(TrackerError::Unknown(other.to_owned())),
        }
    }

    fn cooperative(region: &Region) -> Tracker {
        Tracker::Cooperative(Arc::new(DirtyBitmap::new(region.pages())))
    }

    /// The name for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Tracker::WpAsync(_) => "wp-async",
            Tracker::Cooperative(_) => "cooperative",
        }
    }

    /// Bytes that one tracked write makes dirty.
    pub fn page_bytes(&self) -> u64 {
        match self {
            Tracker::WpAsync(tracker) => tracker.page_bytes(),
            Tracker::Cooperative(_) => sterna_sys::PAGE_BYTES as u64,
        }
    }

    /// Starts tracking: from the return on no write is missed.
    pub fn arm(&mut self, crew: &Crew) -> Result<(), TrackerError> {
        match self {
            // The first scan protects everything; what it finds written is everything, which the caller sends anyway.
            Tracker::WpAsync(tracker) => tracker.sync(&mut |_, _| {}).map(|_| ())?,
            Tracker::Cooperative(bitmap) => {
                crew.track(Some(Arc::clone(bitmap)));
                bitmap.drain(&mut |_, _| {});
            }
        }
        Ok(())
    }

    /// Reports runs (first page, count) written since the last synchronisation, and tracks on; returns their pages.
    pub fn sync(&mut self, on_dirty: &mut dyn FnMut(usize, usize)) -> Result<u64, TrackerError> {
        let mut pages = 0;
        let mut count = |first, run| {
            pages += run as u64;
            on_dirty(first, run);
        };
        match self {
            Tracker::WpAsync(tracker) => {
                tracker.sync(&mut count)?;
            }
            Tracker::Cooperative(bitmap) => {
                bitmap.drain(&mut count);
            }
        }
        Ok(pages)
    }

    /// Stops tracking, so that the guest runs at full speed again.
    pub fn disarm(&mut self, crew: &Crew) -> Result<(), TrackerError> {
        match self {
            Tracker::WpAsync(tracker) => tracker.disarm()?,
            Tracker::Cooperative(_) => crew.track(None),
        }
        Ok(())
    }
}
