//! `export` and `import`: keys and values as lines of JSON, exact bytes, in constant memory.
//!
//! A line is an object with `key` or, where it is not UTF-8, `key_b64`, and the same of the value; what else is in it is
//! for people. The last line is the end, with the number of keys: a file without it was cut off, and is not taken for the
//! whole. What `get -o ndjson` prints can be imported as well.
//!
//! An import keeps many writes on the way. Each says what the key is to be, so an import that broke off can be run again
//! from its beginning; two lines for one key take effect in their order.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use client::Client;
use protocol::{Scan, command::check_key};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{
    data::Freshness,
    get::{end_document, row_document},
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    files::Beside,
    listing::{Kind, Listing, Out},
    progress::Progress,
    render::{Format, Screen},
    report::{Body, Document, Report},
    text,
};

/// Longest line of a file: the largest row with every byte escaped, and room for what else is said of it.
const LINE_BYTES: u64 = 4 * 1024 * 1024;
/// Writes on the way at one time.
const WINDOW: usize = 256;

/// Arguments of `export`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl export all.ndjson\n  kvctl export --prefix app/ - | gzip > app.ndjson.gz"
)]
pub struct Export {
    /// Where to; `-` is stdout
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Only keys that begin so
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true, default_value = "")]
    pub prefix: OsString,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
}

impl Export {
    pub(super) fn is_stdout(&self) -> bool {
        self.file == Path::new("-")
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        if self.is_stdout() {
            let (report, _) = self.write(session, out).await?;
            return Ok(report);
        }
        let failed = |error: io::Error| Failure::file("write", &self.file, &error);
        let mut file = Beside::create(&self.file).map_err(failed)?;
        let screen = Screen { format: Format::Ndjson, terminal: false, color: false, quiet: true };
        let written = self.write(session, &mut Out { screen, stream: &mut file }).await;
        let (_, summary) = written.map_err(|failure| match failure.code {
            "KV-1202" | "KV-1401" => Failure::new(Exit::File, "KV-1201", "file", failure.message),
            _ => failure,
        })?;
        file.keep().map_err(failed)?;
        let said = vec![format!("exported {} keys", summary.0), format!("rev {}", summary.1)];
        let document = Document::new("export")
            .with("file", self.file.display().to_string())
            .with("keys", summary.0)
            .with("rev", summary.1);
        Ok(Report::new(document, Body::Done(said)))
    }

    /// Writes all rows and the end; how many, and of which revision.
    async fn write(&self, session: &Session, out: &mut Out<'_>) -> Result<(Report, (u64, u64)), Failure> {
        let scan = Scan { consistency: self.fresh.wanted(), ..Scan::prefix(self.prefix.as_bytes()) };
        let mut pages = session.client().scan(scan);
        let mut progress = Progress::new("exported", out.screen.quiet && self.is_stdout());
        let mut listing = Listing::new(out, Kind { whole: "range", row: "row", columns: &[] });
        while let Some(page) = pages.next().await? {
            for row in &page.rows {
                listing.row(Vec::new, || row_document(row, true));
                progress.add(row.key.len().saturating_add(row.found.value.len()));
            }
            listing.flush()?;
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        let report = listing.end(end_document(&end, pages.served_by(), self.fresh.consistency))?;
        Ok((report, (end.count, end.revision)))
    }
}

/// Arguments of `import`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl import all.ndjson\n  kvctl import all.ndjson --resume\n  \
                        kvctl -C old export - | kvctl -C new import -")]
pub struct Import {
    /// Where from; `-` is stdin
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Read each key first and leave alone what is so already
    #[arg(long)]
    pub resume: bool,
    /// Take a file that has no end, such as one written by hand
    #[arg(long)]
    pub no_end: bool,
}

/// A line as it is read. Whatever else is in it is passed over.
#[derive(Deserialize)]
struct Line {
    r#type: Option<String>,
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    count: Option<u64>,
}

/// What a line of a file means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A key and its value.
    Row(Vec<u8>, Vec<u8>),
    /// The end, after so many rows.
    End(u64),
}

/// What came of all lines so far.
#[derive(Default)]
struct Sum {
    rows: u64,
    written: u64,
    unchanged: u64,
    bytes: u64,
    revision: u64,
}

