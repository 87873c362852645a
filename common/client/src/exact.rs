//! A scan of exactly one node: no other node goes on with it, and nobody is asked twice. Whoever compares nodes wants to know
//! what each of them holds, where every other scan wants its rows from whoever has them.

use std::{sync::Arc, time::Duration};

use protocol::{
    Refused, Request, Scan, ScanFrame,
    scan::{Digest, End, Row},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    error::{EndpointError, Error},
    nodes::Nodes,
    stream::Answers,
};

/// After so long a node that is not there yet is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// A scan of one node under way.
pub struct NodeScan {
    answers: Answers<ScanFrame>,
    address: String,
    timeout: Duration,
    shown: u64,
}

/// What comes next of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePart {
    /// More rows, at least one.
    Rows(Vec<Row>),
    /// The end.
    End(End),
    /// The end where a hash was wanted.
    Digest(Digest),
}

impl NodeScan {
    pub(crate) async fn open(
        nodes: &Nodes,
        address: &str,
        scan: Scan,
        timeout: Duration,
    ) -> Result<Self, Error> {
        scan.check()?;
        let until = Instant::now() + timeout;
        let failed = |error| Error::at(address, error);
        let link = nodes.link(&address.into(), until).await.map_err(failed)?;
        let begun = timeout_at(until, Answers::begin(&link, Request::Scan(scan), until)).await;
        let answers = begun.unwrap_or(Err(EndpointError::Silent)).map_err(failed)?;
        Ok(Self { answers, address: address.to_owned(), timeout, shown: 0 })
    }

    /// The next rows, or the end. A node that looks at many keys without showing any has the budget of a call again with
    /// each of its signs of life.
    ///
    /// # Errors
    /// [`Error::Refused`] as the node refused it, [`Error::Cut`] where it broke off, [`Error::Unreachable`] where it went.
    pub async fn next(&mut self) -> Result<NodePart, Error> {
        loop {
            let until = Instant::now() + self.timeout;
            let frame = timeout_at(until, self.answers.next()).await.unwrap_or(Err(EndpointError::Silent));
            match frame.map_err(|error| Error::at(&self.address, error))? {
                ScanFrame::Page(page) if !page.versions.is_empty() => return Err(self.senseless()),
                ScanFrame::Page(page) if page.rows.is_empty() => {}
                ScanFrame::Page(page) => {
                    self.shown = self.shown.saturating_add(page.rows.len() as u64);
                    return Ok(NodePart::Rows(page.rows));
                }
                ScanFrame::End(end) => return Ok(NodePart::End(end)),
                ScanFrame::Digest(digest) => return Ok(NodePart::Digest(digest)),
                ScanFrame::Refused(refused) => return Err(Error::Refused(refused)),
                ScanFrame::Cut(why) => {
                    return Err(Error::Cut { why, shown: self.shown, revision: None, after: None });
                }
            }
        }
    }

    fn senseless(&self) -> Error {
        let reason = "it sent what makes no sense".to_owned();
        Error::at(&self.address, EndpointError::Dropped { reason })
    }
}

/// What each node holds at the revision of the scan, asked of all at once. A node that is not there yet, or has no place for
/// another scan, is asked again within the budget of a call.
pub(crate) async fn digests(
    nodes: &Arc<Nodes>,
    addresses: &[String],
    scan: &Scan,
    timeout: Duration,
) -> Vec<Result<Digest, Error>> {
    let mut asking = JoinSet::new();
    for (place, address) in addresses.iter().cloned().enumerate() {
        let (nodes, scan) = (Arc::clone(nodes), scan.clone());
        asking.spawn(async move { (place, digest(&nodes, &address, scan, timeout).await) });
    }
    let lost = |address: &String| Err(Error::at(address, EndpointError::Silent));
    let mut digests: Vec<_> = addresses.iter().map(lost).collect();
    while let Some(answered) = asking.join_next().await {
        if let Ok((place, digest)) = answered
            && let Some(slot) = digests.get_mut(place)
        {
            *slot = digest;
        }
    }
    digests
}

async fn digest(nodes: &Nodes, address: &str, scan: Scan, timeout: Duration) -> Result<Digest, Error> {
    let until = Instant::now() + timeout;
    loop {
        let mut answers = NodeScan::open(nodes, address, scan.clone(), timeout).await?;
        match answers.next().await {
            Ok(NodePart::Digest(digest)) => return Ok(digest),
            Ok(_) => return Err(answers.senseless()),
            Err(Error::Refused(Refused::Unavailable(_) | Refused::Busy { .. })) if Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}
