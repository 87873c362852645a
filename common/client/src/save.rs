//! One backup: blocks from a stream of their own, each judged as it comes.
//!
//! Nodes are asked until one begins, within the budget of a call; from then on each block has that budget. A backup that
//! broke off cannot be gone on with, for the view behind it is gone: it is begun anew by whoever wants it. What came is never
//! taken for a backup, for it has no end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocol::{
    Request, RequestFrame,
    limits::SAVE_FRAME_BYTES,
    snapshot::{Checker, SaveFrame, Summary},
};
use tokio::time::{Instant, timeout_at};
use transport::FrameReader;

use crate::{
    dial::endpoint_error,
    error::{EndpointError, Error},
    link::Link,
    nodes::Nodes,
    retry::{Event, Next, Retry, Target},
};

/// A backup under way.
pub struct Saving {
    nodes: Arc<Nodes>,
    timeout: Duration,
    seed: u64,
    stream: Option<Stream>,
    checker: Checker,
    summary: Option<Summary>,
    served_by: u64,
}

/// The stream from a node.
struct Stream {
    reader: FrameReader,
    first: Option<SaveFrame>,
    _link: Link,
}

impl Saving {
    pub(crate) fn new(nodes: &Arc<Nodes>, timeout: Duration, seed: u64) -> Self {
        Self {
            nodes: Arc::clone(nodes),
            timeout,
            seed,
            stream: None,
            checker: Checker::new(),
            summary: None,
            served_by: 0,
        }
    }

    /// The next block; `None` behind the last, and then [`Saving::summary`] tells of all.
    ///
    /// # Errors
    /// [`Error::Cut`] where blocks came and there will be no more, or one is damaged; before that as any read.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let until = Instant::now() + self.timeout;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open(until).await?,
        };
        let block = match timeout_at(until, stream.next()).await {
            Ok(Ok(SaveFrame::Block(block))) => block,
            Ok(Ok(SaveFrame::Refused(refused))) => return Err(self.cut(refused.to_string())),
            Ok(Ok(SaveFrame::Cut(why))) => return Err(self.cut(why)),
            Ok(Err(error)) => return Err(self.cut(format!("the node {error}"))),
            Err(_) => return Err(self.cut("the node stopped sending".into())),
        };
        let judged = self.checker.take(&block).map(|(_, summary)| summary);
        match judged {
            Ok(None) => self.stream = Some(stream),
            Ok(summary) => {
                self.summary = summary;
                self.nodes.learn_index(self.revision());
            }
            Err(why) => return Err(self.cut(why.to_string())),
        }
        Ok(Some(block))
    }

    /// What the backup is, once it is whole.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Keys and bytes so far.
    pub fn so_far(&self) -> (u64, u64) {
        self.checker.so_far()
    }

    /// The node that serves it.
    pub fn served_by(&self) -> u64 {
        self.served_by
    }

    fn revision(&self) -> u64 {
        self.checker.head().map_or(0, |head| head.at.index.0)
    }

    fn cut(&self, why: String) -> Error {
        let revision = self.checker.head().map(|head| head.at.index.0);
        Error::Cut { why, shown: self.checker.so_far().0, revision, after: None }
    }

    /// Finds a node that begins, and its first frame.
    async fn open(&mut self, until: Instant) -> Result<Stream, Error> {
        let mut retry = Retry::read(self.seed);
        let mut next = Next::Ask(Target::Preferred);
        loop {
            let event = match next {
                Next::Ask(target) => match self.ask(&target, until).await {
                    Ok(stream) => return Ok(stream),
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
                Next::Done(_) => unreachable!("a save is answered by frames of its own"),
            };
            next = retry.step(event, until.saturating_duration_since(Instant::now()));
        }
    }

    async fn ask(&mut self, target: &Target, until: Instant) -> Result<Stream, Event> {
        let link = self.nodes.reach(target, false, until).await.map_err(Event::Unreachable)?;
        let address = link.address().clone();
        // It first writes its state, which may take a while; that it is there at all QUIC watches.
        let stream = match timeout_at(until, open(&link, until)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Event::Dropped { address, error }),
            Err(_) => return Err(Event::DeadlinePassed),
        };
        if let Some(SaveFrame::Refused(refused)) = stream.first {
            return Err(Event::Answered { address, result: Err(refused) });
        }
        self.served_by = link.welcome().node;
        Ok(stream)
    }
}

impl Stream {
    async fn next(&mut self) -> Result<SaveFrame, EndpointError> {
        match self.first.take() {
            Some(first) => Ok(first),
            None => read(&mut self.reader).await,
        }
    }
}

async fn open(link: &Link, until: Instant) -> Result<Stream, EndpointError> {
    let (mut writer, mut reader) = link.stream().await?;
    let left = until.saturating_duration_since(Instant::now()).as_millis().max(1);
    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
    let frame = RequestFrame { id: 0, deadline_ms, request: Request::Save };
    writer.write(&[Bytes::from(frame.encode())]).await.map_err(endpoint_error)?;
    writer.finish();
    let first = Some(read(&mut reader).await?);
    Ok(Stream { reader, first, _link: link.clone() })
}

async fn read(reader: &mut FrameReader) -> Result<SaveFrame, EndpointError> {
    let dropped = |reason: String| EndpointError::Dropped { reason };
    let bytes = reader.next(SAVE_FRAME_BYTES).await.map_err(endpoint_error)?;
    let bytes = bytes.ok_or_else(|| dropped("the stream ended before the backup".into()))?;
    SaveFrame::decode(&bytes).map_err(|error| dropped(error.to_string()))
}
