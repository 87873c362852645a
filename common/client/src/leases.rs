//! Leases: keys that go together, at a time. As the other writes, each takes the id of an earlier call that it settles.

use protocol::{
    Condition, Hold, Operation, Request, RequestId, Response,
    lease::{Lease, LeaseKeys},
};

use crate::{Client, Error, writes::Judged};

impl Client {
    /// Makes a lease for so many milliseconds; its id is the revision of the answer. A verdict other than
    /// [`Verdict::Done`](protocol::Verdict::Done) says that there are as many as may be.
    pub async fn grant(&self, ttl_ms: u64, request: Option<RequestId>) -> Result<Judged, Error> {
        self.judge(Operation::Grant { ttl_ms }, request).await
    }

    /// Gives a lease its whole time again, which is the number of the answer.
    /// [`Verdict::NoLease`](protocol::Verdict::NoLease): it is over, revoked, or never was.
    pub async fn renew(&self, lease: u64, request: Option<RequestId>) -> Result<Judged, Error> {
        self.judge(Operation::Renew { lease }, request).await
    }

    /// Ends a lease and removes its keys, all at one revision; how many is the number of the answer.
    /// [`Verdict::NoLease`](protocol::Verdict::NoLease): it is over, revoked, or never was.
    pub async fn revoke(&self, lease: u64, request: Option<RequestId>) -> Result<Judged, Error> {
        self.judge(Operation::Revoke { lease }, request).await
    }

    /// As [`Client::set_if`], of a key that is there for a time, or as long as a lease. The lease that
    /// [`Hold::Ttl`] makes has the revision of the answer for its id.
    pub async fn set_held(
        &self,
        key: &[u8],
        value: &[u8],
        hold: Hold,
        condition: Condition,
        previous: bool,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        let (key, value) = (key.to_vec(), value.to_vec());
        self.judge(Operation::SetHeld { key, value, condition, previous, hold }, request).await
    }

    /// A lease and all its keys; `None` where there is none. Each page of keys is read by itself: what is written meanwhile
    /// may be missing or there.
    pub async fn lease(&self, id: u64) -> Result<Option<(Lease, Vec<Vec<u8>>)>, Error> {
        let mut keys = Vec::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let done = self.call(Request::Lease { id, after }, None).await?;
            let Response::Lease(LeaseKeys { lease, keys: page, more, .. }) = done.response else {
                unreachable!("a call lets only a fitting answer through");
            };
            let Some(lease) = lease else { return Ok(None) };
            let ended = !more || page.is_empty();
            keys.extend(page);
            if ended {
                return Ok(Some((lease, keys)));
            }
        }
    }

    /// A page of the leases there are, after an id, and whether there are more.
    pub async fn leases(&self, after: u64) -> Result<(Vec<Lease>, bool), Error> {
        let done = self.call(Request::Leases { after }, None).await?;
        let Response::Leases(leases) = done.response else {
            unreachable!("a call lets only a fitting answer through");
        };
        let more = leases.more && !leases.leases.is_empty();
        Ok((leases.leases, more))
    }
}
