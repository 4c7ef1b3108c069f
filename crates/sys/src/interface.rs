//! Network interfaces: an address, up, and a way out, as a first process needs them that has no tools.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{c_int, c_short, c_ulong, sockaddr, sockaddr_in};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketType},
};

/// From `linux/sockios.h`; the same on all architectures.
const SIOCBRADDIF: libc::Ioctl = 0x89a2;
const SIOCGIFBR: libc::Ioctl = 0x8940;
/// From `linux/if_bridge.h`.
const BRCTL_GET_BRIDGES: c_ulong = 1;

/// Gives the interface its IPv4 address and brings it up; needs CAP_NET_ADMIN.
///
/// # Errors
/// No such interface, no permission, or an address the kernel refuses.
pub fn set_ipv4(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let socket = any_socket()?;
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0));
    let mut request = request(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    control(&socket, libc::SIOCSIFADDR as _, &mut request)?;
    request.ifr_ifru.ifru_netmask = socket_address(mask);
    control(&socket, libc::SIOCSIFNETMASK as _, &mut request)?;
    bring_up(name)
}

/// An address of the interface: its IPv4 address, or else an IPv6 address that is not of the link alone.
///
/// # Errors
/// No such interface, or none of its addresses can be used from other machines.
pub fn address(name: &str) -> io::Result<IpAddr> {
    let socket = any_socket()?;
    let mut request = request(name)?;
    match control(&socket, libc::SIOCGIFADDR as _, &mut request) {
        Ok(()) => {
            // SAFETY: the call above has just filled this member; any bytes are a valid address.
            let found = unsafe { request.ifr_ifru.ifru_addr };
            Ok(IpAddr::V4(ipv4(&found)))
        }
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
            let list = std::fs::read_to_string("/proc/net/if_inet6")?;
            let found = list.lines().find_map(|line| ipv6_of(line, name));
            found.map(IpAddr::V6).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The kernel's number of an interface, and its address on an Ethernet.
///
/// # Errors
/// No such interface, or one that is no Ethernet.
pub fn ethernet(name: &str) -> io::Result<(u32, [u8; 6])> {
    let socket = any_socket()?;
    let mut request = request(name)?;
    control(&socket, libc::SIOCGIFINDEX as _, &mut request)?;
    // SAFETY: the call above has just filled this member, and any bits are a valid number.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    control(&socket, libc::SIOCGIFHWADDR as _, &mut request)?;
    // SAFETY: as above; any bytes are a valid address.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    if hardware.sa_family != libc::ARPHRD_ETHER {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let [a, b, c, d, e, f, ..] = hardware.sa_data;
    Ok((index.cast_unsigned(), [a, b, c, d, e, f].map(i8::cast_unsigned)))
}

/// A line of `/proc/net/if_inet6`: address, index, prefix, scope, flags, name.
fn ipv6_of(line: &str, name: &str) -> Option<Ipv6Addr> {
    let mut words = line.split_whitespace();
    let (address, scope, its) = (words.next()?, words.nth(2)?, words.nth(1)?);
    // 20 is the link alone.
    (its == name && scope != "20")
        .then(|| u128::from_str_radix(address, 16).ok())?
        .map(Ipv6Addr::from)
}

/// The address in network order behind family and port.
fn ipv4(address: &sockaddr) -> Ipv4Addr {
    let [_, _, a, b, c, d, ..] = address.sa_data;
    Ipv4Addr::from([a, b, c, d].map(i8::cast_unsigned))
}

/// Brings the interface up, with whatever address it has.
///
/// # Errors
/// As [`set_ipv4`].
pub fn bring_up(name: &str) -> io::Result<()> {
    let socket = any_socket()?;
    let mut request = request(name)?;
    control(&socket, libc::SIOCGIFFLAGS as _, &mut request)?;
    // SAFETY: the call above has just filled this member, and any bits are a valid number.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
    control(&socket, libc::SIOCSIFFLAGS as _, &mut request)
}

/// A network interface whose frames come from and go to a program: what is written to its
/// descriptor is as if it came in by a cable. It vanishes when the last copy of the descriptor is
/// closed.
#[derive(Debug)]
pub struct Tap {
    /// One read or write is one frame.
    pub descriptor: OwnedFd,
    /// As the kernel calls it.
    pub name: String,
}

impl Tap {
    /// Makes one that is not up yet; needs CAP_NET_ADMIN. A `%d` in the name becomes the first free
    /// number.
    ///
    /// # Errors
    /// No permission, no `/dev/net/tun`, or a name that is taken.
    pub fn open(name: &str) -> io::Result<Tap> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let descriptor = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as c_short;
        control(&descriptor, libc::TUNSETIFF as _, &mut request)?;
        Ok(Tap { descriptor, name: name_in(&request) })
    }
}

/// The bridges in this process's network namespace, by name; `/sys` may show those of another one.
///
/// # Errors
/// A kernel without bridges.
pub fn bridges() -> io::Result<Vec<String>> {
    let socket = any_socket()?;
    let mut indices = [0 as c_int; 1024];
    let list = &raw mut indices;
    let mut arguments = [BRCTL_GET_BRIDGES, list as c_ulong, indices.len() as c_ulong];
    // SAFETY: this request reads three numbers, of which the second points to as many numbers as
    // the third says; both arrays live until the call returns.
    let count = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGIFBR, &raw mut arguments) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let found = indices.iter().take(count.cast_unsigned() as usize);
    let mut names: Vec<String> = found.filter_map(|index| name_of(&socket, *index)).collect();
    names.sort();
    Ok(names)
}

