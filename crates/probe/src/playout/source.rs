//! Sends pictures as a camera takes them: one each interval, and none of the past.

use std::net::SocketAddr;

use super::{Frame, LARGEST_FRAME_BYTES, PlayRequest, SMALLEST_FRAME_BYTES};

/// A stream ends when its viewer was silent for so long.
const PATIENCE_NS: u64 = 5_000_000_000;

/// No stream is faster.
const SHORTEST_INTERVAL_NS: u64 = 1_000_000;
/// None is slower.
const LONGEST_INTERVAL_NS: u64 = 1_000_000_000;

/// One stream to one viewer.
#[derive(Clone, Debug)]
pub struct Source {
    to: SocketAddr,
    session: u64,
    interval_ns: u64,
    frame_bytes: usize,
    began_ns: u64,
    asked_ns: u64,
    next: u64,
}

impl Source {
    /// A stream that begins now. What is asked beyond reason is cut to it.
    pub fn begin(to: SocketAddr, request: PlayRequest, now_ns: u64) -> Source {
        let frame_bytes = usize::try_from(request.frame_bytes).unwrap_or(usize::MAX);
        Source {
            to,
            session: request.session,
            interval_ns: request.interval_ns.clamp(SHORTEST_INTERVAL_NS, LONGEST_INTERVAL_NS),
            frame_bytes: frame_bytes.clamp(SMALLEST_FRAME_BYTES, LARGEST_FRAME_BYTES),
            began_ns: now_ns,
            asked_ns: now_ns,
            next: 0,
        }
    }

    /// Whether it is the stream of this viewer.
    pub fn is_of(&self, to: SocketAddr, session: u64) -> bool {
        (self.to, self.session) == (to, session)
    }

    /// Its viewer is still there.
    pub fn go_on(&mut self, now_ns: u64) {
        self.asked_ns = now_ns;
    }

    /// Whether its viewer has gone.
    ///
    /// A source that stood still for long has not heard its viewer either; so it counts from the frame it should send next.
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.due_ns().min(now_ns).saturating_sub(self.asked_ns) > PATIENCE_NS
    }

    /// The frame of this moment, if it was not sent yet; those of the past are left out.
    pub fn due(&mut self, now_ns: u64) -> Option<Frame> {
        let number = now_ns.checked_sub(self.began_ns)? / self.interval_ns;
        if number < self.next {
            return None;
        }
        self.next = number + 1;
        Some(Frame { session: self.session, number, sent_ns: now_ns })
    }

    /// When the next frame is due.
    pub fn due_ns(&self) -> u64 {
        self.began_ns.saturating_add(self.next.saturating_mul(self.interval_ns))
    }

    /// Where it goes.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Bytes of a frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn source() -> Source {
        let request =
            PlayRequest { cookie: 1, session: 2, interval_ns: 40 * MS, frame_bytes: 1 << 40 };
        Source::begin("192.0.2.1:9".parse().unwrap(), request, 1000 * MS)
    }

    #[test]
    fn frames_have_the_numbers_of_their_moments() {
        let mut source = source();
        let mut number = |at_ms: u64| source.due(at_ms * MS).map(|it| it.number);
        assert_eq!([1000, 1039, 1040, 1085].map(&mut number), [Some(0), None, Some(1), Some(2)]);
        // It stood still for half a second.
        assert_eq!([1585, 1590, 1600].map(number), [Some(14), None, Some(15)]);
        assert_eq!((source.due_ns(), source.frame_bytes()), (1640 * MS, LARGEST_FRAME_BYTES));
    }

    #[test]
    fn who_does_not_ask_any_more_gets_no_more() {
        let mut source = source();
        assert!(!source.is_over(5990 * MS));
        source.due(5990 * MS);
        assert!(!source.is_over(90_000 * MS), "it stood still itself");
        source.due(6001 * MS);
        assert!(source.is_over(6050 * MS));
        source.go_on(6050 * MS);
        assert!(!source.is_over(6050 * MS));
    }
}
