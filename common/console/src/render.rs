//! How a report looks. Three renderers, chosen by `-o` or by where the output goes: a table for people, plain lines
//! (tab-separated, never cut, never coloured) for tools, one JSON object for programs.
//!
//! Data goes to stdout, everything else to stderr; when stdout is empty, there was no data.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table as Grid, presets};

use crate::{
    error::Failure,
    exit::Exit,
    report::{Body, Report, Table},
    text,
};

/// The renderers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns under a heading.
    Table,
    /// Tab-separated lines, nothing cut.
    Plain,
    /// One JSON object a command.
    Json,
    /// A JSON object a line: each row, and at last the end.
    Ndjson,
}

impl Format {
    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }

    /// Whether it is for programs.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson)
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour on a stream that is a terminal or not.
    pub fn decide(self, terminal: bool) -> bool {
        let unwanted = || {
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        };
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !unwanted(),
        }
    }
}

/// Where and how results are shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Which renderer.
    pub format: Format,
    /// Whether values end with a newline of ours: only where a person reads.
    pub terminal: bool,
    /// Whether errors are coloured.
    pub color: bool,
    /// Whether only data is shown.
    pub quiet: bool,
}

impl Screen {
    /// The screen of a process: `format` or what fits where stdout goes.
    pub fn of_process(format: Option<Format>, color: Color, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let format = format.unwrap_or(if terminal { Format::Table } else { Format::Plain });
        Self { format, terminal, color: color.decide(io::stderr().is_terminal()), quiet }
    }

    /// A word to whoever waits and looks, before there is a result.
    pub(crate) fn tell(self, line: &str) {
        if !self.quiet && !self.format.is_json() {
            // Where stderr is gone nobody misses it.
            let _ = writeln!(io::stderr(), "{}", text::printable(line));
        }
    }

    /// Shows a result on the streams of the process.
    pub fn show(self, result: &Result<Report, Failure>) -> Exit {
        self.show_on(result, &mut io::stdout().lock(), &mut io::stderr().lock())
    }

    /// Shows a result and says with what to end: the result's code, or that of a stream that failed.
    pub fn show_on(self, result: &Result<Report, Failure>, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
        let report = match result {
            Ok(report) => report,
            Err(failure) => return self.show_failure(failure, err),
        };
        let bytes = self.data(report);
        if let Err(error) = out.write_all(&bytes).and_then(|()| out.flush()) {
            return self.show_failure(&Failure::stream("cannot write to stdout", &error), err);
        }
        // Nothing depends on what is said beside the data: a closed stderr is not worth a failure.
        let _ = err.write_all(self.beside(report).as_bytes());
        report.exit
    }

    /// What a person wants to know beside the data. Plain rows have no place for what stands above and below a
    /// table, and a health that nobody sees is worth nothing.
    fn beside(self, report: &Report) -> String {
        if self.quiet || self.format.is_json() {
            return String::new();
        }
        let mut out = report.note.as_ref().map_or_else(String::new, |note| text::printable(note) + "\n");
        if let (Body::Table(table) | Body::Shortened(table, _), Format::Plain) = (&report.body, self.format) {
            out += &above(table);
            out += &below(table);
        }
        out
    }

    fn show_failure(self, failure: &Failure, err: &mut dyn Write) -> Exit {
        // Where stderr is gone the exit code still tells.
        let _ = match self.format {
            format if format.is_json() && !failure.message.is_empty() => {
                writeln!(err, "{}", failure.to_document().to_json())
            }
            _ => err.write_all(failure.to_text(self.color).as_bytes()),
        };
        failure.exit
    }

    /// The bytes for stdout.
    fn data(self, report: &Report) -> Vec<u8> {
        if report.body == Body::Hidden {
            return Vec::new();
        }
        if self.format.is_json() {
            return (report.document.to_json() + "\n").into_bytes();
        }
        match &report.body {
            Body::Empty | Body::Hidden => Vec::new(),
            Body::Text(text) => text.clone().into_bytes(),
            Body::Done(_) if self.quiet => Vec::new(),
            Body::Bytes(bytes) if self.terminal => [bytes, b"\n".as_slice()].concat(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Done(cells) | Body::Line(cells) => self.line(cells).into_bytes(),
            Body::Table(table) | Body::Shortened(table, _) if self.format == Format::Table => {
                grid(table).into_bytes()
            }
            Body::Table(Table { rows, .. }) | Body::Shortened(_, rows) => self.lines(rows).into_bytes(),
        }
    }

    fn line(self, cells: &[String]) -> String {
        let cells: Vec<String> = cells.iter().map(|cell| text::printable(cell)).collect();
        cells.join(if self.format == Format::Table { "  " } else { "\t" }) + "\n"
    }

    /// Plain: rows only, so that `cut` and `awk` need not skip anything.
    fn lines(self, rows: &[Vec<String>]) -> String {
        rows.iter().map(|row| self.line(row)).collect()
    }
}

fn grid(table: &Table) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    if !table.columns.is_empty() {
        grid.set_header(table.columns.iter().copied());
    }
    for row in &table.rows {
        grid.add_row(row.iter().map(|cell| text::printable(cell)));
    }
    for column in grid.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = above(table);
    for line in grid.lines() {
        out += line.trim_end();
        out.push('\n');
    }
    out + &below(table)
}

