//! How the guest is moved.

use sterna_units::{Rate, Span};

use crate::choice::choice;

use super::stream::{Compress, Multifd, Tls, TlsMode, Transport, Xbzrle, ZeroPage};

/// How the guest is moved: plain pre-copy, plus every technique whose part is `Some`.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// How often the guest moves: 1 goes to the destination, 2 there and back, and so on.
    pub hops: u32,
    /// What carries the stream.
    pub transport: Transport,
    /// What the stream may use until the switchover; `None` for as much as there is.
    pub max_bandwidth: Option<Rate>,
    /// What the switchover may be planned with; `None` for the engine's own estimate from what was sent lately.
    pub switchover_bandwidth: Option<Rate>,
    /// How long the guest may be frozen.
    pub downtime: Downtime,
    /// When so little is pending that the guest may be stopped; `None` for the engine's own way.
    pub switchover_decision: Option<SwitchoverDecision>,
    /// Who looks for pages of zeros.
    pub zero_page: ZeroPage,
    /// Whether pages are sent without copying them first; needs multifd.
    pub zero_copy: bool,
    /// Whether each page has a place of its own in the file; needs the transport `file`.
    pub mapped_ram: bool,
    /// Whether the file is written past the page cache; needs `mapped_ram` and multifd.
    pub direct_io: bool,
    /// Whether the destination answers on the stream, so that the source knows how it went.
    pub return_path: bool,
    /// Whether the destination's devices must agree to the switchover; needs `return_path`.
    pub switchover_ack: bool,
    /// Whether `max_bandwidth` also holds while the guest is frozen. QEMU lifts it there.
    pub limit_in_switchover: bool,
    /// Switch to post-copy.
    pub postcopy: Option<Postcopy>,
    /// Stop the guest to get it over with.
    pub pause: Option<Pause>,
    /// Slow the guest's processors down while it dirties faster than can be sent.
    pub auto_converge: Option<AutoConverge>,
    /// Slow down the processors that dirty too fast.
    pub dirty_limit: Option<DirtyLimit>,
    /// Send through several connections.
    pub multifd: Option<Multifd>,
    /// Compress pages before they are sent, the way that QEMU had up to 9.0.
    pub compress: Option<Compress>,
    /// Send what changed in a page instead of the page.
    pub xbzrle: Option<Xbzrle>,
    /// Encrypt the stream.
    pub tls: Option<Tls>,
    /// Keep the migration from finishing early.
    pub hold: Option<Hold>,
}

choice! {
    /// What is held against the bytes that can be sent within the downtime limit.
    SwitchoverDecision ("switchover decision") {
        /// What pending pages will take on the wire, as the passes so far have taught.
        #[default]
        Effective = "effective",
        /// Pending pages in full, as QEMU does it.
        Qemu = "qemu",
    }
}

/// How long the guest may be frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downtime {
    /// The same limit from beginning to end.
    Limit(Span),
    /// A limit that grows while the migration does not finish.
    Steps(DowntimeSteps),
}

/// A downtime limit that begins small and grows evenly: `steps` limits from `from` to `to`, each for `every`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DowntimeSteps {
    /// The first limit.
    pub from: Span,
    /// The last limit.
    pub to: Span,
    /// How many limits there are, the first and the last included.
    pub steps: u32,
    /// How long each limit stands before the next.
    pub every: Span,
}

/// The moment for a change of technique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// As soon as this many passes are complete.
    AfterPasses(u32),
    /// So long after the migration began.
    After(Span),
}

/// Switch to post-copy: the guest goes on at the destination and fetches what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postcopy {
    /// When to switch; `None` only where `limits.then` is `postcopy`, which then is the moment.
    pub trigger: Option<Trigger>,
    /// Whether requested pages travel on a connection of their own, past the queue.
    pub preempt: bool,
    /// What the background stream may use after the switch; requested pages may exceed it. `None` for as much as
    /// there is.
    pub max_bandwidth: Option<Rate>,
    /// Whether a link that is lost after the switch is made anew. Otherwise the guest is lost with it.
    pub recover: bool,
}

/// Stop the guest, so that the rest can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When to stop it.
    pub trigger: Trigger,
}

/// Slow the guest's processors down, more with every step. All numbers are percents of processor time taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoConverge {
    /// The first step.
    pub initial: u8,
    /// Each further step adds this much.
    pub increment: u8,
    /// Never more than this.
    pub max: u8,
    /// Whether the last steps are smaller, just enough for the dirty rate seen.
    pub tail_slow: bool,
}

/// Slow down the processors that dirty too fast, and only those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyLimit {
    /// The dirty rate that each virtual processor may have.
    pub per_vcpu: Rate,
    /// How often the rate is looked at; `None` for the engine's own default.
    pub period: Option<Span>,
}

