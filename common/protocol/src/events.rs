//! What a node remembers of what happened to it: elections, disks that were slow, starts and stops. Each node has its own memory
//! of them, which it shows without a quorum; for it is when there is none that one wants to know what happened.

use crate::{DecodeError, limits};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Event {
    /// Which of its node's events: each has a higher one than those before it, also after a restart.
    pub number: u64,
    /// When, by the node's clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// What it is, in a word that later versions may add to.
    pub kind: String,
    /// In which term.
    pub term: u64,
    /// How long it took.
    pub took_ms: Option<u64>,
    /// The rest, in words.
    pub what: String,
}

impl Event {
    /// What it counts for in a frame.
    pub fn bytes(&self) -> usize {
        self.kind.len().saturating_add(self.what.len()).saturating_add(limits::ROW_BYTES)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EventWire {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(uint64, tag = "2")]
    wall_ms: u64,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, optional, tag = "5")]
    took_ms: Option<u64>,
    #[prost(string, tag = "6")]
    what: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EventsWire {
    #[prost(message, repeated, tag = "1")]
    events: Vec<EventWire>,
}

impl From<Vec<Event>> for EventsWire {
    fn from(events: Vec<Event>) -> Self {
        Self { events: events.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<EventsWire> for Vec<Event> {
    type Error = DecodeError;

    fn try_from(wire: EventsWire) -> Result<Self, DecodeError> {
        let size = wire.events.len();
        if size > limits::EVENTS {
            return Err(DecodeError::TooLarge { what: "list of events", size, limit: limits::EVENTS });
        }
        Ok(wire.events.into_iter().map(Into::into).collect())
    }
}

impl From<Event> for EventWire {
    fn from(Event { number, wall_ms, kind, term, took_ms, what }: Event) -> Self {
        Self { number, wall_ms, kind, term, took_ms, what }
    }
}

impl From<EventWire> for Event {
    fn from(EventWire { number, wall_ms, kind, term, took_ms, what }: EventWire) -> Self {
        Self { number, wall_ms, kind, term, took_ms, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Response, ResponseFrame};

    #[test]
    fn the_longest_list_fits_into_a_frame_and_a_longer_one_is_refused() {
        let longest = Event {
            number: u64::MAX,
            wall_ms: u64::MAX,
            kind: "k".repeat(limits::EVENT_KIND_BYTES),
            term: u64::MAX,
            took_ms: Some(u64::MAX),
            what: "w".repeat(limits::EVENT_BYTES),
        };
        let frame = |count| {
            let events = vec![longest.clone(); count];
            ResponseFrame { id: u64::MAX, result: Ok(Response::Events(events)) }.encode()
        };
        let full = frame(limits::EVENTS);
        assert!(full.len() <= limits::CLIENT_FRAME_BYTES, "{}", full.len());
        assert!(ResponseFrame::decode(&full).is_ok());
        assert!(matches!(
            ResponseFrame::decode(&frame(limits::EVENTS + 1)),
            Err(DecodeError::TooLarge { .. })
        ));
    }
}
