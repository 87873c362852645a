//! Counters, gauges and histograms: atomics that any thread adds to. Nothing orders one with another, so a page may show a
//! request that is counted and not yet timed; each for itself is exact.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it; returns what it was.
    pub(crate) fn set(&self, value: u64) -> u64 {
        self.0.swap(value, Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One more of a gauge, for as long as it lives: a task that is aborted counts down as well.
pub(crate) struct Held<T> {
    all: Arc<T>,
    which: fn(&T) -> &Gauge,
}

impl<T> Held<T> {
    pub(crate) fn new(all: &Arc<T>, which: fn(&T) -> &Gauge) -> Self {
        which(all).0.fetch_add(1, Relaxed);
        Self { all: Arc::clone(all), which }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        (self.which)(&self.all).0.fetch_sub(1, Relaxed);
    }
}

/// Upper bounds of a histogram's buckets: as text, and in microseconds. They reach from a write into the page cache to a
/// disk that is about to fail.
pub(crate) const BOUNDS: [(&str, u64); 17] = [
    ("0.00005", 50),
    ("0.0001", 100),
    ("0.00025", 250),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
];

/// Durations in buckets; the last is of what is above every bound.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// A histogram as it is shown.
pub(crate) struct Buckets {
    /// How many were at most as long as each of [`BOUNDS`].
    pub(crate) up_to: [u64; BOUNDS.len()],
    /// How many there were.
    pub(crate) count: u64,
    /// How long all of them were together.
    pub(crate) sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let at = BOUNDS.partition_point(|(_, bound)| Duration::from_micros(*bound) < took);
        self.buckets[at].fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The sums of buckets; their last is the count, so that both agree whatever is added meanwhile.
    pub(crate) fn read(&self) -> Buckets {
        let mut total = 0;
        let mut up_to = [0; BOUNDS.len()];
        for (sum, bucket) in up_to.iter_mut().zip(&self.buckets) {
            total += bucket.load(Relaxed);
            *sum = total;
        }
        let count = total + self.buckets[BOUNDS.len()].load(Relaxed);
        Buckets { up_to, count, sum: Duration::from_nanos(self.nanos.load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_are_what_they_say() {
        assert!(BOUNDS.is_sorted_by(|a, b| a.1 < b.1));
        for (text, micros) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_all_counts() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 1_000, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Buckets { up_to, count, sum } = histogram.read();
        assert_eq!((up_to[0], up_to[1], up_to[4], up_to[16], count), (2, 3, 4, 5, 6));
        assert_eq!(sum, Duration::from_micros(20_001_102));
    }

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let all = Arc::new(Gauge::default());
        let held = [Held::new(&all, |all| all), Held::new(&all, |all| all)];
        assert_eq!(all.get(), 2);
        drop(held);
        assert_eq!(all.get(), 0);
    }
}
