//! Where threads run, and how the kernel treats them.

use std::{
    ffi::CString,
    io,
    num::{NonZeroU64, ParseIntError},
};

use rustix::thread::{self, CpuSet};

/// Why a list of processors could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// The list names nothing.
    #[error("CPU list is empty: write numbers and ranges such as \"0-3,5\"")]
    Empty,
    /// A part is neither a number nor a range.
    #[error("CPU list part {part:?} is neither a number nor a range such as \"0-3\"")]
    Part {
        /// The part as it was written.
        part: String,
        /// What is wrong with its number.
        #[source]
        source: ParseIntError,
    },
    /// A range whose end is below its start.
    #[error("CPU range {first}-{last} runs backwards: write {last}-{first}")]
    Backwards {
        /// Start of the range.
        first: usize,
        /// End of the range.
        last: usize,
    },
    /// A number beyond what the kernel's interface holds.
    #[error("CPU {cpu} is beyond the largest number {}: leave it out", CpuSet::MAX_CPU - 1)]
    TooLarge {
        /// The number as it was written.
        cpu: usize,
    },
}

/// Reads a list such as `0-3,5` (the kernel's own form); the result is sorted and without repeats.
///
/// # Errors
/// Anything but numbers below 1024 and ranges, separated by commas.
pub fn parse_cpu_list(list: &str) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let part = part.trim();
        if part.is_empty() {
            return Err(CpuListError::Empty);
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(part, first)?, number(part, last)?);
        if last < first {
            return Err(CpuListError::Backwards { first, last });
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

fn number(part: &str, text: &str) -> Result<usize, CpuListError> {
    let cpu = text
        .trim()
        .parse()
        .map_err(|source| CpuListError::Part { part: part.to_owned(), source })?;
    if cpu >= CpuSet::MAX_CPU { Err(CpuListError::TooLarge { cpu }) } else { Ok(cpu) }
}

/// Lets the calling thread run on these processors only; threads it starts afterwards inherit this.
///
/// # Errors
/// An empty list, a number of 1024 or more, or processors that do not exist or that a cgroup does
/// not allow.
pub fn pin_current_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                CpuListError::TooLarge { cpu },
            ));
        }
        set.set(cpu);
    }
    Ok(thread::sched_setaffinity(None, &set)?)
}

/// The processors the calling thread may run on.
///
/// # Errors
/// More processors than the interface holds.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// How many processors are online in this machine, also such as this process may not use.
#[must_use]
pub fn online() -> usize {
    // SAFETY: sysconf reads a number and touches nothing of ours.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Names the calling thread as `top`, `perf` and `/proc` show it; cut to 15 bytes, and at a zero
/// byte.
pub fn name_current_thread(name: &str) {
    let mut end = name.find('\0').unwrap_or(name.len()).min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // A missing name is no reason to fail, and PR_SET_NAME cannot fail with a valid string.
    let _ = CString::new(&name[..end]).map(|it| thread::set_name(&it));
}

/// Sets how late the kernel may end the calling thread's sleeps, to batch them with others; the
/// default is 50 µs. 0 restores the default.
///
/// # Errors
/// A kernel without timer slack.
pub fn set_timer_slack_ns(slack_ns: u64) -> io::Result<()> {
    Ok(thread::set_current_timer_slack(NonZeroU64::new(slack_ns))?)
}

/// Asks the scheduler for short turns of the calling thread: such a one gets a processor soon after it wakes up, also when others keep all of them busy.
/// Its share stays the same, so no privilege is needed.
///
/// # Errors
/// The kernel knows no such wish (before 6.12), or forbids it.
pub fn prefer_short_turns() -> io::Result<()> {
    // The shortest that the kernel grants.
    const TURN_NS: u64 = 100_000;
    let size = size_of::<SchedulingAttributes>() as u32;
    let mut attributes = SchedulingAttributes::default();
    // SAFETY: the kernel fills at most `size` bytes of the structure, which lives on this stack.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    // A thread with a fixed priority has no turns, and gets a processor at once.
    let has_turns = [libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&(attributes.policy as i32));
    if !has_turns {
        return Ok(());
    }
    attributes = SchedulingAttributes { size, runtime_ns: TURN_NS, ..attributes };
    // SAFETY: the kernel reads `size` bytes of the structure, and changes nothing but how the calling thread is scheduled.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct sched_attr` of the kernel in its first version; all zero but for what is set is an ordinary thread.
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// How the calling thread is preferred to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before all ordinary threads of the machine.
    RealTime,
    /// Before most.
    Raised,
    /// As everybody.
    Normal,
}

/// Puts the calling thread before others as far as it is allowed, and says how far that was. For
/// threads that wait nearly always, such as those that look at the clock.
pub fn raise_priority() -> Priority {
    const LOWEST_REAL_TIME: libc::c_int = 1;
    let wish = libc::sched_param { sched_priority: LOWEST_REAL_TIME };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the parameter lives until the call returns.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const wish) } == 0 {
        return Priority::RealTime;
    }
    match rustix::process::setpriority_process(None, -20) {
        Ok(()) => Priority::Raised,
        Err(_) => Priority::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        let check = |list: &str, expected: &[usize]| {
            assert_eq!(parse_cpu_list(list).unwrap(), expected, "{list}");
        };
        check("0", &[0]);
        check("0-3,5", &[0, 1, 2, 3, 5]);
        check(" 5, 0-1 ,1\n", &[0, 1, 5]);
        check("1023", &[1023]);
    }

    #[test]
    fn bad_cpu_lists_say_why() {
        let check = |list: &str, expected: &str| {
            assert_eq!(parse_cpu_list(list).unwrap_err().to_string(), expected, "{list}");
        };
        check("", r#"CPU list is empty: write numbers and ranges such as "0-3,5""#);
        check("1,,2", r#"CPU list is empty: write numbers and ranges such as "0-3,5""#);
        check("3-1", "CPU range 3-1 runs backwards: write 1-3");
        check("0-99999999999", "CPU 99999999999 is beyond the largest number 1023: leave it out");
        check("a-2", r#"CPU list part "a-2" is neither a number nor a range such as "0-3""#);
        check("-2", r#"CPU list part "-2" is neither a number nor a range such as "0-3""#);
    }

    #[test]
    fn a_pinned_thread_stays() {
        let last = *allowed().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin_current_thread(&[last]).unwrap();
            assert_eq!(allowed().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert!(online() > 0);
    }

    #[test]
    fn impossible_cpus_are_refused() {
        assert_eq!(pin_current_thread(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(pin_current_thread(&[4096]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn names_are_cut() {
        std::thread::spawn(|| {
            let check = |name: &str, expected: &str| {
                name_current_thread(name);
                assert_eq!(
                    std::fs::read_to_string("/proc/thread-self/comm").unwrap().trim_end(),
                    expected
                );
            };
            check("worker", "worker");
            check("a name longer than fifteen", "a name longer t");
            check("fourteen bytesé", "fourteen bytes");
            check("a\0b", "a");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn short_turns_can_be_asked_for_without_privilege() {
        std::thread::spawn(|| {
            if let Err(error) = prefer_short_turns() {
                eprintln!("skipped: {error}");
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn timer_slack_is_set() {
        std::thread::spawn(|| {
            set_timer_slack_ns(1).unwrap();
            assert_eq!(thread::current_timer_slack().unwrap(), 1);
        })
        .join()
        .unwrap();
    }
}
