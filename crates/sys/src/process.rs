//! Children that die with us, and what a process costs.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Pid, Signal, getppid, set_parent_process_death_signal},
    thread::disable_transparent_huge_pages,
};

use crate::nameless::FIRST_OF_OURS;

/// Makes the child be killed when its parent dies, however it dies, so that nothing of ours stays
/// behind.
///
/// The kernel binds this to the **thread** that spawns, not to its process: when that thread ends,
/// the child is killed although the process lives on. Spawn from a thread that outlives the child.
/// A child that gains privileges by its exec (setuid, file capabilities) loses the binding.
pub fn die_with_parent(command: &mut Command) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the call above has sent no signal, and never will.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::SRCH)) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. These are two bare
    // system calls and a comparison; neither the closure nor its errors allocate or lock.
    unsafe { command.pre_exec(prepare) };
}

/// Has the child's memory in small pages only, whatever the system's setting for transparent huge
/// pages is. What it starts itself inherits that.
pub fn without_transparent_huge_pages(command: &mut Command) {
    let prepare = || Ok(disable_transparent_huge_pages(true)?);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. This is one bare
    // system call; neither the closure nor its error allocates or locks.
    unsafe { command.pre_exec(prepare) };
}

/// Gives the child one end of a new socket pair as its standard input, and the other end to the
/// caller.
///
/// `command` keeps the child's end open until it is dropped or its stdin is set anew: drop it after
/// spawning, or the child's death will not be seen as an end of file.
///
/// # Errors
/// No descriptors are left.
pub fn socket_as_stdin(command: &mut Command) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    Ok(ours)
}

/// Gives the child a descriptor under this number, from 3 to 99, for programs that take one by its
/// number.
///
/// `command` keeps a copy open until it is dropped.
///
/// # Errors
/// No descriptors are left.
///
/// # Panics
/// With the number of a standard stream, which [`Command`] itself would overwrite, or with one that
/// a copy of another descriptor may have.
pub fn inherit(command: &mut Command, descriptor: impl AsFd, number: i32) -> io::Result<()> {
    assert!(
        (3..FIRST_OF_OURS).contains(&number),
        "standard streams are given by the command's own methods"
    );
    // A copy out of the way: no number that a child gets can be that of what another one is copied from.
    let descriptor = fcntl_dupfd_cloexec(&descriptor, FIRST_OF_OURS)?;
    let prepare = move || {
        // SAFETY: a bare system call on numbers. Another descriptor of this process that has `number` is lost to the
        // child alone, where nothing but the exec follows.
        let done = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `dup2` is one, and neither the closure
    // nor its errors allocate or lock.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// In the child: the socket that [`socket_as_stdin`] gave it. Its descriptor is a copy that further
/// children do not inherit.
///
/// # Errors
/// Standard input is not a socket: the process was not started that way.
pub fn stdin_socket() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&socket)?;
    Ok(UnixStream::from(socket))
}

/// Processor time of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadCpu {
    /// The thread's name, at most 15 bytes.
    pub name: String,
    /// The kernel's number of the thread.
    pub tid: u32,
    /// Time spent running so far, user and system together.
    pub cpu_ns: u64,
}

/// Processor time of every thread that `pid` has now; a thread that ends meanwhile is left out.
///
/// # Errors
/// No such process, or a process of somebody else where `/proc` is closed.
pub fn thread_cpu_ns(pid: u32) -> io::Result<Vec<ThreadCpu>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        threads.extend(thread_cpu(&entry?.path()));
    }
    threads.sort_by_key(|it| it.tid);
    Ok(threads)
}

