//! Rows that are shown as they come, however many there are: a listing holds the rows of one page and no more.
//!
//! | format | a row | the end |
//! | --- | --- | --- |
//! | table | aligned to the widest of the first page, and of each later one where that is wider | a note where there is more |
//! | plain | cells apart by tabs | the same |
//! | JSON | an element of `rows` in one object | the other fields of that object |
//! | NDJSON | an object a line, `"type":"row"` | an object with `"type":"end"` |
//!
//! A command that fails in the middle has shown rows all the same. That it is not all shows by the missing end, and by
//! the exit code.

use std::io::Write;

use crate::{
    error::Failure,
    render::{Format, Screen},
    report::{Body, Document, Report},
    text,
};

/// Where a command that streams puts its rows.
pub struct Out<'a> {
    /// How they look.
    pub screen: Screen,
    /// Where they go; written to in large pieces, and waited for where the reader is slow.
    pub stream: &'a mut dyn Write,
}

/// What rows and ends are called.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The schema of the whole in JSON.
    pub whole: &'static str,
    /// The schema of a row in NDJSON.
    pub row: &'static str,
    /// Headings, of which the first is of the leftmost column; none for rows that are no table.
    pub columns: &'static [&'static str],
}

/// See the module.
pub struct Listing<'o, 'a> {
    out: &'o mut Out<'a>,
    kind: Kind,
    widths: Vec<usize>,
    page: Vec<Vec<String>>,
    text: String,
    begun: bool,
}

impl<'o, 'a> Listing<'o, 'a> {
    /// Nothing is written before there is something.
    pub fn new(out: &'o mut Out<'a>, kind: Kind) -> Self {
        let widths = kind.columns.iter().map(|column| column.len()).collect();
        Self { out, kind, widths, page: Vec::new(), text: String::new(), begun: false }
    }

    /// Adds a row: cells for people, or a document without a schema for programs; only what is wanted is made.
    pub fn row(&mut self, cells: impl FnOnce() -> Vec<String>, document: impl FnOnce() -> Document) {
        self.add(None, cells, document);
    }

    /// The same of a row that is of one of several types, which it names in JSON as well.
    pub fn typed(
        &mut self,
        word: &'static str,
        cells: impl FnOnce() -> Vec<String>,
        document: impl FnOnce() -> Document,
    ) {
        self.add(Some(word), cells, document);
    }

    /// Adds what is only of interest to whoever reads lines of JSON as they come.
    pub fn mark(&mut self, word: &'static str, document: impl FnOnce() -> Document) {
        if self.out.screen.format == Format::Ndjson {
            self.add(Some(word), Vec::new, document);
        }
    }

    fn add(
        &mut self,
        word: Option<&'static str>,
        cells: impl FnOnce() -> Vec<String>,
        document: impl FnOnce() -> Document,
    ) {
        match self.out.screen.format {
            Format::Table => self.page.push(cells().iter().map(|cell| text::printable(cell)).collect()),
            Format::Plain => {
                let cells: Vec<String> = cells().iter().map(|cell| text::printable(cell)).collect();
                self.text += &cells.join("\t");
                self.text.push('\n');
            }
            Format::Json => {
                let before = if self.begun { "," } else { "" };
                let opening = if self.begun { String::new() } else { self.opening() };
                self.begun = true;
                self.text += &opening;
                self.text += before;
                let typed = word.map_or_else(Document::bare, |word| Document::bare().with("type", word));
                self.text += &typed.followed_by(document()).to_json();
            }
            Format::Ndjson => {
                let row = Document::new(self.kind.row).with("type", word.unwrap_or("row"));
                let row = row.followed_by(document());
                self.text += &row.to_json();
                self.text.push('\n');
            }
        }
    }

