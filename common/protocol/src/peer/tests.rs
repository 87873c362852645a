use proptest::prelude::*;
use std::sync::Arc;

use raft::Payload;

use super::*;
use crate::testing::{entries, hex, position as any_position};

fn frame(message: Message) -> PeerFrame {
    let envelope = Envelope { from: NodeId(1), to: NodeId(2), term: Term(3), message };
    PeerFrame { cluster: ClusterId([0xcc; 16]), group: 0, envelope }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { position: Position::new(index, term), payload: Payload::Command(Arc::from(*b"v")) }
}

fn append_of(previous: Position, entries: Vec<Entry>) -> PeerFrame {
    frame(Message::Append { session: 4, previous, entries, commit: Index(6), round: 5 })
}

/// Every kind, with the bytes of its fields (and entries) as they must stay.
fn golden() -> Vec<(Message, &'static str)> {
    let last = Position::new(7, 3);
    let reply = |outcome| Message::AppendReply { session: 4, round: 5, outcome };
    let rejected = AppendOutcome::Rejected { previous: Index(9), hint: Position::new(7, 3) };
    vec![
        (Message::PreVote { last }, "07000000000000000300000000000000"),
        (Message::PreVoteReply { granted: true }, "01"),
        (Message::Vote { last, handed: false }, "07000000000000000300000000000000"),
        (Message::Vote { last, handed: true }, "0700000000000000030000000000000001"),
        (Message::VoteReply { granted: false }, "00"),
        (
            append_of(Position::new(6, 2), vec![entry(7, 3)]).envelope.message,
            "04000000000000000500000000000000060000000000000002000000000000000600000000000000\
             01000000\
             19000000fa9861d300000000020000000700000000000000030000000000000076",
        ),
        (
            reply(AppendOutcome::Accepted { matched: Index(7) }),
            "04000000000000000500000000000000010700000000000000",
        ),
        (
            reply(rejected),
            "0400000000000000050000000000000002090000000000000007000000000000000300000000000000",
        ),
        (
            Message::Heartbeat { session: 4, commit: Index(6), round: 5 },
            "040000000000000005000000000000000600000000000000",
        ),
        (Message::HeartbeatReply { session: 4, round: 5 }, "04000000000000000500000000000000"),
        (Message::ReadIndex { id: 8 }, "0800000000000000"),
        (Message::ReadIndexReply { id: 8, index: Some(Index(6)) }, "0800000000000000010600000000000000"),
        (Message::ReadIndexReply { id: 8, index: None }, "080000000000000000"),
        (Message::TimeoutNow, ""),
    ]
}

#[test]
fn the_bytes_of_every_kind_are_a_promise() {
    for (message, fields) in golden() {
        let frame = frame(message);
        let bytes = frame.encode();
        let (kind, fixed) = shape(&frame.envelope.message);
        let head = format!(
            "{kind:02x}00{fixed:02x}0000000000cccccccccccccccccccccccccccccccc\
             010000000000000002000000000000000300000000000000"
        );
        assert_eq!(hex(&bytes), format!("{head}{fields}"), "{:?}", frame.envelope.message);
        assert_eq!(PeerFrame::decode(&bytes), Ok(frame));
    }
}

#[test]
fn the_numbers_of_the_kinds_are_a_promise() {
    let kinds: Vec<u8> = golden().iter().map(|(message, _)| shape(message).0).collect();
    assert_eq!(kinds, [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11]);
}

#[test]
fn unknown_kinds_are_refused_and_unknown_fields_skipped() {
    let known = frame(Message::ReadIndex { id: 8 });
    let mut bytes = known.encode();
    bytes[0] = 99;
    assert_eq!(PeerFrame::decode(&bytes), Err(DecodeError::Malformed("unknown kind of peer frame")));

    let mut longer = known.encode();
    longer[2] += 4;
    longer.extend_from_slice(b"more");
    assert_eq!(PeerFrame::decode(&longer), Ok(known.clone()));

    let mut trailing = known.encode();
    trailing.push(0);
    assert_eq!(PeerFrame::decode(&trailing), Err(DecodeError::Malformed("bytes after a peer frame")));
}

#[test]
fn entries_must_follow_each_other() {
    let previous = Position::new(6, 2);
    let refused = |entries| PeerFrame::decode(&append_of(previous, entries).encode()).unwrap_err();
    let order = DecodeError::Malformed("entries of an append do not follow each other");
    assert_eq!(refused(vec![entry(8, 3)]), order);
    assert_eq!(refused(vec![entry(7, 3), entry(9, 3)]), order);
    assert_eq!(refused(vec![entry(7, 3), entry(8, 2)]), order);
    assert_eq!(refused(vec![entry(7, 1)]), order);
    let later = DecodeError::Malformed("entry of a later term than its sender's");
    assert_eq!(refused(vec![entry(7, 4)]), later);
}

