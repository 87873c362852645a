//! Watches: what happens to the keys of a range, in the order in which it happened. A watch has a QUIC stream of its own.
//!
//! ```text
//! client ── RequestFrame with a watch ─► node        client ◄─ events, events, … ── node
//!                                                    client ◄─ compacted | refused | cut
//! ```
//!
//! A watch is a place in the one order of all changes: [`Watch::after`] a revision, or after all that was acknowledged
//! before it was asked. Every frame says [`Events::through`] which revision all has been told; a watch that ends, however it
//! does, goes on at any node when it names that one. The first frame comes at once and says where the watch began; one
//! without events is a sign of life, and in silence there is one every [`limits::WATCH_SILENCE_MS`].
//!
//! What one write changed has one revision and belongs together. Where it does not fit into a frame the frame says that it is
//! [unfinished](Events::unfinished), and the next one begins with the same revision.
//!
//! A watch has no end of its own. A stream that just stops was cut, as one is that says so.

use prost::Message as _;

use crate::{
    DecodeError, Refused,
    lease::HeldWire,
    limits,
    response::{
        Found,
        wire::{FoundWire, RefusedWire},
    },
    scan::{after_prefix, successor},
};

/// Which changes are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Watch {
    /// The first key that is wanted; empty for the very first.
    pub from: Vec<u8>,
    /// The first key that is no longer wanted; `None` for all to the last.
    pub to: Option<Vec<u8>>,
    /// Changes after this revision; `None` for those after all that was acknowledged before this was asked. One that the
    /// node has not reached is waited for.
    pub after: Option<u64>,
    /// Whether what was there before is wanted too.
    pub previous: bool,
}

/// One answer on the stream of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchFrame {
    /// What happened.
    Events(Events),
    /// What happened right after the revision that was asked for is no longer kept. The watch has ended.
    Compacted {
        /// The oldest revision after which all is kept.
        oldest: u64,
    },
    /// It was not begun.
    Refused(Refused),
    /// It was begun and this node does not go on with it; why, in words.
    Cut(String),
}

/// Some changes, in the order of revision and key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Events {
    /// None, where nothing happened.
    pub events: Vec<Event>,
    /// Of all revisions up to this one everything has been told, in this frame or before it.
    pub through: u64,
    /// The revision of the last event has more of them, in the next frame.
    pub unfinished: bool,
}

/// One key written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its key.
    pub key: Vec<u8>,
    /// When: the revision of the write.
    pub revision: u64,
    /// What it holds from then on, of the same revision; `None` where it was removed.
    pub found: Option<Found>,
    /// What it held before, where that is wanted and it was there.
    pub previous: Option<Found>,
    /// The value of what it held before is left out: it does not fit into a frame together with the event, or what this
    /// revision replaced is more than [`limits::WATCH_PREVIOUS_BYTES`].
    pub previous_left_out: bool,
    /// What the leader's clock on the wall said, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// Whether it was removed because its time was over.
    pub expired: bool,
}

impl Watch {
    /// One key.
    pub fn key(key: &[u8]) -> Self {
        Self { from: key.to_vec(), to: Some(successor(key)), ..Self::default() }
    }

    /// Every key that begins so.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), to: after_prefix(prefix), ..Self::default() }
    }

    /// Every key from the one to before the other.
    pub fn range(from: &[u8], to: &[u8]) -> Self {
        Self { from: from.to_vec(), to: Some(to.to_vec()), ..Self::default() }
    }

    /// Whether the key is in the range.
    pub fn covers(&self, key: &[u8]) -> bool {
        *key >= *self.from && self.to.as_ref().is_none_or(|to| *key < **to)
    }

    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        let limit = limits::BOUND_BYTES;
        for bound in [Some(&self.from), self.to.as_ref()].into_iter().flatten() {
            if bound.len() > limit {
                return Err(DecodeError::TooLarge { what: "bound of a range", size: bound.len(), limit });
            }
        }
        if self.after.is_some_and(|after| after > limits::NUMBER) {
            return Err(DecodeError::Malformed("a revision out of range"));
        }
        Ok(())
    }
}

