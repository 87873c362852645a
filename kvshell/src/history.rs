//! The history: every line in memory, and in `$XDG_STATE_HOME/kv/history` those that may be kept. The file may hold values,
//! so only its owner reads it. A line that begins with a space, or that speaks of something secret, is not written to it. A
//! very long line is not even in memory, for a search goes through all of them at each key press.
//!
//! Ctrl-R finds a line by its characters in their order; the closest way that any line matches goes first.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustyline::{
    Config, Result,
    history::{FileHistory, History, MemHistory, SearchDirection, SearchResult},
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

/// What the line editor goes through.
pub(crate) struct Lines {
    all: MemHistory,
    kept: FileHistory,
}

impl Lines {
    /// Empty.
    pub(crate) fn new() -> Self {
        let mut lines = Self { all: MemHistory::new(), kept: FileHistory::with_config(&Config::default()) };
        // Neither fails in memory.
        let _ = lines.set_max_len(LINES);
        lines
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
    fn get(&self, index: usize, direction: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        self.all.get(index, direction)
    }

    fn add(&mut self, line: &str) -> Result<bool> {
        if line.len() > LINE_BYTES {
            return Ok(false);
        }
        let added = self.all.add(line)?;
        if added && may_be_kept(line) {
            self.kept.add(line)?;
        }
        Ok(added)
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
        self.all.set_max_len(len)?;
        self.kept.set_max_len(len)
    }

    fn ignore_dups(&mut self, yes: bool) -> Result<()> {
        self.all.ignore_dups(yes)?;
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
        for line in self.kept.iter().filter(|line| line.len() <= LINE_BYTES) {
            self.all.add(line)?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.all.clear()?;
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
        for how in [Way::Whole, Way::Words, Way::Characters] {
            let mut index = Some(start);
            while let Some(at) = index.filter(|at| *at < self.len()) {
                let Some(result) = self.all.get(at, direction)? else { break };
                if let Some(pos) = find(&result.entry, term, how) {
                    return Ok(Some(SearchResult { pos, ..result }));
                }
                index = match direction {
                    SearchDirection::Forward => at.checked_add(1),
                    SearchDirection::Reverse => at.checked_sub(1),
                };
            }
        }
        Ok(None)
    }

    fn starts_with(
        &self,
        term: &str,
        start: usize,
        direction: SearchDirection,
    ) -> Result<Option<SearchResult<'_>>> {
        self.all.starts_with(term, start, direction)
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
