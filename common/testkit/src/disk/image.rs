//! What is on the medium, what the system shows, and the changes between the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::parent;
use crate::rng::Rng;

/// What the system's cache forgets as a whole.
const PAGE: usize = 4096;

/// Which of `count` unsynced changes survive, and in which order: all, none, a prefix, or any in any order.
fn survivors(rng: &mut Rng, count: usize) -> Vec<usize> {
    match rng.below(5) {
        0 => Vec::new(),
        1 => (0..count).collect(),
        2 => (0..rng.index(count + 1)).collect(),
        _ => {
            let mut kept: Vec<usize> = (0..count).filter(|_| rng.below(2) == 0).collect();
            rng.shuffle(&mut kept);
            kept
        }
    }
}

/// What a crash did to the unsynced changes of a file or directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Something is gone.
    pub(super) any: bool,
    /// Of one change a part is there and a part is not.
    pub(super) torn: bool,
    /// A later change is there and an earlier one is not, or they happened the other way round.
    pub(super) reordered: bool,
}

impl Losses {
    /// `pieces` tells for each piece which change it is of; `kept` names those that survived, in the order in which
    /// they happened.
    fn of(pieces: impl Iterator<Item = usize>, kept: &[usize]) -> Self {
        let pieces: Vec<usize> = pieces.collect();
        let survived: BTreeSet<usize> = kept.iter().copied().collect();
        let (there, gone): (Vec<usize>, Vec<usize>) = (0..pieces.len()).partition(|at| survived.contains(at));
        let touched: BTreeSet<usize> = there.iter().map(|at| pieces[*at]).collect();
        let first_gone = gone.first().map(|at| pieces[*at]);
        Self {
            any: !gone.is_empty(),
            torn: gone.iter().any(|at| touched.contains(&pieces[*at])),
            reordered: first_gone.is_some_and(|first| touched.iter().any(|of| *of > first))
                || kept.windows(2).any(|pair| pieces[pair[0]] > pieces[pair[1]]),
        }
    }
}

/// A change of a file that was not synced.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// A file: durable bytes, visible bytes, and what lies between them.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<Change>,
}

impl File {
    pub(super) fn content(&self) -> &[u8] {
        &self.visible
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that fails drops what it should have saved. The system takes those pages for saved, so it may forget them
    /// at any time; then what is on the medium shows again. The length stays as it is seen.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        if rng.below(2) == 0 {
            return;
        }
        let pages: BTreeSet<usize> = changes.iter().flat_map(pages).collect();
        for page in pages.into_iter().filter(|_| rng.below(2) == 0) {
            let end = self.visible.len().min((page + 1) * PAGE);
            for at in page * PAGE..end {
                self.visible[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
    }

    pub(super) fn rot(&mut self, offset: usize, mask: u8) {
        self.visible[offset] ^= mask;
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
    }

    /// Loses power. An unsynced write survives in pieces of `tear` bytes, each whole or not at all.
    pub(super) fn crash(&mut self, rng: &mut Rng, tear: usize) -> Losses {
        let changes = std::mem::take(&mut self.unsynced);
        let pieces: Vec<(usize, Change)> = changes
            .into_iter()
            .enumerate()
            .flat_map(|(of, change)| torn(change, tear).into_iter().map(move |piece| (of, piece)))
            .collect();
        let kept = survivors(rng, pieces.len());
        for &survivor in &kept {
            apply(&mut self.durable, &pieces[survivor].1);
        }
        self.visible.clone_from(&self.durable);
        Losses::of(pieces.iter().map(|(of, _)| *of), &kept)
    }
}

/// The pages of the system's cache that a change touches.
fn pages(change: &Change) -> std::ops::Range<usize> {
    match change {
        Change::Write(offset, bytes) => offset / PAGE..(offset + bytes.len()).div_ceil(PAGE),
        Change::Resize(_) => 0..0,
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize(len) => bytes.resize(*len, 0),
        Change::Write(offset, new) => {
            let end = offset + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(new);
        }
    }
}

/// A write as the aligned pieces that it touches, each of which is atomic.
fn torn(change: Change, tear: usize) -> Vec<Change> {
    let Change::Write(mut offset, bytes) = change else { return vec![change] };
    let mut pieces = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(tear - offset % tear));
        pieces.push(Change::Write(offset, piece.to_vec()));
        offset += piece.len();
        rest = after;
    }
    pieces
}

