//! What all parts of the text form share: names, parameters in parentheses, values.

use std::str::FromStr;

use super::error::{SpecError, UnknownName};

/// A value by its own parser.
pub(super) fn parsed<T>(field: &'static str, value: &str) -> Result<T, SpecError>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    value.parse().map_err(|source: T::Err| SpecError::Value {
        field,
        value: value.to_owned(),
        source: Box::new(source),
    })
}

/// A refusal that says what would be accepted.
pub(super) fn out_of_range(field: &'static str, value: &str, way_out: &'static str) -> SpecError {
    SpecError::Range { field, value: value.to_owned(), way_out }
}

/// Cuts `name(parameters)` into the two; the parameters are None when there are no parentheses.
pub(super) fn with_parameters(text: &str) -> (&str, Option<&str>) {
    match text.split_once('(') {
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(parameters) => (name.trim_end(), Some(parameters.trim())),
            None => (text, None),
        },
        None => (text, None),
    }
}

/// The value that stands at the place of the name.
pub(super) fn by_name<T: Copy>(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
    values: &[T],
) -> Result<T, UnknownName> {
    let found = known.iter().zip(values).find(|(name, _)| **name == text);
    found.map(|(_, value)| *value).ok_or_else(|| unknown(what, text, known))
}

/// The known name that `text` is.
pub(super) fn known_name(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
) -> Result<&'static str, UnknownName> {
    known.iter().find(|name| **name == text).copied().ok_or_else(|| unknown(what, text, known))
}

/// An error with the nearest of the known names.
///
/// Known names may carry example parameters, which do not count for nearness.
pub(super) fn unknown(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
) -> UnknownName {
    /// Below this similarity a suggestion is more likely to be a guess than a help.
    const CLOSE_ENOUGH: f64 = 0.7;
    let lower = text.to_lowercase();
    let plain = |text| with_parameters(text).0;
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(plain(&lower), plain(name)), *name))
        .filter(|(similarity, _)| *similarity >= CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name);
    UnknownName { what, found: text.to_owned(), nearest, known }
}
