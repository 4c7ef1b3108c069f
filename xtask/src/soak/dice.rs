//! Choices that follow from a seed alone, so that a failure can be shown again.

/// SplitMix64, the usual way to spread a small seed.
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The choices of one seed.
    pub fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// A number below `below`.
    pub fn pick(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    /// One of these.
    pub fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.pick(choices.len())]
    }
}
