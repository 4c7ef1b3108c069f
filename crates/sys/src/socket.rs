//! Socket options that `std` does not offer; each takes anything with a descriptor.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use rustix::net::sockopt;

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

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use super::*;

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
    fn congestion_control_reaches_the_kernel() {
        let (client, _server) = connected();
        set_congestion_control(&client, "reno").unwrap();
        assert_eq!(sockopt::tcp_congestion(&client).unwrap(), "reno");
        let error = set_congestion_control(&client, "no-such-control").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
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
