//! What cannot be asked for: values out of range, and combinations that no engine could run.
//!
//! What only some engine cannot do is not refused here but by that engine.

mod faults;
mod fleet;
mod guest;
mod limits;
mod stream;
mod techniques;
#[cfg(test)]
mod tests;

use sterna_units::Rate;

use crate::error::{Problem, ScenarioError};
use crate::types::Scenario;

impl Scenario {
    /// Whether this can be run at all.
    ///
    /// # Errors
    /// [`ScenarioError::Impossible`] with everything that stands against it.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(ScenarioError::Impossible(problems)) }
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut found = Findings::default();
        guest::check(self, &mut found);
        techniques::check(self, &mut found);
        stream::check(self, &mut found);
        limits::check(self, &mut found);
        faults::check(self, &mut found);
        fleet::check(self, &mut found);
        found.problems
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    /// `message` is wrong about `fields` if `is_wrong`.
    fn refuse_if(
        &mut self,
        is_wrong: bool,
        fields: &[&'static str],
        message: impl FnOnce() -> String,
    ) {
        if is_wrong {
            self.problems.push(Problem {
                fields: fields.to_vec(),
                origins: Vec::new(),
                message: message(),
            });
        }
    }

    /// `field` must be from `least` to `most`.
    fn range<T: PartialOrd + std::fmt::Display>(
        &mut self,
        field: &'static str,
        value: T,
        least: T,
        most: T,
    ) {
        self.refuse_if(value < least || value > most, &[field], || {
            format!("Field `{field}` is {value}; it must be from {least} to {most}")
        });
    }

    /// A rate that lets less than a byte per second through would be waited for for ever.
    fn some_rate(&mut self, field: &'static str, rate: Option<Rate>, way_out: &str) {
        let Some(rate) = rate else { return };
        self.refuse_if(rate.bytes_per_second() == 0, &[field], || {
            format!("Field `{field}` is {rate}, which lets nothing through; {way_out}")
        });
    }
}
