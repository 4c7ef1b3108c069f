//! The other end of a probe.

use crate::Message;

/// Probes that are counted for at a time; with one more, the one that was silent longest is forgotten.
const MOST_PROBES: usize = 64;

/// Counts the messages of each probe, so that the observer learns on which way those that are missing were lost.
#[derive(Debug, Default)]
pub struct Responder {
    /// Probe and count, the one heard last at the end.
    heard: Vec<(u64, u64)>,
}

impl Responder {
    /// Turns what came into what goes back. Anything but a [`Message`] is left as it is.
    pub fn answer(&mut self, datagram: &mut [u8]) {
        let Some(message) = Message::from_bytes(datagram) else { return };
        let heard = self.count(message.probe);
        datagram.copy_from_slice(&Message { heard, ..message }.to_bytes());
    }

    fn count(&mut self, probe: u64) -> u64 {
        let place = self.heard.iter().position(|it| it.0 == probe);
        let before = place.map_or(0, |place| self.heard.remove(place).1);
        if self.heard.len() == MOST_PROBES {
            self.heard.remove(0);
        }
        self.heard.push((probe, before + 1));
        before + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(responder: &mut Responder, probe: u64) -> u64 {
        let mut bytes = Message { probe, number: 7, heard: 0 }.to_bytes();
        responder.answer(&mut bytes);
        let message = Message::from_bytes(&bytes).unwrap();
        assert_eq!((message.probe, message.number), (probe, 7));
        message.heard
    }

    #[test]
    fn each_probe_is_counted_for_itself_and_the_silent_are_forgotten() {
        let mut responder = Responder::default();
        assert_eq!([1, 2, 1, 1].map(|probe| heard(&mut responder, probe)), [1, 1, 2, 3]);
        for stranger in 100..163 {
            assert_eq!(heard(&mut responder, stranger), 1);
        }
        // Probe 2 was the first to go.
        assert_eq!(heard(&mut responder, 1), 4);
        assert_eq!(heard(&mut responder, 2), 1);
    }

    #[test]
    fn other_messages_come_back_as_they_are() {
        let mut bytes = *b"just an echo";
        Responder::default().answer(&mut bytes);
        assert_eq!(&bytes, b"just an echo");
    }
}
