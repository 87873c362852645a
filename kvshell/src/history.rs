//! The history: every line in memory, and in `$XDG_STATE_HOME/kv/history` those that may be kept. The file may hold values,
//! so only its owner reads it. A line that begins with a space, or that speaks of something secret, is not written to it. A
//! very long line is not even in memory, for a search goes through all of them at each key press.
//!
//! A line belongs to the context for which it was typed: what is right for `dev` may be wrong for `prod`. Going back meets
//! the lines of the prompt's context first, and those of the others behind all of them. In the file the context stands as a
//! comment at the end of the line (`set a 1  #@dev`), so that it is a line like any other for a shell that knows nothing of
//! this. A line without one is at home everywhere.
//!
//! Ctrl-R finds a line by its characters in their order; the closest way that any line matches goes first.

use std::{
    borrow::Cow,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustyline::{
    Config, Result,
    history::{FileHistory, History, SearchDirection, SearchResult},
};

/// Most lines that are kept.
const LINES: usize = 10_000;
/// Longest line that is kept.
const LINE_BYTES: usize = 16 * 1024;
/// Parts of words that tell that a line speaks of a secret.
const SECRETS: [&str; 10] =
    ["pass", "pwd", "secret", "token", "credential", "apikey", "api_key", "private", "auth", "bearer"];

/// The file, made if it is not there; `None` where it cannot be, for a shell works without.
pub(crate) fn prepare() -> Option<PathBuf> {
    let folder = console::context::base("XDG_STATE_HOME", ".local/state")?;
    make(&folder).ok()
}

fn make(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("history");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// Whether a line may be written to a file.
fn may_be_kept(line: &str) -> bool {
    let lower = line.to_lowercase();
    !line.starts_with(char::is_whitespace) && !SECRETS.iter().any(|secret| lower.contains(secret))
}

/// What the line editor goes through. It counts the lines of other contexts first and those of this one behind them, each
/// in the order in which they were typed.
pub(crate) struct Lines {
    /// As they were typed.
    all: Vec<Typed>,
    /// The same as they are counted.
    order: Vec<usize>,
    kept: FileHistory,
    context: Option<Arc<str>>,
    most: usize,
}

struct Typed {
    line: String,
    context: Option<Arc<str>>,
}

/// Between a line and the name of its context, in the file.
const MARK: &str = "  #@";

impl Typed {
    fn of_file(text: &str) -> Self {
        match text.rsplit_once(MARK) {
            Some((line, name)) if is_name(name) => Self { line: line.to_owned(), context: Some(name.into()) },
            _ => Self { line: text.to_owned(), context: None },
        }
    }
}

/// Whether this is the name of a context, and not the rest of something longer.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

impl Lines {
    /// Empty.
    pub(crate) fn new() -> Self {
        let mut kept = FileHistory::with_config(&Config::default());
        // It does not fail in memory.
        let _ = kept.set_max_len(LINES);
        Self { all: Vec::new(), order: Vec::new(), kept, context: None, most: LINES }
    }

    /// From now on lines are typed for this context; `None` while it is not known.
    pub(crate) fn of(&mut self, context: Option<&str>) {
        let context = context.filter(|name| is_name(name));
        if self.context.as_deref() != context {
            self.context = context.map(Arc::from);
            self.arrange();
        }
    }

    fn arrange(&mut self) {
        let is_own = |typed: &Typed| typed.context.is_none() || typed.context == self.context;
        let (own, others): (Vec<usize>, Vec<usize>) =
            (0..self.all.len()).partition(|at| self.all.get(*at).is_some_and(is_own));
        self.order = [others, own].concat();
    }

    fn put(&mut self, typed: Typed) {
        self.all.push(typed);
        if self.all.len() > self.most {
            self.all.drain(..self.all.len().saturating_sub(self.most));
            self.arrange();
        } else {
            self.order.push(self.all.len().saturating_sub(1));
        }
    }

    fn line(&self, index: usize) -> Option<&str> {
        Some(&self.all.get(*self.order.get(index)?)?.line)
    }

    /// The first line from there on that is wanted, and where in it.
    fn first(
        &self,
        start: usize,
        direction: SearchDirection,
        wanted: impl Fn(&str) -> Option<usize>,
    ) -> Option<SearchResult<'_>> {
        let mut index = Some(start);
        while let Some((at, line)) = index.and_then(|at| Some((at, self.line(at)?))) {
            if let Some(pos) = wanted(line) {
                return Some(SearchResult { entry: Cow::Borrowed(line), idx: at, pos });
            }
            index = match direction {
                SearchDirection::Forward => at.checked_add(1),
                SearchDirection::Reverse => at.checked_sub(1),
            };
        }
        None
    }
}

/// How closely a line matches, and where.
fn find(line: &str, wanted: &str, how: Way) -> Option<usize> {
    // Capitals are meant where there are any.
    let exact = wanted.chars().any(char::is_uppercase);
    let line = if exact { line.to_owned() } else { line.to_ascii_lowercase() };
    match how {
        Way::Whole => line.find(wanted),
        Way::Words => {
            let mut found = wanted.split_whitespace().map(|word| line.find(word));
            found.try_fold(usize::MAX, |first, at| Some(first.min(at?))).filter(|at| *at < line.len())
        }
        Way::Characters => {
            let mut rest = line.char_indices();
            let mut wanted = wanted.chars().filter(|wanted| !wanted.is_whitespace());
            let mut next = |wanted| rest.find(|(_, character)| *character == wanted).map(|(at, _)| at);
            let first = next(wanted.next()?)?;
            wanted.all(|wanted| next(wanted).is_some()).then_some(first)
        }
    }
}

/// From the closest to the loosest.
#[derive(Clone, Copy)]
enum Way {
    /// As it was typed.
    Whole,
    /// All words, in any order.
    Words,
    /// All characters, in their order.
    Characters,
}

impl History for Lines {
    fn get(&self, index: usize, _: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        let found = self.line(index);
        Ok(found.map(|line| SearchResult { entry: Cow::Borrowed(line), idx: index, pos: 0 }))
    }

    fn add(&mut self, line: &str) -> Result<bool> {
        let again = self.all.last().is_some_and(|last| last.line == line && last.context == self.context);
        if line.is_empty() || line.len() > LINE_BYTES || again {
            return Ok(false);
        }
        if may_be_kept(line) {
            match &self.context {
                Some(name) => self.kept.add(&[line, MARK, name].concat())?,
                None => self.kept.add(line)?,
            };
        }
        self.put(Typed { line: line.to_owned(), context: self.context.clone() });
        Ok(true)
    }

    fn add_owned(&mut self, line: String) -> Result<bool> {
        self.add(&line)
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn set_max_len(&mut self, len: usize) -> Result<()> {
        self.most = len;
        self.all.drain(..self.all.len().saturating_sub(len));
        self.arrange();
        self.kept.set_max_len(len)
    }

    fn ignore_dups(&mut self, yes: bool) -> Result<()> {
        self.kept.ignore_dups(yes)
    }

    fn ignore_space(&mut self, _: bool) {}

    fn save(&mut self, path: &Path) -> Result<()> {
        self.kept.save(path)
    }

    fn append(&mut self, path: &Path) -> Result<()> {
        self.kept.append(path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        self.kept.load(path)?;
        self.all.extend(self.kept.iter().map(|line| Typed::of_file(line)));
        self.all.retain(|typed| typed.line.len() <= LINE_BYTES);
        self.all.drain(..self.all.len().saturating_sub(self.most));
        self.arrange();
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.all.clear();
        self.order.clear();
        self.kept.clear()
    }

    fn search(
        &self,
        term: &str,
        start: usize,
        direction: SearchDirection,
    ) -> Result<Option<SearchResult<'_>>> {
        if term.trim().is_empty() {
            return Ok(None);
        }
        let mut ways = [Way::Whole, Way::Words, Way::Characters].into_iter();
        Ok(ways.find_map(|how| self.first(start, direction, |line| find(line, term, how))))
    }

    fn starts_with(
        &self,
        term: &str,
        start: usize,
        direction: SearchDirection,
    ) -> Result<Option<SearchResult<'_>>> {
        Ok(self.first(start, direction, |line| line.starts_with(term).then_some(term.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kv");
        let path = make(&folder).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let again = make(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((again == path, mode(&path), mode(&folder)), (true, 0o600, 0o700));
    }

    #[test]
    fn what_is_secret_or_begins_with_a_space_stays_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = make(dir.path()).unwrap();
        let typed = [
            "set a 1",
            " set b 2",
            "set db/Password hunter2",
            "set db PWD=hunter2",
            "set h 'Bearer hunter2'",
            "set k 'two\nlines'",
            "kvctl --token-file t",
        ];
        let mut lines = Lines::new();
        lines.load(&path).unwrap();
        for line in typed {
            assert!(lines.add(line).unwrap());
            lines.append(&path).unwrap();
        }
        let of = |lines: &Lines| -> Vec<String> {
            (0..lines.len())
                .map(|at| lines.get(at, SearchDirection::Forward).unwrap().unwrap().entry.into_owned())
                .collect()
        };
        assert_eq!(of(&lines), typed, "all of them can be called back");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("set b"), "{text}");
        let mut later = Lines::new();
        later.load(&path).unwrap();
        assert_eq!(of(&later), ["set a 1", "set k 'two\nlines'"]);
    }

    #[test]
    fn lines_of_this_context_come_before_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = make(dir.path()).unwrap();
        fs::write(&path, "#V2\nget old\nget strange  #@not a name\n").unwrap();
        let mut lines = Lines::new();
        lines.load(&path).unwrap();
        let typed = [
            ("dev", "set a dev"),
            ("prod", "get a"),
            ("prod", "get a"),
            ("dev", "get a"),
            ("dev", "set 'two\nlines' x"),
            ("prod", "set a prod"),
        ];
        let news = typed.map(|(context, line)| {
            lines.of(Some(context));
            lines.add(line).unwrap()
        });
        assert_eq!(news, [true, true, false, true, true, true], "twice for prod, and once for dev");
        lines.append(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nset a dev  #@dev\nget a  #@prod\nget a  #@dev\nset 'two\\nlines' x  #@dev\nset a prod  #@prod\n"), "{text}");

        let back = |lines: &Lines| -> Vec<String> {
            let at = |at| lines.get(at, SearchDirection::Reverse).unwrap().unwrap().entry.into_owned();
            (0..lines.len()).rev().map(at).collect()
        };
        let of_dev = [
            "set 'two\nlines' x",
            "get a",
            "set a dev",
            "get strange  #@not a name",
            "get old",
            "set a prod",
            "get a",
        ];
        let mut later = Lines::new();
        later.load(&path).unwrap();
        for lines in [&mut lines, &mut later] {
            lines.of(Some("dev"));
            assert_eq!(back(lines), of_dev);
            lines.of(Some("prod"));
            assert_eq!(back(lines)[..2], ["set a prod", "get a"]);
            let found = lines.search("set", lines.len() - 1, SearchDirection::Reverse).unwrap().unwrap();
            assert_eq!((found.entry.as_ref(), found.idx), ("set a prod", lines.len() - 1));
            let found = lines.search("set", found.idx - 1, SearchDirection::Reverse).unwrap().unwrap();
            assert_eq!(found.entry, "set 'two\nlines' x", "then those of others");
            let found = lines.starts_with("get", lines.len() - 1, SearchDirection::Reverse).unwrap().unwrap();
            assert_eq!((found.entry.as_ref(), found.pos), ("get a", 3));
        }
        // A name that the file could not say, and none: the line is at home everywhere.
        lines.of(Some("./a b.kvctx"));
        lines.add("status").unwrap();
        lines.of(Some("dev"));
        assert_eq!(back(&lines)[0], "status");
    }

    #[test]
    fn what_is_too_much_goes_from_the_front() {
        let mut lines = Lines::new();
        lines.set_max_len(2).unwrap();
        for (context, line) in [("a", "1"), ("b", "2"), ("a", "3")] {
            lines.of(Some(context));
            lines.add(line).unwrap();
        }
        assert_eq!(
            (lines.len(), lines.line(0), lines.line(1), lines.line(2)),
            (2, Some("2"), Some("3"), None)
        );
        lines.clear().unwrap();
        assert!(lines.is_empty() && lines.line(0).is_none());
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept() {
        let (longest, longer) = ("x".repeat(LINE_BYTES), "y".repeat(LINE_BYTES + 1));
        let mut lines = Lines::new();
        assert!(lines.add(&longest).unwrap() && !lines.add(&longer).unwrap());
        assert_eq!((lines.len(), lines.kept.len()), (1, 1));
        let dir = tempfile::tempdir().unwrap();
        let path = make(dir.path()).unwrap();
        fs::write(&path, format!("#V2\n{longer}\n{longest}\nget a\n")).unwrap();
        let mut lines = Lines::new();
        lines.load(&path).unwrap();
        let first = lines.get(0, SearchDirection::Forward).unwrap().unwrap();
        assert!(first.entry == longest.as_str() && lines.len() == 2);
    }

    #[test]
    fn a_search_finds_the_closest_way_first() {
        let mut lines = Lines::new();
        for line in ["set app/mode blue", "get app/mode", "status", "Get APP", "set app/owner me"] {
            lines.add(line).unwrap();
        }
        let found = |term: &str, start| {
            let found = lines.search(term, start, SearchDirection::Reverse).unwrap();
            found.map(|found| (found.idx, found.pos))
        };
        assert_eq!(found("app/mode", 4), Some((1, 4)));
        assert_eq!(found("app/mode", 0), Some((0, 4)), "and further back");
        assert_eq!(found("blue set", 4), Some((0, 0)), "words in any order");
        assert_eq!(found("sao", 4), Some((4, 0)), "characters in their order");
        assert_eq!(found("APP", 4), Some((3, 4)), "capitals are meant");
        assert_eq!(found("app", 3), Some((3, 4)), "and else are not");
        assert_eq!((found("zz", 4), found(" ", 4), found("set", 9)), (None, None, None));
        let forward = lines.search("app/o", 0, SearchDirection::Forward).unwrap();
        assert_eq!(forward.map(|found| found.idx), Some(4));
    }
}
