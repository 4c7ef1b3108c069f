//! Which unknown datagrams are echoed, where echoes were asked for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Most echoes to one address within a second.
const MOST_A_SECOND: u32 = 1000;

/// One second.
const WINDOW_NS: u64 = 1_000_000_000;

/// Counters for all addresses together; addresses that meet in one of them share its limit, so memory is bounded and no address gets more.
const COUNTERS: usize = 1024;

/// Bounds what forged source addresses can do with echoes.
///
/// An echo cannot be told from a question, so two programs that echo could answer each other for ever.
/// The usual pair has the same port on both ends, and is never answered; every other pair is slow enough to do no harm.
#[derive(Debug)]
pub(crate) struct EchoLimit {
    own_port: u16,
    secret: u64,
    /// When each counter's second began, and how many echoes it has had.
    counters: Vec<(u64, u32)>,
}

impl EchoLimit {
    pub fn new(own_port: u16, secret: u64) -> EchoLimit {
        EchoLimit { own_port, secret, counters: vec![(0, 0); COUNTERS] }
    }

    /// Whether a datagram from there may be echoed now; counts it if so.
    pub fn allows(&mut self, from: SocketAddr, now_ns: u64) -> bool {
        if from.port() == self.own_port {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (self.secret, network(from.ip())).hash(&mut hasher);
        let (began_ns, count) = &mut self.counters[hasher.finish() as usize % COUNTERS];
        if now_ns.saturating_sub(*began_ns) >= WINDOW_NS {
            (*began_ns, *count) = (now_ns, 0);
        }
        let is_allowed = *count < MOST_A_SECOND;
        *count += u32::from(is_allowed);
        is_allowed
    }
}

/// An IPv4 address, or the network of an IPv6 address: a machine has all addresses of its network.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(it) => it.to_bits().into(),
        IpAddr::V6(it) => (it.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn an_address_gets_a_thousand_echoes_a_second_whatever_its_port() {
        let mut limit = EchoLimit::new(7, 1);
        let mut echoed = |at_ns: u64, address: &str| {
            let mut is_allowed =
                |port: u16| limit.allows(SocketAddr::new(address.parse().unwrap(), port), at_ns);
            (1000..3000).filter(|port| is_allowed(*port)).count()
        };
        assert_eq!(echoed(5000 * MS, "192.0.2.1"), 1000);
        assert_eq!(echoed(5999 * MS, "192.0.2.1"), 0);
        assert_eq!(echoed(6000 * MS, "192.0.2.1"), 1000);
        assert_eq!(echoed(6000 * MS, "2001:db8::1"), 1000);
        assert_eq!(echoed(6000 * MS, "2001:db8::2"), 0, "the same network");
    }

    #[test]
    fn a_message_each_millisecond_is_echoed_always() {
        let mut limit = EchoLimit::new(7, 1);
        let from = "192.0.2.1:9".parse().unwrap();
        assert!((0..5000).all(|at_ms| limit.allows(from, at_ms * MS)));
    }

    #[test]
    fn a_datagram_from_our_own_port_is_never_echoed() {
        let mut limit = EchoLimit::new(7, 1);
        assert!(!limit.allows("127.0.0.1:7".parse().unwrap(), 0));
        assert!(!limit.allows("192.0.2.1:7".parse().unwrap(), 0));
        assert!(limit.allows("192.0.2.1:8".parse().unwrap(), 0));
    }
}
