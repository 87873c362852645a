//! The socket on the node's own machine: `kvd.sock` in its data directory, for the superuser and the user that runs it.
//!
//! ```text
//!  kvctl ── knock ──► this node ──────────────► its client frames (`clients`)
//!                         └── another member's address ──► a connection to that member, with the node's certificate (`relay`)
//! ```
//!
//! Each connection is one stream: of requests, or of one scan, watch or save, and is bounded as such a stream is. There are at
//! most [`VISITORS`] at a time, and one that does not say within [`KNOCK`] whom it wants is closed. Where the service manager
//! gave a runtime directory, a link there leads to the socket, so that who administers the node need not know where its data
//! lies. A node without a socket is worse to administer and serves as well as any: that there is none is a warning.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use protocol::{
    limits::CLIENT_FRAME_BYTES,
    local::{Fault, Knock, Opened},
};
use tokio::sync::Semaphore;
use transport::{Endpoint, FrameReader, FrameWriter, LocalListener, TransportError, Visitor};

use crate::{
    bootstrap::files::create_private_dir,
    clients::{self, Door},
    metrics::{self, meter::Held},
};

mod relay;

/// Its name in the data directory.
const NAME: &str = "kvd.sock";
/// Where the service manager says which directory it made for the process.
const RUNTIME: &str = "RUNTIME_DIRECTORY";
/// Most connections at one time.
const VISITORS: usize = 128;
/// How long a connection may take to say whom it wants.
const KNOCK: Duration = Duration::from_secs(5);
/// How long no connection is taken after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection needs.
#[derive(Clone)]
struct House {
    door: Door,
    endpoint: Arc<Endpoint>,
}

/// A socket that is served until this is dropped.
pub(crate) struct Serving {
    task: tokio::task::JoinHandle<()>,
    link: Option<Link>,
}

/// A way to the socket that is easier to find.
#[derive(Debug, PartialEq)]
struct Link {
    path: PathBuf,
    socket: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The listener goes with the task, and the socket's file with the listener.
        self.task.abort();
        let Some(Link { path, socket }) = &self.link else { return };
        // Another node of this machine may have put its own there meanwhile.
        if std::fs::read_link(path).is_ok_and(|leads| leads == *socket) {
            // A link that stays leads nowhere and is replaced at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Serves the socket in `data`, and where it cannot, says why.
pub(crate) fn serve(data: &Path, door: Door, endpoint: Arc<Endpoint>) -> Option<Serving> {
    let runtime = std::env::var_os(RUNTIME);
    let runtime = runtime.as_ref().and_then(|all| std::env::split_paths(all).next());
    let path = data.join(NAME);
    let listener = create_private_dir(data).and_then(|()| LocalListener::bind(&path));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            let socket = path.display();
            tracing::warn!(%socket, %error, "no admin socket: kvctl needs certificates on this machine as well");
            return None;
        }
    };
    let link = runtime.and_then(|runtime| lead(&path, runtime.join(NAME)));
    tracing::info!(socket = %path.display(), "serves the admin socket");
    let house = House { door, endpoint };
    let places = Arc::new(Semaphore::new(VISITORS));
    Some(Serving { task: tokio::spawn(accept(listener, house, places)), link })
}

/// Makes a link at `path`, where there is nothing but perhaps another link.
fn lead(socket: &Path, path: PathBuf) -> Option<Link> {
    let made = std::path::absolute(socket).and_then(|socket| {
        if path.is_symlink() {
            std::fs::remove_file(&path)?;
        }
        std::os::unix::fs::symlink(&socket, &path)?;
        Ok(socket)
    });
    match made {
        Ok(socket) => Some(Link { path, socket }),
        Err(error) => {
            tracing::warn!(link = %path.display(), %error, "kvctl does not find the admin socket by itself");
            None
        }
    }
}

async fn accept(listener: LocalListener, house: House, places: Arc<Semaphore>) {
    loop {
        match listener.accept().await {
            Ok(Visitor::Welcome(stream)) => {
                tokio::spawn(admit(stream, house.clone(), Arc::clone(&places)));
            }
            Ok(Visitor::Stranger(user, (writer, _))) => {
                house.door.meters.turned_away(metrics::Door::Handshake);
                tracing::warn!(user, "refused at the admin socket");
                refuse(writer, Fault::Forbidden, "it is not open to this user".into()).await;
            }
            Err(error) => {
                // Of file descriptors, most likely. Connections that end give some back.
                tracing::warn!(%error, "the admin socket cannot take a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn admit((writer, reader): (FrameWriter, FrameReader), house: House, places: Arc<Semaphore>) {
    let Ok(_place) = places.try_acquire_owned() else {
        house.door.meters.turned_away(metrics::Door::Limit);
        let why = format!("busy: the admin socket has {VISITORS} connections");
        return refuse(writer, Fault::Other, why).await;
    };
    house.door.meters.clients_accepted.add(1);
    let _open = Held::new(&house.door.meters, |meters| &meters.clients);
    if let Err(error) = converse((writer, reader), &house).await {
        tracing::debug!(%error, "a connection to the admin socket ended");
    }
}

async fn converse(
    (mut writer, mut reader): (FrameWriter, FrameReader),
    house: &House,
) -> Result<(), TransportError> {
    let knock = tokio::time::timeout(KNOCK, reader.next(CLIENT_FRAME_BYTES)).await;
    let Some(bytes) = knock.map_err(|_| TransportError::Silent)?? else { return Ok(()) };
    let knock = Knock::decode(&bytes).map_err(|error| TransportError::Malformed(error.to_string()))?;
    let members = house.door.directory.now();
    match knock {
        Knock::There(address) if members.address(members.me()) != Some(&*address) => {
            if !members.list().iter().any(|member| member.address == address) {
                let why = format!("{address} is the address of no member that this node knows");
                return fail(writer, Fault::Other, why).await;
            }
            relay::carry((writer, reader), &address, &house.endpoint).await
        }
        Knock::Here | Knock::There(_) => {
            let welcome = Opened::Welcome(house.door.welcome());
            writer.write(&[Bytes::from(welcome.encode())]).await?;
            clients::serve_local((writer, reader), house.door.clone()).await;
            Ok(())
        }
    }
}

/// Says why and ends it. So little is taken at once by a connection on which nothing was said before.
async fn refuse(writer: FrameWriter, kind: Fault, why: String) {
    let _ = tokio::time::timeout(PAUSE, fail(writer, kind, why)).await;
}

async fn fail(mut writer: FrameWriter, kind: Fault, why: String) -> Result<(), TransportError> {
    writer.write(&[Bytes::from(Opened::Failed { kind, why }.encode())]).await
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_link_is_made_anew_and_nothing_else_is_replaced() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let (socket, link) = (home.path().join("s"), home.path().join("kvd.sock"));
        std::os::unix::fs::symlink("/nowhere", &link)?;
        assert_eq!(lead(&socket, link.clone()), Some(Link { path: link.clone(), socket: socket.clone() }));
        assert_eq!(std::fs::read_link(&link)?, socket);
        std::fs::remove_file(&link)?;
        std::fs::write(&link, "somebody's")?;
        assert_eq!(lead(&socket, link.clone()), None);
        assert_eq!(std::fs::read_to_string(&link)?, "somebody's");
        Ok(())
    }
}
