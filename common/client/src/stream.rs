//! A request on a stream of its own, which is answered by more than a frame: a scan, a watch, a backup.

use std::{marker::PhantomData, time::Duration};

use bytes::Bytes;
use protocol::{ClusterId, DecodeError, Refused, Request, RequestFrame, limits};
use tokio::time::{Instant, timeout_at};
use transport::FrameReader;

use crate::{
    dial::endpoint_error,
    error::{EndpointError, Error},
    link::Link,
    nodes::Nodes,
    retry::{Address, Event, Next, Retry, Target},
};

/// One answer on such a stream.
pub(crate) trait Answer: Sized {
    /// What is answered, in a word.
    const WHAT: &str;

    /// Most bytes of a frame.
    const FRAME_BYTES: usize = limits::CLIENT_FRAME_BYTES;

    /// A node may take so long for its first answer before another is asked, for it may have many to serve; without it as
    /// long as there is.
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(1));

    /// From the bytes of a frame.
    fn read(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Why the node did not begin, where it says that.
    fn refused(&self) -> Option<&Refused>;
}

/// The answers of one node.
pub(crate) struct Answers<A> {
    reader: FrameReader,
    first: Option<A>,
    link: Link,
    of: PhantomData<A>,
}

impl<A: Answer> Answers<A> {
    /// Finds a node that begins to answer, `first` of all there.
    pub(crate) async fn open(
        nodes: &Nodes,
        request: Request,
        seed: u64,
        first: Target,
        until: Instant,
    ) -> Result<Self, Error> {
        let mut retry = Retry::read(seed);
        let mut next = Next::Ask(first);
        loop {
            let event = match next {
                Next::Ask(target) => match Self::ask(nodes, &target, request.clone(), until).await {
                    Ok(answers) => return Ok(answers),
                    Err(event) => event,
                },
                Next::Wait { pause, then } => {
                    let soon = Instant::now() + pause;
                    tokio::time::sleep_until(soon.min(until)).await;
                    next = Next::Ask(then);
                    if soon < until {
                        continue;
                    }
                    Event::DeadlinePassed
                }
                Next::Fail(error) => return Err(error),
                Next::Done(_) => {
                    unreachable!("what has a stream of its own is answered by frames of its own")
                }
            };
            next = retry.step(event, until.saturating_duration_since(Instant::now()));
        }
    }

    async fn ask(nodes: &Nodes, target: &Target, request: Request, until: Instant) -> Result<Self, Event> {
        let link = nodes.reach(target, false, until).await.map_err(Event::Unreachable)?;
        let address = link.address().clone();
        let patience = A::PATIENCE.map_or(until, |patience| until.min(Instant::now() + patience));
        let answers = match timeout_at(patience, Self::begin(&link, request, until)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Err(Event::Dropped { address, error }),
            Err(_) if Instant::now() >= until => return Err(Event::DeadlinePassed),
            Err(_) => {
                link.suspect();
                return Err(Event::Silent { address });
            }
        };
        if let Some(refused) = answers.first.as_ref().and_then(A::refused) {
            return Err(Event::Answered { address, result: Err(refused.clone()) });
        }
        Ok(answers)
    }

    /// Asks the node at the other end of this link.
    pub(crate) async fn begin(link: &Link, request: Request, until: Instant) -> Result<Self, EndpointError> {
        let (mut writer, reader) = link.stream().await?;
        let left = until.saturating_duration_since(Instant::now()).as_millis().max(1);
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        let frame = RequestFrame { id: 0, deadline_ms, request };
        writer.write(&[Bytes::from(frame.encode())]).await.map_err(endpoint_error)?;
        writer.finish();
        let mut answers = Self { reader, first: None, link: link.clone(), of: PhantomData };
        answers.first = Some(answers.next().await?);
        Ok(answers)
    }

    /// The next answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<A, EndpointError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let dropped = |reason: String| EndpointError::Dropped { reason };
        let bytes = self.reader.next(A::FRAME_BYTES).await.map_err(endpoint_error)?;
        let bytes = bytes.ok_or_else(|| dropped(format!("the stream ended before the {}", A::WHAT)))?;
        A::read(&bytes).map_err(|error| dropped(error.to_string()))
    }

    /// The node that answers.
    pub(crate) fn node(&self) -> u64 {
        self.link.welcome().node
    }

    /// Its cluster.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.link.welcome().cluster
    }

    /// Where it was reached.
    pub(crate) fn address(&self) -> &Address {
        self.link.address()
    }

    /// It does not say anything any more, and new requests should go elsewhere.
    pub(crate) fn suspect(&self) {
        self.link.suspect();
    }
}
