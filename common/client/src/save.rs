//! One backup: blocks from a stream of their own, each judged as it comes.
//!
//! Nodes are asked until one begins, within the budget of a call; from then on each block has that budget. A backup that
//! broke off cannot be gone on with, for the view behind it is gone: it is begun anew by whoever wants it. What came is never
//! taken for a backup, for it has no end.

use std::{sync::Arc, time::Duration};

use protocol::{
    DecodeError, Refused, Request,
    limits::SAVE_FRAME_BYTES,
    snapshot::{Checker, SaveFrame, Summary},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::Error,
    nodes::Nodes,
    retry::Target,
    stream::{Answer, Answers},
};

/// A backup under way.
pub struct Saving {
    nodes: Arc<Nodes>,
    timeout: Duration,
    seed: u64,
    answers: Option<Answers<SaveFrame>>,
    checker: Checker,
    summary: Option<Summary>,
    served_by: u64,
}

impl Saving {
    pub(crate) fn new(nodes: &Arc<Nodes>, timeout: Duration, seed: u64) -> Self {
        Self {
            nodes: Arc::clone(nodes),
            timeout,
            seed,
            answers: None,
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
        let mut answers = match self.answers.take() {
            Some(answers) => answers,
            None => Answers::open(&self.nodes, Request::Save, self.seed, Target::Preferred, until).await?,
        };
        self.served_by = answers.node();
        let block = match timeout_at(until, answers.next()).await {
            Ok(Ok(SaveFrame::Block(block))) => block,
            Ok(Ok(SaveFrame::Refused(refused))) => return Err(self.cut(refused.to_string())),
            Ok(Ok(SaveFrame::Cut(why))) => return Err(self.cut(why)),
            Ok(Err(error)) => return Err(self.cut(format!("the node {error}"))),
            Err(_) => return Err(self.cut("the node stopped sending".into())),
        };
        let judged = self.checker.take(&block).map(|(_, summary)| summary);
        match judged {
            Ok(None) => self.answers = Some(answers),
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
}

impl Answer for SaveFrame {
    const WHAT: &str = "backup";
    const FRAME_BYTES: usize = SAVE_FRAME_BYTES;
    /// It first writes its state, which may take a while; that it is there at all QUIC watches.
    const PATIENCE: Option<Duration> = None;

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    fn refused(&self) -> Option<&Refused> {
        if let Self::Refused(refused) = self { Some(refused) } else { None }
    }
}
