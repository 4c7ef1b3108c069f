//! What travels besides memory: how far the workload has come, and the device blob.

use super::{FrameError, Kind};

/// The guest's state apart from its RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Writes each worker has made, and what else its workload needs to go on; with the seed, all there is to know of it.
    pub counts: Vec<u64>,
    /// Stands for the state of the virtual devices; only its size matters.
    pub device: Vec<u8>,
}

/// Most numbers a state may hold: the scenario's most workers, each with its position in many phases.
const MAX_COUNTS: usize = 1 << 20;

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.counts.len() * 8 + self.device.len());
        bytes.extend_from_slice(&(self.counts.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.device.len() as u32).to_le_bytes());
        for count in &self.counts {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.device);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<State, FrameError> {
        let malformed = |detail: String| FrameError::Malformed { kind: Kind::State, detail };
        let Some((&[a, b, c, d, e, f, g, h], rest)) = bytes.split_first_chunk::<8>() else {
            return Err(malformed(format!("{} bytes are too few", bytes.len())));
        };
        let counts = u32::from_le_bytes([a, b, c, d]) as usize;
        let device_bytes = u32::from_le_bytes([e, f, g, h]) as usize;
        if counts > MAX_COUNTS || counts * 8 + device_bytes != rest.len() {
            return Err(malformed(format!(
                "{counts} counts and {device_bytes} bytes of device state do not make {} bytes",
                rest.len()
            )));
        }
        let (counts, device) = rest.split_at(counts * 8);
        let counts =
            counts.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        Ok(State { counts, device: device.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn state_has_golden_bytes() {
        let state = State { counts: vec![1, 0x0203], device: vec![7, 8] };
        let golden = b"\x02\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x03\x02\0\0\0\0\0\0\x07\x08";
        assert_eq!(state.encode(), golden);
    }

    proptest! {
        #[test]
        fn state_round_trips(counts in prop::collection::vec(any::<u64>(), 0..20), device: Vec<u8>) {
            let state = State { counts, device };
            prop_assert_eq!(State::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = State::decode(&bytes);
        }
    }
}
