//! `get`: one key, or all keys of a prefix, a range or a pattern, as they come.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Args;
use client::Pages;
use protocol::{
    Scan,
    scan::{End, Row, Want},
};

use super::{
    data::{Consistency, Freshness, absent, check_key},
    lease::{lease_id, left, time_left},
    past::When,
};
use crate::{
    connect::Session,
    error::Failure,
    glob::Glob,
    listing::{Kind, Listing, Out},
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `get`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl get app/mode\n  kvctl get app/logo > logo.png\n  \
                        kvctl get app/mode --default green\n  kvctl get app/mode --consistency stale --max-staleness 5s -o json\n  \
                        kvctl get --prefix app/ --keys\n  kvctl get --range a b --limit 100 --meta\n  \
                        kvctl get --glob 'app/*/mode' -o ndjson\n  kvctl get --prefix '' --count\n  \
                        kvctl get app/mode --rev 41\n  kvctl get --prefix app/ --at 10m\n  \
                        kvctl get app/mode --at 2026-01-02T03:04:05Z")]
pub struct Get {
    /// Which key
    #[arg(
        required_unless_present_any = ["prefix", "range", "glob"],
        conflicts_with_all = ["prefix", "range", "glob", "keys", "count", "limit", "after"]
    )]
    pub key: Option<OsString>,
    /// All keys that begin so; '' for every key
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true, conflicts_with_all = ["range", "glob"])]
    pub prefix: Option<OsString>,
    /// All keys from the first to before the second
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with = "glob")]
    pub range: Option<Vec<OsString>>,
    /// All keys that match: `*` within a part, `**` across parts, `?`, `[a-z]`
    #[arg(long, value_name = "PATTERN")]
    pub glob: Option<OsString>,
    /// Show keys alone
    #[arg(long, conflicts_with_all = ["count", "meta"])]
    pub keys: bool,
    /// Say only how many there are
    #[arg(long, conflicts_with_all = ["meta", "limit"])]
    pub count: bool,
    /// Show revisions, version, and how long it is still to be there as well
    #[arg(long)]
    pub meta: bool,
    /// Most rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Only what comes after this key
    #[arg(long, value_name = "KEY")]
    pub after: Option<OsString>,
    /// Of which moment.
    #[command(flatten)]
    pub when: When,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
    /// Print this and succeed when the key is absent
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, conflicts_with_all = ["prefix", "range", "glob"])]
    pub default: Option<OsString>,
    /// End with this code when the key is absent
    #[arg(long, value_name = "CODE", default_value_t = 1, conflicts_with_all = ["prefix", "range", "glob"])]
    pub absent_exit: u8,
}

impl Get {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match (&self.key, self.range.as_deref()) {
            (Some(key), _) => check_key(key),
            (None, Some([from, to])) if from >= to => {
                let said = format!("nothing lies from `{}` to before `{}`", show(from), show(to));
                Err(Failure::usage(said).hint("--range FROM TO, in the order of bytes"))
            }
            (None, _) => self.glob().map(drop),
        }
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        if self.key.is_some() { self.one(session).await } else { self.many(session, out).await }
    }

    /// One key, of which nothing is shown before it is known.
    pub(super) async fn one(&self, session: &Session) -> Result<Report, Failure> {
        let Some(key) = &self.key else { return Err(Failure::internal("one key was wanted of many")) };
        let read = if self.when.is_past() {
            self.when.read(session, key.as_bytes(), self.fresh).await?
        } else {
            session.client().get(key.as_bytes(), self.fresh.wanted()).await?
        };
        Ok(self.report(key, &read))
    }

    fn glob(&self) -> Result<Option<Glob>, Failure> {
        let glob = self.glob.as_ref().map(|pattern| Glob::new(pattern.as_bytes()));
        glob.transpose().map_err(|why| Failure::usage(format!("--glob makes no sense: {why}")))
    }

    fn report(&self, key: &OsString, read: &client::Read) -> Report {
        let document = Document::new("get").with_bytes("key", "key_b64", key.as_bytes());
        let tail = |document: Document| {
            document
                .with("rev", read.revision)
                .with("served_by", format!("{:x}", read.served_by))
                .with("consistency", self.fresh.consistency.word())
                .with("staleness_ms", read.staleness_ms)
        };
        if let Some(found) = &read.found {
            let document = document
                .with("found", true)
                .with_bytes("value", "value_b64", &found.value)
                .with("mod_rev", found.revision)
                .with("create_rev", found.created)
                .with("version", found.version)
                .with("ttl_ms", time_left(found))
                .with("lease", lease_id(found));
            let body = if self.meta {
                let row = Row { key: key.as_bytes().to_vec(), found: found.clone() };
                Body::Table(Table {
                    columns: META.to_vec(),
                    rows: vec![cells(&row, Shape::Meta)],
                    ..Table::default()
                })
            } else {
                Body::Bytes(found.value.clone())
            };
            return Report::new(tail(document), body);
        }
        let document = document.with("found", false);
        match &self.default {
            Some(default) => {
                let bytes = default.as_bytes();
                let document = document.with_bytes("value", "value_b64", bytes);
                Report::new(tail(document), Body::Bytes(bytes.to_vec()))
            }
            None => absent(tail(document.with("value", ())), key, self.absent_exit),
        }
    }
}

const META: &[&str] = &["KEY", "VALUE", "REV", "CREATED", "VERSION", "TTL", "LEASE"];

