//! `ls` and `tree`: keys as if they were paths, with `/` between their parts. A folder is a run of keys that begin alike,
//! so it is put together from a scan of the keys in one pass, and memory holds one path however many keys there are.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Args;
use protocol::{Scan, scan::Want};

use super::{data::Freshness, get::end_document};
use crate::{
    connect::Session,
    error::Failure,
    listing::{Kind, Listing, Out},
    render::Format,
    report::{Document, Report},
};

/// Entries that are shown at once.
const ENTRIES: usize = 1024;

/// Arguments of `ls`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl ls\n  kvctl ls app/")]
pub struct Ls {
    /// Only below keys that begin so
    #[arg(default_value = "")]
    pub prefix: OsString,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
}

/// Arguments of `tree`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl tree\n  kvctl tree app/ --depth 2")]
pub struct Tree {
    /// Only below keys that begin so
    #[arg(default_value = "")]
    pub prefix: OsString,
    /// How many levels are opened; what lies deeper is counted
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub depth: u16,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
}

impl Ls {
    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let columns = &["NAME", "KEYS"];
        walk(session, out, &self.prefix, 1, self.fresh, columns).await
    }
}

impl Tree {
    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        walk(session, out, &self.prefix, self.depth.into(), self.fresh, &[]).await
    }
}

/// A line of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// From the prefix on; ends with a slash where it is a folder.
    path: Vec<u8>,
    /// How many slashes come before its name.
    depth: usize,
    /// The keys in it: one for a key; none for a folder whose entries follow.
    keys: u64,
}

/// Makes entries of keys that come in their order.
struct Folding {
    depth: usize,
    /// The open folders, each with its slash.
    open: Vec<Vec<u8>>,
    /// A folder that is not opened, while its keys come.
    closed: Option<Entry>,
}

impl Folding {
    fn new(depth: usize) -> Self {
        Self { depth, open: Vec::new(), closed: None }
    }

    /// The entries that are complete with this key, of which only what follows the prefix is given.
    fn key(&mut self, key: &[u8], entries: &mut Vec<Entry>) {
        if let Some(closed) = &mut self.closed {
            if key.starts_with(&closed.path) {
                closed.keys = closed.keys.saturating_add(1);
                return;
            }
            entries.extend(self.closed.take());
        }
        while self.open.last().is_some_and(|folder| !key.starts_with(folder)) {
            self.open.pop();
        }
        loop {
            let depth = self.open.len();
            let inside = self.open.last().map_or(0, Vec::len);
            let slash = key.get(inside..).and_then(|rest| rest.iter().position(|byte| *byte == b'/'));
            let Some(slash) = slash else {
                return entries.push(Entry { path: key.to_vec(), depth, keys: 1 });
            };
            let end = inside.saturating_add(slash).saturating_add(1);
            let path = key.get(..end).unwrap_or(key).to_vec();
            if depth.saturating_add(1) >= self.depth {
                self.closed = Some(Entry { path, depth, keys: 1 });
                return;
            }
            entries.push(Entry { path: path.clone(), depth, keys: 0 });
            self.open.push(path);
        }
    }

    fn end(self, entries: &mut Vec<Entry>) {
        entries.extend(self.closed);
    }
}

async fn walk(
    session: &Session,
    out: &mut Out<'_>,
    prefix: &OsString,
    depth: usize,
    fresh: Freshness,
    columns: &'static [&'static str],
) -> Result<Report, Failure> {
    let prefix = prefix.as_bytes();
    let drawn = columns.is_empty() && out.screen.format == Format::Table;
    let scan = Scan { want: Want::Keys, consistency: fresh.wanted(), ..Scan::prefix(prefix) };
    let mut pages = session.client().scan(scan);
    let mut listing = Listing::new(out, Kind { whole: "tree", row: "entry", columns });
    let (mut folding, mut entries) = (Folding::new(depth), Vec::new());
    let show = |listing: &mut Listing<'_, '_>, entries: &mut Vec<Entry>| {
        for entry in entries.drain(..) {
            listing.row(|| entry.cells(prefix, drawn), || entry.document(prefix));
        }
        listing.flush()
    };
    while let Some(page) = pages.next().await? {
        for row in &page.rows {
            folding.key(row.key.get(prefix.len()..).unwrap_or_default(), &mut entries);
        }
        // A few at a time, for columns are as wide as the first of them need.
        if entries.len() >= ENTRIES {
            show(&mut listing, &mut entries)?;
        }
    }
    folding.end(&mut entries);
    show(&mut listing, &mut entries)?;
    let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
    listing.end(end_document(&end, pages.served_by(), fresh.consistency))
}

