//! Which file is the store.
//!
//! A store that is received from another server takes the place of the one that is there. It is a file of its own, of the
//! next *generation*, and the highest generation is the current one: a new one becomes current by its name, which is given
//! once everything in the file is durable, and the old one is removed once that name is.
//!
//! ```text
//! state.redb                     generation 0, made at the first start
//! state-0000000000000001.redb    the next, received
//! incoming.redb                  not whole, or not current: removed at the next start
//! ```
//!
//! Two generations at a start say that a process ended in between. The name of the higher one may then be readable and not
//! on the disk, and a sync after one that failed saves nothing. So it is renamed once more, to the next generation, which
//! a sync has to save, before the lower one goes.

use std::path::{Path, PathBuf};

use super::{NAME, disk_error};
use crate::{
    disk::Disk,
    instruments::{Mark, Mutant, mark, mutant},
    state::StateError,
};

/// A store that is being received.
pub(crate) const INCOMING: &str = "incoming.redb";

/// The current store in `dir`, if there is one. What came before it is removed.
pub(super) fn current(disk: &dyn Disk, dir: &Path) -> Result<Option<PathBuf>, StateError> {
    let mut generations = generations(disk, dir)?;
    let Some(newest) = generations.pop() else { return Ok(None) };
    if generations.is_empty() {
        return Ok(Some(dir.join(name(newest))));
    }
    mark(Mark::StoreGenerations);
    let (from, to) = (dir.join(name(newest)), dir.join(name(newest.saturating_add(1))));
    disk.rename(&from, &to).map_err(disk_error("rename", &from))?;
    if !mutant(Mutant::GenerationSkipsDirectory) {
        disk.sync_dir(dir).map_err(disk_error("sync", dir))?;
    }
    for old in generations {
        let path = dir.join(name(old));
        disk.remove(&path).map_err(disk_error("remove", &path))?;
    }
    disk.sync_dir(dir).map_err(disk_error("sync", dir))?;
    Ok(Some(to))
}

/// Makes the store that was received the current one: from here on [`current`] finds it.
pub(crate) fn adopt(disk: &dyn Disk, dir: &Path) -> Result<(), StateError> {
    let next = generations(disk, dir)?.pop().map_or(1, |newest| newest.saturating_add(1));
    let (from, to) = (dir.join(INCOMING), dir.join(name(next)));
    disk.rename(&from, &to).map_err(disk_error("rename", &from))
}

/// All generations in `dir`, in order.
fn generations(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, StateError> {
    let names = disk.list(dir).map_err(disk_error("list", dir))?;
    let mut found: Vec<u64> = names.iter().filter_map(|name| parse(name)).collect();
    found.sort_unstable();
    Ok(found)
}

fn name(generation: u64) -> String {
    if generation == 0 { NAME.to_owned() } else { format!("state-{generation:016x}.redb") }
}

fn parse(text: &str) -> Option<u64> {
    if text == NAME {
        return Some(0);
    }
    let digits = text.strip_prefix("state-")?.strip_suffix(".redb")?;
    let generation = u64::from_str_radix(digits, 16).ok()?;
    // One spelling, and never a second name for the first.
    (generation > 0 && name(generation) == text).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_has_one_name() {
        for generation in [0, 1, 10, u64::MAX] {
            assert_eq!(parse(&name(generation)), Some(generation));
        }
        for wrong in ["state-0000000000000000.redb", "state-1.redb", "state-000000000000000A.redb", INCOMING]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