#[test]
fn the_count_is_exact_and_bounded_by_the_bytes() {
    let bytes = append_of(Position::new(6, 2), vec![entry(7, 3), entry(8, 3)]).encode();
    let count_at = ENVELOPE_BYTES + 40;
    let with_count = |count: u32| {
        let mut bytes = bytes.clone();
        bytes[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        PeerFrame::decode(&bytes).map(drop)
    };
    assert_eq!(with_count(2), Ok(()));
    assert_eq!(with_count(1), Err(DecodeError::Malformed("bytes after the entries of an append")));
    assert_eq!(with_count(3), Err(DecodeError::Truncated("entries of an append")));
    assert_eq!(with_count(u32::MAX), Err(DecodeError::Truncated("entries of an append")));
}

#[test]
fn a_damaged_entry_is_refused() {
    let mut bytes = append_of(Position::new(6, 2), vec![entry(7, 3)]).encode();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(PeerFrame::decode(&bytes), Err(DecodeError::Checksum));
}

#[test]
fn nonsense_in_the_fields_is_refused() {
    let refused = |message: Message| PeerFrame::decode(&frame(message).encode()).unwrap_err();
    let half = DecodeError::Malformed("half a position");
    assert_eq!(refused(Message::Vote { last: Position::new(0, 1), handed: false }), half);
    assert_eq!(refused(Message::Vote { last: Position::new(1, 0), handed: false }), half);
    let range = DecodeError::Malformed("term or index out of range");
    assert_eq!(refused(Message::Vote { last: Position::new(limits::NUMBER + 1, 1), handed: false }), range);
    assert_eq!(refused(Message::Heartbeat { session: 0, commit: Index(u64::MAX), round: 0 }), range);
    let mut nobody = frame(Message::ReadIndex { id: 1 });
    nobody.envelope.from = NodeId(0);
    assert_eq!(PeerFrame::decode(&nobody.encode()), Err(DecodeError::Malformed("node id zero")));
}

#[test]
fn a_frame_may_be_as_large_as_the_limit_and_not_larger() {
    let whole = |first: usize, second: usize| {
        let entry = |index, size| Entry {
            position: Position::new(index, 3),
            payload: Payload::Command(vec![0; size].into()),
        };
        append_of(Position::new(6, 2), vec![entry(7, first), entry(8, second), entry(9, 0)]).encode()
    };
    let overhead = whole(0, 0).len();
    let second = limits::PEER_FRAME_BYTES - overhead - limits::ENTRY_BYTES;
    assert!(PeerFrame::decode(&whole(limits::ENTRY_BYTES, second)).is_ok());
    let error = PeerFrame::decode(&whole(limits::ENTRY_BYTES, second + 1)).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { what: "peer frame", .. }));
}

fn outcomes() -> impl Strategy<Value = AppendOutcome> {
    let number = 0..=limits::NUMBER;
    prop_oneof![
        number.clone().prop_map(|matched| AppendOutcome::Accepted { matched: Index(matched) }),
        (number, any_position())
            .prop_map(|(previous, hint)| AppendOutcome::Rejected { previous: Index(previous), hint }),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    let index = || (0..=limits::NUMBER).prop_map(Index);
    let pair = || (any::<u64>(), any::<u64>());
    prop_oneof![
        any_position().prop_map(|last| Message::PreVote { last }),
        any::<bool>().prop_map(|granted| Message::PreVoteReply { granted }),
        (any_position(), any::<bool>()).prop_map(|(last, handed)| Message::Vote { last, handed }),
        Just(Message::TimeoutNow),
        any::<bool>().prop_map(|granted| Message::VoteReply { granted }),
        (pair(), index(), entries()).prop_map(|((session, round), commit, entries)| {
            let first = entries.first().map_or(Position::new(1, 1), |entry| entry.position);
            let previous = if first.index.0 == 1 {
                Position::ZERO
            } else {
                Position { index: first.index.previous(), term: first.term }
            };
            Message::Append { session, previous, entries, commit, round }
        }),
        (pair(), outcomes()).prop_map(|((session, round), outcome)| Message::AppendReply {
            session,
            round,
            outcome
        }),
        (pair(), index()).prop_map(|((session, round), commit)| Message::Heartbeat {
            session,
            commit,
            round
        }),
        pair().prop_map(|(session, round)| Message::HeartbeatReply { session, round }),
        any::<u64>().prop_map(|id| Message::ReadIndex { id }),
        (any::<u64>(), prop::option::of(index()))
            .prop_map(|(id, index)| Message::ReadIndexReply { id, index }),
    ]
}

fn frames() -> impl Strategy<Value = PeerFrame> {
    (any::<[u8; 16]>(), any::<u32>(), 1..u64::MAX, 1..u64::MAX, messages()).prop_map(
        |(cluster, group, from, to, message)| PeerFrame {
            cluster: ClusterId(cluster),
            group,
            envelope: Envelope { from: NodeId(from), to: NodeId(to), term: Term(limits::NUMBER), message },
        },
    )
}

proptest! {
    #[test]
    fn frames_survive_bytes(frame in frames()) {
        prop_assert_eq!(PeerFrame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn a_cut_frame_is_refused(frame in frames(), at in any::<prop::sample::Index>()) {
        let bytes = frame.encode();
        prop_assert!(PeerFrame::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_damaged_frame_never_panics(frame in frames(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = frame.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = PeerFrame::decode(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(kind in 0_u8..12, bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() { *first = kind; }
        let _ = PeerFrame::decode(&bytes);
    }
}