    /// Writes out what there is: called after each page.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.out.screen.format == Format::Table {
            self.align();
        }
        let written = self.out.stream.write_all(self.text.as_bytes());
        self.text.clear();
        written.map_err(|error| Failure::stream("cannot write to stdout", &error))
    }

    /// Writes the end. `document` says for programs what it says of the whole.
    pub fn end(mut self, document: Document) -> Result<Report, Failure> {
        match self.out.screen.format {
            Format::Table | Format::Plain => {}
            Format::Json => {
                let opening = if self.begun { String::new() } else { self.opening() };
                self.text += &opening;
                let rest = document.to_json();
                self.text += "],";
                self.text += rest.trim_start_matches('{');
                self.text.push('\n');
            }
            Format::Ndjson => {
                let end = Document::new("end").with("type", "end").followed_by(document);
                self.text += &end.to_json();
                self.text.push('\n');
            }
        }
        self.flush()?;
        let flushed = self.out.stream.flush();
        flushed.map_err(|error| Failure::stream("cannot write to stdout", &error))?;
        Ok(Report::new(Document::new(self.kind.whole), Body::Hidden))
    }

    fn opening(&self) -> String {
        let opening = Document::new(self.kind.whole).to_json();
        opening.trim_end_matches('}').to_owned() + ",\"rows\":["
    }

    fn align(&mut self) {
        let mut page = std::mem::take(&mut self.page);
        if page.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) && !self.kind.columns.is_empty() {
            page.insert(0, self.kind.columns.iter().map(|column| (*column).to_owned()).collect());
        }
        for row in &page {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in page {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let width = self.widths.get(at).copied().unwrap_or(0);
                let gap = if at == 0 { "" } else { "  " };
                line += gap;
                line += cell;
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
            self.text += line.trim_end();
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { whole: "range", row: "row", columns: &["KEY", "VALUE"] };

    fn shown(format: Format, pages: &[&[(&str, &str)]]) -> String {
        let mut bytes = Vec::new();
        let screen = Screen { format, terminal: false, color: false, quiet: false };
        let mut out = Out { screen, stream: &mut bytes };
        let mut listing = Listing::new(&mut out, KIND);
        for page in pages {
            for (key, value) in *page {
                listing.row(
                    || vec![(*key).to_owned(), (*value).to_owned()],
                    || Document::bare().with("key", *key).with("value", *value),
                );
            }
            listing.flush().unwrap();
        }
        listing.end(Document::bare().with("count", 7)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    const PAGES: &[&[(&str, &str)]] = &[&[("a", "1"), ("bcdef", "2")], &[("c", "3\t")]];

    #[test]
    fn a_table_is_aligned_by_its_first_page() {
        let want = "KEY    VALUE\na      1\nbcdef  2\nc      3\\t\n";
        assert_eq!(shown(Format::Table, PAGES), want);
        assert_eq!(shown(Format::Table, &[]), "");
    }

    #[test]
    fn plain_rows_have_tabs_between_cells_and_nowhere_else() {
        assert_eq!(shown(Format::Plain, PAGES), "a\t1\nbcdef\t2\nc\t3\\t\n");
    }

    #[test]
    fn one_object_is_made_of_all_pages() {
        let whole = shown(Format::Json, PAGES);
        let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(value["schema"], "kvctl.range/v1");
        assert_eq!((value["rows"].as_array().unwrap().len(), &value["count"]), (3, &7.into()));
        assert_eq!(shown(Format::Json, &[]), "{\"schema\":\"kvctl.range/v1\",\"rows\":[],\"count\":7}\n");
    }

    #[test]
    fn lines_are_objects_and_the_last_is_the_end() {
        let lines = shown(Format::Ndjson, &[&[("a", "1")]]);
        let want = concat!(
            r#"{"schema":"kvctl.row/v1","type":"row","key":"a","value":"1"}"#,
            "\n",
            r#"{"schema":"kvctl.end/v1","type":"end","count":7}"#,
            "\n"
        );
        assert_eq!(lines, want);
    }
}
