//! Sets of processor or NUMA node numbers, as the kernel writes them: `0-3,8`.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A set of processor or node numbers that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdSet {
    ids: BTreeSet<u32>,
}

/// Why a text is no set of numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdSetError {
    /// A part is neither a number nor a range.
    #[error("Part `{0}` is neither a number nor a range; write for example `0-3,8`")]
    NotANumber(String),
    /// A range runs downwards.
    #[error("Range `{0}` runs downwards; write the smaller number first")]
    Downwards(String),
    /// A number that no kernel has.
    #[error("Number {0} is too large, the largest is {LARGEST}")]
    TooLarge(u32),
}

/// Above what Linux can be built for (8192), and small enough to expand a range without thinking.
const LARGEST: u32 = 16_383;

impl IdSet {
    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.iter().copied()
    }

    /// The set of these numbers; `None` without any, since a set that allows nothing cannot be meant.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Option<IdSet> {
        let ids: BTreeSet<u32> = ids.into_iter().collect();
        (!ids.is_empty()).then_some(IdSet { ids })
    }
}

impl FromStr for IdSet {
    type Err = IdSetError;

    fn from_str(text: &str) -> Result<IdSet, IdSetError> {
        let mut ids = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if last < first {
                return Err(IdSetError::Downwards(part.to_owned()));
            }
            if last > LARGEST {
                return Err(IdSetError::TooLarge(last));
            }
            ids.extend(first..=last);
        }
        Ok(IdSet { ids })
    }
}

/// Ascending, with runs as ranges.
impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (first, last) in runs(&self.ids) {
            match first == last {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

fn number(text: &str, part: &str) -> Result<u32, IdSetError> {
    text.trim().parse().map_err(|_| IdSetError::NotANumber(part.to_owned()))
}

fn runs(ids: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => runs.push((id, id)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets_are_read_and_printed() {
        #[track_caller]
        fn check(text: &str, canonical: &str) {
            assert_eq!(text.parse::<IdSet>().unwrap().to_string(), canonical);
        }
        check("0", "0");
        check("0-3,8", "0-3,8");
        check("8, 3,2,1 ,0", "0-3,8");
        check("0-1,1-2", "0-2");
        check("4-4", "4");
    }

    #[test]
    fn other_texts_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: IdSetError) {
            assert_eq!(text.parse::<IdSet>(), Err(expected));
        }
        check("", IdSetError::NotANumber(String::new()));
        check("0,", IdSetError::NotANumber(String::new()));
        check("a-b", IdSetError::NotANumber("a-b".into()));
        check("-1", IdSetError::NotANumber("-1".into()));
        check("3-1", IdSetError::Downwards("3-1".into()));
        check("0-4294967295", IdSetError::TooLarge(u32::MAX));
        assert_eq!(IdSet::new([]), None);
    }

    proptest! {
        #[test]
        fn every_set_round_trips(ids in proptest::collection::btree_set(0..=LARGEST, 1..20)) {
            let set = IdSet::new(ids).unwrap();
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
