//! Who is in the cluster, for all that stands around the loop: connections, pages of metrics, the log of events. The node
//! decides; the loop passes on what it says.

use std::sync::Arc;

use tokio::sync::watch;

use crate::members::Members;

/// A place where the members stand as they are now.
#[derive(Clone)]
pub(crate) struct Directory(watch::Receiver<Arc<Members>>);

impl Directory {
    /// With these members, and who may change them.
    pub(crate) fn new(members: Members) -> (watch::Sender<Arc<Members>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(members));
        (sender, Self(receiver))
    }

    /// The members.
    pub(crate) fn now(&self) -> Arc<Members> {
        Arc::clone(&self.0.borrow())
    }

    /// Members that nobody changes.
    #[cfg(test)]
    pub(crate) fn fixed(members: Members) -> Self {
        Self::new(members).1
    }
}
