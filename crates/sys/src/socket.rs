//! Socket options that `std` does not offer; each takes anything with a descriptor.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use rustix::{
    fs::Mode,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt},
};

/// Listens on a Unix socket to which only this user can connect, from its first moment and whatever the umask is.
///
/// # Errors
/// There is a file of that name, the name is too long, or the directory cannot be written.
pub fn listen_private(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Binding gives the file the mode of the socket, so there is no moment in which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, 128)?;
    Ok(UnixListener::from(socket))
}

/// Asks for a send buffer of `bytes` (the kernel books twice as much), and gives what it granted,
/// without its doubling.
///
/// The kernel cuts the wish at `net.core.wmem_max`, silently; and it stops sizing the buffer by
/// itself from then on.
///
/// # Errors
/// Not a socket.
pub fn set_send_buffer_bytes(socket: impl AsFd, bytes: usize) -> io::Result<usize> {
    sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    Ok(sockopt::socket_send_buffer_size(&socket)? / 2)
}

/// As [`set_send_buffer_bytes`], for receiving (`net.core.rmem_max`); before `connect` or `listen`
/// for a large window.
///
/// # Errors
/// Not a socket.
pub fn set_receive_buffer_bytes(socket: impl AsFd, bytes: usize) -> io::Result<usize> {
    sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    Ok(sockopt::socket_recv_buffer_size(&socket)? / 2)
}

/// How long sent data may stay unacknowledged before a TCP connection counts as broken; None for
/// the kernel's own rule, which takes a quarter of an hour.
///
/// # Errors
/// Not a TCP socket, or a time of more than 49 days.
pub fn set_user_timeout(socket: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    let millis = timeout.map_or(0, |it| it.as_millis().max(1));
    let millis = u32::try_from(millis).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(sockopt::set_tcp_user_timeout(&socket, millis)?)
}

/// What closing does with data not yet sent: None sends it in the background, zero throws it away
/// and resets the connection, else closing waits that long (in whole seconds).
///
/// # Errors
/// Not a socket.
pub fn set_linger(socket: impl AsFd, time: Option<Duration>) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(&socket, time)?)
}

/// Chooses the congestion control of a TCP connection. `reno` is open to everybody; a system may
/// reserve the others.
///
/// # Errors
/// Not a TCP socket, or a name that this system does not know or does not allow.
pub fn set_congestion_control(socket: impl AsFd, name: &str) -> io::Result<()> {
    Ok(sockopt::set_tcp_congestion(&socket, name)?)
}

/// Lets the kernel ask an idle TCP peer whether it is still there: after `idle`, then every
/// `interval`, `probes` times.
///
/// # Errors
/// Not a TCP socket, or times that are not 1 to 32767 seconds.
pub fn set_keepalive(
    socket: impl AsFd,
    idle: Duration,
    interval: Duration,
    probes: u32,
) -> io::Result<()> {
    sockopt::set_tcp_keepidle(&socket, idle)?;
    sockopt::set_tcp_keepintvl(&socket, interval)?;
    sockopt::set_tcp_keepcnt(&socket, probes)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}

/// Allows or forbids sends that leave the data where it is (`MSG_ZEROCOPY`) on this socket.
///
/// That it can be allowed does not mean that nothing is copied: loopback always does, and so does
/// a device that cannot gather. The pages of such a send count against RLIMIT_MEMLOCK.
///
/// # Errors
/// A kernel or a kind of socket without it.
pub fn set_zero_copy(socket: impl AsFd, allowed: bool) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, libc::c_int::from(allowed))
}

/// Bounds what a TCP connection holds that it has not sent yet, so that a write returns when its
/// data is nearly on the wire, however large the buffer for unacknowledged data has to be.
///
/// # Errors
/// Not a TCP socket, or a bound that is no positive number of the kernel's.
pub fn set_unsent_bytes(socket: impl AsFd, most: usize) -> io::Result<()> {
    let most = libc::c_int::try_from(most).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_int(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, most)
}

/// Marks what leaves a socket with a class of service (a DSCP, 0 to 63), in either family of
/// addresses; networks may treat the classes differently, or take the mark away.
///
/// # Errors
/// Neither an IPv4 nor an IPv6 socket, or a number beyond 63.
pub fn set_dscp(socket: impl AsFd, dscp: u8) -> io::Result<()> {
    if dscp > 63 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The two lower bits of the field belong to congestion notification.
    let class = dscp << 2;
    match sockopt::socket_domain(&socket)? {
        rustix::net::AddressFamily::INET6 => {
            // A connection of IPv4 over a socket of IPv6 takes its mark from the older option.
            let _ = sockopt::set_ip_tos(&socket, class);
            Ok(sockopt::set_ipv6_tclass(&socket, u32::from(class))?)
        }
        rustix::net::AddressFamily::INET => Ok(sockopt::set_ip_tos(&socket, class)?),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Lets what leaves a socket go before others' in the queues of this machine: 0 to 6, of which 6 is
/// for what somebody waits for. Queues that know no priority pay no heed.
///
/// # Errors
/// Not a socket, or a priority that takes privileges.
pub fn set_priority(socket: impl AsFd, priority: u8) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_PRIORITY, libc::c_int::from(priority))
}

