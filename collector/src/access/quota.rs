//! How much a token's holder may use: requests and bytes a second, bytes on disk, topics.
//!
//! Pure. A rate is a bucket that may go below empty: a request is let in while there is anything in it, and what its body turns out to have is
//! taken out as it comes. So a body larger than a second's worth passes, its length need not be known before, and the next one waits.

use std::time::{Duration, Instant};

use skidway_wire::access::Quotas;

/// Says what a quota has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverQuota {
    /// Requests of this second; wait so long.
    Requests(Duration),
    /// Bytes of this second; wait so long.
    Bytes(Duration),
    /// Bytes on disk: there are as many as may be.
    Storage {
        /// How many may be.
        max: u64,
    },
    /// Topics: there are as many as may be.
    Topics {
        /// How many may be.
        max: u64,
    },
}

/// Counts what is used of a rate.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_second: f64,
    /// What is in it; below zero, what is owed.
    level: f64,
    since: Instant,
}

impl Bucket {
    /// Begins with a second's worth.
    fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second: per_second as f64, level: per_second as f64, since: now }
    }

    /// Tells whether there is anything in it, or how long until there is.
    fn check(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        (self.since, self.level) = (now, (self.level + passed * self.per_second).min(self.per_second));
        match self.level > 0.0 {
            true => Ok(()),
            false => Err(Duration::from_secs_f64(-self.level / self.per_second)),
        }
    }
}

/// Counts what a token's holder uses.
#[derive(Debug)]
pub struct Meter {
    quotas: Quotas,
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Bytes on disk and number of the topics that count, as measured last.
    used: (u64, u64),
}

impl Meter {
    /// Begins to count.
    pub fn new(quotas: Quotas, now: Instant) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::new(rate.max(1), now));
        Self {
            quotas,
            requests: bucket(quotas.requests_per_second),
            bytes: bucket(quotas.bytes_per_second),
            used: (0, 0),
        }
    }

    /// Counts a request, or says why it is one too many.
    ///
    /// # Errors
    /// [`OverQuota::Requests`], [`OverQuota::Bytes`] (retry).
    pub fn admit(&mut self, now: Instant) -> Result<(), OverQuota> {
        if let Some(bytes) = &mut self.bytes {
            bytes.check(now).map_err(OverQuota::Bytes)?;
        }
        if let Some(requests) = &mut self.requests {
            requests.check(now).map_err(OverQuota::Requests)?;
            requests.level -= 1.0;
        }
        Ok(())
    }

    /// Takes bytes of a body out.
    pub fn spend(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.bytes {
            bucket.level -= bytes as f64;
        }
    }

    /// Tells whether bytes of bodies are counted.
    pub fn counts_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    /// Tells whether what is on disk matters.
    pub fn wants_measure(&self) -> bool {
        self.quotas.storage_bytes.is_some() || self.quotas.topics.is_some()
    }

    /// Takes note of what is on disk.
    pub fn measured(&mut self, bytes: u64, topics: u64) {
        self.used = (bytes, topics);
    }

    /// Tells whether more may be stored.
    ///
    /// # Errors
    /// [`OverQuota::Storage`] (retry: retention or somebody makes room).
    pub fn may_store(&self) -> Result<(), OverQuota> {
        match self.quotas.storage_bytes.filter(|max| self.used.0 >= *max) {
            Some(max) => Err(OverQuota::Storage { max }),
            None => Ok(()),
        }
    }

    /// Tells whether there may be one topic more.
    ///
    /// # Errors
    /// [`OverQuota::Topics`] (retry).
    pub fn may_add_topic(&self) -> Result<(), OverQuota> {
        match self.quotas.topics.filter(|max| self.used.1 >= *max) {
            Some(max) => Err(OverQuota::Topics { max }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_seconds_worth_through_at_once_and_the_rest_in_time() {
        let start = Instant::now();
        let quotas = Quotas { requests_per_second: Some(4), ..Quotas::default() };
        let mut meter = Meter::new(quotas, start);
        let passed = |meter: &mut Meter, now| (0..100).filter(|_| meter.admit(now).is_ok()).count();
        assert_eq!(passed(&mut meter, start), 4);
        assert_eq!(passed(&mut meter, start + Duration::from_millis(500)), 2);
        assert_eq!(passed(&mut meter, start + Duration::from_secs(60)), 4, "what was not used is not kept");
        let Err(OverQuota::Requests(wait)) = meter.admit(start + Duration::from_secs(60)) else { panic!("let in") };
        assert!(wait <= Duration::from_millis(250), "{wait:?}");
    }

    #[test]
    fn a_body_larger_than_a_seconds_worth_passes_and_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut meter = Meter::new(Quotas { bytes_per_second: Some(100), ..Quotas::default() }, start);
        assert_eq!(meter.admit(start), Ok(()));
        meter.spend(1_100);
        assert_eq!(meter.admit(start), Err(OverQuota::Bytes(Duration::from_secs(10))));
        assert_eq!(meter.admit(start + Duration::from_secs(11)), Ok(()));
    }

    #[test]
    fn what_is_on_disk_counts_as_measured() {
        let quotas = Quotas { storage_bytes: Some(10), topics: Some(2), ..Quotas::default() };
        let mut meter = Meter::new(quotas, Instant::now());
        assert_eq!((meter.may_store(), meter.may_add_topic()), (Ok(()), Ok(())));
        meter.measured(10, 2);
        assert_eq!(meter.may_store(), Err(OverQuota::Storage { max: 10 }));
        assert_eq!(meter.may_add_topic(), Err(OverQuota::Topics { max: 2 }));
        assert!(!Meter::new(Quotas::default(), Instant::now()).wants_measure());
    }
}
