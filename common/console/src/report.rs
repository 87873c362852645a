//! What a command learned: the one type between commands and renderers. A command fills it and knows nothing of
//! terminals; a renderer shows it and knows nothing of commands.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::{exit::Exit, text};

/// The outcome of a command that did not fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// For programs.
    pub document: Document,
    /// For people and for line-oriented tools.
    pub body: Body,
    /// A word beside the data, on stderr.
    pub note: Option<String>,
    /// With what the program ends.
    pub exit: Exit,
}

impl Report {
    /// A report of success.
    pub fn new(document: Document, body: Body) -> Self {
        Self { document, body, note: None, exit: Exit::Success }
    }

    /// With another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// With a word on stderr.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// What is shown where no JSON is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Nothing in any format, not even the document: all was shown before.
    Hidden,
    /// Exactly these lines, wherever they go.
    Text(String),
    /// Exactly these bytes: data.
    Bytes(Vec<u8>),
    /// One line of cells that says that it is done; left out by `--quiet`.
    Done(Vec<String>),
    /// One line of cells: data.
    Line(Vec<String>),
    /// Lines above, a table, lines below.
    Table(Table),
    /// A table whose cells are shortened for people, and its rows as they are.
    Shortened(Table, Vec<Vec<String>>),
}

/// Rows under columns.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// Above: cells of one line.
    pub head: Vec<String>,
    /// The names of the columns.
    pub columns: Vec<&'static str>,
    /// As many cells a row as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Below: a line each.
    pub findings: Vec<String>,
}

/// A JSON object whose fields keep their order, first of all its schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    fields: Vec<(&'static str, Value)>,
}

impl Document {
    /// A document of the schema `kvctl.NAME/v1`. Within a version fields are only ever added.
    pub fn new(name: &str) -> Self {
        Self { fields: vec![("schema", format!("kvctl.{name}/v1").into())] }
    }

    /// A part of a document, which has no schema of its own.
    pub fn bare() -> Self {
        Self { fields: Vec::new() }
    }

    /// Adds all fields of another.
    #[must_use]
    pub fn followed_by(mut self, other: Self) -> Self {
        self.fields.extend(other.fields);
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds bytes: under `name` when they are text, else in base64 under `name_b64`.
    #[must_use]
    pub fn with_bytes(self, name: &'static str, name_b64: &'static str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(name_b64, text::base64(bytes)),
        }
    }

    /// One line of JSON, without the newline.
    #[expect(clippy::expect_used, reason = "only keys that are no strings could fail")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings and values are JSON already")
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_bytes_are_lossless() {
        let document = Document::new("get").with_bytes("key", "key_b64", b"k").with_bytes(
            "value",
            "value_b64",
            b"\xff\0",
        );
        assert_eq!(document.to_json(), r#"{"schema":"kvctl.get/v1","key":"k","value_b64":"/wA="}"#);
    }
}
