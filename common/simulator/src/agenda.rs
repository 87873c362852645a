//! What will happen, in order of time; what falls on one moment happens in the order it was planned.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A clock and everything planned on it. Moments are microseconds since the run began.
pub struct Agenda<T> {
    now: u64,
    planned: u64,
    plans: BinaryHeap<Plan<T>>,
}

struct Plan<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> Agenda<T> {
    /// An empty agenda at the beginning of time.
    pub fn new() -> Self {
        Self { now: 0, planned: 0, plans: BinaryHeap::new() }
    }

    /// The present moment.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Plans `what` for `delay` microseconds from now.
    pub fn after(&mut self, delay: u64, what: T) {
        self.planned += 1;
        self.plans.push(Plan { at: self.now.saturating_add(delay), number: self.planned, what });
    }

    /// The next thing not later than `until`, for which time moves on. Without one, time moves to `until`.
    pub fn next(&mut self, until: u64) -> Option<T> {
        if self.plans.peek().is_none_or(|plan| plan.at > until) {
            self.now = self.now.max(until);
            return None;
        }
        let plan = self.plans.pop()?;
        self.now = plan.at;
        Some(plan.what)
    }
}

/// The heap gives out its greatest: the earliest plan.
impl<T> Ord for Plan<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Plan<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Plan<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Plan<T> {}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_planning() {
        let mut agenda = Agenda::new();
        for (delay, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (9, 'e')] {
            agenda.after(delay, what);
        }
        let seen: String = std::iter::from_fn(|| agenda.next(8)).collect();
        assert_eq!((seen.as_str(), agenda.now()), ("abcd", 8));
        assert_eq!((agenda.next(20), agenda.now()), (Some('e'), 9));
    }
}
