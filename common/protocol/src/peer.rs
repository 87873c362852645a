//! The frame in which one message travels between servers. Laid out by hand, because appends are the bulk of all
//! traffic: entries are the records of [`frame`](crate::frame), written once into one buffer.
//!
//! ```text
//!  0    1    2       4       8            24      32      40      48        48 + fixed
//! ┌────┬────┬───────┬───────┬────────────┬───────┬───────┬───────┬─────────┬─────────────┐
//! │kind│ 0  │ fixed │ group │ cluster id │ from  │ to    │ term  │ fields… │ entries …   │
//! │ u8 │ u8 │ u16   │ u32   │ 16 bytes   │ u64   │ u64   │ u64   │ `fixed` │ append only │
//! └────┴────┴───────┴───────┴────────────┴───────┴───────┴───────┴─────────┴─────────────┘
//! ```
//!
//! Numbers are little-endian. `fixed` says how many bytes the fields of the kind take: a later version may add
//! fields behind the ones of today, and this version skips them. A kind it does not know is refused.
//!
//! The decoder is where the core is protected from a broken peer: what it returns has contiguous entries whose
//! terms never fall and never exceed the sender's, positions that are whole, and numbers far from overflow.

use raft::{AppendOutcome, Entry, Envelope, Index, Message, NodeId, Position, Term};

use crate::{
    ClusterId, DecodeError,
    frame::{HEADER_BYTES, decode_entry, encode_entry, entry_bytes},
    limits,
    read::Reader,
};

mod hello;

pub use hello::{PeerHello, Presence};

/// Bytes before the fields of the kind.
const ENVELOPE_BYTES: usize = 48;
/// Most bytes that the fields of any kind take today.
const FIELD_BYTES: usize = 44;

const PRE_VOTE: u8 = 1;
const PRE_VOTE_REPLY: u8 = 2;
const VOTE: u8 = 3;
const VOTE_REPLY: u8 = 4;
const APPEND: u8 = 5;
const APPEND_REPLY: u8 = 6;
const HEARTBEAT: u8 = 7;
const HEARTBEAT_REPLY: u8 = 8;
const READ_INDEX: u8 = 9;
const READ_INDEX_REPLY: u8 = 10;
const TIMEOUT_NOW: u8 = 11;

const ACCEPTED: u8 = 1;
const REJECTED: u8 = 2;

/// A message of the core with the cluster and the group it belongs to. The receiver checks both, and that `from` is
/// who the connection's certificate says and `to` is itself, before the core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFrame {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The Raft group; 0 as long as there is one.
    pub group: u32,
    /// The message with its addressing.
    pub envelope: Envelope,
}

impl PeerFrame {
    /// The bytes of the frame, without the length, in one allocation.
    pub fn encode(&self) -> Vec<u8> {
        let Envelope { from, to, term, message } = &self.envelope;
        let mut out = Vec::with_capacity(
            ENVELOPE_BYTES.saturating_add(FIELD_BYTES).saturating_add(tail_bytes(message)),
        );
        let (kind, fixed) = shape(message);
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&fixed.to_le_bytes());
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        put(&mut out, &[from.0, to.0, term.0]);
        put_fields(&mut out, message);
        debug_assert_eq!(out.len(), ENVELOPE_BYTES.saturating_add(usize::from(fixed)));
        if let Message::Append { entries, .. } = message {
            for entry in entries {
                encode_entry(entry, &mut out);
            }
        }
        out
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::PEER_FRAME_BYTES {
            let (size, limit) = (bytes.len(), limits::PEER_FRAME_BYTES);
            return Err(DecodeError::TooLarge { what: "peer frame", size, limit });
        }
        let mut reader = Reader::new(bytes, "peer frame");
        let [kind, _reserved] = reader.array()?;
        let fixed = reader.u16()?;
        let group = reader.u32()?;
        let cluster = ClusterId(reader.array()?);
        let (from, to) = (node(&mut reader)?, node(&mut reader)?);
        let term = Term(reader.number()?);
        let mut fields = Reader::new(reader.take(usize::from(fixed))?, "fields of a peer frame");
        let message = match kind {
            APPEND => append(&mut fields, reader.rest(), term)?,
            _ if !reader.rest().is_empty() => return Err(DecodeError::Malformed("bytes after a peer frame")),
            _ => short(kind, &mut fields)?,
        };
        Ok(Self { cluster, group, envelope: Envelope { from, to, term, message } })
    }
}

/// The kind and the bytes of its fields.
fn shape(message: &Message) -> (u8, u16) {
    match message {
        Message::PreVote { .. } => (PRE_VOTE, 16),
        Message::PreVoteReply { .. } => (PRE_VOTE_REPLY, 1),
        // The flag is there only where it says something: it came later.
        Message::Vote { handed, .. } => (VOTE, if *handed { 17 } else { 16 }),
        Message::TimeoutNow => (TIMEOUT_NOW, 0),
        Message::VoteReply { .. } => (VOTE_REPLY, 1),
        Message::Append { .. } => (APPEND, 44),
        Message::AppendReply { outcome: AppendOutcome::Accepted { .. }, .. } => (APPEND_REPLY, 25),
        Message::AppendReply { outcome: AppendOutcome::Rejected { .. }, .. } => (APPEND_REPLY, 41),
        Message::Heartbeat { .. } => (HEARTBEAT, 24),
        Message::HeartbeatReply { .. } => (HEARTBEAT_REPLY, 16),
        Message::ReadIndex { .. } => (READ_INDEX, 8),
        Message::ReadIndexReply { index: Some(_), .. } => (READ_INDEX_REPLY, 17),
        Message::ReadIndexReply { index: None, .. } => (READ_INDEX_REPLY, 9),
    }
}