/// Keep the migration from finishing before memory has been sent more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// How many passes must be complete first.
    pub at_least_passes: u32,
}

impl Migration {
    /// How the stream is encrypted; off where nothing was asked for.
    pub fn tls_mode(&self) -> TlsMode {
        self.tls.as_ref().map_or(TlsMode::Off, |tls| tls.mode)
    }

    /// The downtime limit with which the migration begins.
    pub fn first_downtime_limit(&self) -> Span {
        match &self.downtime {
            Downtime::Limit(limit) => *limit,
            Downtime::Steps(steps) => steps.from,
        }
    }
}

impl Downtime {
    /// The fixed limit, if it is one.
    pub fn limit(&self) -> Option<&Span> {
        match self {
            Downtime::Limit(limit) => Some(limit),
            Downtime::Steps(_) => None,
        }
    }

    /// The growing limits, if they are.
    pub fn steps(&self) -> Option<&DowntimeSteps> {
        match self {
            Downtime::Limit(_) => None,
            Downtime::Steps(steps) => Some(steps),
        }
    }

    /// The growing limits; turns a fixed limit into them.
    pub(crate) fn steps_or_default(&mut self) -> &mut DowntimeSteps {
        if let Downtime::Limit(_) = self {
            *self = Downtime::Steps(DowntimeSteps::default());
        }
        match self {
            Downtime::Steps(steps) => steps,
            Downtime::Limit(_) => unreachable!("a fixed limit was replaced just above"),
        }
    }
}

impl DowntimeSteps {
    /// The limit of step `step`, counted from 0; the last one from then on.
    pub fn limit(&self, step: u32) -> Span {
        let last = self.steps.saturating_sub(1);
        if step >= last {
            return self.to;
        }
        let (from, to) = (self.from.0, self.to.0);
        Span(from + to.saturating_sub(from).mul_f64(f64::from(step) / f64::from(last)))
    }
}

impl Trigger {
    /// The number of passes, if it counts them.
    pub fn after_passes(&self) -> Option<&u32> {
        match self {
            Trigger::AfterPasses(passes) => Some(passes),
            Trigger::After(_) => None,
        }
    }

    /// The time, if it waits for one.
    pub fn after(&self) -> Option<&Span> {
        match self {
            Trigger::AfterPasses(_) => None,
            Trigger::After(span) => Some(span),
        }
    }
}

impl Default for Migration {
    fn default() -> Migration {
        Migration {
            hops: 1,
            transport: Transport::Tcp,
            max_bandwidth: Some(Rate::from_bits_per_second(1_000_000_000)),
            switchover_bandwidth: None,
            downtime: Downtime::default(),
            switchover_decision: None,
            zero_page: ZeroPage::Main,
            zero_copy: false,
            mapped_ram: false,
            direct_io: false,
            return_path: true,
            switchover_ack: false,
            limit_in_switchover: false,
            postcopy: None,
            pause: None,
            auto_converge: None,
            dirty_limit: None,
            multifd: None,
            compress: None,
            xbzrle: None,
            tls: None,
            hold: None,
        }
    }
}

impl Default for Downtime {
    fn default() -> Downtime {
        Downtime::Limit(Span::from_millis(300))
    }
}

impl Default for DowntimeSteps {
    fn default() -> DowntimeSteps {
        DowntimeSteps {
            from: Span::from_millis(50),
            to: Span::from_millis(500),
            steps: 5,
            every: Span::from_secs(5),
        }
    }
}

impl Default for Postcopy {
    fn default() -> Postcopy {
        Postcopy { trigger: None, preempt: true, max_bandwidth: None, recover: false }
    }
}

impl Default for AutoConverge {
    fn default() -> AutoConverge {
        AutoConverge { initial: 20, increment: 10, max: 99, tail_slow: false }
    }
}

impl Default for DirtyLimit {
    fn default() -> DirtyLimit {
        DirtyLimit { per_vcpu: Rate::from_bytes_per_second(10_000_000), period: None }
    }
}

impl Default for Hold {
    fn default() -> Hold {
        Hold { at_least_passes: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downtime_grows_evenly_and_stays_at_the_last_step() {
        let steps = DowntimeSteps {
            from: Span::from_millis(100),
            to: Span::from_millis(500),
            steps: 5,
            every: Span::from_secs(1),
        };
        let limits: Vec<String> = (0..7).map(|step| steps.limit(step).to_string()).collect();
        assert_eq!(limits, ["100ms", "200ms", "300ms", "400ms", "500ms", "500ms", "500ms"]);
        let single = DowntimeSteps { steps: 1, ..steps };
        assert_eq!(single.limit(0), single.to);
    }
}
