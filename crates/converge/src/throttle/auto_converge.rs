//! Auto-converge: all processors of the guest are slowed down alike, step by step.

use sterna_scenario::AutoConverge as Steps;

use super::Period;

/// How much of their time the workers are held back, as QEMU decides it.
///
/// The share only ever grows while the migration lasts, and nobody is held back afterwards.
#[derive(Clone, Debug)]
pub struct AutoConverge {
    steps: Steps,
    percent: u8,
}

impl AutoConverge {
    /// Nobody is held back yet.
    pub fn new(steps: Steps) -> AutoConverge {
        AutoConverge { steps, percent: 0 }
    }

    /// The share of time, in percent.
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// Takes a step and returns the new share.
    pub fn step(&mut self, period: Period) -> u8 {
        let Steps { initial, max, .. } = self.steps;
        self.percent = match self.percent {
            0 => initial,
            percent => percent.saturating_add(self.increment(period)).min(max),
        };
        self.percent
    }

    /// With tail-slow no more than what, if the dirty rate follows the processors' time, makes it tolerable.
    fn increment(&self, period: Period) -> u8 {
        let Steps { increment, tail_slow, .. } = self.steps;
        if !tail_slow {
            return increment;
        }
        let left = u64::from(100 - self.percent);
        let ideal = u128::from(left) * u128::from(period.tolerable_bytes)
            / u128::from(period.dirty_bytes.max(1));
        let needed = left.saturating_sub(ideal as u64);
        increment.min(needed as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(initial: u8, increment: u8, max: u8, periods: &[(u64, u64)]) -> Vec<u8> {
        let tail_slow = periods.iter().any(|it| it.1 > 0);
        let mut it = AutoConverge::new(Steps { initial, increment, max, tail_slow });
        assert_eq!(it.percent(), 0);
        let periods = periods.iter();
        periods
            .map(|&(dirty_bytes, tolerable_bytes)| it.step(Period { dirty_bytes, tolerable_bytes }))
            .collect()
    }

    #[test]
    fn steps_are_even_up_to_the_highest() {
        let ten = [(100, 0); 10];
        assert_eq!(percents(20, 10, 99, &ten), [20, 30, 40, 50, 60, 70, 80, 90, 99, 99]);
        assert_eq!(percents(70, 20, 80, &ten[..3]), [70, 80, 80]);
        assert_eq!(percents(99, 99, 99, &ten[..2]), [99, 99]);
    }

    #[test]
    fn tail_slow_steps_are_no_larger_than_needed() {
        // The first step knows no dirty rate yet. Then 80 % are left: 80 - 80 x 95 / 100 = 4.
        assert_eq!(percents(20, 10, 99, &[(100, 50), (100, 95)]), [20, 24]);
        // Half of 80 would be needed, which is more than a step.
        assert_eq!(percents(20, 10, 99, &[(100, 50), (100, 50)]), [20, 30]);
        assert_eq!(percents(20, 10, 99, &[(100, 50), (0, 50)]), [20, 20]);
    }
}