impl Import {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let failed = |error: io::Error| Failure::file("read", &self.file, &error);
        let reader: Box<dyn BufRead + Send> = if self.file == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            Box::new(BufReader::with_capacity(1 << 20, File::open(&self.file).map_err(failed)?))
        };
        let mut writes = Writes::new(session.client().clone(), self.resume);
        let read = self.read(reader, &mut writes).await;
        // Whatever stopped it, what is on the way is waited for, so that the sum is true.
        let settled = writes.settle().await;
        writes.progress.end();
        let ended = read.and_then(|ended| settled.map(|()| ended));
        let ended = ended.map_err(|failure| Self::with_sum(failure, &writes.sum))?;
        if !ended && !self.no_end {
            let message =
                format!("{} ends without its end: it was cut off, or written by hand", self.file.display());
            let failure = Failure::new(Exit::Integrity, "KV-0901", "no_end", message);
            return Err(Self::with_sum(failure, &writes.sum));
        }
        Ok(self.report(&writes.sum, ended))
    }

    /// Reads all lines; whether the last was the end.
    async fn read(&self, mut reader: Box<dyn BufRead + Send>, writes: &mut Writes) -> Result<bool, Failure> {
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            number = number.saturating_add(1);
            let read = (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Failure::file("read", &self.file, &error))?;
            if read == 0 {
                return Ok(false);
            }
            if read as u64 >= LINE_BYTES {
                return Err(self.bad(number, &format!("it is longer than {LINE_BYTES} bytes")));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Meaning::of(&line).map_err(|why| self.bad(number, &why))? {
                Meaning::Row(key, value) => writes.put(key, value).await?,
                Meaning::End(count) if count == writes.sum.rows => return Ok(true),
                Meaning::End(count) => {
                    let why = format!("it speaks of {count} keys, and {} came before it", writes.sum.rows);
                    return Err(self.bad(number, &why));
                }
            }
        }
    }

    fn bad(&self, number: u64, why: &str) -> Failure {
        let message = format!("line {number} of {} cannot be imported: {why}", self.file.display());
        Failure::new(Exit::Integrity, "KV-0902", "bad_line", message)
    }

    fn with_sum(failure: Failure, sum: &Sum) -> Failure {
        let hint = format!(
            "{} keys were written and {} left alone; it is safe to run it again, with --resume only what differs is written",
            sum.written, sum.unchanged
        );
        Failure { request: None, ..failure }.hint(hint)
    }

    fn report(&self, sum: &Sum, ended: bool) -> Report {
        let mut said = vec![format!("imported {} keys", sum.written)];
        if self.resume {
            said.push(format!("{} were so already", sum.unchanged));
        }
        said.push(format!("rev {}", sum.revision));
        let document = Document::new("import")
            .with("file", self.file.display().to_string())
            .with("keys", sum.rows)
            .with("written", sum.written)
            .with("unchanged", sum.unchanged)
            .with("bytes", sum.bytes)
            .with("rev", sum.revision)
            .with("ended", ended);
        Report::new(document, Body::Done(said))
    }
}

impl Meaning {
    /// Reads a line, or says why it cannot be imported.
    pub fn of(line: &[u8]) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if line.r#type.as_deref() == Some("end") {
            return line.count.map(Self::End).ok_or_else(|| "an end without `count`".to_owned());
        }
        let bytes = |name: &str, plain: Option<String>, coded: Option<String>| match (plain, coded) {
            (Some(plain), None) => Ok(plain.into_bytes()),
            (None, Some(coded)) => {
                text::unbase64(&coded).ok_or_else(|| format!("`{name}_b64` is not base64"))
            }
            (Some(_), Some(_)) => Err(format!("it has both `{name}` and `{name}_b64`")),
            (None, None) => Err(format!("it has neither `{name}` nor `{name}_b64`")),
        };
        let key = bytes("key", line.key, line.key_b64)?;
        let value = bytes("value", line.value, line.value_b64)?;
        check_key(&key).map_err(|error| error.to_string())?;
        let limit = protocol::limits::VALUE_BYTES;
        if value.len() > limit {
            return Err(format!("value of {} bytes is over the limit of {limit}", value.len()));
        }
        Ok(Self::Row(key, value))
    }
}