/// `None` for an interface that has just gone.
fn name_of(socket: &OwnedFd, index: c_int) -> Option<String> {
    let mut request = request("").ok()?;
    request.ifr_ifru.ifru_ifindex = index;
    control(socket, libc::SIOCGIFNAME as _, &mut request).ok()?;
    Some(name_in(&request))
}

fn name_in(request: &libc::ifreq) -> String {
    let name = request.ifr_name.iter().take_while(|it| **it != 0);
    name.map(|it| char::from(it.cast_unsigned())).collect()
}

/// Makes an interface a port of a bridge; needs CAP_NET_ADMIN.
///
/// # Errors
/// No such bridge or interface, no permission, or an interface that is in a bridge already.
pub fn add_to_bridge(bridge: &str, port: &str) -> io::Result<()> {
    let socket = any_socket()?;
    let mut index = request(port)?;
    control(&socket, libc::SIOCGIFINDEX as _, &mut index)?;
    // SAFETY: the call above has just filled this member, and any bits are a valid number.
    let index = unsafe { index.ifr_ifru.ifru_ifindex };
    let mut request = request(bridge)?;
    request.ifr_ifru.ifru_ifindex = index;
    control(&socket, SIOCBRADDIF, &mut request)
}

/// Sends packets for other networks to `gateway`.
///
/// # Errors
/// As [`set_ipv4`]; and a gateway that is on no network of ours.
pub fn add_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = any_socket()?;
    // SAFETY: all members are numbers, arrays of them, and a pointer that may be null.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    control(&socket, libc::SIOCADDRT as _, &mut route)
}

/// The kernel takes these requests on a socket of any kind.
fn any_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: a name of zeros and a union of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> sockaddr {
    let address = sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both have the same size, and any bytes are a valid `sockaddr`.
    unsafe { std::mem::transmute(address) }
}

/// `argument` must be what `request` takes, which all callers above see to.
fn control<T>(socket: &OwnedFd, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the requests of this file read and write one value of the type that is passed, which
    // lives until the call returns; the kernel keeps nothing of it.
    let done: c_int = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut *argument) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_up_and_may_be_brought_up_again() {
        match bring_up("lo") {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: interfaces may not be changed here: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_tap_vanishes_with_its_descriptor_and_joins_bridges_only() {
        let tap = match Tap::open("sterna%d") {
            Ok(tap) => tap,
            Err(error) => return eprintln!("skipped: a tap device cannot be made here: {error}"),
        };
        bring_up(&tap.name).unwrap();
        assert!(add_to_bridge("lo", &tap.name).is_err(), "the loopback is no bridge");
        assert!(add_to_bridge("no-such-bridge", &tap.name).is_err());
        assert!(!bridges().unwrap_or_default().contains(&tap.name));
        let name = tap.name.clone();
        drop(tap);
        assert_eq!(bring_up(&name).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn names_are_checked_by_us_and_by_the_kernel() {
        let kind = |name: &str| set_ipv4(name, Ipv4Addr::LOCALHOST, 8).unwrap_err().kind();
        assert_eq!(kind("a-name-of-16-by."), io::ErrorKind::InvalidInput);
        assert_eq!(kind("a\0b"), io::ErrorKind::InvalidInput);
        let error = set_ipv4("no-such-if", Ipv4Addr::LOCALHOST, 8).unwrap_err();
        let refused = [libc::ENODEV, libc::EPERM, libc::EACCES].map(Some);
        assert!(refused.contains(&error.raw_os_error()), "{error}");
    }

    #[test]
    fn interfaces_have_addresses() {
        assert_eq!(address("lo").unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(address("no-such-if").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        let line = |scope| format!("fd000000000000000000000000000002 02 40 {scope} 80     eth0");
        let expected: Ipv6Addr = "fd00::2".parse().unwrap();
        assert_eq!(ipv6_of(&line("00"), "eth0"), Some(expected));
        assert_eq!(ipv6_of(&line("20"), "eth0"), None);
        assert_eq!(ipv6_of(&line("00"), "eth1"), None);
        assert_eq!(ipv6_of("nonsense", "eth0"), None);
        assert_eq!(ipv4(&socket_address(Ipv4Addr::new(10, 0, 2, 15))), Ipv4Addr::new(10, 0, 2, 15));
    }

    #[test]
    fn addresses_are_laid_out_as_the_kernel_reads_them() {
        let address = socket_address(Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(address.sa_family, libc::AF_INET as libc::sa_family_t);
        assert_eq!(address.sa_data[..6], [0, 0, 10, 0, 2, 15]);
    }
}
