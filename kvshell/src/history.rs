//! The history, in `$XDG_STATE_HOME/kv/history`: it may hold values, so only its owner reads it. Lines that begin with
//! a space are not kept.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

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
}
