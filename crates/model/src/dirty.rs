//! How memory is written: the dirty process.

use crate::guest::Content;

/// Bytes of a page.
pub(crate) const PAGE: f64 = 4096.0;

/// Who writes which pages, and how often.
///
/// Memory is a row of regions. Within a region pages belong to classes that are spread evenly over it, and each class is written at random with a rate of its own;
/// besides, sweeps pass over the region page by page, or in lanes that reach all places alike.
/// Everything else follows: of a class that is written `r` times a second and page, `1 - exp(-r t)` are dirty after `t`, and of a sweep exactly the pages that it passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirtyProcess {
    /// Memory in the order of addresses.
    pub regions: Vec<Region>,
    /// What differs at certain times; the rest of the time the regions' own activity holds.
    pub phases: Vec<Phase>,
    /// Whether the phases begin again after the last.
    pub repeats: bool,
    /// How long the guest has run when the migration begins, for its phases.
    pub elapsed_seconds: f64,
}

/// A stretch of memory that is alike all over.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its size.
    pub bytes: u64,
    /// What its pages hold when the migration begins.
    pub content: Content,
    /// What pages hold that were written since.
    pub written: Content,
    /// The part of its pages in each class; all of them together are 1.
    pub classes: Vec<f64>,
    /// How it is written.
    pub activity: Activity,
}

/// How a region is written for some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// Writes a second and page, for each class; none at all when empty.
    pub rates: Vec<f64>,
    /// A writer that passes over the region.
    pub sweep: Option<Sweep>,
    /// Writes of all kinds together, a second: what the guest gets done here.
    pub writes_per_second: f64,
}

/// A writer that passes over all pages of a region again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sweep {
    /// How fast.
    pub pages_per_second: f64,
    /// In which order.
    pub order: SweepOrder,
    /// Pages passed before the migration begins, from the region's first page on.
    pub passed: f64,
    /// Whether it ends after the first round.
    pub once: bool,
}

/// In which order a sweep takes the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepOrder {
    /// By address.
    Linear,
    /// In lanes so narrow that at any time the pages passed are spread evenly over the region.
    Strided,
}

/// A time in which regions are written otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// When it begins, in running time of the guest.
    pub start_seconds: f64,
    /// How long it lasts.
    pub length_seconds: f64,
    /// The activity of each region.
    pub activities: Vec<Activity>,
}

impl DirtyProcess {
    /// All memory.
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|it| it.bytes).sum()
    }

    /// A process that was only seen from outside: `classes` of (bytes, writes a second and page), at most one sweep of (bytes a second, bytes), memory with other content, and memory of zeros.
    pub fn observed(
        classes: &[(u64, f64)],
        sweep: Option<(u64, u64)>,
        idle_bytes: u64,
        zero_bytes: u64,
        content: Content,
    ) -> DirtyProcess {
        let content = Content { zero_share: 0.0, ..content };
        let mut regions = Vec::new();
        if let Some((rate, bytes)) = sweep.filter(|it| it.1 > 0) {
            regions.push(Region::swept(bytes, rate, content));
        }
        let bytes: u64 = classes.iter().map(|it| it.0).sum();
        if bytes > 0 {
            let shares = classes.iter().map(|it| it.0 as f64 / bytes as f64).collect();
            let rates = classes.iter().map(|it| it.1).collect();
            regions.push(Region::random(bytes, shares, rates, content));
        }
        regions.push(Region::idle(idle_bytes, content));
        regions.push(Region::idle(zero_bytes, Content::ZERO));
        regions.retain(|it| it.bytes > 0);
        DirtyProcess { regions, ..DirtyProcess::default() }
    }

    /// Distinct bytes that are written within `seconds`, before any phase: the dirty curve.
    pub fn distinct_bytes(&self, seconds: f64) -> u64 {
        self.regions.iter().map(|it| (it.distinct_pages(seconds) * PAGE) as u64).sum()
    }

    /// Writes a second outside of phases, repeats included.
    pub fn writes_per_second(&self) -> f64 {
        self.regions.iter().map(|it| it.activity.writes_per_second).sum()
    }
}

impl Region {
    /// Memory that is never written.
    pub fn idle(bytes: u64, content: Content) -> Region {
        Region {
            bytes,
            content,
            written: content,
            classes: vec![1.0],
            activity: Activity::default(),
        }
    }

    /// Memory that is written at random: the shares of its classes and their rates, in writes a second and page.
    pub fn random(bytes: u64, classes: Vec<f64>, rates: Vec<f64>, content: Content) -> Region {
        let pages = bytes as f64 / PAGE;
        let writes = classes.iter().zip(&rates).map(|(share, rate)| share * rate * pages).sum();
        let activity = Activity { rates, sweep: None, writes_per_second: writes };
        Region { bytes, content, written: content, classes, activity }
    }

    /// Memory that is written from its beginning to its end, over and over.
    pub fn swept(bytes: u64, bytes_per_second: u64, content: Content) -> Region {
        let pages_per_second = bytes_per_second as f64 / PAGE;
        let order = SweepOrder::Linear;
        let sweep = Sweep { pages_per_second, order, passed: 0.0, once: false };
        let activity =
            Activity { rates: Vec::new(), sweep: Some(sweep), writes_per_second: pages_per_second };
        Region { bytes, content, written: content, classes: vec![1.0], activity }
    }

    /// How many pages it has.
    pub fn pages(&self) -> f64 {
        self.bytes as f64 / PAGE
    }

    /// Distinct pages that are written within `seconds`.
    pub fn distinct_pages(&self, seconds: f64) -> f64 {
        let Activity { rates, sweep, .. } = &self.activity;
        let swept = match sweep {
            None => 0.0,
            Some(it) if it.once && it.passed >= self.pages() => 0.0,
            Some(it) => (it.pages_per_second * seconds).min(self.pages()),
        };
        let drawn = self.classes.iter().zip(rates);
        let drawn: f64 = drawn.map(|(share, rate)| share * -(-rate * seconds).exp_m1()).sum();
        // Where both write, a page that the sweep has passed is not dirtied again.
        swept + drawn * (self.pages() - swept)
    }
}