/// Writes on the way. No two of them are of one key, for which takes effect last must not be left to chance.
struct Writes {
    client: Client,
    resume: bool,
    tasks: JoinSet<(Vec<u8>, Result<Put, client::Error>)>,
    keys: HashSet<Vec<u8>>,
    sum: Sum,
    progress: Progress,
}

/// What became of a row.
enum Put {
    Written(u64),
    Unchanged(u64),
}

impl Writes {
    fn new(client: Client, resume: bool) -> Self {
        let progress = Progress::new("imported", false);
        Self { client, resume, tasks: JoinSet::new(), keys: HashSet::new(), sum: Sum::default(), progress }
    }

    async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        while self.tasks.len() >= WINDOW || self.keys.contains(&key) {
            self.next().await?;
        }
        let size = key.len().saturating_add(value.len());
        self.sum.rows = self.sum.rows.saturating_add(1);
        self.sum.bytes = self.sum.bytes.saturating_add(size as u64);
        self.progress.add(size);
        self.keys.insert(key.clone());
        let (client, resume) = (self.client.clone(), self.resume);
        self.tasks.spawn(async move {
            let put = put(&client, &key, &value, resume).await;
            (key, put)
        });
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        while !self.tasks.is_empty() {
            first = first.and(self.next().await);
        }
        first
    }

    async fn next(&mut self) -> Result<(), Failure> {
        let Some(done) = self.tasks.join_next().await else { return Ok(()) };
        let (key, put) =
            done.map_err(|error| Failure::internal(format!("a write has no outcome: {error}")))?;
        self.keys.remove(&key);
        let (count, revision) = match put? {
            Put::Written(revision) => (&mut self.sum.written, revision),
            Put::Unchanged(revision) => (&mut self.sum.unchanged, revision),
        };
        *count = count.saturating_add(1);
        self.sum.revision = self.sum.revision.max(revision);
        Ok(())
    }
}

async fn put(client: &Client, key: &[u8], value: &[u8], resume: bool) -> Result<Put, client::Error> {
    if resume {
        let read = client.get(key, protocol::Consistency::Linearizable).await?;
        if read.found.is_some_and(|found| found.value == value) {
            return Ok(Put::Unchanged(read.revision));
        }
    }
    Ok(Put::Written(client.set(key, value, None).await?.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Result<Meaning, String> {
        Meaning::of(line.as_bytes())
    }

    #[test]
    fn a_line_is_a_row_of_exact_bytes_or_the_end() {
        let row = |key: &[u8], value: &[u8]| Ok(Meaning::Row(key.to_vec(), value.to_vec()));
        assert_eq!(told(r#"{"key":"k","value":"v"}"#), row(b"k", b"v"));
        assert_eq!(told(r#"{"key_b64":"/wA=","value_b64":"","mod_rev":3}"#), row(b"\xff\0", b""));
        assert_eq!(told(r#"{"type":"end","count":7,"rev":9}"#), Ok(Meaning::End(7)));
    }

    #[test]
    fn a_line_that_is_no_row_says_why() {
        for (line, why) in [
            ("nonsense", "expected"),
            (r#"{"value":"v"}"#, "neither `key`"),
            (r#"{"key":"k"}"#, "neither `value`"),
            (r#"{"key":"k","key_b64":"aw==","value":"v"}"#, "both `key`"),
            (r#"{"key":"k","value_b64":"!"}"#, "not base64"),
            (r#"{"key":"","value":"v"}"#, "empty key"),
            (r#"{"type":"end"}"#, "without `count`"),
        ] {
            assert!(told(line).unwrap_err().contains(why), "{line}: {:?}", told(line));
        }
        let sized = |size| told(&format!(r#"{{"key":"k","value":"{}"}}"#, "v".repeat(size)));
        assert!(sized(protocol::limits::VALUE_BYTES).is_ok());
        assert!(sized(protocol::limits::VALUE_BYTES + 1).unwrap_err().contains("over the limit of 524288"));
    }
}
