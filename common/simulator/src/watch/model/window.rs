//! How much of the past must be kept, as its specification says: changes in spans of a 64th of the window or of one
//! revision, of which the oldest go while there are too many changes, too many bytes, or one that is too old. Trimming
//! is judged whenever a command took effect.

use std::collections::VecDeque;

use protocol::{
    history::{Window, WindowChange},
    limits::CHANGE_BYTES,
};

/// See the module.
pub(super) struct Kept {
    window: Window,
    spans: VecDeque<Span>,
    /// From which revision on everything can be read, as of which revision that was so.
    floors: Vec<(u64, u64)>,
}

struct Span {
    began: u64,
    last: u64,
    changes: u64,
    bytes: u64,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { window: Window::FIRST, spans: VecDeque::new(), floors: vec![(0, 0)] }
    }

    pub(super) fn set(&mut self, change: &WindowChange) {
        let Window { changes, age_ms, bytes } = &mut self.window;
        *changes = change.changes.unwrap_or(*changes);
        *age_ms = change.age_ms.unwrap_or(*age_ms);
        *bytes = change.bytes.unwrap_or(*bytes);
    }

    /// A key was changed whose value had so many bytes.
    pub(super) fn changed(&mut self, revision: u64, stamp: u64, key: &[u8], value: usize) {
        let counts = (CHANGE_BYTES + key.len() + value) as u64;
        let Window { changes, age_ms, bytes } = self.window;
        let goes_on = |span: &Span| {
            let few = span.changes * 64 < changes && span.bytes * 64 < bytes;
            span.last == revision || few && (stamp - span.began) * 64 < age_ms
        };
        match self.spans.back_mut() {
            Some(span) if goes_on(span) => {
                span.last = revision;
                span.changes += 1;
                span.bytes += counts;
            }
            _ => self.spans.push_back(Span { began: stamp, last: revision, changes: 1, bytes: counts }),
        }
    }

    /// A command took effect.
    pub(super) fn trim(&mut self, revision: u64, stamp: u64) {
        loop {
            let changes: u64 = self.spans.iter().map(|span| span.changes).sum();
            let bytes: u64 = self.spans.iter().map(|span| span.bytes).sum();
            let Some(oldest) = self.spans.front() else { return };
            let window = self.window;
            let fits = changes <= window.changes && bytes <= window.bytes;
            if fits && oldest.began + window.age_ms >= stamp {
                return;
            }
            self.floors.push((revision, oldest.last));
            self.spans.pop_front();
        }
    }

    /// The oldest revision that can be read at this one.
    pub(super) fn floor(&self, at: u64) -> u64 {
        let count = self.floors.partition_point(|(since, _)| *since <= at);
        count.checked_sub(1).and_then(|last| self.floors.get(last)).map_or(0, |(_, floor)| *floor)
    }
}
