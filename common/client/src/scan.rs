//! One scan: pages from a stream of their own, all of one revision whatever happens.
//!
//! A scan begins as any read does: nodes are asked until one serves it, within the budget of a call; from then on each
//! page has that budget. When the stream breaks, the rest is asked of any node that can still serve **the same
//! revision** ([`Scan::at`]): every one that has reached it and still keeps it. Otherwise the scan ends with
//! [`Error::Cut`], which says after which key another one could go on, at another revision. A scan that has shown
//! nothing yet is simply begun again. Of versions of one key, what is left is what came before the last that was shown.
//!
//! Nothing is read ahead but what the stream's window holds: a caller that takes its time makes the node wait.

use std::{sync::Arc, time::Duration};

use protocol::{
    DecodeError, Refused, Request, Scan, ScanFrame,
    scan::{End, Page, Want},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::Error,
    nodes::Nodes,
    retry::Target,
    stream::{Answer, Answers},
};

/// A scan under way.
pub struct Pages {
    nodes: Arc<Nodes>,
    scan: Scan,
    timeout: Duration,
    seed: u64,
    stream: Option<Stream>,
    /// Rows that were shown, the last key of them, and the revision that all are of.
    shown: u64,
    last: Option<Vec<u8>>,
    /// The last version, where versions are wanted.
    last_version: Option<u64>,
    revision: Option<u64>,
    served_by: u64,
    end: Option<End>,
}

/// The stream to one node.
struct Stream {
    answers: Answers<ScanFrame>,
    /// What this one was asked, and the rows that it gave.
    asked: Scan,
    given: u64,
}

impl Answer for ScanFrame {
    const WHAT: &str = "scan";

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    fn refused(&self) -> Option<&Refused> {
        if let Self::Refused(refused) = self { Some(refused) } else { None }
    }
}

impl Pages {
    pub(crate) fn new(nodes: &Arc<Nodes>, scan: Scan, timeout: Duration, seed: u64) -> Self {
        Self {
            nodes: Arc::clone(nodes),
            scan,
            timeout,
            seed,
            stream: None,
            shown: 0,
            last: None,
            last_version: None,
            revision: None,
            served_by: 0,
            end: None,
        }
    }

