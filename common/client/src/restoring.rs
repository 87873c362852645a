//! A backup that takes the place of all keys, step by step.

use protocol::{Operation, restore::Restore};

use crate::{Client, Error, Judged};

/// How often a step is asked for again of which nobody said what became of it. Each time has the whole budget of a call.
const AGAIN: usize = 3;

impl Client {
    /// Does a step of a restore; what the answer says is with [`Decided`](protocol::Decided). Each is safe to repeat, by
    /// another process too, and this does so where nobody said what became of it.
    pub async fn restore(&self, step: &Restore) -> Result<Judged, Error> {
        let mut again = AGAIN;
        loop {
            match self.judge(Operation::Restore(step.clone()), None).await {
                Err(Error::Unknown { .. }) if again > 0 => again -= 1,
                judged => return judged,
            }
        }
    }
}
