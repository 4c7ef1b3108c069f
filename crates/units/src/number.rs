//! Decimal numbers without floating point, so that `1.5GiB` is exact and `0.3B` is refused instead of rounded.

use crate::Problem;

/// Splits `text` into its leading number and the unit that follows; blanks around both are ignored.
pub(crate) fn split(text: &str) -> Result<(&str, &str), Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.starts_with('-') {
        return Err(Problem::Negative);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    if end == 0 {
        return Err(Problem::NoNumber);
    }
    let (number, unit) = text.split_at(end);
    Ok((number, unit.trim_start()))
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
