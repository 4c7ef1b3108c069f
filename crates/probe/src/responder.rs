//! The other end of a probe that sends datagrams.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use crate::message::{self, Message, Moment};
use crate::playout::{Frame, PlayAnswer, PlayRequest, Source};

/// Streams that are played at a time; more are refused until one ends.
const MOST_STREAMS: usize = 64;

/// Counts the messages of each probe, so that the observer learns on which way those that are missing were lost; and plays streams.
///
/// Whatever comes, and from how many, it needs no more than a fixed amount of memory: of probes that were silent for longest it forgets the count.
#[derive(Debug)]
pub struct Responder {
    /// Counts of those heard lately, by probe. A table in order serves tens of thousands, and costs an agent less than a hash map.
    young: Vec<(u64, u64)>,
    /// Of those not heard since `young` was begun.
    old: Vec<(u64, u64)>,
    most_young: usize,
    sources: Vec<Source>,
    /// Makes cookies, so that nobody has streams sent to somebody else.
    secret: u64,
}

/// What is done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many bytes of the buffer go back.
    Back(usize),
    /// Nothing does.
    Nothing,
}

impl Responder {
    /// Remembers the counts of at least so many probes, and of at most twice as many.
    pub fn new(most_probes: usize) -> Responder {
        Responder {
            young: Vec::new(),
            old: Vec::new(),
            most_young: most_probes.max(1),
            sources: Vec::new(),
            secret: secret(),
        }
    }

    /// Turns what came, the first `length` bytes of the buffer, into what goes back. Anything unknown is echoed.
    pub fn answer(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        from: SocketAddr,
        now: Moment,
    ) -> Answer {
        let datagram = &mut buffer[..length];
        if let Some(asked) = Message::from_bytes(datagram) {
            let heard = self.count(asked.probe);
            let told = Message { heard, moment: now, ..asked }.to_bytes();
            datagram[..told.len()].copy_from_slice(&told);
            return Answer::Back(length);
        }
        if let Some(request) = PlayRequest::from_bytes(datagram) {
            return self.play(buffer, request, from, now.monotonic_ns);
        }
        if message::is_of_another_version(datagram) {
            return back(buffer, &message::refusal());
        }
        Answer::Back(length)
    }

    /// Hands every frame that is due to `send`, and says when the next one will be.
    pub fn play_due(
        &mut self,
        now_ns: u64,
        mut send: impl FnMut(SocketAddr, &Frame, usize),
    ) -> Option<u64> {
        self.sources.retain(|it| !it.is_over(now_ns));
        for source in &mut self.sources {
            if let Some(frame) = source.due(now_ns) {
                send(source.to(), &frame, source.frame_bytes());
            }
        }
        self.sources.iter().map(Source::due_ns).min()
    }

    /// A request without the right cookie is told the cookie, which reaches only who has that address.
    fn play(
        &mut self,
        buffer: &mut [u8],
        request: PlayRequest,
        from: SocketAddr,
        now_ns: u64,
    ) -> Answer {
        let mut hasher = DefaultHasher::new();
        (self.secret, from, request.session).hash(&mut hasher);
        let cookie = hasher.finish().max(1);
        if request.cookie != cookie {
            let answer = PlayAnswer::Cookie { session: request.session, cookie };
            return back(buffer, &answer.to_bytes());
        }
        let known = self.sources.iter_mut().find(|it| it.is_of(from, request.session));
        if let Some(source) = known {
            source.go_on(now_ns);
            return Answer::Nothing;
        }
        if self.sources.len() == MOST_STREAMS {
            return back(buffer, &PlayAnswer::Busy { session: request.session }.to_bytes());
        }
        self.sources.push(Source::begin(from, request, now_ns));
        Answer::Nothing
    }

    fn count(&mut self, probe: u64) -> u64 {
        let of = |it: &(u64, u64)| it.0;
        let place = match self.young.binary_search_by_key(&probe, of) {
            Ok(place) => {
                self.young[place].1 += 1;
                return self.young[place].1;
            }
            Err(place) => place,
        };
        let before = self.old.binary_search_by_key(&probe, of).ok();
        let count = before.map_or(0, |it| self.old[it].1) + 1;
        if self.young.len() < self.most_young {
            self.young.insert(place, (probe, count));
        } else {
            self.old = std::mem::replace(&mut self.young, vec![(probe, count)]);
        }
        count
    }
}

