//! The rows of one commit, and what is kept of their past, for as long as they are held.

use std::{path::Path, sync::Arc};

use redb::Database;

use super::{ROWS, Store, history, staging};
use crate::state::{StateError, row::Meta};

/// A table whose keys are keys.
type Table<V> = redb::ReadOnlyTable<&'static [u8], V>;

/// See the module.
pub(crate) struct Base {
    /// Nothing where there are no rows, whatever the commit has.
    rows: Option<Arc<Table<&'static [u8]>>>,
    pub(super) changes: Arc<Table<&'static [u8]>>,
    pub(super) deleted: Arc<Table<u64>>,
    staged: Option<Arc<Table<&'static [u8]>>>,
    /// What the revision zero of a row stands for.
    restored: u64,
    pub(super) path: Arc<Path>,
    /// Kept open for the rows: a scan goes on though another state has taken the place of this one.
    database: Arc<Database>,
}

impl Store {
    /// The rows of the last commit.
    pub(crate) fn base(&self) -> Result<Base, StateError> {
        let transaction = self.read()?;
        let damaged = |_| self.damaged("it has no rows, or no history of them");
        let restored = self.header_of(&transaction)?.staging.map_or(0, |facts| facts.restored);
        Ok(Base {
            rows: Some(Arc::new(transaction.open_table(ROWS).map_err(damaged)?)),
            changes: Arc::new(transaction.open_table(history::CHANGES).map_err(damaged)?),
            deleted: Arc::new(transaction.open_table(history::DELETED).map_err(damaged)?),
            staged: staging::open(&transaction)?.map(Arc::new),
            restored,
            path: Arc::clone(&self.path),
            database: Arc::clone(&self.database),
        })
    }
}

impl Base {
    /// What is staged in this commit as rows of a revision, or no rows at all.
    pub(crate) fn switched(&self, restored: u64, staged: bool) -> Self {
        Self {
            rows: self.staged.clone().filter(|_| staged),
            changes: Arc::clone(&self.changes),
            deleted: Arc::clone(&self.deleted),
            staged: None,
            restored,
            path: Arc::clone(&self.path),
            database: Arc::clone(&self.database),
        }
    }

    /// Shows a row to `see`, without copying it.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        see: impl FnOnce(Meta, &[u8]) -> T,
    ) -> Result<Option<T>, StateError> {
        let Some(rows) = &self.rows else { return Ok(None) };
        let Some(stored) = rows.get(key).map_err(StateError::store("read a row"))? else {
            return Ok(None);
        };
        let (meta, value) = Meta::split(stored.value()).ok_or_else(|| self.damaged("a row is too short"))?;
        Ok(Some(see(meta.resolved(self.restored), value)))
    }

    /// The rows from `from` on, in the order of their keys.
    pub(crate) fn starting_at(&self, from: &[u8]) -> Result<Rows<'_>, StateError> {
        let rows = self.rows.as_ref().map(|rows| rows.range::<&[u8]>(from..)).transpose();
        let rows = rows.map_err(StateError::store("begin to read rows"))?;
        Ok(Rows { range: rows, restored: self.restored, path: &self.path })
    }
}

/// Rows of one commit, read as they are asked for.
pub(crate) struct Rows<'a> {
    range: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
    restored: u64,
    path: &'a Path,
}

impl Rows<'_> {
    /// The next row as it lies in the file.
    pub(crate) fn next(&mut self) -> Result<Option<Stored>, StateError> {
        let Some(row) = self.range.as_mut().and_then(Iterator::next) else { return Ok(None) };
        let (key, row) = row.map_err(StateError::store("read the next row"))?;
        if Meta::split(row.value()).is_none() {
            return Err(StateError::Damaged { path: self.path.to_path_buf(), why: "a row is too short" });
        }
        Ok(Some(Stored { key, row, restored: self.restored }))
    }
}

/// A row in the file, shown without being copied.
pub(crate) struct Stored {
    key: redb::AccessGuard<'static, &'static [u8]>,
    row: redb::AccessGuard<'static, &'static [u8]>,
    restored: u64,
}

impl Stored {
    /// Its key.
    pub(crate) fn key(&self) -> &[u8] {
        self.key.value()
    }

    /// What it holds.
    pub(crate) fn split(&self) -> Option<(Meta, &[u8])> {
        let (meta, value) = Meta::split(self.row.value())?;
        Some((meta.resolved(self.restored), value))
    }
}
