//! Files that are whole or not there: written beside their place and moved into it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Puts a file in its place in one step, so that a reader sees the old one or the new one, also after a power cut. Its
/// name until then begins with a dot and ends in `.tmp`: nobody who collects files by their ending takes it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Beside::create(path)?;
    file.write_all(bytes)?;
    file.keep()
}

/// The same for a file that nobody but its owner may read, at any moment.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Beside::create_private(path)?;
    file.write_all(bytes)?;
    file.keep()
}

/// A file that is written beside its place, and is gone when it is dropped before [`Beside::keep`].
pub struct Beside {
    file: BufWriter<File>,
    written: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Beside {
    /// An empty file that will be at `path`.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with(path, File::options().write(true).create(true).truncate(true))
    }

    /// The same with mode 0600. What a process that was killed left under its name is removed first, for it may be
    /// anybody's.
    pub fn create_private(path: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(beside(path)?);
        Self::create_with(path, File::options().write(true).create_new(true).mode(0o600))
    }

    fn create_with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let beside = beside(path)?;
        let file = BufWriter::with_capacity(1 << 18, options.open(&beside)?);
        Ok(Self { file, written: beside, path: path.to_owned(), kept: false })
    }

    /// Makes it durable and moves it into its place.
    pub fn keep(mut self) -> io::Result<()> {
        self.make_durable()?;
        fs::rename(&self.written, &self.path)?;
        self.kept = true;
        File::open(folder(&self.path))?.sync_all()
    }

    /// The same where nothing has that name: of two that want it at once the second is told, by an error of the kind
    /// `AlreadyExists`.
    pub fn keep_new(mut self) -> io::Result<()> {
        self.make_durable()?;
        match fs::hard_link(&self.written, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // A file system without second names. There is a moment in which somebody else may take it.
            Err(_) if self.path.symlink_metadata().is_ok() => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => return self.keep(),
        }
        fs::remove_file(&self.written)?;
        self.kept = true;
        File::open(folder(&self.path))?.sync_all()
    }

    fn make_durable(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl io::Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed was hardly written.
            let _ = fs::remove_file(&self.written);
        }
    }
}

/// The name of a file until it is whole.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.tmp", std::process::id()));
    Ok(folder(path).join(beside))
}

fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kv.prom");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_is_its_owners_alone_whatever_lay_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("prod.kvctx");
        fs::write(&path, "open to all").unwrap();
        fs::write(beside(&path).unwrap(), "a rest").unwrap();
        replace_private(&path, b"secret").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_two_that_want_a_name_the_second_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("b.kvsnap");
        let mut first = Beside::create(&path).unwrap();
        first.write_all(b"first").unwrap();
        first.keep_new().unwrap();
        let second = Beside::create(&path).unwrap();
        assert_eq!(second.keep_new().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_and_no_rest() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("folder");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("in"), "old").unwrap();
        assert!(replace(&taken, b"new").is_err(), "a folder with something in it is not replaced");
        assert_eq!(fs::read_to_string(taken.join("in")).unwrap(), "old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert!(replace(&home.path().join("none/kv.prom"), b"new").is_err());
        assert!(replace(Path::new("/"), b"new").is_err());
    }
}