/// What the kernel knows of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments that were sent again, since the connection was made.
    pub retransmits: u64,
    /// The smoothed round-trip time.
    pub rtt_ns: u64,
    /// How much it varies.
    pub rtt_variation_ns: u64,
    /// The shortest round trip of the last minutes; None where the kernel is too old to tell.
    pub min_rtt_ns: Option<u64>,
    /// What may be under way without an answer, as congestion control has it.
    pub congestion_window_bytes: u64,
    /// The largest segment that is sent.
    pub segment_bytes: u64,
}

/// Asks what the kernel knows of a TCP connection.
///
/// # Errors
/// Not a TCP socket.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    // SAFETY: numbers only, for which zero bytes are a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut bytes = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes to `info`, which lives until the call returns,
    // and puts the number of them into `bytes`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut bytes,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let has_min = bytes as usize > std::mem::offset_of!(libc::tcp_info, tcpi_min_rtt) + 3;
    Ok(TcpInfo {
        retransmits: u64::from(info.tcpi_total_retrans),
        rtt_ns: u64::from(info.tcpi_rtt) * 1000,
        rtt_variation_ns: u64::from(info.tcpi_rttvar) * 1000,
        min_rtt_ns: has_min.then(|| u64::from(info.tcpi_min_rtt) * 1000),
        congestion_window_bytes: u64::from(info.tcpi_snd_cwnd) * u64::from(info.tcpi_snd_mss),
        segment_bytes: u64::from(info.tcpi_snd_mss),
    })
}

