//! Who is in the cluster, in the store: the pairs of [`protocol::stored::book`], in a table that is made when there is
//! something to say, which in a cluster that keeps its founders is never.

use protocol::stored::book::Page;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable as _, TableDefinition, TableError, WriteTransaction,
};

use super::Store;
use crate::state::{StateError, book::Book};

pub(crate) const MEMBERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("members");

/// The table of one commit.
pub(super) type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Store {
    /// What the last commit says.
    pub(crate) fn book(&self) -> Result<Book, StateError> {
        let Some(table) = open(&self.read()?)? else { return Ok(Book::default()) };
        let failed = StateError::store("read who is in the cluster");
        let mut pages = Vec::new();
        for pair in table.iter().map_err(&failed)? {
            let (key, value) = pair.map_err(&failed)?;
            let page = Page::decode(key.value(), value.value());
            pages.push(page.map_err(|_| self.damaged("what it says of a member is damaged"))?);
        }
        Book::load(pages.into_iter()).map_err(|why| self.damaged(why))
    }
}

/// The table, where there is one.
pub(super) fn open(transaction: &ReadTransaction) -> Result<Option<Table>, StateError> {
    match transaction.open_table(MEMBERS) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StateError::store("open who is in the cluster")(error)),
    }
}

/// Writes all of it in the place of what was there.
pub(super) fn write_members<K: AsRef<[u8]>>(
    transaction: &WriteTransaction,
    pairs: &[(K, K)],
) -> Result<(), StateError> {
    let failed = StateError::store("write who is in the cluster");
    let mut table =
        transaction.open_table(MEMBERS).map_err(StateError::store("open who is in the cluster"))?;
    table.retain(|_, _| false).map_err(&failed)?;
    for (key, value) in pairs {
        table.insert(key.as_ref(), value.as_ref()).map_err(&failed)?;
    }
    Ok(())
}