    /// The next rows, at least one; `None` at the end, of which [`Pages::end`] tells.
    ///
    /// # Errors
    /// [`Error::Cut`] where rows were shown and the rest cannot be had at their revision; before that as any read.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        self.scan.check()?;
        let mut until = Instant::now() + self.timeout;
        while self.end.is_none() {
            match self.frame(until).await? {
                ScanFrame::Page(page) if page.rows.is_empty() && page.versions.is_empty() => {
                    until = Instant::now() + self.timeout;
                }
                ScanFrame::Page(page) => return Ok(Some(page)),
                ScanFrame::End(end) => self.ended(end),
                ScanFrame::Digest(_) => return Err(self.cut("the node sent what makes no sense".into())),
                // Before it the node only gave signs of life.
                ScanFrame::Refused(refused) if self.shown == 0 => return Err(Error::Refused(refused)),
                ScanFrame::Refused(refused) => return Err(self.cut(refused.to_string())),
                ScanFrame::Cut(why) => return Err(self.cut(why)),
            }
        }
        Ok(None)
    }

    /// Whether all versions were shown that were wanted.
    fn is_enough(&self) -> bool {
        let full = self.scan.limit.is_some_and(|limit| limit <= self.shown);
        self.scan.want == Want::Versions && self.shown > 0 && full
    }

    /// The end of a list of versions whose stream was lost behind the last that was wanted. Whether there are more nobody
    /// said, so there may be.
    fn enough(&self) -> ScanFrame {
        let revision = self.revision.unwrap_or(0);
        ScanFrame::End(End { count: self.shown, revision, more: true })
    }

    /// What the node said at the end of a whole scan.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The node that served the latest page.
    pub fn served_by(&self) -> u64 {
        self.served_by
    }

    /// The next frame that makes sense, from this stream or from one that goes on with it.
    async fn frame(&mut self, until: Instant) -> Result<ScanFrame, Error> {
        let mut trouble = None;
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None if self.is_enough() => return Ok(self.enough()),
                None => match self.open(until).await {
                    Ok(stream) => stream,
                    Err(error) if self.shown == 0 => return Err(error),
                    Err(error) => {
                        let why = match (trouble, error) {
                            // Another node cannot go on either, and that is why.
                            (Some(trouble), Error::Refused(refused)) => format!("{trouble}, and {refused}"),
                            (Some(trouble), _) => trouble,
                            (None, error) => error.to_string(),
                        };
                        return Err(self.cut(why));
                    }
                },
            };
            match timeout_at(until, stream.answers.next()).await {
                Ok(Ok(frame)) => {
                    self.accept(&mut stream, &frame)?;
                    self.stream = Some(stream);
                    return Ok(match (frame, trouble) {
                        (ScanFrame::Cut(why), Some(trouble)) => {
                            ScanFrame::Cut(format!("{trouble}, and {why}"))
                        }
                        (frame, _) => frame,
                    });
                }
                Ok(Err(error)) => trouble = Some(format!("the node {error}")),
                Err(_) => return Err(self.cut("the node stopped sending".into())),
            }
        }
    }

    /// What a frame must be to be believed.
    fn accept(&mut self, stream: &mut Stream, frame: &ScanFrame) -> Result<(), Error> {
        let sound = match frame {
            ScanFrame::Page(page) => {
                stream.given += shown(page);
                let known = self.revision.is_none_or(|revision| revision == page.revision);
                let within = stream.asked.limit.is_none_or(|limit| stream.given <= limit);
                let mut before = self.last.as_ref();
                let ordered = page.rows.iter().all(|row| {
                    let after = before.replace(&row.key).is_none_or(|before| *before < row.key);
                    after && stream.asked.covers(&row.key)
                });
                let mut before = self.last_version;
                let newest_first = page.versions.iter().all(|version| {
                    before.replace(version.revision).is_none_or(|before| before > version.revision)
                });
                let right_kind = match stream.asked.want {
                    Want::Versions => page.rows.is_empty(),
                    _ => page.versions.is_empty(),
                };
                known && within && ordered && newest_first && right_kind
            }
            ScanFrame::End(end) => {
                let known = self.revision.is_none_or(|revision| revision == end.revision);
                known && (stream.asked.want == Want::Count || end.count == stream.given)
            }
            // Only whoever compares nodes wants one.
            ScanFrame::Digest(_) => false,
            ScanFrame::Refused(_) | ScanFrame::Cut(_) => true,
        };
        if !sound {
            return Err(self.cut("the node sent what makes no sense".into()));
        }
        if let ScanFrame::Page(page) = frame
            && shown(page) > 0
        {
            self.shown += shown(page);
            self.last = page.rows.last().map(|row| row.key.clone());
            self.last_version = page.versions.last().map(|version| version.revision);
            self.revision = Some(page.revision);
            self.nodes.learn_index(page.revision);
        }
        Ok(())
    }

    fn ended(&mut self, end: End) {
        self.nodes.learn_index(end.revision);
        let counted = self.stream.as_ref().is_some_and(|stream| stream.asked.want == Want::Count);
        self.end = Some(match (self.scan.want, counted) {
            (Want::Count, _) => end,
            // The stream was lost behind the last row, and what was asked then was whether there is another.
            (_, true) => End { count: self.shown, more: end.count > 0, ..end },
            (_, false) => End { count: self.shown, ..end },
        });
    }

    fn cut(&self, why: String) -> Error {
        Error::Cut { why, shown: self.shown, revision: self.revision, after: self.last.clone() }
    }

    /// What is left to be asked.
    fn rest(&self) -> Scan {
        let rest = Scan { at: self.revision, age_ms: None, time_ms: None, ..self.scan.clone() };
        let rest = match (&self.last, self.last_version) {
            (Some(last), _) => rest.after(last),
            (None, Some(_)) => Scan { below: self.last_version, ..rest },
            (None, None) => return self.scan.clone(),
        };
        if self.last.is_none() {
            let left = self.scan.limit.map(|limit| limit.saturating_sub(self.shown));
            return Scan { limit: left, ..rest };
        }
        match self.scan.limit {
            Some(limit) if limit <= self.shown => Scan { limit: Some(1), want: Want::Count, ..rest },
            limit => Scan { limit: limit.map(|limit| limit - self.shown), ..rest },
        }
    }

    /// Finds a node that serves what is left, and its first frame.
    async fn open(&mut self, until: Instant) -> Result<Stream, Error> {
        self.seed = self.seed.wrapping_add(1);
        let asked = self.rest();
        let request = Request::Scan(asked.clone());
        let answers = Answers::open(&self.nodes, request, self.seed, Target::Preferred, until).await?;
        self.served_by = answers.node();
        Ok(Stream { answers, asked, given: 0 })
    }
}

/// How much a page shows.
fn shown(page: &Page) -> u64 {
    (page.rows.len() + page.versions.len()) as u64
}
