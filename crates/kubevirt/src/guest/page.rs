//! The agent's pages, read: lines of `name{labels} value`, as Prometheus has them.

use super::Check;

/// Page writes of each worker; None where the page is none of the agent's.
pub fn counts(page: &str) -> Option<Vec<u64>> {
    let workers = lines(page, "sterna_guest_page_writes_total");
    let mut counts: Vec<(u64, u64)> = workers
        .map(|(labels, value)| Some((label(labels, "worker")?, value)))
        .collect::<Option<_>>()?;
    counts.sort_unstable();
    (!counts.is_empty()).then(|| counts.into_iter().map(|it| it.1).collect())
}

/// The guest's monotonic clock, in nanoseconds.
pub fn clock_ns(page: &str) -> Option<u64> {
    let value =
        page.lines().find_map(|it| it.strip_prefix("sterna_guest_monotonic_seconds "))?.trim();
    let (seconds, rest) = value.split_once('.')?;
    let rest: u64 = (rest.len() == 9).then(|| rest.parse().ok())??;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(rest)
}

/// What a check found; None where the page is none of a check, as with an older agent.
pub fn check(page: &str) -> Option<Check> {
    let one = |name: &str| lines(page, name).next().map(|it| it.1);
    let words = lines(page, "sterna_guest_corrupt_word").map(|(labels, found)| {
        let of = |name: &str| label(labels, name);
        Some((of("page")?, of("offset")?, of("expected")?, found))
    });
    Some(Check {
        pages_checked: one("sterna_guest_verified_pages")?,
        corrupt_pages: one("sterna_guest_corrupt_pages")?,
        first: words.collect::<Option<_>>()?,
    })
}

/// Labels and value of each line of a metric.
fn lines<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    page.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let is_it = labels.is_empty() || labels.starts_with('{') && labels.ends_with('}');
        is_it.then(|| value.parse().ok().map(|it| (labels, it)))?
    })
}

fn label(labels: &str, name: &str) -> Option<u64> {
    let inner = labels.strip_prefix('{')?.strip_suffix('}')?;
    inner.split(',').find_map(|it| {
        let value = it.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"')?;
        value.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_in_the_order_of_the_workers() {
        let page = "# TYPE sterna_guest_page_writes_total counter\nsterna_guest_page_writes_total{worker=\"1\"} 7\nsterna_guest_page_writes_total{worker=\"0\"} 5\nsterna_guest_memory_bytes 4096\n";
        assert_eq!(counts(page), Some(vec![5, 7]));
        for other in ["", "<html>", "sterna_guest_page_writes_total 5", "other{worker=\"0\"} 5"] {
            assert_eq!(counts(other), None, "{other}");
        }
    }

    #[test]
    fn the_clock_is_read_to_the_nanosecond() {
        let read =
            |value: &str| clock_ns(&format!("a 1\nsterna_guest_monotonic_seconds {value}\n"));
        assert_eq!(read("12.000000345"), Some(12_000_000_345));
        for wrong in ["12", "12.5", "-1.000000000", "x.000000000", "99999999999.000000000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(clock_ns(""), None);
    }

    #[test]
    fn a_check_is_read_with_the_words_that_were_wrong_and_anything_else_is_none() {
        let clean = "sterna_guest_verified_pages 100\nsterna_guest_corrupt_pages 0\n";
        assert_eq!(check(clean), Some(Check { pages_checked: 100, ..Check::default() }));
        let corrupt = "sterna_guest_verified_pages 100\nsterna_guest_corrupt_pages 1\nsterna_guest_corrupt_word{page=\"3\",offset=\"16\",expected=\"18446744073709551615\"} 42\n";
        let expected =
            Check { pages_checked: 100, corrupt_pages: 1, first: vec![(3, 16, u64::MAX, 42)] };
        assert_eq!(check(corrupt), Some(expected));
        assert_eq!(check("sterna_guest_page_writes_total{worker=\"0\"} 5\n"), None);
        assert_eq!(check("sterna_guest_verified_pages 100\n"), None);
    }
}