/// Lets a read on a TCP connection wait until so many bytes are there, the connection has ended, or
/// the buffer is full.
///
/// # Errors
/// Not a socket, or a number that is none of the kernel's.
pub fn set_receive_low_water(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

fn set_int(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one int at this address, which lives until the call returns, and
    // keeps nothing of it; the callers name options that are one int.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that the peer of a TCP connection has acknowledged so far; the count only grows.
///
/// # Errors
/// Not a TCP socket, or a kernel before 4.1, which does not count them.
pub fn acknowledged_bytes(socket: impl AsFd) -> io::Result<u64> {
    // From linux/tcp.h: `tcpi_bytes_acked`, behind 104 bytes that all kernels have and two rates.
    const OFFSET: usize = 120;
    let mut info = [0u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most the given length to this address, which lives until the
    // call returns, and any bytes are valid there.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let field =
        info.get(OFFSET..(length as usize).min(OFFSET + 8)).and_then(|it| it.try_into().ok());
    field.map(u64::from_ne_bytes).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Bytes that were sent and not taken yet: not read by the peer of a Unix socket, not acknowledged by that of a TCP connection.
///
/// # Errors
/// Not a connected socket.
pub fn unread_bytes(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: for this request the kernel writes one int to this address, which lives until the
    // call returns. (SIOCOUTQ has the number of TIOCOUTQ.)
    let done =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ as _, &raw mut bytes) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Zero-copy sends that the kernel is done with, by their numbers: each successful send of at least
/// a byte counts up from 0 on its socket, wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroCopyDone {
    /// The first of them.
    pub first: u32,
    /// The last of them, included.
    pub last: u32,
    /// Whether the kernel copied the data after all, as it always does on loopback.
    pub copied: bool,
}

impl ZeroCopyDone {
    /// How many sends these are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.last.wrapping_sub(self.first).wrapping_add(1)
    }
}

/// Takes the next notice of finished zero-copy sends from a socket; None when there is none now.
/// `poll` tells of one by `POLLERR`, which need not be asked for.
///
/// # Errors
/// Not a socket, or an error of the connection that was waiting in its place.
pub fn reap_zero_copy(socket: impl AsFd) -> io::Result<Option<ZeroCopyDone>> {
    // Room for the notice, the address behind it, and a stamp that somebody may have asked for.
    let mut control = [0u64; 32];
    // SAFETY: a message header of zero bytes is a valid one without address and parts.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most the given length into `control`, which is aligned for a
    // control header and lives until the end of this function.
    let done = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    if done < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the kernel filled in control buffer and its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a whole header within `control`.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if matches!(
            (level, kind),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        ) {
            // SAFETY: a message of this kind carries this structure; it need not be aligned.
            let notice: libc::sock_extended_err =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            return zero_copy_done(&notice);
        }
        // SAFETY: both come from the same message.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(None)
}

fn zero_copy_done(notice: &libc::sock_extended_err) -> io::Result<Option<ZeroCopyDone>> {
    // From linux/errqueue.h.
    const ORIGIN_ZEROCOPY: u8 = 5;
    const CODE_COPIED: u8 = 1;
    if notice.ee_origin != ORIGIN_ZEROCOPY {
        return Err(io::Error::from_raw_os_error(notice.ee_errno as i32));
    }
    let copied = notice.ee_code & CODE_COPIED != 0;
    Ok(Some(ZeroCopyDone { first: notice.ee_info, last: notice.ee_data, copied }))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use std::sync::atomic::Ordering;

    use super::*;
    use crate::region::{HugePages, Region, RegionOptions};

    #[test]
    fn a_private_unix_socket_has_mode_0600_under_any_umask() {
        use std::os::unix::{fs::PermissionsExt, net::UnixStream};
        let path = std::env::temp_dir().join(format!("sterna-socket-{}", std::process::id()));
        let listener = listen_private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        let other = listen_private(&path).map_err(|it| it.kind());
        let client = UnixStream::connect(&path);
        std::fs::remove_file(&path).unwrap();
        // A plain bind gives 0755 under the usual umask, and 0777 under 000.
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(other.unwrap_err(), io::ErrorKind::AddrInUse);
        client.unwrap().write_all(b"a").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"a");
    }

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn buffers_are_granted_without_doubling() {
        let (client, _server) = connected();
        assert_eq!(set_send_buffer_bytes(&client, 64 << 10).unwrap(), 64 << 10);
        assert_eq!(set_receive_buffer_bytes(&client, 32 << 10).unwrap(), 32 << 10);
        assert!(set_send_buffer_bytes(std::fs::File::open("/dev/null").unwrap(), 1).is_err());
    }

    #[test]
    fn timeouts_reach_the_kernel() {
        let (client, _server) = connected();
        set_user_timeout(&client, Some(Duration::from_millis(1500))).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&client).unwrap(), 1500);
        set_user_timeout(&client, None).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&client).unwrap(), 0);
        set_keepalive(&client, Duration::from_secs(5), Duration::from_secs(2), 3).unwrap();
        assert_eq!(sockopt::tcp_keepidle(&client).unwrap(), Duration::from_secs(5));
        assert!(sockopt::socket_keepalive(&client).unwrap());
        assert!(set_user_timeout(&client, Some(Duration::from_secs(1 << 40))).is_err());
    }

    #[test]
    fn zero_copy_is_for_sockets_that_know_it() {
        let (client, _server) = connected();
        if let Err(error) = set_zero_copy(&client, true) {
            eprintln!("skipped: this kernel has no zero-copy send: {error}");
            return;
        }
        set_zero_copy(&client, false).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_zero_copy(file, true).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }

    #[test]
    fn only_tcp_bounds_what_is_unsent() {
        let (client, _server) = connected();
        set_unsent_bytes(&client, 64 << 10).unwrap();
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(set_unsent_bytes(&unix, 64 << 10).is_err());
        assert!(set_unsent_bytes(&client, usize::MAX).is_err());
    }

    #[test]
    fn zero_copy_sends_are_told_when_they_are_done() {
        let (client, mut server) = connected();
        if let Err(error) = set_zero_copy(&client, true) {
            eprintln!("skipped: this kernel has no zero-copy send: {error}");
            return;
        }
        let options = RegionOptions { bytes: 64 << 12, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        for (page, value) in (0..64).zip(1..) {
            region.page(page)[511].store(value, Ordering::Relaxed);
        }
        assert_eq!(reap_zero_copy(&client).unwrap(), None);
        let mut found = vec![0; 20 << 12];
        // Pages 7 to 26, in two calls of which the second begins within a page.
        let runs = [(7, 10), (17, 10)];
        let mut sent = 0;
        let mut sends = 0;
        while sent < found.len() {
            sent += region.send_pages(client.as_fd(), &runs, sent, true).unwrap();
            sends += 1;
        }
        server.read_exact(&mut found).unwrap();
        for (page, value) in found.chunks(4096).zip(8u8..) {
            assert_eq!(page[4088], value);
        }
        let mut done = 0;
        while done < sends {
            if let Some(notice) = reap_zero_copy(&client).unwrap() {
                assert_eq!(notice.first, done);
                assert!(notice.copied, "loopback copies");
                done += notice.count();
            }
        }
        // Without zero copy the same call leaves no notice.
        assert_eq!(region.send_pages(client.as_fd(), &[(0, 1)], 4000, false).unwrap(), 96);
        assert_eq!(reap_zero_copy(&client).unwrap(), None);
        assert!(region.send_pages(client.as_fd(), &[(0, 1)], 4096, false).is_err());
    }

    #[test]
    fn pages_may_follow_other_bytes() {
        let (client, mut server) = connected();
        let options = RegionOptions { bytes: 4 << 12, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        (0..4).for_each(|page| region.page(page)[0].store(page as u64 + 1, Ordering::Relaxed));
        let (front, second) = (*b"a head of 19 bytes!", *b"another");
        let pieces: [(&[u8], _); 2] = [(&front, (3, 1)), (&second, (1, 1))];
        let behind = front.len() + 4096;
        let mut found = vec![0; behind + second.len() + 4096];
        // Each call is told how much has gone, so any of them may end anywhere.
        for skip in [0, 7, front.len(), behind, behind + 3, behind + second.len(), found.len() - 1]
        {
            let mut sent = skip;
            while sent < found.len() {
                let fd = client.as_fd();
                sent += region.send_fronted(fd, &pieces, sent).unwrap();
            }
            server.read_exact(&mut found[skip..]).unwrap();
            assert_eq!(found[..front.len()], front);
            assert_eq!(found[behind..behind + second.len()], second);
            assert_eq!((found[front.len()], found[behind + second.len()]), (4, 2));
        }
        assert!(region.send_fronted(client.as_fd(), &[], 0).is_err());
    }

    #[test]
    fn counts_of_zero_copy_sends_wrap() {
        let notice = ZeroCopyDone { first: u32::MAX, last: 1, copied: false };
        assert_eq!(notice.count(), 3);
    }

    #[test]
    fn what_the_peer_has_taken_is_counted() {
        let (mut client, mut server) = connected();
        let before = acknowledged_bytes(&client).unwrap();
        client.write_all(&[1; 5000]).unwrap();
        server.read_exact(&mut [0; 5000]).unwrap();
        while acknowledged_bytes(&client).unwrap() < before + 5000 {
            std::thread::yield_now();
        }
        assert_eq!(unread_bytes(&client).unwrap(), 0);

        let (mut near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(acknowledged_bytes(&near).is_err());
        near.write_all(&[1; 5000]).unwrap();
        // The kernel counts its own bytes around them as well.
        assert!(unread_bytes(&near).unwrap() >= 5000);
        far.read_exact(&mut [0; 5000]).unwrap();
        assert_eq!(unread_bytes(&near).unwrap(), 0);
    }

    #[test]
    fn congestion_control_reaches_the_kernel() {
        let (client, _server) = connected();
        set_congestion_control(&client, "reno").unwrap();
        assert_eq!(sockopt::tcp_congestion(&client).unwrap(), "reno");
        let error = set_congestion_control(&client, "no-such-control").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn classes_of_service_reach_the_kernel() {
        let (client, _server) = connected();
        set_dscp(&client, 46).unwrap();
        assert_eq!(sockopt::ip_tos(&client).unwrap(), 46 << 2);
        assert!(set_dscp(&client, 64).is_err());
        set_priority(&client, 6).unwrap();
        assert!(set_priority(std::fs::File::open("/dev/null").unwrap(), 6).is_err());
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(set_dscp(&unix, 1).is_err());
    }

    #[test]
    fn a_connection_tells_its_windows_and_times() {
        let (mut client, mut server) = connected();
        std::io::Write::write_all(&mut client, &[1; 4096]).unwrap();
        server.read_exact(&mut [0; 4096]).unwrap();
        let info = tcp_info(&client).unwrap();
        assert!(info.rtt_ns > 0 && info.rtt_ns < 10_000_000_000, "{info:?}");
        assert!(info.congestion_window_bytes >= info.segment_bytes, "{info:?}");
        assert!(info.segment_bytes >= 500, "{info:?}");
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(tcp_info(&unix).is_err());
    }

    #[test]
    fn a_read_may_wait_for_a_whole_block() {
        let (mut client, mut server) = connected();
        set_receive_low_water(&server, 8192).unwrap();
        server.set_nonblocking(true).unwrap();
        std::io::Write::write_all(&mut client, &[1; 4096]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let mut fds = [rustix::event::PollFd::new(&server, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&now)).unwrap(), 0);
        std::io::Write::write_all(&mut client, &[1; 4096]).unwrap();
        let long = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&long)).unwrap(), 1);
        assert!(server.read(&mut [0; 8192]).unwrap() > 0);
    }

    #[test]
    fn linger_zero_resets() {
        let (client, mut server) = connected();
        set_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        let error = server.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
