//! Small files that are either as they were or as they should be, for this user only.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Longest small file that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Makes a directory and its missing parents, mode 0700, and makes their names durable.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut here = Some(dir);
    while let Some(path) = here.filter(|path| !path.as_os_str().is_empty() && !path.exists()) {
        missing.push(path.to_owned());
        here = path.parent();
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    missing.iter().rev().try_for_each(|made| sync_dir(parent(made)))
}

/// Replaces a file atomically and durably, mode 0600: temporary file, sync, rename, sync of the directory.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = parent(path).join(format!(".{name}.{:016x}.tmp", u64::from_le_bytes(random)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Best effort: a leftover has a random name and is never read.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_dir(parent(path))
}

/// Reads a small file; nothing when it is not there.
pub(crate) fn read_small(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// Opens a file to lock it, making it with mode 0600 when it is not there.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Whether others than the owner may read, write or enter.
pub(crate) fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.mode() & 0o077 != 0)
}

/// Whether others than the owner may make files there, or put theirs in the place of what is there.
pub(crate) fn is_writable_by_others(dir: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(dir)?.mode() & 0o022 != 0)
}

/// Takes a directory away from everybody else.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_for_the_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        create_private_dir(&dir).unwrap();
        let file = dir.join("f");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(read_small(&file).unwrap().as_deref(), Some("two"));
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(home.path().join("a")).unwrap().mode() & 0o777, 0o700);
        assert!(!is_open_to_others(&dir).unwrap());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
        assert_eq!(read_small(&dir.join("absent")).unwrap(), None);
    }
}