impl Event {
    /// What it counts for in a frame.
    pub fn bytes(&self) -> usize {
        let value = |found: &Option<Found>| found.as_ref().map_or(0, |found| found.value.len());
        let values = value(&self.found).saturating_add(value(&self.previous));
        values.saturating_add(self.key.len()).saturating_add(limits::ROW_BYTES)
    }
}

impl WatchFrame {
    /// The bytes of the frame, without the length.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self {
            Self::Events(Events { events, through, unfinished }) => {
                let events = events.into_iter().map(Into::into).collect();
                Kind::Events(EventsWire { events, through, unfinished })
            }
            Self::Compacted { oldest } => Kind::Compacted(CompactedWire { oldest }),
            Self::Refused(refused) => Kind::Refused(refused.into()),
            Self::Cut(why) => Kind::Cut(why),
        };
        FrameWire { kind: Some(kind) }.encode_to_vec()
    }

    /// Reads a frame. One of a kind that this version does not know is malformed to it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = FrameWire::decode(bytes).map_err(|_| DecodeError::Malformed("answer to a watch"))?;
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown answer to a watch"))? {
            Kind::Events(EventsWire { events, through, unfinished }) => {
                let events = events.into_iter().map(Into::into).collect();
                Self::Events(Events { events, through, unfinished })
            }
            Kind::Compacted(CompactedWire { oldest }) => Self::Compacted { oldest },
            Kind::Refused(refused) => Self::Refused(refused.try_into()?),
            Kind::Cut(why) => Self::Cut(why),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchWire {
    #[prost(bytes = "vec", tag = "1")]
    from: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    to: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    after: Option<u64>,
    #[prost(bool, tag = "4")]
    previous: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FrameWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Events(EventsWire),
    #[prost(message, tag = "2")]
    Compacted(CompactedWire),
    #[prost(message, tag = "3")]
    Refused(RefusedWire),
    #[prost(string, tag = "4")]
    Cut(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct EventsWire {
    #[prost(message, repeated, tag = "1")]
    events: Vec<EventWire>,
    #[prost(uint64, tag = "2")]
    through: u64,
    #[prost(bool, tag = "3")]
    unfinished: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CompactedWire {
    #[prost(uint64, tag = "1")]
    oldest: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EventWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(message, optional, tag = "3")]
    put: Option<PutWire>,
    #[prost(message, optional, tag = "4")]
    previous: Option<FoundWire>,
    #[prost(bool, tag = "5")]
    previous_left_out: bool,
    #[prost(uint64, tag = "6")]
    wall_ms: u64,
    #[prost(bool, tag = "7")]
    expired: bool,
}

/// A row without its revision, which is that of the event.
#[derive(Clone, PartialEq, prost::Message)]
struct PutWire {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
    #[prost(uint64, tag = "2")]
    created: u64,
    #[prost(uint64, tag = "3")]
    version: u64,
    #[prost(message, optional, tag = "4")]
    lease: Option<HeldWire>,
}

impl From<Watch> for WatchWire {
    fn from(Watch { from, to, after, previous }: Watch) -> Self {
        Self { from, to, after, previous }
    }
}

impl From<WatchWire> for Watch {
    fn from(WatchWire { from, to, after, previous }: WatchWire) -> Self {
        Self { from, to, after, previous }
    }
}

impl From<Event> for EventWire {
    fn from(Event { key, revision, found, previous, previous_left_out, wall_ms, expired }: Event) -> Self {
        let put = found.map(|Found { value, created, version, lease, .. }| PutWire {
            value,
            created,
            version,
            lease: lease.map(Into::into),
        });
        Self { key, revision, put, previous: previous.map(Into::into), previous_left_out, wall_ms, expired }
    }
}

impl From<EventWire> for Event {
    fn from(wire: EventWire) -> Self {
        let EventWire { key, revision, put, previous, previous_left_out, wall_ms, expired } = wire;
        let found = put.map(|PutWire { value, created, version, lease }| Found {
            value,
            revision,
            created,
            version,
            lease: lease.map(Into::into),
        });
        Self { key, revision, found, previous: previous.map(Into::into), previous_left_out, wall_ms, expired }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    fn found(value: &[u8], revision: u64) -> Found {
        Found { value: value.to_vec(), revision, created: 3, version: 2, lease: None }
    }

    fn put() -> Event {
        Event {
            key: b"k".to_vec(),
            revision: 9,
            found: Some(found(b"v", 9)),
            previous: Some(found(b"u", 4)),
            previous_left_out: false,
            wall_ms: 7,
            expired: false,
        }
    }

    fn removed() -> Event {
        Event { found: None, previous: None, previous_left_out: true, wall_ms: 0, ..put() }
    }

    /// Every kind of answer, with its bytes as they must stay.
    fn golden() -> Vec<(WatchFrame, &'static str)> {
        let events = |events, unfinished| WatchFrame::Events(Events { events, through: 9, unfinished });
        vec![
            (
                events(vec![put()], false),
                "0a1f0a1b0a016b10091a070a01761003180222090a017510041803200230071009",
            ),
            (events(vec![removed()], true), "0a0d0a070a016b1009280110091801"),
            (events(Vec::new(), false), "0a021009"),
            (WatchFrame::Compacted { oldest: 9 }, "12020809"),
            (WatchFrame::Refused(Refused::NoQuorum), "1a021a00"),
            (WatchFrame::Cut("w".into()), "220177"),
        ]
    }

    #[test]
    fn the_bytes_of_every_answer_are_a_promise() {
        for (frame, expected) in golden() {
            let bytes = frame.clone().encode();
            assert_eq!(hex(&bytes), expected, "{frame:?}");
            assert_eq!(WatchFrame::decode(&bytes), Ok(frame));
        }
        assert_eq!(WatchFrame::decode(&[0x4a, 0]), Err(DecodeError::Malformed("unknown answer to a watch")));
        assert_eq!(WatchFrame::decode(&[0x1a, 0]), Err(DecodeError::Malformed("unknown refusal")));
    }

    #[test]
    fn bounds_and_revisions_are_bounded() {
        let longest = vec![b'k'; limits::BOUND_BYTES];
        assert!(Watch::range(&longest, &longest).check().is_ok());
        let over = vec![b'k'; limits::BOUND_BYTES + 1];
        for watch in [Watch::range(&over, b"z"), Watch::range(b"", &over)] {
            assert!(matches!(watch.check(), Err(DecodeError::TooLarge { what: "bound of a range", .. })));
        }
        let after = |after| Watch { after: Some(after), ..Watch::default() };
        assert!(after(limits::NUMBER).check().is_ok() && after(limits::NUMBER + 1).check().is_err());
    }

    #[test]
    fn the_largest_event_fits_into_a_frame_without_what_it_replaced() {
        let key = vec![b'k'; limits::KEY_BYTES];
        let large =
            Event { key, found: Some(found(&vec![0; limits::VALUE_BYTES], 9)), previous: None, ..put() };
        assert!(large.bytes() <= limits::WATCH_EVENT_BYTES);
        let room = limits::WATCH_EVENT_BYTES - large.bytes();
        let fullest = Event { previous: Some(found(&vec![0; room], 4)), ..large };
        assert_eq!(fullest.bytes(), limits::WATCH_EVENT_BYTES);
        let events = Events { events: vec![fullest], through: u64::MAX, unfinished: true };
        assert!(WatchFrame::Events(events).encode().len() <= limits::CLIENT_FRAME_BYTES);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = WatchFrame::decode(&bytes);
        }

        #[test]
        fn a_damaged_answer_never_panics(which in 0_usize..6, at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = golden().swap_remove(which).0.encode();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = WatchFrame::decode(&bytes);
        }
    }
}
