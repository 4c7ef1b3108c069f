//! Decimal numbers without floating point, so that `1.5GiB` is exact and `0.3B` is refused instead of rounded.

use crate::{NO_LIMIT, Problem};

/// Splits `text` into its leading number and the unit that follows; blanks around both are ignored. `units` are those
/// that a hint may add to a number without one.
pub(crate) fn split<'a>(text: &'a str, units: &[&str]) -> Result<(&'a str, &'a str), Problem> {
    let text = text.trim();
    if let Some(slip) = slip(text, units) {
        return Err(slip);
    }
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.starts_with('-') {
        return Err(Problem::Negative);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    if end == 0 {
        let is_no_limit = NO_LIMIT.contains(&text);
        return Err(if is_no_limit { Problem::NoLimit } else { Problem::NoNumber });
    }
    let (number, unit) = text.split_at(end);
    Ok((number, unit.trim_start()))
}

/// Notations that are not read, with what to write instead: a comma, and a power of ten.
pub(crate) fn slip(text: &str, units: &[&str]) -> Option<Problem> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    if number.is_empty() {
        return None;
    }
    match rest.as_bytes() {
        [b',', b'0'..=b'9', ..] => {
            Some(Problem::Comma { suggestion: without_comma(number, &rest[1..]) })
        }
        [b'e' | b'E', ..] => scientific(number, &rest[1..], units),
        _ => None,
    }
}

fn without_comma(number: &str, rest: &str) -> String {
    let dotted = format!("{}.{rest}", number.replace('.', ""));
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let joined = format!("{number}{}", rest.replace(',', ""));
    match digits {
        3 if rest[digits..].contains(',') => format!("`{joined}`"),
        3 if !number.contains('.') => format!("`{joined}`, or `{dotted}` if it is a decimal comma"),
        _ => format!("`{dotted}`"),
    }
}

/// None where the letter is no power of ten but the beginning of a unit, as in `5E` and `5EiB`.
fn scientific(number: &str, rest: &str, units: &[&str]) -> Option<Problem> {
    let end = rest
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *at == 0 && ['+', '-'].contains(c)))
        .map_or(rest.len(), |it| it.0);
    let exponent: i32 = rest[..end].parse().ok()?;
    let unit = rest[end..].trim_start();
    let suggestion = plain(number, exponent).and_then(|number| {
        // A unit with a prefix of its own cannot take another.
        let is_whole = unit.is_empty() || units.contains(&unit);
        let texts = units.iter().filter(|it| unit.is_empty() || **it == unit);
        let texts: Vec<String> = texts.map(|it| format!("`{}{it}`", prefixed(&number))).collect();
        is_whole.then(|| texts.join(" or ")).filter(|it| !it.is_empty())
    });
    Some(Problem::Scientific {
        suggestion: suggestion.unwrap_or_else(|| "the number out".to_owned()),
    })
}

/// The number without its exponent; None where it is no whole number of at most 18 digits.
fn plain(number: &str, exponent: i32) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let zeros = usize::try_from(exponent).ok()?.checked_sub(fraction.len())?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(zeros.min(30)));
    let digits = digits.trim_start_matches('0');
    (1..=18).contains(&digits.len()).then(|| digits.to_owned())
}

/// `250000000` as `250M`.
fn prefixed(digits: &str) -> String {
    let prefixes = [
        ("000000000000000", "P"),
        ("000000000000", "T"),
        ("000000000", "G"),
        ("000000", "M"),
        ("000", "k"),
    ];
    let found = prefixes.iter().find_map(|(zeros, letter)| {
        let short = digits.strip_suffix(zeros).filter(|it| !it.is_empty())?;
        Some(format!("{short}{letter}"))
    });
    found.unwrap_or_else(|| digits.to_owned())
}

/// `value` / `factor` in decimal, exactly; both come from a text whose number was decimal.
pub(crate) fn decimal(value: u64, factor: u64) -> String {
    let mut text = (value / factor).to_string();
    let mut rest = u128::from(value % factor);
    if rest > 0 {
        text.push('.');
    }
    // Each factor is a product of twos and fives of at most 2^60, so this ends.
    while rest > 0 {
        rest *= 10;
        text.push_str(&(rest / u128::from(factor)).to_string());
        rest %= u128::from(factor);
    }
    text
}

/// `number` × `factor`, which must come out whole; `step` names what one is.
pub(crate) fn exact(number: &str, factor: u64, step: &'static str) -> Result<u64, Problem> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => (whole, fraction.trim_end_matches('0')),
        Some(_) => return Err(Problem::NoNumber),
        None => (number, ""),
    };
    if !is_digits(whole) {
        return Err(Problem::NoNumber);
    }
    let whole = product(digits(whole), factor).ok_or(Problem::TooLarge)?;
    let part = part(fraction, factor).ok_or(Problem::NotWhole { step })?;
    u64::try_from(whole + part).map_err(|_| Problem::TooLarge)
}

/// `0.fraction` × `factor` if that is whole.
fn part(fraction: &str, factor: u64) -> Option<u128> {
    let scale =
        u32::try_from(fraction.len()).ok().and_then(|length| 10_u128.checked_pow(length))?;
    let scaled = digits(fraction)?.checked_mul(u128::from(factor))?;
    (scaled % scale == 0).then_some(scaled / scale)
}

/// The product if it is within `u64`, so that adding a fraction of one factor cannot overflow later.
fn product(number: Option<u128>, factor: u64) -> Option<u128> {
    number?.checked_mul(u128::from(factor)).filter(|product| *product <= u128::from(u64::MAX))
}

fn digits(text: &str) -> Option<u128> {
    text.bytes().try_fold(0_u128, |value, digit| {
        value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
    })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        #[track_caller]
        fn check(number: &str, factor: u64, expected: Result<u64, Problem>) {
            assert_eq!(exact(number, factor, "bytes"), expected, "{number} × {factor}");
        }
        let not_whole = || Err(Problem::NotWhole { step: "bytes" });
        check("0", 1, Ok(0));
        check("1.5", 1 << 30, Ok(3 << 29));
        check("1.500", 2, Ok(3));
        check("0.0009765625", 1024, Ok(1));
        check("007", 1, Ok(7));
        check("1.0", 1, Ok(1));
        check("18446744073709551615", 1, Ok(u64::MAX));
        check("0.3", 1, not_whole());
        check("0.3", 1024, not_whole());
        check(&format!("0.{}1", "0".repeat(60)), 1024, not_whole());
        check("18446744073709551616", 1, Err(Problem::TooLarge));
        check(&"9".repeat(400), 1, Err(Problem::TooLarge));
        check("18446744073709551615.5", 2, Err(Problem::TooLarge));
        check(".5", 2, Err(Problem::NoNumber));
        check("5.", 2, Err(Problem::NoNumber));
        check("1.2.3", 2, Err(Problem::NoNumber));
        check(".", 2, Err(Problem::NoNumber));
    }
}
