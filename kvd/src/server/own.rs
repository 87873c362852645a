//! What only the process knows of its node: disks, certificates, which life of the server it is.

use std::sync::Arc;

use tokio::sync::watch;
use transport::Identity;

use crate::{bootstrap::Launch, recognition::Guard};

/// Adds what the process knows to what the node knows of itself.
pub(super) fn finish_status(
    launch: &Launch,
    identity: watch::Receiver<Identity>,
    guard: Arc<Guard>,
) -> impl Fn(&mut protocol::NodeStatus) + Send + 'static {
    let directories = [launch.log_dir.clone(), launch.state_dir.clone()];
    move |status| {
        status.disk_bytes = directories.iter().map(|directory| used(directory)).sum();
        status.certificate_days = identity.borrow().days_left();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        status.wall_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        (status.disk_free, status.disk_size) = room(&directories);
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        (status.incarnation, status.waits) = (Some(guard.me().incarnation), guard.waits());
        status.trouble = guard.trouble();
    }
}

/// What is free for the node on the fuller of the file systems of these directories, and the size of that one; zeros where
/// the operating system does not say.
fn room(directories: &[std::path::PathBuf]) -> (u64, u64) {
    let rooms = directories.iter().filter_map(|directory| {
        let found = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some((bytes(found.f_bavail), bytes(found.f_blocks)))
    });
    rooms.min_by_key(|(free, _)| *free).unwrap_or_default()
}

/// Bytes of the files directly in a directory.
pub(crate) fn used(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
