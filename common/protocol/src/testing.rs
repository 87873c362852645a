//! What the tests of several modules share.

use proptest::prelude::*;
use raft::{Entry, Membership, NodeId, Payload, Position};

use crate::limits;

/// Hexadecimal digits, for golden bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The place before the first entry, or any real one.
pub(crate) fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::ZERO),
        (1..=limits::NUMBER, 1..=limits::NUMBER).prop_map(|(index, term)| Position::new(index, term)),
    ]
}

/// A run of contiguous entries whose terms never fall.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| Payload::Command(bytes.into())),
        (1..9_u64, 9..12_u64).prop_map(|(voters, learner)| {
            let voters: Vec<NodeId> = (1..=voters).map(NodeId).collect();
            Payload::Membership(Membership::new(&voters, &[NodeId(learner)]).unwrap().into())
        }),
    ];
    let start = prop_oneof![Just(1), 1..limits::NUMBER / 2];
    (start, 1..limits::NUMBER / 2, prop::collection::vec((payload, 0_u64..3), 0..8)).prop_map(
        |(first, mut term, run)| {
            let entry = |(index, (payload, step))| {
                term += step;
                Entry { position: Position::new(index, term), payload }
            };
            (first..).zip(run).map(entry).collect()
        },
    )
}
