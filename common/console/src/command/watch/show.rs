//! Where the events of a watch go: to people and programs as rows, or to a command.

use std::ffi::OsString;

use protocol::watch::Event;

use super::{super::lease::lease_id, child, cursor::Cursor};
use crate::{
    error::Failure,
    listing::{Kind, Listing, Out},
    report::{Document, Report},
    text,
};

const COLUMNS: &[&str] = &["REV", "TYPE", "KEY", "VALUE", "PREVIOUS"];

/// An event, and where a watch goes on that has seen it.
pub(super) struct Happened<'a> {
    event: &'a Event,
    cursor: Option<Cursor>,
    initial: bool,
}

impl<'a> Happened<'a> {
    pub(super) fn new(event: &'a Event, cursor: Option<Cursor>) -> Self {
        Self { event, cursor, initial: false }
    }

    /// It was there already.
    pub(super) fn initial(event: &'a Event) -> Self {
        Self { event, cursor: None, initial: true }
    }

    fn kind(&self) -> &'static str {
        kind(self.event)
    }

    pub(super) fn cells(&self, with_previous: bool) -> Vec<String> {
        let event = self.event;
        let value = |found: Option<&protocol::response::Found>| {
            found.map_or_else(|| "-".to_owned(), |found| String::from_utf8_lossy(&found.value).into_owned())
        };
        let key = String::from_utf8_lossy(&event.key).into_owned();
        let mut cells =
            vec![event.revision.to_string(), self.kind().to_owned(), key, value(event.found.as_ref())];
        if with_previous {
            let shown = event.previous.as_ref().filter(|_| !event.previous_left_out);
            cells.push(value(shown));
        }
        cells
    }

    pub(super) fn document(&self) -> Document {
        let Event { key, revision, found, previous, previous_left_out, wall_ms, .. } = self.event;
        let mut document = Document::bare().with_bytes("key", "key_b64", key).with("rev", *revision);
        if let Some(found) = found {
            document = document
                .with_bytes("value", "value_b64", &found.value)
                .with("create_rev", found.created)
                .with("version", found.version)
                .with("lease", lease_id(found));
        }
        match previous {
            Some(previous) if *previous_left_out => {
                document = document.with("prev_rev", previous.revision).with("prev_left_out", true);
            }
            Some(previous) => {
                document = document
                    .with_bytes("prev_value", "prev_value_b64", &previous.value)
                    .with("prev_rev", previous.revision);
            }
            None => {}
        }
        if self.initial {
            return document.with("initial", true);
        }
        let cursor = self.cursor.as_ref().map(ToString::to_string);
        document.with("time", text::timestamp(*wall_ms)).with("cursor", cursor)
    }
}

/// What happened, in a word.
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event { found: Some(_), .. } => "put",
        Event { expired: true, .. } => "expire",
        _ => "delete",
    }
}

/// See the module.
pub(super) enum Sink<'o, 'a> {
    /// Rows, with what was there before or without.
    Rows(Listing<'o, 'a>, bool),
    /// A command for each.
    Command(&'o [OsString]),
}

impl<'o, 'a> Sink<'o, 'a> {
    /// To a command where there is one.
    pub(super) fn new(out: &'o mut Out<'a>, with_previous: bool, command: &'o [OsString]) -> Self {
        if !command.is_empty() {
            return Self::Command(command);
        }
        let columns = if with_previous { COLUMNS } else { COLUMNS.get(..4).unwrap_or_default() };
        Self::Rows(Listing::new(out, Kind { whole: "watched", row: "watch", columns }), with_previous)
    }

    /// Shows an event. Returns with what the command ended, where it did not succeed.
    pub(super) fn show(&mut self, happened: &Happened<'_>) -> Result<Option<u8>, Failure> {
        match self {
            Self::Rows(listing, with_previous) => {
                let cells = || happened.cells(*with_previous);
                listing.typed(happened.kind(), cells, || happened.document());
                Ok(None)
            }
            Self::Command(command) => child::run(command, happened.event),
        }
    }

    /// Says to programs that nothing happened up to a revision.
    pub(super) fn mark(&mut self, through: u64, cursor: Option<&Cursor>) {
        if let Self::Rows(listing, _) = self {
            listing.mark("progress", || {
                Document::bare().with("rev", through).with("cursor", cursor.map(ToString::to_string))
            });
        }
    }

    /// Says that something happened which is no longer known, up to a revision.
    pub(super) fn resync(&mut self, oldest: u64) -> Result<(), Failure> {
        if let Self::Rows(listing, with_previous) = self {
            let rest = if *with_previous { 3 } else { 2 };
            let cells = || {
                let first = [oldest.to_string(), "resync".to_owned()];
                first.into_iter().chain(std::iter::repeat_n("-".to_owned(), rest)).collect()
            };
            listing.typed("resync", cells, || Document::bare().with("rev", oldest));
        }
        self.flush()
    }

    /// Has everything seen.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Rows(listing, _) => listing.flush(),
            Self::Command(_) => Ok(()),
        }
    }

    /// Ends the rows.
    pub(super) fn end(self, document: Document) -> Result<Report, Failure> {
        match self {
            Self::Rows(listing, _) => listing.end(document),
            Self::Command(_) => Ok(Report::new(Document::new("watched"), crate::report::Body::Hidden)),
        }
    }
}
