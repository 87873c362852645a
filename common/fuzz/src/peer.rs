//! What servers say to each other, and the record of one entry. Each input is tried as it came and with its checksums
//! mended.

use protocol::{
    PeerFrame, PeerHello,
    frame::{decode_entry, encode_entry},
    limits::NUMBER,
};
use raft::{AppendOutcome, Entry, Index, Message, Position};

use crate::{client::survives, seal};

pub(crate) fn run(bytes: &[u8]) {
    frame(bytes);
    greeting(bytes);
    entry(bytes);
    let mut mended = bytes.to_vec();
    seal::peer_frame(&mut mended);
    frame(&mended);
    mended.copy_from_slice(bytes);
    seal::entries(&mut mended);
    entry(&mended);
}

fn greeting(bytes: &[u8]) {
    let Ok(hello) = PeerHello::decode(bytes) else { return };
    assert!(hello.from.0 != 0 && hello.presence.boot != 0, "whoever greets is somebody");
    assert_eq!(hello.encode(), bytes, "a greeting has one form");
}

fn frame(bytes: &[u8]) {
    let Ok(frame) = PeerFrame::decode(bytes) else { return };
    let envelope = &frame.envelope;
    assert!(envelope.from.0 != 0 && envelope.to.0 != 0, "zero is not a server");
    assert!(envelope.term.0 <= NUMBER);
    match &envelope.message {
        Message::PreVote { last } | Message::Vote { last, .. } => whole(*last),
        Message::Append { previous, entries, commit, .. } => {
            whole(*previous);
            possible(*commit);
            let mut before = *previous;
            for entry in entries {
                assert_eq!(entry.position.index.0, before.index.0 + 1, "entries are contiguous");
                assert!(entry.position.term >= before.term, "their terms never fall");
                before = entry.position;
            }
            assert!(before.term <= envelope.term, "none is of a later term than its sender");
        }
        Message::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => possible(*matched),
        Message::AppendReply { outcome: AppendOutcome::Rejected { previous, hint }, .. } => {
            possible(*previous);
            whole(*hint);
        }
        Message::Heartbeat { commit: index, .. } | Message::ReadIndexReply { index: Some(index), .. } => {
            possible(*index);
        }
        _ => {}
    }
    survives(&frame, PeerFrame::encode, PeerFrame::decode);
}

fn entry(bytes: &[u8]) {
    let Ok((entry, length)) = decode_entry(bytes) else { return };
    whole(entry.position);
    assert_eq!(encoded(&entry), bytes[..length], "a record has one form");
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    encode_entry(entry, &mut out);
    out
}

fn possible(index: Index) {
    assert!(index.0 <= NUMBER);
}

fn whole(position: Position) {
    assert!(position.term.0 <= NUMBER);
    possible(position.index);
    assert_eq!(position.index.0 == 0, position.term.0 == 0, "a position is whole");
}
