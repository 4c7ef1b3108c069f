//! Uneven patterns as classes: pages in the order of how often they are written, cut into stretches that are nearly even.

use sterna_workload::Pattern;

/// A stretch of ranks ends where its last rank is larger than its first by this factor.
const STRETCH: f64 = 1.25;

/// Lanes in which a strided sweep is followed.
const LANES: usize = 64;

/// Where the stretches of ranks end, in pages, for patterns that are used on the same `pages`; the last is `pages`.
pub(super) fn edges(patterns: &[Pattern], pages: f64) -> Vec<f64> {
    let mut edges = vec![pages];
    for pattern in patterns {
        match pattern {
            Pattern::Zipf(_) => {
                let mut edge = 1.0;
                while edge < pages {
                    edges.push(edge);
                    edge = (edge * STRETCH).ceil();
                }
            }
            Pattern::HotSet(shares) => edges.push(hot_pages(shares.pages().hundredths(), pages)),
            Pattern::Stride(_) => {
                let lanes = LANES.min(pages.max(1.0) as usize);
                edges.extend((1..lanes).map(|it| pages * it as f64 / lanes as f64));
            }
            Pattern::Sequential | Pattern::Random | Pattern::Once => {}
        }
    }
    edges.retain(|it| *it > 0.0 && *it <= pages);
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Writes a second and page in each stretch, when all pages together get `writes` a second.
pub(super) fn rates(pattern: Pattern, edges: &[f64], writes: f64) -> Vec<f64> {
    let pages = edges.last().copied().unwrap_or(0.0);
    let starts = std::iter::once(0.0).chain(edges.iter().copied());
    let stretches = starts.zip(edges.iter().copied());
    match pattern {
        Pattern::Random => edges.iter().map(|_| writes / pages).collect(),
        Pattern::Zipf(skew) => {
            let theta = skew.theta();
            let whole = power_sum(theta, 0.0, pages);
            let part = |(start, end): (f64, f64)| power_sum(theta, start, end) / (end - start);
            stretches.map(|it| writes * part(it) / whole).collect()
        }
        Pattern::HotSet(shares) => {
            let hot = hot_pages(shares.pages().hundredths(), pages);
            let cold = pages - hot;
            let share = match cold > 0.0 {
                true => f64::from(shares.writes().hundredths()) / 10_000.0,
                false => 1.0,
            };
            let rate = |(start, _): (f64, f64)| match start < hot {
                true => writes * share / hot,
                false => writes * (1.0 - share) / cold,
            };
            stretches.map(rate).collect()
        }
        Pattern::Sequential | Pattern::Stride(_) | Pattern::Once => Vec::new(),
    }
}

fn hot_pages(hundredths: u32, pages: f64) -> f64 {
    (pages * f64::from(hundredths) / 10_000.0).floor().clamp(1.0, pages.max(1.0))
}

/// The sum of k^-θ over the ranks from `start` + 1 to `end`.
fn power_sum(theta: f64, start: f64, end: f64) -> f64 {
    const EXACT: f64 = 16.0;
    let exact_end = end.min(EXACT.max(start));
    let mut sum = 0.0;
    let mut rank = start + 1.0;
    while rank <= exact_end {
        sum += rank.powf(-theta);
        rank += 1.0;
    }
    if end > exact_end {
        // The middle of each rank's own stretch is what it counts for.
        let (from, to) = (exact_end + 0.5, end + 0.5);
        sum += match (theta - 1.0).abs() < 1e-9 {
            true => (to / from).ln(),
            false => (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta),
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_workload::Spec;
    use sterna_workload::partition::order;

    /// Distinct pages by the classes, and by real draws of the workload.
    fn distinct(text: &str, pages: usize, writes: u64) -> (f64, f64) {
        let pattern: Pattern = text.parse().unwrap();
        let edges = edges(&[pattern], pages as f64);
        let rates = rates(pattern, &edges, writes as f64);
        let starts = std::iter::once(0.0).chain(edges.iter().copied());
        let drawn = starts.zip(&edges).zip(&rates);
        let drawn = drawn.map(|((start, end), rate)| (end - start) * -(-rate).exp_m1()).sum();
        let spec = Spec { pattern, ..Spec::of(sterna_units::Bytes(pages as u64 * 4096)) };
        let order = order(&spec, 0);
        let mut is_reached = vec![false; pages];
        (0..writes).for_each(|index| is_reached[order.page(index)] = true);
        (drawn, is_reached.iter().filter(|it| **it).count() as f64)
    }

    #[test]
    fn classes_dirty_as_many_pages_as_the_workload_itself() {
        for text in ["random", "zipf(0.99)", "zipf(0.5)", "zipf(1.3)", "hot-set(10%,90%)"] {
            for writes in [1_000, 20_000, 200_000] {
                let (classes, real) = distinct(text, 16_384, writes);
                let tolerance = 20.0 + real * 0.03;
                assert!((classes - real).abs() < tolerance, "{text}, {writes}: {classes}, {real}");
            }
        }
    }
}
