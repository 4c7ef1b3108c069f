//! The other end of a probe that sends datagrams.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use crate::echo::EchoLimit;
use crate::message::{self, Message, Moment};
use crate::playout::{Frame, PlayAnswer, PlayRequest, Source};

/// Streams that are played at a time; more are refused until one ends.
const MOST_STREAMS: usize = 64;

/// Counts the messages of each probe, so that the observer learns on which way those that are missing were lost; and plays streams.
///
/// Whatever arrives, and from however many addresses, it needs no more than a fixed amount of memory: it forgets the counts of probes that were silent for longest.
///
/// # Why two responders cannot answer each other for ever
///
/// The source address of a datagram can be forged, so one datagram can make a responder answer another responder.
/// A responder therefore answers questions only, and nothing that it sends is a question:
/// a question has no count and no clock in it, an answer always has a count; a refusal has a beginning of its own.
/// Every other datagram is dropped, unless echoes were asked for, which have a limit of their own; see `EchoLimit`.
/// No answer is longer than its question, so a forged address receives no more than the forger sends.
#[derive(Debug)]
pub struct Responder {
    /// Counts of those heard lately, by probe. A table in order serves tens of thousands, and costs an agent less than a hash map.
    young: Vec<(u64, u64)>,
    /// Of those not heard since `young` was begun.
    old: Vec<(u64, u64)>,
    most_young: usize,
    sources: Vec<Source>,
    /// Makes cookies, so that no stream can be sent to an address that did not ask for it.
    secret: u64,
    /// Set where unknown datagrams are echoed.
    echo: Option<EchoLimit>,
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
            echo: None,
        }
    }

    /// The same, and it echoes unknown datagrams, as mig_mon's `client_rr` expects; `own_port` is the port of the socket.
    pub fn with_echo(mut self, own_port: u16) -> Responder {
        self.echo = Some(EchoLimit::new(own_port, self.secret));
        self
    }

    /// Turns what came, the first `length` bytes of the buffer, into what goes back.
    pub fn answer(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        from: SocketAddr,
        now: Moment,
    ) -> Answer {
        let datagram = &mut buffer[..length];
        if let Some(asked) = Message::from_bytes(datagram) {
            if !asked.is_question() {
                return Answer::Nothing;
            }
            let heard = self.count(asked.probe);
            let told = Message { heard, moment: now, ..asked }.to_bytes();
            datagram[..told.len()].copy_from_slice(&told);
            return Answer::Back(length);
        }
        if let Some(request) = PlayRequest::from_bytes(datagram) {
            return self.play(buffer, request, from, now.monotonic_ns);
        }
        if message::is_of_another_version(datagram) {
            let refusal = message::refusal();
            return if length < refusal.len() { Answer::Nothing } else { back(buffer, &refusal) };
        }
        let is_ours = datagram.starts_with(message::PREFIX);
        let echo = self.echo.as_mut().filter(|_| !is_ours);
        let is_echoed = echo.is_some_and(|it| it.allows(from, now.monotonic_ns));
        if is_echoed { Answer::Back(length) } else { Answer::Nothing }
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

    /// What goes back for these bytes.
    fn answered(responder: &mut Responder, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; 128];
        buffer[..bytes.len()].copy_from_slice(bytes);
        match responder.answer(&mut buffer, bytes.len(), from(), NOW) {
            Answer::Back(length) => Some(buffer[..length].to_vec()),
            Answer::Nothing => None,
        }
    }

    #[test]
    fn a_question_of_another_version_gets_our_version_unless_that_would_be_longer() {
        let mut responder = Responder::new(64);
        let refusal = answered(&mut responder, b"StrnPrb1 of long ago.....").unwrap();
        assert_eq!(message::refused_by(&refusal), Some(2));
        assert_eq!(answered(&mut responder, b"StrnPrb1 short."), None);
    }

    /// Everything that a responder could receive without a question having been sent to it.
    fn no_questions() -> Vec<Vec<u8>> {
        let question = Message::new(1, 2);
        let clock = |monotonic_ns, realtime_ns| Moment { monotonic_ns, realtime_ns };
        vec![
            Message { heard: 1, ..question }.to_bytes().to_vec(),
            Message { moment: clock(1, 0), ..question }.to_bytes().to_vec(),
            Message { moment: clock(0, 1), ..question }.to_bytes().to_vec(),
            Message { heard: 3, moment: NOW, ..question }.to_bytes().to_vec(),
            question.to_bytes()[..40].to_vec(),
            message::refusal().to_vec(),
            PlayAnswer::Cookie { session: 1, cookie: 2 }.to_bytes().to_vec(),
            PlayAnswer::Busy { session: 1 }.to_bytes().to_vec(),
            Frame { session: 1, number: 2, sent_ns: 3 }.padded(100),
            Vec::new(),
        ]
    }

    #[test]
    fn answers_and_unknown_bytes_are_dropped() {
        let mut responder = Responder::new(64);
        for bytes in no_questions().into_iter().chain([b"just an echo, long enough".to_vec()]) {
            assert_eq!(answered(&mut responder, &bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn with_echo_unknown_bytes_come_back_and_our_own_answers_do_not() {
        let mut responder = Responder::new(64).with_echo(7);
        let bytes = b"just an echo, long enough".to_vec();
        assert_eq!(answered(&mut responder, &bytes), Some(bytes));
        for bytes in no_questions().into_iter().filter(|it| !it.is_empty()) {
            assert_eq!(answered(&mut responder, &bytes), None, "{bytes:?}");
        }
    }

    /// What a responder did before it dropped anything: it answered answers, and echoed the rest.
    fn answered_by_an_old_one(bytes: &[u8]) -> Vec<u8> {
        match Message::from_bytes(bytes) {
            Some(asked) => {
                let answer = Message { heard: asked.heard + 1, moment: NOW, ..asked }.to_bytes();
                [&answer[..], &bytes[answer.len()..]].concat()
            }
            None if message::is_of_another_version(bytes) => message::refusal().to_vec(),
            None => bytes.to_vec(),
        }
    }

    #[test]
    fn one_forged_datagram_brings_at_most_one_answer_from_an_old_and_a_new_responder() {
        let request = PlayRequest { cookie: 0, session: 5, interval_ns: 40, frame_bytes: 100 };
        let mut padded = Message::new(3, 4).to_bytes().to_vec();
        padded.resize(100, 0);
        let mut first = no_questions();
        first.extend([Message::new(1, 2).to_bytes().to_vec(), padded]);
        first.extend([request.to_bytes().to_vec(), b"StrnPrb1 of long ago.....".to_vec()]);
        first.push(b"whatever".to_vec());
        for bytes in first {
            let (mut one, mut other) = (Responder::new(64), Responder::new(64));
            // Sent to a new one in the name of another new one.
            let back = answered(&mut one, &bytes);
            assert!(back.as_ref().is_none_or(|it| it.len() <= bytes.len()), "{bytes:?}");
            assert_eq!(back.and_then(|it| answered(&mut other, &it)), None, "{bytes:?}");
            // Sent to a new one in the name of an old one, and the other way.
            let back = answered(&mut one, &bytes).map(|it| answered_by_an_old_one(&it));
            assert_eq!(back.and_then(|it| answered(&mut one, &it)), None, "{bytes:?}");
            let back = answered(&mut one, &answered_by_an_old_one(&bytes));
            let back = back.map(|it| answered_by_an_old_one(&it));
            assert_eq!(back.and_then(|it| answered(&mut one, &it)), None, "{bytes:?}");
        }
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
