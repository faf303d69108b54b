//! How many requests a beacon takes, of all and of each address, by the generic cell rate algorithm.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::BeaconConfig;

/// Requests of an address that may come at once, in seconds of its rate: pages send when they are left, many events at once.
const CLIENT_BURST_SECONDS: u32 = 10;

/// After so many requests the addresses that are not near their bound are forgotten.
const FORGET_AFTER: u32 = 10_000;

/// Addresses remembered; past them only the bound of all together counts.
const CLIENTS_MAX: usize = 100_000;

/// Holds a beacon's rates.
#[derive(Debug)]
pub(super) struct Rates {
    all: DefaultDirectRateLimiter,
    by_client: DefaultKeyedRateLimiter<IpAddr>,
    checked: AtomicU32,
}

impl Rates {
    pub(super) fn new(config: &BeaconConfig) -> Self {
        let per_second = |rate: u32| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let client = per_second(config.client_requests_per_second);
        let burst = client.saturating_mul(per_second(CLIENT_BURST_SECONDS));
        Self {
            all: RateLimiter::direct(Quota::per_second(per_second(config.requests_per_second))),
            by_client: RateLimiter::keyed(Quota::per_second(client).allow_burst(burst)),
            checked: AtomicU32::new(0),
        }
    }

    /// Counts a request, or says how long to wait.
    pub(super) fn check(&self, client: Option<IpAddr>) -> Result<(), Duration> {
        if self.checked.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.by_client.retain_recent();
        }
        let now = DefaultClock::default().now();
        if let Some(client) = client.map(network).filter(|_| self.by_client.len() < CLIENTS_MAX) {
            self.by_client.check_key(&client).map_err(|until| until.wait_time_from(now))?;
        }
        self.all.check().map_err(|until| until.wait_time_from(now))
    }
}

/// Gives what is one client's: an address, or of IPv6 the network that a household has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_take_what_is_everybodys() {
        let section = "[[beacons]]\ntoken = 'a-token-of-a-test'\ntopic = 'clicks'\nclient_requests_per_second = 1\n";
        let document = skidway_daemon::config::Document::parse("test", section).unwrap();
        let rates = Rates::new(&BeaconConfig::all(&document.section())[0]);
        let (one, other): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "::ffff:10.0.0.1".parse().unwrap());
        let passed = (0..100).filter(|_| rates.check(Some(one)).is_ok()).count();
        assert!((10..50).contains(&passed), "{passed}");
        assert!(rates.check(Some("2001:db8::ffff".parse().unwrap())).is_err(), "of the same network");
        assert!(rates.check(Some(other)).is_ok());
        assert!(rates.check(None).is_ok());
    }
}
