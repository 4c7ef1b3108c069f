//! Decimal fractions that are kept exactly, so that what was read prints the same.

use std::fmt;

/// Reads a non-negative decimal number as a whole number of `1 / 10^places`; None if it is not one, or is finer.
pub(super) fn read(text: &str, places: u32) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u32 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let whole: u32 = whole.parse().ok()?;
    whole.checked_mul(10u32.pow(places))?.checked_add(fraction * 10u32.pow(missing))
}

/// Prints what [`read`] read, without trailing zeros.
pub(super) fn write(f: &mut fmt::Formatter<'_>, value: u32, places: u32) -> fmt::Result {
    let unit = 10u32.pow(places);
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return write!(f, "{whole}");
    }
    let digits = format!("{fraction:0width$}", width = places as usize);
    write!(f, "{whole}.{}", digits.trim_end_matches('0'))
}