impl Entry {
    fn is_folder(&self) -> bool {
        self.path.ends_with(b"/")
    }

    fn cells(&self, prefix: &[u8], drawn: bool) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let counted = self.is_folder() && self.keys > 0;
        if !drawn {
            let keys = if self.keys > 0 { self.keys.to_string() } else { "-".to_owned() };
            return vec![text(&[prefix, &self.path].concat()), keys];
        }
        let inner = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        let begin = inner.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at.saturating_add(1));
        let name = text(self.path.get(begin..).unwrap_or_default());
        let count = if counted { format!(" ({})", self.keys) } else { String::new() };
        vec!["  ".repeat(self.depth) + &name + &count]
    }

    fn document(&self, prefix: &[u8]) -> Document {
        let path = [prefix, &self.path].concat();
        let document = Document::bare().with_bytes("path", "path_b64", &path).with("depth", self.depth);
        let kind = if self.is_folder() { "folder" } else { "key" };
        let document = document.with("kind", kind);
        if self.keys > 0 { document.with("keys", self.keys) } else { document.with("keys", ()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(depth: usize, keys: &[&str]) -> Vec<(String, usize, u64)> {
        let (mut folding, mut entries) = (Folding::new(depth), Vec::new());
        for key in keys {
            folding.key(key.as_bytes(), &mut entries);
        }
        folding.end(&mut entries);
        let told = |entry: Entry| (String::from_utf8(entry.path).unwrap(), entry.depth, entry.keys);
        entries.into_iter().map(told).collect()
    }

    fn entry(path: &str, depth: usize, keys: u64) -> (String, usize, u64) {
        (path.to_owned(), depth, keys)
    }

    const KEYS: &[&str] = &["a", "a/b", "a/c/d", "a/c/e/f", "a/g", "b//x", "c"];

    #[test]
    fn one_level_has_keys_and_counted_folders() {
        let want = [entry("a", 0, 1), entry("a/", 0, 4), entry("b/", 0, 1), entry("c", 0, 1)];
        assert_eq!(folded(1, KEYS), want);
    }

    #[test]
    fn deeper_levels_open_folders() {
        let want = [
            entry("a", 0, 1),
            entry("a/", 0, 0),
            entry("a/b", 1, 1),
            entry("a/c/", 1, 2),
            entry("a/g", 1, 1),
            entry("b/", 0, 0),
            entry("b//", 1, 1),
            entry("c", 0, 1),
        ];
        assert_eq!(folded(2, KEYS), want);
        assert_eq!(folded(2, &[]), []);
    }

    #[test]
    fn all_keys_are_told_once_at_any_depth() {
        for depth in 1..6 {
            let keys: u64 = folded(depth, KEYS).into_iter().map(|(.., keys)| keys).sum();
            assert_eq!(keys, KEYS.len() as u64, "depth {depth}");
        }
    }

    #[test]
    fn a_tree_is_drawn_by_names_and_listed_by_paths() {
        let entry = Entry { path: b"a/c/".to_vec(), depth: 1, keys: 2 };
        assert_eq!(entry.cells(b"p/", true), ["  c/ (2)"]);
        assert_eq!(entry.cells(b"p/", false), ["p/a/c/", "2"]);
        let open = Entry { keys: 0, ..entry };
        assert_eq!(
            (open.cells(b"", true), open.cells(b"", false)[1].as_str()),
            (vec!["  c/".to_owned()], "-")
        );
    }
}
