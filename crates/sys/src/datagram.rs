//! Datagrams with the kernel's own stamp of their arrival, and the raw frames of ARP.
//!
//! A stamp that a program takes after it woke up tells when the program ran. The kernel's stamp
//! tells when the datagram came, so a thread that was held up does not make an arrival late.

use std::{
    io,
    mem::size_of,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_void, socklen_t};

use crate::clock::monotonic_ns;

/// One datagram, or a part of a stream, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes that were put into the buffer.
    pub length: usize,
    /// When it came, on CLOCK_MONOTONIC in nanoseconds.
    pub at_ns: u64,
    /// Whether that is the kernel's stamp, and not the moment of reading.
    pub is_stamped: bool,
}

/// Asks the kernel to stamp what comes to this socket.
///
/// # Errors
/// Not a socket, or a kernel that cannot.
pub fn stamp_arrivals(socket: impl AsFd) -> io::Result<()> {
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Forbids to cut datagrams in pieces, here and on the way, so that a path that is too narrow shows
/// at once. `is_ipv6` must be the socket's own.
///
/// # Errors
/// Not a socket of this family.
pub fn forbid_fragments(socket: impl AsFd, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        false => set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        true => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    }
}

/// Reads what is there; never waits.
///
/// # Errors
/// `WouldBlock` when nothing is there; else what the socket has to tell, such as a refusal by the
/// other side.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    /// Room for one stamp, aligned as the kernel wants it.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all members are numbers and pointers that may be null.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header points to one buffer and one room for control messages, each with its
    // true length; both live until the call returns.
    let length =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let read_ns = monotonic_ns();
    let stamp = stamp(&header).map(|stamp_ns| to_monotonic(stamp_ns, read_ns));
    Ok(Arrival {
        length: length.cast_unsigned(),
        at_ns: stamp.unwrap_or(read_ns),
        is_stamped: stamp.is_some(),
    })
}

/// The kernel's stamp, on CLOCK_REALTIME.
fn stamp(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has filled the header; these macros stay within what it says is there.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it points to a whole header of a control message in our room.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: a message of this kind carries a timespec; it need not be aligned.
            let time: libc::timespec =
                unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            return Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?);
        }
        // SAFETY: as above; both pointers are into the same room.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// The age of a stamp is the same on every clock, unless the wall clock was set in between: then the
/// age is nonsense, and the moment of reading is as good as it gets.
fn to_monotonic(stamp_ns: u64, read_ns: u64) -> u64 {
    const OLDEST_NS: u64 = 10_000_000_000;
    let age_ns = realtime_ns().checked_sub(stamp_ns).filter(|it| *it < OLDEST_NS);
    read_ns.saturating_sub(age_ns.unwrap_or(0))
}

/// CLOCK_REALTIME in nanoseconds; it may be set at any moment.
#[must_use]
pub fn realtime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// A way to ask an Ethernet who has an address.
#[derive(Debug)]
pub struct ArpSocket {
    descriptor: OwnedFd,
    interface: u32,
}

impl ArpSocket {
    /// On the interface of this index; needs CAP_NET_RAW.
    ///
    /// # Errors
    /// No permission, or no such interface.
    pub fn open(interface: u32) -> io::Result<ArpSocket> {
        let protocol = (libc::ETH_P_ARP as u16).to_be();
        let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: three numbers; the result is checked.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, flags, c_int::from(protocol)) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let address = link_address(interface, [0; 6]);
        // SAFETY: the address is whole, and its size is given.
        let done = unsafe {
            libc::bind(
                descriptor.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as socklen_t,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ArpSocket { descriptor, interface })
    }

    /// Sends an ARP packet to everybody on the link.
    ///
    /// # Errors
    /// The interface is down or gone.
    pub fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        let address = link_address(self.interface, [0xff; 6]);
        // SAFETY: packet and address are whole, and their sizes are given.
        let sent = unsafe {
            libc::sendto(
                self.descriptor.as_raw_fd(),
                packet.as_ptr().cast::<c_void>(),
                packet.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for ArpSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The ARP question of a machine for the owner of an IPv4 address (RFC 826).
#[must_use]
pub fn arp_question(our_mac: [u8; 6], our_address: Ipv4Addr, wanted: Ipv4Addr) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&our_mac);
    packet[14..18].copy_from_slice(&our_address.octets());
    packet[24..28].copy_from_slice(&wanted.octets());
    packet
}

fn link_address(interface: u32, to: [u8; 6]) -> libc::sockaddr_ll {
    let mut hardware = [0; 8];
    hardware[..6].copy_from_slice(&to);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: hardware,
    }
}

fn set(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option is a number, which is passed with its size.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_datagram_that_waited_has_the_stamp_of_its_arrival() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        stamp_arrivals(&ours).unwrap();
        let mut buffer = [0; 16];
        let nothing = receive(&ours, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before_ns = monotonic_ns();
        theirs.send_to(b"hello", ours.local_addr().unwrap()).unwrap();
        let after_ns = monotonic_ns();
        sleep(Duration::from_millis(500));
        let arrival = receive(&ours, &mut buffer).unwrap();
        assert_eq!(&buffer[..arrival.length], b"hello");
        assert!(arrival.is_stamped);
        // The two clocks are read one after the other; a busy machine may come between.
        assert!(arrival.at_ns + 200_000_000 > before_ns, "{} {before_ns}", arrival.at_ns);
        assert!(arrival.at_ns < after_ns + 200_000_000, "{} {after_ns}", arrival.at_ns);
    }

    #[test]
    fn fragments_can_be_forbidden() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        forbid_fragments(&socket, false).unwrap();
        // More than the loopback carries, or than any datagram may have.
        let error = socket.send_to(&[0; 65_536], socket.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }

    #[test]
    fn an_arp_question_has_these_bytes() {
        let packet = arp_question(
            [2, 0, 0, 0, 0, 1],
            Ipv4Addr::new(10, 0, 0, 1),
            Ipv4Addr::new(10, 0, 0, 2),
        );
        let expected: [u8; 28] =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        assert_eq!(packet, expected);
    }
}