/// A change of a directory that was not synced. A rename is one change: it happened or it did not.
#[derive(Clone, Debug)]
enum Renaming {
    Directory(PathBuf),
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Clone, Debug, Default)]
struct Tree {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, u64>,
}

/// All names: durable, visible, and what lies between them by directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    durable: Tree,
    visible: Tree,
    unsynced: Vec<(PathBuf, Renaming)>,
}

impl Names {
    pub(super) fn find(&self, path: &Path) -> Option<u64> {
        self.visible.files.get(path).copied()
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.visible.files.contains_key(path) || self.visible.has(path)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.visible.has(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = self.visible.files.keys().chain(&self.visible.directories);
        let mut names: Vec<String> = paths
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn create_dir(&mut self, path: &Path) {
        if self.visible.has(path) {
            return;
        }
        self.create_dir(&parent(path));
        self.change(path, Renaming::Directory(path.to_owned()));
    }

    pub(super) fn link(&mut self, path: &Path, id: u64) -> io::Result<()> {
        if !self.visible.has(&parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(path, Renaming::Link(path.to_owned(), id));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        if !self.visible.has(&parent(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(to, Renaming::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path).ok_or(io::ErrorKind::NotFound)?;
        self.change(path, Renaming::Unlink(path.to_owned()));
        Ok(())
    }

    /// A sync that fails drops what it should have saved.
    pub(super) fn sync(&mut self, dir: &Path, works: bool) -> io::Result<()> {
        if !self.visible.has(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (now, later) = std::mem::take(&mut self.unsynced).into_iter().partition(|(of, _)| of == dir);
        self.unsynced = later;
        let now: Vec<(PathBuf, Renaming)> = now;
        for (_, change) in now.iter().filter(|_| works) {
            self.durable.apply(change);
        }
        Ok(())
    }

    /// Loses power: each unsynced change may have happened or not.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Losses {
        let unsynced = std::mem::take(&mut self.unsynced);
        let kept = survivors(rng, unsynced.len());
        for &survivor in &kept {
            self.durable.apply(&unsynced[survivor].1);
        }
        self.durable.prune();
        self.visible = self.durable.clone();
        Losses::of(0..unsynced.len(), &kept)
    }

    /// Every file that has a name.
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.visible.files.values().copied().collect()
    }

    fn change(&mut self, path: &Path, change: Renaming) {
        self.visible.apply(&change);
        self.unsynced.push((parent(path), change));
    }
}

impl Tree {
    /// The root is always there.
    fn has(&self, dir: &Path) -> bool {
        dir.parent().is_none() || self.directories.contains(dir)
    }

    fn apply(&mut self, change: &Renaming) {
        match change {
            Renaming::Directory(path) => {
                self.directories.insert(path.clone());
            }
            Renaming::Link(path, id) => {
                self.files.insert(path.clone(), *id);
            }
            Renaming::Unlink(path) => {
                self.files.remove(path);
            }
            Renaming::Rename(from, to, id) => {
                self.files.retain(|path, other| path != from || other != id);
                self.files.insert(to.clone(), *id);
            }
        }
    }

    /// What lies in a directory that was lost is lost.
    fn prune(&mut self) {
        let all = self.directories.clone();
        let rooted =
            |path: &Path| path.ancestors().skip(1).all(|dir| dir.parent().is_none() || all.contains(dir));
        self.directories.retain(|path| rooted(path));
        self.files.retain(|path, _| rooted(path));
    }
}
