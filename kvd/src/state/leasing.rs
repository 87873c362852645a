//! What writes do to leases: grant, renew, revoke, hold a key, and end what is over.

use std::sync::Arc;

use protocol::{Condition, Decided, Hold, Operation, Verdict, limits::NUMBER, stored::StoredLease};

use super::{Applied, Outcome, State, StateError, history::Occasion, write::Plan};
use crate::instruments::{Mark, Mutant, mark, mutant};

/// A write of a key that is not to be there for ever.
pub(super) struct HeldWrite {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) condition: Condition,
    pub(super) previous: bool,
    pub(super) hold: Hold,
}

impl State {
    /// Does what an operation says that is about leases.
    pub(super) fn lease(&mut self, occasion: Occasion, operation: Operation) -> Result<Decided, StateError> {
        let mut decided = match operation {
            Operation::Grant { ttl_ms } => self.grant(occasion, ttl_ms),
            Operation::Renew { lease } => self.renew(occasion, lease),
            Operation::Revoke { lease } => self.revoke(occasion, lease)?,
            Operation::SetHeld { key, value, condition, previous, hold } => {
                self.set_held(occasion, HeldWrite { key, value, condition, previous, hold })?
            }
            other => unreachable!("this is not about leases: {other:?}"),
        };
        decided.revision = occasion.revision;
        Ok(decided)
    }

    fn grant(&mut self, occasion: Occasion, ttl_ms: u64) -> Decided {
        if let Err(verdict) = self.leases.room_for_lease(false) {
            return Decided { verdict, ..Decided::default() };
        }
        mark(Mark::LeaseGranted);
        self.leases.insert(occasion.revision, occasion.lease(ttl_ms, false));
        Decided::default()
    }

    fn renew(&mut self, occasion: Occasion, id: u64) -> Decided {
        let live = if mutant(Mutant::LeaseRenewsWhatIsOver) {
            self.leases.get(id)
        } else {
            self.leases.live(id, occasion.stamp_ms)
        };
        let Some(ttl_ms) = live.map(|lease| lease.stored.ttl_ms) else {
            mark(Mark::LeaseRenewedTooLate);
            return Decided { verdict: Verdict::NoLease, ..Decided::default() };
        };
        mark(Mark::LeaseRenewed);
        self.leases.renew(id, occasion.lease(ttl_ms, false).deadline_ms);
        Decided { number: ttl_ms, existed: true, ..Decided::default() }
    }

    fn revoke(&mut self, occasion: Occasion, id: u64) -> Result<Decided, StateError> {
        if self.leases.live(id, occasion.stamp_ms).is_none() {
            return Ok(Decided { verdict: Verdict::NoLease, ..Decided::default() });
        }
        mark(Mark::LeaseRevoked);
        let number = self.end(occasion, &[id])?;
        Ok(Decided { number, existed: true, ..Decided::default() })
    }

    fn set_held(&mut self, occasion: Occasion, write: HeldWrite) -> Result<Decided, StateError> {
        let HeldWrite { key, value, condition, previous, hold } = write;
        let mut plan =
            self.plan_conditional(occasion.revision, key.clone(), Some(value), &condition, previous)?;
        if plan.decided.verdict != Verdict::Done {
            return Ok(plan.decided);
        }
        let before = self.before(&key)?.meta().map_or(0, |before| before.lease);
        let lease = match self.choose(occasion, &key, before, hold) {
            Ok(lease) => lease,
            Err(verdict) => {
                return Ok(Decided { verdict, ..plan.decided });
            }
        };
        plan.hold(&key, lease);
        if let Hold::Ttl(ttl_ms) = hold {
            mark(Mark::LeaseOwn);
            self.leases.insert(lease, occasion.lease(ttl_ms, true));
        }
        Ok(self.carry_out(occasion, plan))
    }

    /// Which lease is to hold a key that `before` holds now; zero for none.
    fn choose(&self, occasion: Occasion, key: &[u8], before: u64, hold: Hold) -> Result<u64, Verdict> {
        match hold {
            Hold::Keep => Ok(before),
            Hold::Ttl(_) => {
                self.leases.room_for_lease(self.leases.ends_with_key(before))?;
                self.leases.room_for_key(before, key, 0)?;
                Ok(occasion.revision)
            }
            Hold::Lease(id) => {
                let lease = self.leases.live(id, occasion.stamp_ms).ok_or(Verdict::NoLease)?;
                if id != before {
                    self.leases.room_for_key(before, key, lease.keys)?;
                }
                Ok(id)
            }
        }
    }

    /// Ends those of these leases that are over by the stamp of this entry. It may be a leader's that is none any more and
    /// had not heard of a renewal.
    pub(super) fn expire(&mut self, occasion: Occasion, leases: &[u64]) -> Result<Applied, StateError> {
        let (mut over, mut keys) = (Vec::new(), 0);
        let limits = self.leases.limits();
        for id in leases {
            let Some(lease) = self.leases.get(*id) else { continue };
            if keys >= limits.expired_keys {
                break;
            }
            if lease.stored.deadline_ms > occasion.stamp_ms && !mutant(Mutant::LeaseExpiresUnchecked) {
                mark(Mark::LeaseNotOver);
                continue;
            }
            keys += lease.keys;
            over.push(*id);
        }
        let occasion = Occasion { expired: true, ..occasion };
        let number = self.end(occasion, &over)?;
        if number > 0 {
            mark(Mark::LeaseExpired);
            self.changed = occasion.revision;
            self.history.trim(occasion.stamp_ms, self.flush_began_ms, &mut self.recent);
        }
        let decided = Decided { revision: occasion.revision, number, ..Decided::default() };
        Ok(Applied { revision: occasion.revision, result: Ok(Outcome::Decided(Box::new(decided))) })
    }

    /// Removes leases and the keys that they hold. Returns how many keys.
    fn end(&mut self, occasion: Occasion, leases: &[u64]) -> Result<u64, StateError> {
        let mut plan = Plan::default();
        let mut removed = 0;
        for id in leases {
            let keys = self.leases.keys_after(*id, b"").map(Arc::clone).collect::<Vec<_>>();
            let half = if mutant(Mutant::LeaseEndsHalf) { keys.len() / 2 } else { 0 };
            removed += keys.len() as u64;
            for key in &keys[half..] {
                plan.change(key.to_vec(), occasion.revision, self.before(key)?, None);
            }
        }
        self.carry_out(occasion, plan);
        for id in leases {
            self.leases.remove(*id);
        }
        Ok(removed)
    }
}

impl Occasion {
    /// A lease that is granted now, for so long.
    fn lease(self, ttl_ms: u64, own: bool) -> StoredLease {
        let deadline_ms = self.stamp_ms.saturating_add(ttl_ms).min(NUMBER);
        StoredLease { ttl_ms, deadline_ms, own }
    }
}
