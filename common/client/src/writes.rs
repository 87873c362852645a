//! The writes of a client.
//!
//! Every method takes `request`: the id of an earlier call whose outcome is unknown, to be settled by this one, or
//! `None` for a new write. A call that settles must ask for the very same thing; what was done or judged before is then
//! answered from memory, without the rows that the first answer would have shown.

use protocol::{
    ClusterId, Condition, Decided, KeyRange, Operation, Request, RequestId, Response, Transaction, Verdict,
    history::WindowChange, response::Found,
};

use crate::{Client, Error};

/// A set or delete that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The revision it made.
    pub revision: u64,
    /// Whether the key was there before.
    pub existed: bool,
    /// Whether an earlier attempt had already applied it.
    pub deduplicated: bool,
    /// Its id.
    pub request: RequestId,
}

/// Any other write, with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict and what belongs to it.
    pub decided: Decided,
    /// Its id.
    pub request: RequestId,
}

impl Judged {
    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        self.decided.verdict == Verdict::Done
    }

    /// The row before, where it was asked for and is known.
    pub fn previous(&self) -> Option<&Found> {
        self.decided.previous.as_ref()
    }
}

impl Client {
    /// Writes a key.
    pub async fn set(&self, key: &[u8], value: &[u8], request: Option<RequestId>) -> Result<Written, Error> {
        self.write(Operation::Set { key: key.to_vec(), value: value.to_vec() }, request).await
    }

    /// Removes a key, there or not.
    pub async fn delete(&self, key: &[u8], request: Option<RequestId>) -> Result<Written, Error> {
        self.write(Operation::Delete { key: key.to_vec() }, request).await
    }

    /// Writes a key if `condition` holds of it, and shows the row before where `previous` is wanted. A condition that
    /// does not hold is no error: the answer is then [`Verdict::Unmet`], and its number the revision that had written the
    /// key last, zero where it was absent.
    pub async fn set_if(
        &self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        previous: bool,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        let (key, value) = (key.to_vec(), Some(value.to_vec()));
        self.judge(Operation::Conditional { key, value, condition, previous }, request).await
    }

    /// Removes a key if `condition` holds of it; otherwise as [`Client::set_if`].
    pub async fn delete_if(
        &self,
        key: &[u8],
        condition: Condition,
        previous: bool,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        let key = key.to_vec();
        self.judge(Operation::Conditional { key, value: None, condition, previous }, request).await
    }

    /// Adds to the number that a key holds as decimal text; an absent key counts as zero. [`Decided::sum`] is what the
    /// key holds then. On [`Verdict::NotANumber`] and [`Verdict::Overflow`] nothing was changed.
    pub async fn increment(&self, key: &[u8], by: i64, request: Option<RequestId>) -> Result<Judged, Error> {
        self.judge(Operation::Increment { key: key.to_vec(), by }, request).await
    }

    /// Removes all keys of a range at one revision, or on [`Verdict::TooMany`] none, because there are more than `most`.
    /// The number of the answer is how many were removed.
    pub async fn delete_range(
        &self,
        range: KeyRange,
        most: u32,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        self.judge(Operation::DeleteRange { range, most }, request).await
    }

    /// Compares keys and does one of two lists of reads and writes, all of it at one revision. [`Verdict::Done`] is the list
    /// `then`, [`Verdict::Unmet`] the other; on [`Verdict::TooLarge`] nothing was changed, because the reads find more than
    /// an answer holds. [`Decided::results`] has one entry for each action of the list, none where the answer is from
    /// memory: read again then.
    pub async fn transact(
        &self,
        transaction: Transaction,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        self.judge(Operation::Transaction(transaction), request).await
    }

    /// Changes how much of the past is kept. The number of the answer is the oldest revision that can be read from then on.
    pub async fn set_window(
        &self,
        change: WindowChange,
        request: Option<RequestId>,
    ) -> Result<Judged, Error> {
        self.judge(Operation::SetWindow(change), request).await
    }

    async fn write(&self, operation: Operation, given: Option<RequestId>) -> Result<Written, Error> {
        let (response, request) = self.send(operation, given).await?;
        let Response::Written { revision, existed, deduplicated } = response else {
            unreachable!("a call lets only a fitting answer through");
        };
        Ok(Written { revision, existed, deduplicated, request })
    }

    pub(crate) async fn judge(
        &self,
        operation: Operation,
        given: Option<RequestId>,
    ) -> Result<Judged, Error> {
        let (response, request) = self.send(operation, given).await?;
        let Response::Decided(decided) = response else {
            unreachable!("a call lets only a fitting answer through");
        };
        Ok(Judged { decided: *decided, request })
    }

    async fn send(
        &self,
        operation: Operation,
        given: Option<RequestId>,
    ) -> Result<(Response, RequestId), Error> {
        operation.check()?;
        // Filled in at the first attempt: by then a node has said which index and cluster it is for.
        let nobody = RequestId { token: [0; 16], learned: 0, cluster: ClusterId::default() };
        let done = self.call(Request::Write { request: given.unwrap_or(nobody), operation }, given).await?;
        let request = done.request.expect("a write that was answered was sent, and then has its id");
        Ok((done.response, request))
    }
}
