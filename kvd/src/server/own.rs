//! What only the process knows of its node: disks, certificates, which life of the server it is.

use std::sync::Arc;

use tokio::sync::watch;
use transport::Identity;

use super::ServeError;
use crate::{
    bootstrap::Launch,
    footprint::{Footprint, Taken},
    recognition::Guard,
};

/// Adds what the process knows to what the node knows of itself.
pub(super) fn finish_status(
    launch: &Launch,
    identity: watch::Receiver<Identity>,
    guard: Arc<Guard>,
) -> Result<impl Fn(&mut protocol::NodeStatus) + Send + 'static, ServeError> {
    let footprint = Footprint::of(vec![launch.log_dir.clone(), launch.state_dir.clone()]);
    let footprint = footprint.map_err(|error| ServeError::System("cannot start a thread", error))?;
    Ok(move |status: &mut protocol::NodeStatus| {
        let Taken { used, free, size } = footprint.last();
        (status.disk_bytes, status.disk_free, status.disk_size) = (used, free, size);
        status.certificate_days = identity.borrow().days_left();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        status.wall_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        (status.incarnation, status.waits) = (Some(guard.me().incarnation), guard.waits());
        let troubles = [guard.trouble(), std::mem::take(&mut status.trouble)];
        status.trouble =
            troubles.into_iter().filter(|trouble| !trouble.is_empty()).collect::<Vec<_>>().join("; ");
    })
}
