//! How far a watch has come, in a file: the cluster and the revision up to which everything was shown, as one line of text.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
    str::FromStr,
};

use protocol::{ClusterId, limits};

use crate::{error::Failure, exit::Exit, files};

/// More than any cursor has.
const BYTES: u64 = 128;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) cluster: ClusterId,
    pub(super) revision: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.cluster, self.revision)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (cluster, revision) = text.split_once('-').ok_or(())?;
        let digits = revision.bytes().all(|digit| digit.is_ascii_digit());
        let revision = revision.parse().ok().filter(|revision| digits && *revision <= limits::NUMBER);
        Ok(Self { cluster: cluster.parse().map_err(drop)?, revision: revision.ok_or(())? })
    }
}

impl Cursor {
    /// What a file says; nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| Failure::file("open", path, &error))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(BYTES).read_to_end(&mut bytes);
        read.map_err(|error| Failure::file("read", path, &error))?;
        let cursor = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
        cursor.map(Some).ok_or_else(|| {
            let message = format!("{} is no cursor of a watch", path.display());
            Failure::new(Exit::File, "KV-1230", "cursor", message)
                .hint("name another file, or remove this one to begin anew")
        })
    }

    /// Puts it in the place of what the file said.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        files::replace(path, format!("{self}\n").as_bytes())
            .map_err(|error| Failure::file("write", path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_file_and_nothing_else_is_taken_for_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("app.cursor");
        assert_eq!(Cursor::read(&path), Ok(None));
        for revision in [0, 4711, limits::NUMBER] {
            let cursor = Cursor { cluster: ClusterId([0xab; 16]), revision };
            cursor.write(&path).unwrap();
            assert_eq!(Cursor::read(&path), Ok(Some(cursor)));
        }
        let cluster = ClusterId([0xab; 16]);
        for wrong in [
            String::new(),
            "7".to_owned(),
            format!("{cluster}"),
            format!("{cluster}-"),
            format!("{cluster}-+7"),
            format!("{cluster}-7-8"),
            format!("{cluster}-{}", limits::NUMBER + 1),
            format!("ab-{}", 7),
            "x".repeat(1000),
        ] {
            std::fs::write(&path, &wrong).unwrap();
            assert_eq!(Cursor::read(&path).unwrap_err().code, "KV-1230", "{wrong}");
        }
        std::fs::write(&path, b"\xff").unwrap();
        assert!(Cursor::read(&path).is_err());
        assert_eq!(Cursor::read(home.path()).unwrap_err().code, "KV-1201");
    }
}