/// What nobody else knows.
fn secret() -> u64 {
    let mut bytes = [0; 8];
    // A machine that boots has none for a long while, and an agent in it shall answer at once.
    // There is still the time then, which is hard to guess to the nanosecond.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes) ^ sterna_sys::clock::monotonic_ns()
}

fn back(buffer: &mut [u8], answer: &[u8]) -> Answer {
    match buffer.get_mut(..answer.len()) {
        Some(place) => {
            place.copy_from_slice(answer);
            Answer::Back(answer.len())
        }
        None => Answer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { monotonic_ns: 70, realtime_ns: 80 };

    fn from() -> SocketAddr {
        "192.0.2.1:9".parse().unwrap()
    }

    fn heard(responder: &mut Responder, probe: u64) -> u64 {
        let mut bytes = Message::new(probe, 7).to_bytes();
        let length = bytes.len();
        assert_eq!(responder.answer(&mut bytes, length, from(), NOW), Answer::Back(length));
        let message = Message::from_bytes(&bytes).unwrap();
        assert_eq!((message.probe, message.number, message.moment), (probe, 7, NOW));
        message.heard
    }

    #[test]
    fn each_probe_is_counted_for_itself_and_the_silent_are_forgotten() {
        let mut responder = Responder::new(64);
        assert_eq!([1, 2, 1, 1].map(|probe| heard(&mut responder, probe)), [1, 1, 2, 3]);
        for stranger in 100..170 {
            assert_eq!(heard(&mut responder, stranger), 1);
        }
        // Not heard for 64 others, but for less than 128.
        assert_eq!(heard(&mut responder, 1), 4);
        for stranger in 200..330 {
            heard(&mut responder, stranger);
        }
        assert_eq!(heard(&mut responder, 2), 1);
    }

    #[test]
    fn ten_thousand_probes_take_a_bounded_place_and_each_is_counted() {
        let mut responder = Responder::new(16_384);
        for round in 1..4 {
            for probe in 0..10_000 {
                assert_eq!(heard(&mut responder, probe), round);
            }
        }
        for probe in 0..100_000 {
            heard(&mut responder, probe);
        }
        assert!(responder.young.len() + responder.old.len() <= 2 * 16_384);
    }

    #[test]
    fn other_messages_come_back_as_they_are_and_other_versions_are_told() {
        let mut responder = Responder::new(64);
        let mut bytes = *b"just an echo, long enough";
        assert_eq!(responder.answer(&mut bytes, 25, from(), NOW), Answer::Back(25));
        assert_eq!(&bytes, b"just an echo, long enough");
        let mut bytes = *b"StrnPrb1 of long ago.....";
        assert_eq!(responder.answer(&mut bytes, 25, from(), NOW), Answer::Back(16));
        assert_eq!(message::refused_by(&bytes[..16]), Some(2));
    }

    #[test]
    fn a_stream_is_sent_to_who_has_shown_that_it_is_there() {
        let mut responder = Responder::new(64);
        let request = PlayRequest { cookie: 0, session: 5, interval_ns: 40, frame_bytes: 100 };
        let mut buffer = [0; 64];
        let mut ask = |request: PlayRequest, from: SocketAddr| {
            let bytes = request.to_bytes();
            buffer[..bytes.len()].copy_from_slice(&bytes);
            match responder.answer(&mut buffer, bytes.len(), from, NOW) {
                Answer::Back(length) => PlayAnswer::from_bytes(&buffer[..length]),
                Answer::Nothing => None,
            }
        };
        let Some(PlayAnswer::Cookie { session: 5, cookie }) = ask(request, from()) else {
            panic!("no cookie")
        };
        let elsewhere: SocketAddr = "192.0.2.2:9".parse().unwrap();
        assert!(ask(PlayRequest { cookie, ..request }, elsewhere).is_some(), "a stolen cookie");
        assert_eq!(ask(PlayRequest { cookie, ..request }, from()), None);
        let mut sent = Vec::new();
        responder
            .play_due(NOW.monotonic_ns, |to, frame, bytes| sent.push((to, frame.number, bytes)));
        assert_eq!(sent, [(from(), 0, 100)]);
    }
}
