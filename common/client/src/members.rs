//! Changing who is in the cluster.

use protocol::{MemberChange, MemberEdit, MemberRecord, Operation, Request, RequestId, Response};

use crate::{Client, Error, Judged};

impl Client {
    /// Records where a server is reached and what becomes of it, before it is added, when it has moved, or to change what
    /// becomes of it. [`Verdict::Unmet`](protocol::Verdict) says that another server has its name.
    pub async fn set_member(
        &self,
        record: MemberRecord,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        self.judge(Operation::SetMember(record), request).await
    }

    /// Changes who is in the cluster: all edits together, or none. Returns when that is committed, with its revision, also
    /// where all was so already; so it is safe to ask again, and this does where nobody said what became of it. Unless
    /// `force` says so, what would leave too few voters that keep up is [`Refused::Unsafe`](protocol::Refused).
    pub async fn change_members(&self, edits: &[MemberEdit], force: bool) -> Result<u64, Error> {
        let change = MemberChange { edits: edits.to_vec(), force };
        change.check()?;
        let done = self.call(Request::ChangeMembers(change), None).await?;
        let Response::MembersChanged { revision } = done.response else {
            unreachable!("a call lets only a fitting answer through");
        };
        Ok(revision)
    }
}