/// What is shown of a row.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Keys,
    Values,
    Meta,
}

fn cells(row: &Row, shape: Shape) -> Vec<String> {
    let key = String::from_utf8_lossy(&row.key).into_owned();
    let value = || String::from_utf8_lossy(&row.found.value).into_owned();
    let number = |number: u64| number.to_string();
    let found = &row.found;
    match shape {
        Shape::Keys => vec![key],
        Shape::Values => vec![key, value()],
        Shape::Meta => {
            let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
            let left = time_left(found).map(left);
            let numbers = [found.revision, found.created, found.version].map(number);
            let held = [or_none(left), or_none(lease_id(found))];
            [key, value()].into_iter().chain(numbers).chain(held).collect()
        }
    }
}

/// A row for programs: everything that is known of it.
pub(super) fn row_document(row: &Row, with_value: bool) -> Document {
    let document = Document::bare().with_bytes("key", "key_b64", &row.key);
    let document =
        if with_value { document.with_bytes("value", "value_b64", &row.found.value) } else { document };
    document
        .with("mod_rev", row.found.revision)
        .with("create_rev", row.found.created)
        .with("version", row.found.version)
}

/// The same with how long it is to be there.
fn held_document(row: &Row, with_value: bool) -> Document {
    row_document(row, with_value).with("ttl_ms", time_left(&row.found)).with("lease", lease_id(&row.found))
}

/// What a scan says at its end.
pub(super) fn end_document(end: &End, served_by: u64, consistency: Consistency) -> Document {
    Document::bare()
        .with("count", end.count)
        .with("rev", end.revision)
        .with("more", end.more)
        .with("served_by", format!("{served_by:x}"))
        .with("consistency", consistency.word())
}

impl Get {
    fn scan(&self) -> Scan {
        let bytes = |word: &OsString| word.as_bytes().to_vec();
        let scan = match (&self.prefix, self.range.as_deref(), &self.glob) {
            (Some(prefix), ..) => Scan::prefix(prefix.as_bytes()),
            (_, Some([from, to]), _) => Scan::range(from.as_bytes(), to.as_bytes()),
            (.., Some(pattern)) => {
                Scan::prefix(&Glob::new(pattern.as_bytes()).map(|glob| glob.prefix()).unwrap_or_default())
            }
            _ => Scan::default(),
        };
        let scan = self.when.of(Scan { consistency: self.fresh.wanted(), ..scan });
        match self.after.as_ref().map(bytes) {
            Some(key) => scan.after(&key),
            None => scan,
        }
    }

    async fn many(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let glob = self.glob()?;
        let want = match (self.count && glob.is_none(), self.keys || self.count) {
            (true, _) => Want::Count,
            (_, true) => Want::Keys,
            _ => Want::Rows,
        };
        // What is filtered here is limited here as well.
        let limit = self.limit.filter(|_| glob.is_none());
        let mut pages = session.client().scan(Scan { want, limit, ..self.scan() });
        if self.count {
            return self.counted(&mut pages, glob.as_ref()).await;
        }
        let (shape, columns) = match (self.keys, self.meta) {
            (true, _) => (Shape::Keys, META.get(..1)),
            (_, true) => (Shape::Meta, Some(META)),
            _ => (Shape::Values, META.get(..2)),
        };
        let kind = Kind { whole: "range", row: "row", columns: columns.unwrap_or_default() };
        let mut listing = Listing::new(out, kind);
        let end = self.each(&mut pages, glob.as_ref(), &mut listing, shape).await?;
        let note = end.more.then(|| format!("there is more: {} rows were wanted", end.count));
        let report = listing.end(end_document(&end, pages.served_by(), self.fresh.consistency))?;
        Ok(Report { note, ..report })
    }

    /// Shows every row that matches, and says how it ended.
    async fn each(
        &self,
        pages: &mut Pages,
        glob: Option<&Glob>,
        listing: &mut Listing<'_, '_>,
        shape: Shape,
    ) -> Result<End, Failure> {
        let mut count = 0_u64;
        while let Some(page) = pages.next().await? {
            for row in page.rows.iter().filter(|row| glob.is_none_or(|glob| glob.matches(&row.key))) {
                if glob.is_some() && self.limit == Some(count) {
                    return Ok(End { count, revision: page.revision, more: true });
                }
                count = count.saturating_add(1);
                listing.row(|| cells(row, shape), || held_document(row, shape != Shape::Keys));
            }
            listing.flush()?;
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        Ok(End { count, ..end })
    }

    async fn counted(&self, pages: &mut Pages, glob: Option<&Glob>) -> Result<Report, Failure> {
        let mut matching = 0_u64;
        while let Some(page) = pages.next().await? {
            let keys = page.rows.iter().filter(|row| glob.is_some_and(|glob| glob.matches(&row.key)));
            matching = matching.saturating_add(keys.count() as u64);
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        let end = if glob.is_some() { End { count: matching, ..end } } else { end };
        let document =
            Document::new("count").followed_by(end_document(&end, pages.served_by(), self.fresh.consistency));
        Ok(Report::new(document, Body::Line(vec![end.count.to_string()])))
    }

    /// Whether rows are shown while it runs.
    pub(super) fn streams(&self) -> bool {
        self.key.is_none()
    }
}

fn show(word: &OsString) -> String {
    text::key(word.as_bytes())
}

#[cfg(test)]
mod tests;
