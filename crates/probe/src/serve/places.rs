//! Places for connections whose peers have not shown yet who they are, or what they want.
//!
//! ```text
//!  a connection ── its peer has too many ──► the oldest silent one of that peer is closed ─┐
//!        │                                                                                 ▼
//!        ├──────── all places are taken ───► the oldest silent one of all is closed ─► a place
//!        │                                                                                 │
//!        └── every place is taken by one that speaks: refused       speaks(): kept, until dropped
//! ```
//!
//! A fixed number of places would be enough against too much memory, but not against a peer that takes all of them and says nothing.
//! So a newcomer is never refused because of a silent connection: the one that has been silent for longest is closed for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a listener.
#[derive(Clone)]
pub struct Places {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    most_of_a_peer: usize,
}

/// A place, until it is dropped.
pub struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
}

/// Every place is taken by a connection that speaks; the number of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} connections are open already; try again later")]
pub struct AllTaken(pub usize);

#[derive(Default)]
struct Taken {
    next: u64,
    /// In the order in which they came.
    all: Vec<Entry>,
}

struct Entry {
    number: u64,
    peer: Option<IpAddr>,
    is_silent: bool,
    close: Box<dyn Fn() + Send>,
}

impl Places {
    /// So many in all, and so many for one peer.
    pub fn new(most: usize, most_of_a_peer: usize) -> Places {
        Places { taken: Arc::default(), most, most_of_a_peer }
    }

    /// A place for a connection from `peer`, which `close` ends from another thread; `None` for one of this machine, of which all may be open that there are places for.
    ///
    /// The connection that makes room for it is closed, and its place is free at once, although its thread may need a moment to notice.
    ///
    /// # Errors
    /// No connection is silent.
    pub fn take(
        &self,
        peer: Option<SocketAddr>,
        close: impl Fn() + Send + 'static,
    ) -> Result<Place, AllTaken> {
        let peer = peer.map(|it| network(it.ip()));
        let mut taken = lock(&self.taken);
        let of_peer = |it: &Entry| peer.is_some() && it.peer == peer;
        if taken.all.iter().filter(|it| of_peer(it)).count() >= self.most_of_a_peer {
            taken.close_oldest_silent(of_peer).ok_or(AllTaken(self.most_of_a_peer))?;
        }
        if taken.all.len() >= self.most {
            taken.close_oldest_silent(|_| true).ok_or(AllTaken(self.most))?;
        }
        let number = taken.next;
        taken.next += 1;
        taken.all.push(Entry { number, peer, is_silent: true, close: Box::new(close) });
        Ok(Place { number, taken: Arc::clone(&self.taken) })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        lock(&self.taken).all.len()
    }
}

impl Place {
    /// The connection has said what it had to say: it is not closed for another any more. False when that has happened already.
    pub fn speaks(&self) -> bool {
        let mut taken = lock(&self.taken);
        let ours = taken.all.iter_mut().find(|it| it.number == self.number);
        ours.map(|it| it.is_silent = false).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).all.retain(|it| it.number != self.number);
    }
}

impl Taken {
    fn close_oldest_silent(&mut self, may_go: impl Fn(&Entry) -> bool) -> Option<()> {
        let index = self.all.iter().position(|it| it.is_silent && may_go(it))?;
        (self.all.remove(index).close)();
        Some(())
    }
}

/// The peer itself, or the network of an IPv6 address: a machine has all addresses of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6((it.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// Each change is one step, so what a thread left behind that panicked is whole.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a place for a connection of this name; those that are closed are noted.
    fn take(
        places: &Places,
        peer: &str,
        name: &'static str,
        closed: &Arc<Mutex<Vec<&'static str>>>,
    ) -> Result<Place, AllTaken> {
        let closed = Arc::clone(closed);
        let peer = (!peer.is_empty()).then(|| SocketAddr::new(peer.parse().unwrap(), 9));
        places.take(peer, move || closed.lock().unwrap().push(name))
    }

    #[test]
    fn the_oldest_silent_connection_of_a_full_peer_is_closed_for_its_next_one() {
        let (places, closed) = (Places::new(8, 2), Arc::default());
        let first = take(&places, "192.0.2.1", "first", &closed).unwrap();
        assert!(first.speaks());
        let _other = take(&places, "192.0.2.2", "other", &closed).unwrap();
        let second = take(&places, "192.0.2.1", "second", &closed).unwrap();
        let third = take(&places, "192.0.2.1", "third", &closed).unwrap();
        assert_eq!(*closed.lock().unwrap(), ["second"]);
        assert!(!second.speaks() && third.speaks());
        let refused = take(&places, "192.0.2.1", "fourth", &closed).map(|_| ());
        assert_eq!(refused, Err(AllTaken(2)));
        drop(first);
        assert!(take(&places, "192.0.2.1", "fifth", &closed).is_ok());
    }

    #[test]
    fn the_oldest_silent_connection_of_all_is_closed_when_every_place_is_taken() {
        let (places, closed) = (Places::new(3, 2), Arc::default());
        let names = [("192.0.2.1", "a"), ("192.0.2.2", "b"), ("192.0.2.3", "c")];
        let taken = names.map(|(peer, name)| take(&places, peer, name, &closed).unwrap());
        assert!(taken[0].speaks());
        let d = take(&places, "192.0.2.4", "d", &closed).unwrap();
        assert_eq!(*closed.lock().unwrap(), ["b"]);
        assert!(taken[2].speaks() && d.speaks());
        let refused = take(&places, "192.0.2.5", "e", &closed).map(|_| ());
        assert_eq!(
            refused.unwrap_err().to_string(),
            "3 connections are open already; try again later"
        );
        assert_eq!(places.taken(), 3);
        drop(taken);
        assert_eq!(places.taken(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer_and_local_connections_are_none() {
        let (places, closed) = (Places::new(8, 1), Arc::default());
        let _a = take(&places, "2001:db8::1", "a", &closed).unwrap();
        let _b = take(&places, "2001:db8::2", "b", &closed).unwrap();
        assert_eq!(*closed.lock().unwrap(), ["a"]);
        let _c = take(&places, "", "c", &closed).unwrap();
        let _d = take(&places, "", "d", &closed).unwrap();
        assert_eq!(closed.lock().unwrap().len(), 1);
    }
}