fn tail_bytes(message: &Message) -> usize {
    match message {
        Message::Append { entries, .. } => entries.iter().map(entry_bytes).sum(),
        _ => 0,
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_fields(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::PreVote { last } => put(out, &[last.index.0, last.term.0]),
        Message::Vote { last, handed } => {
            put(out, &[last.index.0, last.term.0]);
            if *handed {
                out.push(1);
            }
        }
        Message::TimeoutNow => {}
        Message::PreVoteReply { granted } | Message::VoteReply { granted } => out.push(u8::from(*granted)),
        Message::Append { session, previous, entries, commit, round } => {
            put(out, &[*session, *round, previous.index.0, previous.term.0, commit.0]);
            let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&count.to_le_bytes());
        }
        Message::AppendReply { session, round, outcome } => {
            put(out, &[*session, *round]);
            put_outcome(out, outcome);
        }
        Message::Heartbeat { session, commit, round } => put(out, &[*session, *round, commit.0]),
        Message::HeartbeatReply { session, round } => put(out, &[*session, *round]),
        Message::ReadIndex { id } => put(out, &[*id]),
        Message::ReadIndexReply { id, index } => {
            put(out, &[*id]);
            out.push(u8::from(index.is_some()));
            put(out, index.map(|index| index.0).as_slice());
        }
    }
}

fn put_outcome(out: &mut Vec<u8>, outcome: &AppendOutcome) {
    match outcome {
        AppendOutcome::Accepted { matched } => {
            out.push(ACCEPTED);
            put(out, &[matched.0]);
        }
        AppendOutcome::Rejected { previous, hint } => {
            out.push(REJECTED);
            put(out, &[previous.0, hint.index.0, hint.term.0]);
        }
    }
}

/// Every kind that carries no entries.
fn short(kind: u8, fields: &mut Reader<'_>) -> Result<Message, DecodeError> {
    Ok(match kind {
        PRE_VOTE => Message::PreVote { last: position(fields)? },
        PRE_VOTE_REPLY => Message::PreVoteReply { granted: fields.flag()? },
        VOTE => Message::Vote {
            last: position(fields)?,
            handed: if fields.rest().is_empty() { false } else { fields.flag()? },
        },
        TIMEOUT_NOW => Message::TimeoutNow,
        VOTE_REPLY => Message::VoteReply { granted: fields.flag()? },
        APPEND_REPLY => {
            Message::AppendReply { session: fields.u64()?, round: fields.u64()?, outcome: outcome(fields)? }
        }
        HEARTBEAT => Message::Heartbeat {
            session: fields.u64()?,
            round: fields.u64()?,
            commit: Index(fields.number()?),
        },
        HEARTBEAT_REPLY => Message::HeartbeatReply { session: fields.u64()?, round: fields.u64()? },
        READ_INDEX => Message::ReadIndex { id: fields.u64()? },
        READ_INDEX_REPLY => Message::ReadIndexReply { id: fields.u64()?, index: optional_index(fields)? },
        _ => return Err(DecodeError::Malformed("unknown kind of peer frame")),
    })
}

fn append(fields: &mut Reader<'_>, tail: &[u8], term: Term) -> Result<Message, DecodeError> {
    let (session, round) = (fields.u64()?, fields.u64()?);
    let previous = position(fields)?;
    let commit = Index(fields.number()?);
    let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let entries = follow(previous, count, tail)?;
    if entries.last().map_or(previous.term, |entry| entry.position.term) > term {
        return Err(DecodeError::Malformed("entry of a later term than its sender's"));
    }
    Ok(Message::Append { session, previous, entries, commit, round })
}

/// Exactly `count` entries, each right after the one before and of no earlier term.
fn follow(previous: Position, count: usize, mut tail: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    // A record takes at least its header, so the count is bounded by the bytes that are there.
    if count > tail.len().checked_div(HEADER_BYTES).unwrap_or(0) {
        return Err(DecodeError::Truncated("entries of an append"));
    }
    let mut entries = Vec::with_capacity(count);
    let mut before = previous;
    for _ in 0..count {
        let (entry, consumed) = decode_entry(tail)?;
        if entry.position.index != before.index.next() || entry.position.term < before.term {
            return Err(DecodeError::Malformed("entries of an append do not follow each other"));
        }
        before = entry.position;
        tail = tail.get(consumed..).unwrap_or_default();
        entries.push(entry);
    }
    if tail.is_empty() {
        Ok(entries)
    } else {
        Err(DecodeError::Malformed("bytes after the entries of an append"))
    }
}

fn node(reader: &mut Reader<'_>) -> Result<NodeId, DecodeError> {
    match reader.u64()? {
        0 => Err(DecodeError::Malformed("node id zero")),
        id => Ok(NodeId(id)),
    }
}

/// Index and term are zero together or not at all.
fn position(fields: &mut Reader<'_>) -> Result<Position, DecodeError> {
    let position = Position { index: Index(fields.number()?), term: Term(fields.number()?) };
    if (position.index.0 == 0) == (position.term.0 == 0) {
        Ok(position)
    } else {
        Err(DecodeError::Malformed("half a position"))
    }
}

fn outcome(fields: &mut Reader<'_>) -> Result<AppendOutcome, DecodeError> {
    match fields.u8()? {
        ACCEPTED => Ok(AppendOutcome::Accepted { matched: Index(fields.number()?) }),
        REJECTED => {
            Ok(AppendOutcome::Rejected { previous: Index(fields.number()?), hint: position(fields)? })
        }
        _ => Err(DecodeError::Malformed("unknown outcome of an append")),
    }
}

fn optional_index(fields: &mut Reader<'_>) -> Result<Option<Index>, DecodeError> {
    if fields.flag()? { fields.number().map(|index| Some(Index(index))) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
