//! One unit for all values of an axis, so that its numbers are short.

/// A divisor and the unit that it leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub divisor: f64,
    pub unit: &'static str,
}

const KIB: f64 = 1024.0;

impl Scale {
    pub fn bytes(largest: f64) -> Scale {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        Scale::of(largest, KIB, UNITS)
    }

    pub fn bytes_per_second(largest: f64) -> Scale {
        const UNITS: [&str; 5] = ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"];
        Scale::of(largest, KIB, UNITS)
    }

    pub fn pages_per_second(largest: f64) -> Scale {
        const UNITS: [&str; 5] =
            ["pages/s", "thousand pages/s", "million pages/s", "billion pages/s", "10¹² pages/s"];
        Scale::of(largest, 1000.0, UNITS)
    }

    fn of(largest: f64, base: f64, units: [&'static str; 5]) -> Scale {
        // Below two of the next unit the numbers of an axis would be fractions.
        let steps = units.iter().scan(1.0, |divisor, unit| {
            let scale = Scale { divisor: *divisor, unit };
            *divisor *= base;
            Some(scale)
        });
        let fitting = steps.take_while(|it| it.divisor <= 1.0 || largest >= 2.0 * it.divisor);
        fitting.last().unwrap_or(Scale { divisor: 1.0, unit: units[0] })
    }

    /// The points in this unit.
    pub fn points(self, points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
        points.into_iter().map(|(x, y)| (x, y / self.divisor)).collect()
    }
}

/// The largest known value of many series.
pub fn largest<'a>(series: impl IntoIterator<Item = &'a Vec<(f64, f64)>>) -> f64 {
    let values = series.into_iter().flatten().map(|it| it.1).filter(|it| it.is_finite());
    values.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_suits_the_largest_value() {
        let table = [
            (0.0, "B"),
            (f64::NAN, "B"),
            (1500.0, "B"),
            (2048.0, "KiB"),
            (512.0 * KIB * KIB, "MiB"),
            (1.9 * KIB * KIB * KIB, "MiB"),
            (2.1 * KIB * KIB * KIB, "GiB"),
            (1e30, "TiB"),
        ];
        for (largest, unit) in table {
            assert_eq!(Scale::bytes(largest).unit, unit, "{largest}");
        }
    }
}
