//! Connections by the address they come from: none has more of them than it may, so that one client cannot take the place of all others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Knows how many connections each address has open.
#[derive(Debug)]
pub struct Crowd {
    /// `None`: as many as there are.
    max: Option<u32>,
    /// Only addresses that have one.
    open: Mutex<HashMap<IpAddr, u32>>,
}

impl Crowd {
    /// Lets each address have so many.
    pub fn new(max: Option<u32>) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// Lets a connection in, until what is given is dropped; `None` if its address has as many as it may.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Ticket> {
        let address = counted(address);
        let mut open = self.open();
        let connections = open.entry(address).or_default();
        if self.max.is_some_and(|max| *connections >= max) {
            return None;
        }
        *connections += 1;
        Some(Ticket { crowd: self.clone(), address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is one connection of an address; its drop makes room for another.
#[derive(Debug)]
pub struct Ticket {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.crowd.open();
        if let Some(connections) = open.get_mut(&self.address) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Gives what counts as one address: of IPv6 the network of 64 bits, all of which a single machine may have.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_connections_as_it_may_and_another_its_own() {
        let crowd = Crowd::new(Some(2));
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let first = crowd.enter(one).unwrap();
        let _second = crowd.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(crowd.enter(one).is_none());
        drop(crowd.enter(other).unwrap());
        drop(first);
        assert!(crowd.enter(one).is_some());
        assert_eq!(crowd.open().len(), 1, "an address without connections is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let crowd = Crowd::new(Some(1));
        let _held = crowd.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(crowd.enter("2001:db8::ffff:1".parse().unwrap()).is_none());
        assert!(crowd.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
