//! The bytes of a membership: the payload of an entry of kind 3, and what a state keeps beside its position.
//!
//! ```text
//!  0        1        2          3          4
//! ┌────────┬────────┬──────────┬──────────┬─────────┬───────────┬───────────┐
//! │ form 1 │ voters │ outgoing │ learners │ voters… │ outgoing… │ learners… │
//! │ u8     │ u8     │ u8       │ u8       │ u64     │ u64       │ u64       │
//! └────────┴────────┴──────────┴──────────┴─────────┴───────────┴───────────┘
//!           ╰────── how many of each ────╯ ╰──── ids, ascending in each ────╯
//! ```
//!
//! All numbers are little-endian. There is one form of each membership, and nothing may follow it. What this decoder does
//! not know it refuses: a server must not take part in elections under a membership that it misunderstands.

use alloc::vec::Vec;

use super::{Membership, MembershipError};
use crate::types::NodeId;

/// The only form there is.
const FORM: u8 = 1;
/// Bytes before the ids.
const HEADER_BYTES: usize = 4;

impl Membership {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        bytes.push(FORM);
        bytes.extend(lists.iter().map(|list| u8::try_from(list.len()).unwrap_or(u8::MAX)));
        for node in lists.into_iter().flatten() {
            bytes.extend_from_slice(&node.0.to_le_bytes());
        }
        bytes
    }

    /// How many bytes [`Membership::encode`] makes.
    pub fn encoded_bytes(&self) -> usize {
        let ids = [&self.voters, &self.outgoing, &self.learners].map(Vec::len);
        ids.iter().fold(HEADER_BYTES, |bytes, ids| bytes.saturating_add(ids.saturating_mul(8)))
    }

    /// The membership that has these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        let [form, voters, outgoing, learners, ids @ ..] = bytes else {
            return Err(MembershipError("the bytes end too early"));
        };
        if *form != FORM {
            return Err(MembershipError("its form is unknown"));
        }
        let counts = [voters, outgoing, learners].map(|count| usize::from(*count));
        let (ids, []) = ids.as_chunks::<8>() else {
            return Err(MembershipError("the bytes end within a number"));
        };
        if counts.iter().fold(0_usize, |sum, count| sum.saturating_add(*count)) != ids.len() {
            return Err(MembershipError("it has not as many members as it says"));
        }
        let mut ids = ids.iter().map(|id| NodeId(u64::from_le_bytes(*id)));
        let [voters, outgoing, learners] = counts.map(|count| ids.by_ref().take(count).collect());
        Self { voters, outgoing, learners }.checked()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
        Membership { voters: nodes(voters), outgoing: nodes(outgoing), learners: nodes(learners) }
    }

    fn raw(counts: [u8; 3], ids: &[u64]) -> Vec<u8> {
        let ids = ids.iter().flat_map(|id| id.to_le_bytes());
        [FORM].into_iter().chain(counts).chain(ids).collect()
    }

    fn refused(bytes: &[u8]) -> &'static str {
        Membership::decode(bytes).expect_err("this is refused").reason()
    }

    #[test]
    fn the_bytes_of_a_membership_are_a_promise() {
        let alone = [1, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(membership(&[7], &[], &[]).encode(), alone);
        let joint = membership(&[1, 0x0102], &[1], &[u64::MAX]);
        let mut bytes = vec![1, 2, 1, 1];
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0xff; 8]);
        assert_eq!(joint.encode(), bytes);
        assert_eq!(Membership::decode(&bytes), Ok(joint));
    }

    #[test]
    fn what_is_no_membership_is_refused() {
        assert_eq!(refused(&[]), "the bytes end too early");
        assert_eq!(refused(&[FORM, 1, 0]), "the bytes end too early");
        assert_eq!(refused(&[2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), "its form is unknown");
        assert_eq!(refused(&raw([1, 0, 0], &[1])[..11]), "the bytes end within a number");
        assert_eq!(refused(&raw([2, 0, 0], &[1])), "it has not as many members as it says");
        assert_eq!(refused(&raw([1, 0, 0], &[1, 2])), "it has not as many members as it says");
        assert_eq!(refused(&raw([255, 255, 255], &[1])), "it has not as many members as it says");
        assert_eq!(refused(&raw([0, 0, 0], &[])), "nobody votes");
        assert_eq!(refused(&raw([0, 1, 1], &[1, 2])), "nobody votes");
        assert_eq!(refused(&raw([2, 0, 0], &[0, 1])), "zero is not a server");
        assert_eq!(refused(&raw([1, 0, 1], &[1, 0])), "zero is not a server");
        assert_eq!(refused(&raw([2, 0, 0], &[2, 1])), "a server is listed twice, or out of order");
        assert_eq!(refused(&raw([1, 2, 0], &[1, 2, 2])), "a server is listed twice, or out of order");
        assert_eq!(refused(&raw([1, 0, 1], &[1, 1])), "a voter is a learner too");
    }

    #[test]
    fn members_are_bounded() {
        let most = Membership::MOST as u64;
        let ids: Vec<u64> = (1..=most + 1).collect();
        let (voters, learners) = (&ids[..3], &ids[3..64]);
        let full = membership(voters, &ids[1..4], learners);
        assert_eq!(full.all().count(), Membership::MOST, "who is in two lists is one member");
        assert_eq!(Membership::decode(&full.encode()), Ok(full));
        let over = membership(voters, &[], &ids[3..]);
        assert_eq!(refused(&over.encode()), "it has too many members");
        assert_eq!(Membership::new(&nodes(&ids), &[]), Err(MembershipError("it has too many members")));
    }

    fn some_nodes() -> impl Strategy<Value = Vec<NodeId>> {
        prop::collection::btree_set(1..40_u64, 0..10).prop_map(|ids| ids.into_iter().map(NodeId).collect())
    }

    proptest! {
        #[test]
        fn memberships_survive_bytes(voters in some_nodes(), outgoing in some_nodes(), learners in some_nodes()) {
            let learners = learners.into_iter().filter(|node| !voters.contains(node)).collect();
            let membership = Membership { voters, outgoing, learners };
            let bytes = membership.encode();
            prop_assert_eq!(bytes.len(), membership.encoded_bytes());
            prop_assert_eq!(Membership::decode(&bytes), membership.checked());
        }

        /// Whatever is taken has one form only, so that equal bytes are equal memberships and the other way round.
        #[test]
        fn what_is_decoded_encodes_to_the_same_bytes(
            counts in prop::array::uniform3(0..4_u8), ids in prop::collection::vec(0..9_u64, 0..10),
            cut in 0..3_usize,
        ) {
            let mut bytes = raw(counts, &ids);
            bytes.truncate(bytes.len() - cut);
            if let Ok(membership) = Membership::decode(&bytes) {
                prop_assert_eq!(membership.encode(), bytes);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Membership::decode(&bytes);
        }
    }
}