fn above(table: &Table) -> String {
    if table.head.is_empty() {
        return String::new();
    }
    let cells: Vec<String> = table.head.iter().map(|cell| text::printable(cell)).collect();
    cells.join("   ") + "\n"
}

fn below(table: &Table) -> String {
    table.findings.iter().map(|finding| ["! ", &text::printable(finding), "\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Document;

    fn screen(format: Format) -> Screen {
        Screen { format, terminal: false, color: false, quiet: false }
    }

    fn shown(screen: Screen, result: &Result<Report, Failure>) -> (String, String, Exit) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = screen.show_on(result, &mut out, &mut err);
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit)
    }

    fn table() -> Report {
        let table = Table {
            head: vec!["dev 7f3a91c2".into(), "OK".into()],
            columns: vec!["NODE", "ROLE"],
            rows: vec![vec!["n1".into(), "follower".into()], vec!["n22 *".into(), "lea\x1bder".into()]],
            findings: vec!["n1 is tired".into()],
        };
        Report::new(Document::new("status").with("rev", 7), Body::Table(table)).exit(Exit::Partial)
    }

    #[test]
    fn a_table_for_people() {
        let (out, err, exit) = shown(screen(Format::Table), &Ok(table()));
        let want = "dev 7f3a91c2   OK\nNODE   ROLE\nn1     follower\nn22 *  lea\\u{1b}der\n! n1 is tired\n";
        assert_eq!((out.as_str(), err.as_str(), exit), (want, "", Exit::Partial));
    }

    #[test]
    fn plain_lines_for_tools() {
        let (out, err, _) = shown(screen(Format::Plain), &Ok(table()));
        assert_eq!(out, "n1\tfollower\nn22 *\tlea\\u{1b}der\n");
        assert_eq!(err, "dev 7f3a91c2   OK\n! n1 is tired\n", "what has no row is said beside them");
        let quiet = Screen { quiet: true, ..screen(Format::Plain) };
        assert_eq!(shown(quiet, &Ok(table())), (out, String::new(), Exit::Partial));
    }

    #[test]
    fn one_object_for_programs() {
        assert_eq!(
            shown(screen(Format::Json), &Ok(table())).0,
            "{\"schema\":\"kvctl.status/v1\",\"rev\":7}\n"
        );
    }

    #[test]
    fn a_value_is_exact_unless_a_person_reads_it() {
        let report = Ok(Report::new(Document::new("get"), Body::Bytes(b"a\tb".to_vec())));
        assert_eq!(shown(screen(Format::Plain), &report).0, "a\tb");
        let person = Screen { terminal: true, ..screen(Format::Table) };
        assert_eq!(shown(person, &report).0, "a\tb\n");
    }

    #[test]
    fn quiet_leaves_the_data() {
        let quiet = Screen { quiet: true, ..screen(Format::Plain) };
        let done = Report::new(Document::new("set"), Body::Done(vec!["ok".into()])).note("a word");
        assert_eq!(shown(quiet, &Ok(done.clone())), (String::new(), String::new(), Exit::Success));
        assert_eq!(shown(screen(Format::Plain), &Ok(done)).1, "a word\n");
        let data = Report::new(Document::new("leader"), Body::Line(vec!["n1".into()]));
        assert_eq!(shown(quiet, &Ok(data)).0, "n1\n");
    }

    #[test]
    fn failures_go_to_stderr_alone() {
        let failure = Err(Failure::usage("no"));
        assert_eq!(
            shown(screen(Format::Plain), &failure),
            (String::new(), "error: no   KV-0201\n".into(), Exit::Usage)
        );
        let (out, err, _) = shown(screen(Format::Json), &failure);
        assert_eq!(out, "");
        assert!(err.starts_with("{\"schema\":\"kvctl.error/v1\""), "{err}");
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_left_is_no_news() {
        let mut err = Vec::new();
        assert_eq!(screen(Format::Plain).show_on(&Ok(table()), &mut Closed, &mut err), Exit::Pipe);
        assert_eq!(screen(Format::Json).show_on(&Ok(table()), &mut Closed, &mut err), Exit::Pipe);
        assert!(err.is_empty());
    }
}
