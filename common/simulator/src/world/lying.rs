//! Clients that are wrong: in their request ids, or in what they ask. The cluster must refuse each, and nobody else may
//! suffer.

use protocol::{ClusterId, RequestId};
use testkit::rng::Rng;

/// An index that no run reaches.
const FAR: u64 = 1_000_000_000;

/// What is wrong with a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It says that it was made for another cluster.
    OtherCluster,
    /// It says that its client has learned what is not yet there.
    Future,
    /// It stands for an earlier write.
    Used(RequestId),
}

impl Lie {
    /// One of them; `before` is the id of an earlier write.
    pub(super) fn draw(rng: &mut Rng, before: Option<RequestId>) -> Self {
        match (rng.below(4), before) {
            (0, _) => Self::OtherCluster,
            (1, _) | (_, None) => Self::Future,
            (_, Some(before)) => Self::Used(before),
        }
    }

    /// The id as it is sent.
    pub(super) fn told(self, request: RequestId) -> RequestId {
        match self {
            Self::OtherCluster => RequestId { cluster: ClusterId([0xee; 16]), ..request },
            Self::Future => RequestId { learned: request.learned + FAR, ..request },
            Self::Used(before) => before,
        }
    }
}

/// A key that no server takes.
pub(super) fn bad_key(rng: &mut Rng) -> Vec<u8> {
    if rng.below(2) == 0 { Vec::new() } else { vec![b'k'; protocol::limits::KEY_BYTES + 1] }
}
