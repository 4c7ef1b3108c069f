//! How much memory the cgroups around this process still allow.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Bytes that may still be taken; `None` where no limit is set, or none can be seen.
pub(super) fn headroom_bytes() -> Option<u64> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = folders(&membership);
    folders.iter().filter_map(|(version, folder)| version.headroom_bytes(folder)).min()
}

/// The two generations of the interface, which say the same with other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn headroom_bytes(self, folder: &Path) -> Option<u64> {
        let [limit, usage, inactive] = match self {
            Version::One => {
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"]
            }
            Version::Two => ["memory.max", "memory.current", "inactive_file"],
        };
        let read = |file| std::fs::read_to_string(folder.join(file)).ok();
        left_bytes(&read(limit)?, &read(usage)?, &read("memory.stat")?, inactive)
    }
}

/// Limit minus usage, where cached pages of files that nobody used lately do not count: the kernel drops them first.
fn left_bytes(limit: &str, usage: &str, stat: &str, inactive: &str) -> Option<u64> {
    // Version 2 writes `max` for no limit, version 1 a number that no machine reaches.
    let limit: u64 = limit.trim().parse().ok().filter(|it| *it < 1 << 60)?;
    let usage: u64 = usage.trim().parse().ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)?.strip_prefix(' '));
    let inactive: u64 = inactive.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(inactive)))
}

/// The cgroups that hold this process, from the lines of `/proc/self/cgroup`.
///
/// Each one up to the root can set a limit. In a container the path may be that of the machine outside, of which only the root is mounted here; the walk upwards finds that too.
fn folders(membership: &str) -> Vec<(Version, PathBuf)> {
    let mut folders = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (version, root) = if controllers.is_empty() {
            (Version::Two, PathBuf::from(ROOT))
        } else if controllers.split(',').any(|it| it == "memory") {
            (Version::One, Path::new(ROOT).join("memory"))
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        folders.extend(path.ancestors().map(|it| (version, root.join(it))));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_limit_without_what_is_used() {
        #[track_caller]
        fn check(limit: &str, usage: &str, stat: &str, expected: Option<u64>) {
            assert_eq!(left_bytes(limit, usage, stat, "inactive_file"), expected);
        }
        check("1000\n", "300\n", "anon 100\ninactive_file 50\n", Some(750));
        check("1000\n", "300\n", "total_inactive_file 50\n", Some(700));
        check("1000\n", "1200\n", "", Some(0));
        check("1000\n", "20\n", "inactive_file 50\n", Some(1000));
        check("max\n", "300\n", "", None);
        check("9223372036854771712\n", "300\n", "", None);
        check("1000\n", "", "", None);
    }

    #[test]
    fn every_cgroup_up_to_the_root_counts() {
        #[track_caller]
        fn check(membership: &str, expected: &[(Version, &str)]) {
            let folders = folders(membership);
            let folders: Vec<_> =
                folders.iter().map(|(version, it)| (*version, it.to_str().unwrap())).collect();
            let trimmed: Vec<_> =
                folders.iter().map(|(version, it)| (*version, it.trim_end_matches('/'))).collect();
            assert_eq!(trimmed, expected, "{membership}");
        }
        check(
            "0::/user.slice/a:b.scope\n",
            &[
                (Version::Two, "/sys/fs/cgroup/user.slice/a:b.scope"),
                (Version::Two, "/sys/fs/cgroup/user.slice"),
                (Version::Two, "/sys/fs/cgroup"),
            ],
        );
        check("0::/\n", &[(Version::Two, "/sys/fs/cgroup")]);
        check(
            "5:devices:/\n4:cpu,memory:/a\n",
            &[(Version::One, "/sys/fs/cgroup/memory/a"), (Version::One, "/sys/fs/cgroup/memory")],
        );
        check("garbage\n1:name=systemd:/\n", &[]);
    }
}