fn thread_cpu(folder: &Path) -> Option<ThreadCpu> {
    let tid = folder.file_name()?.to_str()?.parse().ok()?;
    let name = String::from_utf8_lossy(&fs::read(folder.join("comm")).ok()?).trim_end().to_owned();
    let cpu_ns = fs::read_to_string(folder.join("schedstat")).ok().and_then(|it| run_ns(&it));
    // Kernels without scheduler statistics count in clock ticks only.
    let cpu_ns = cpu_ns.or_else(|| stat_ns(&fs::read(folder.join("stat")).ok()?))?;
    Some(ThreadCpu { name, tid, cpu_ns })
}

fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 are user and system time; counting starts after the name, which may hold
/// anything.
fn stat_ns(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&it| it == b')')?;
    let mut fields = str::from_utf8(stat.get(name_end + 1..)?).ok()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// Memory of `pid` that is in RAM now; the kernel's quick count, off by at most some pages per
/// processor.
///
/// # Errors
/// No such process.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        time::{Duration, Instant},
    };

    use super::*;

    fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(5), "{what} did not happen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The binding is to a thread, so the end of a thread shows what the end of a process would do.
    #[test]
    fn a_child_dies_with_the_thread_that_spawned_it() {
        let spawn = || {
            let mut command = Command::new("sleep");
            command.arg("60");
            die_with_parent(&mut command);
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(spawn).join().unwrap();
        wait_until("the death of the child", || child.try_wait().unwrap().is_some());

        let mut child = spawn();
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "a child of a living thread lives");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_child_without_huge_pages_says_so() {
        let mut command = Command::new("grep");
        command.args(["THP_enabled", "/proc/self/status"]);
        without_transparent_huge_pages(&mut command);
        let status = command.output().unwrap().stdout;
        // Kernels before 5.0 do not tell.
        if !status.is_empty() {
            assert_eq!(String::from_utf8(status).unwrap(), "THP_enabled:\t0\n");
        }
    }

    #[test]
    fn a_child_speaks_through_its_stdin_both_ways() {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; echo got $line >&0"]);
        let mut socket = socket_as_stdin(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        socket.write_all(b"word\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "got word\n");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_child_inherits_descriptors_under_numbers_that_the_parent_uses_otherwise() {
        let pairs: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
        // Crosswise, so that a copy straight to its number would overwrite what the other is copied from.
        let numbers = [pairs[1].1.as_raw_fd(), pairs[0].1.as_raw_fd()];
        // Some shells cannot name descriptors of two digits.
        let numbers = if numbers.iter().all(|it| *it < 10) { numbers } else { [8, 9] };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo first >&{}; echo second >&{}", numbers[0], numbers[1])]);
        for ((_, theirs), number) in pairs.iter().zip(numbers) {
            inherit(&mut command, theirs, number).unwrap();
        }
        assert!(command.status().unwrap().success());
        drop(command);
        let texts = pairs.into_iter().map(|(mut ours, theirs)| {
            drop(theirs);
            let mut text = String::new();
            ours.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["first\n", "second\n"]);
    }

    #[test]
    fn busy_threads_are_seen() {
        std::thread::spawn(|| {
            crate::cpu::name_current_thread("busy thread");
            let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            let ours = || {
                let threads = thread_cpu_ns(std::process::id()).unwrap();
                threads.into_iter().find(|it| it.tid == tid).unwrap()
            };
            let before = ours();
            assert_eq!(before.name, "busy thread");
            wait_until("10 ms of processor time", || ours().cpu_ns > before.cpu_ns + 10_000_000);
        })
        .join()
        .unwrap();
        assert!(thread_cpu_ns(u32::MAX).is_err());
    }

    #[test]
    fn stat_survives_odd_names() {
        let stat = b"7 (a) 1 ) (b) R 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 0";
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(stat_ns(stat), Some(200 * tick_ns));
        assert_eq!(stat_ns(b"7 (a"), None);
    }

    #[test]
    fn resident_memory_grows_with_use() {
        let before = resident_bytes(std::process::id()).unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = resident_bytes(std::process::id()).unwrap();
        assert!(after >= before + (32 << 20), "{before} to {after} while holding {}", held.len());
    }
}
