//! A socket of this machine: who administers a node asks it there, and shows nothing but who is logged in.
//!
//! A connection to it is one stream of frames in both directions, framed as on QUIC. There is no TLS: the operating system
//! says whose process the far end is, and lets in nobody but the superuser and the user that runs the node. The file's mode
//! says the same, so a stranger does not even get as far.
//!
//! Frames are written and read by whoever holds either half; the connection ends when both are gone.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{UnixListener, UnixStream};

use crate::{FrameReader, FrameWriter, TransportError};

/// Longest path of a socket, in bytes: what Linux has room for, and the smaller room of others.
pub const PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Frames in both directions.
pub type Stream = (FrameWriter, FrameReader);

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

/// A connection that came in.
#[derive(Debug)]
pub enum Visitor {
    /// The superuser's or the owner's.
    Welcome(Stream),
    /// Somebody else's, with the user's number: to be told so, and nothing else.
    Stranger(u32, Stream),
}

impl LocalListener {
    /// Listens at `path`, which only the own user and the superuser can open. What a process that ended has left there is
    /// replaced; a socket that is listened on, and anything that is no socket, is not. Needs a tokio runtime around it.
    pub fn bind(path: &Path) -> io::Result<Self> {
        check_path(path)?;
        make_room(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        // The file is ours, so its owner is who runs this process.
        let owner = fs::symlink_metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Visitor> {
        let (stream, _) = self.listener.accept().await?;
        let user = stream.peer_cred()?.uid();
        let stream = streams(stream);
        Ok(if is_allowed(user, self.owner) {
            Visitor::Welcome(stream)
        } else {
            Visitor::Stranger(user, stream)
        })
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the socket at `path`.
pub async fn dial_local(path: &Path) -> Result<Stream, TransportError> {
    check_path(path).map_err(TransportError::Io)?;
    let stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => TransportError::Refused,
        io::ErrorKind::PermissionDenied => TransportError::Forbidden(path.to_owned()),
        _ => TransportError::Io(error),
    })?;
    Ok(streams(stream))
}

/// Whose processes may talk to a node that `owner` runs.
fn is_allowed(user: u32, owner: u32) -> bool {
    user == 0 || user == owner
}

fn streams(stream: UnixStream) -> Stream {
    let stream = Arc::new(stream);
    (FrameWriter::local(Arc::clone(&stream)), FrameReader::local(stream))
}

fn check_path(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES {
        let why = format!("a socket's path may have {PATH_BYTES} bytes, and {} has {length}", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

/// Removes a socket that nobody listens on any more.
fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other(format!("{} is there and is no socket", path.display())));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens at {}", path.display()),
        ));
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: usize = 1024;

    async fn pair(path: &Path) -> (LocalListener, Stream, Stream) {
        let listener = LocalListener::bind(path).unwrap();
        let client = dial_local(path).await.unwrap();
        let Visitor::Welcome(server) = listener.accept().await.unwrap() else { panic!("it is our own user") };
        (listener, client, server)
    }

    #[tokio::test]
    async fn frames_cross_in_both_directions_until_one_end_goes() {
        let home = tempfile::tempdir().unwrap();
        let (_listener, mut client, mut server) = pair(&home.path().join("s")).await;
        let large = Bytes::from(vec![7; 300_000]);
        let frames = [Bytes::from_static(b"one"), Bytes::new(), large.clone()];
        let writing = tokio::spawn(async move {
            client.0.write(&frames).await.unwrap();
            client
        });
        for expected in [Bytes::from_static(b"one"), Bytes::new(), large] {
            assert_eq!(server.1.next(400_000).await.unwrap(), Some(expected));
        }
        let client = writing.await.unwrap();
        let silent = timeout(Duration::from_millis(20), server.0.stopped()).await;
        assert!(silent.is_err(), "it is there and says nothing");
        drop(client);
        timeout(Duration::from_secs(10), server.0.stopped()).await.unwrap();
        assert_eq!(server.1.next(LIMIT).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_and_a_cut_one_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let (_listener, mut client, mut server) = pair(&home.path().join("s")).await;
        client.0.write(&[Bytes::from(vec![0; LIMIT])]).await.unwrap();
        assert!(server.1.next(LIMIT).await.unwrap().is_some());
        client.0.write(&[Bytes::from(vec![0; LIMIT + 1])]).await.unwrap();
        assert!(matches!(server.1.next(LIMIT).await, Err(TransportError::TooLarge { .. })));
        server.0.write_raw(&[0, 0, 0, 9, 1]).await;
        drop(server);
        // Unread bytes at the far end make the goodbye a reset; either way it is no end of a frame.
        assert!(client.1.next(LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(dial_local(&path).await, Err(TransportError::Refused)));
        let listener = LocalListener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(LocalListener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(matches!(dial_local(&path).await, Err(TransportError::Refused)), "its file went with it");
        fs::write(&path, "somebody's").unwrap();
        assert!(LocalListener::bind(&path).unwrap_err().to_string().ends_with("is no socket"));
    }

    #[tokio::test]
    async fn a_path_has_an_end() {
        let home = tempfile::tempdir().unwrap();
        let room = PATH_BYTES - home.path().as_os_str().len() - 1;
        assert!(LocalListener::bind(&home.path().join("s".repeat(room))).is_ok());
        let over = home.path().join("s".repeat(room + 1));
        let error = LocalListener::bind(&over).unwrap_err().to_string();
        assert!(error.contains("may have 107 bytes") && error.ends_with("has 108"), "{error}");
        assert!(dial_local(&over).await.unwrap_err().to_string().contains("may have 107 bytes"));
    }

    #[test]
    fn only_the_superuser_and_the_owner_are_let_in() {
        assert!(is_allowed(0, 990) && is_allowed(990, 990));
        assert!(!is_allowed(1000, 990) && !is_allowed(990, 0));
    }
}
