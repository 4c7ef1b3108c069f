//! The suites that come with Sterna. They are data, in the directory `suites` of this crate.

macro_rules! suites {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../suites/", $name, ".toml")))),+]
    };
}

/// Name and text of each.
pub(super) const STANDARD: &[(&str, &str)] =
    suites!["guestperf", "techniques", "spectrum", "ladder", "ladder-small", "kubevirt", "fleet"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::types::{Downtime, Trigger};
    use crate::{Scenario, Suite};

    fn suite(name: &str) -> Suite {
        Suite::from_toml(name, Suite::text_of(name).unwrap()).unwrap()
    }

    fn scenario(suite: &Suite, run: &str) -> Scenario {
        suite.runs.iter().find(|it| it.name == run).unwrap().scenario.clone()
    }

    #[test]
    fn guestperf_has_its_42_scenarios_in_eleven_groups_a_line_with_a_name_for_each() {
        let text = Suite::text_of("guestperf").unwrap();
        assert_eq!(text.lines().filter(|it| it.starts_with("name = ")).count(), 42);
        let suite = suite("guestperf");
        assert_eq!(suite.runs.len(), 42);
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for run in &suite.runs {
            *groups.entry(&run.group).or_default() += 1;
        }
        let expected = [
            ("auto-converge-bandwidth", 5),
            ("auto-converge-iters", 3),
            ("compr-dirty-limit", 3),
            ("compr-dirty-limit-period", 3),
            ("compr-mt", 3),
            ("compr-multifd", 4),
            ("compr-multifd-compression", 4),
            ("compr-xbzrle", 4),
            ("pause-iters", 4),
            ("post-copy-bandwidth", 5),
            ("post-copy-iters", 4),
        ];
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn iterations_are_passes_plus_one_and_its_mistakes_are_mended() {
        let suite = suite("guestperf");
        for (run, passes) in [
            ("post-copy-iters-0", 0),
            ("post-copy-iters-1", 0),
            ("post-copy-iters-5", 4),
            ("post-copy-iters-20", 19),
            ("post-copy-bw-1gbs", 4),
        ] {
            let postcopy = scenario(&suite, run).migration.postcopy.unwrap();
            assert_eq!(postcopy.trigger, Some(Trigger::AfterPasses(passes)), "{run}");
        }
        let xbzrle = scenario(&suite, "compr-xbzrle-cache-20");
        assert_eq!(xbzrle.migration.xbzrle.unwrap().cache.to_string(), "20%");
        assert_eq!(xbzrle.limits.max_passes, None);
        let multifd = scenario(&suite, "compr-multifd-channels-4");
        assert_eq!(multifd.migration.multifd.unwrap().channels, 4);
        let plain = scenario(&suite, "pause-iters-5");
        assert_eq!(plain.limits.max_passes, Some(30));
        assert_eq!(plain.migration.max_bandwidth, Some("125000MiB/s".parse().unwrap()));
        assert!(
            matches!(plain.migration.downtime, Downtime::Limit(it) if it.to_string() == "500ms")
        );
    }

    #[test]
    fn ladders_are_rungs_by_techniques() {
        for (name, first) in
            [("ladder", "500MB/s over 1280MB/s"), ("ladder-small", "25MB/s over 64MB/s")]
        {
            let suite = suite(name);
            assert_eq!((suite.runs.len(), suite.runs[0].point.as_str()), (9, first));
            assert_eq!(suite.tables.len(), 6);
        }
    }
}
