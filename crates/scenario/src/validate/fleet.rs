//! Several guests.

use super::Findings;
use crate::types::Scenario;

/// More would be a benchmark of the machine's scheduler.
const MOST_GUESTS: u32 = 64;

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let Some(fleet) = scenario.fleet else { return };
    found.range("fleet.guests", fleet.guests, 2, MOST_GUESTS);
    found.refuse_if(
        fleet.guests > 1 && !(1..=fleet.guests).contains(&fleet.parallel),
        &["fleet.parallel", "fleet.guests"],
        || {
            format!(
                "Field `fleet.parallel` is {}; it must be from 1, for one after the other, to the {} of `fleet.guests`, for all at once",
                fleet.parallel, fleet.guests
            )
        },
    );
}
