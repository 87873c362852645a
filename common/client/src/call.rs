//! Drives one call: reaches nodes, sends, waits, and lets [`Retry`] decide. All attempts that are still open are
//! listened to all the time, also while another node is being reached or a pause runs: an answer that comes late
//! is as good as one that comes early.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use protocol::{Refused, Request, RequestFrame, RequestId, Response};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    error::{EndpointError, Error},
    link::{Answer, Link},
    nodes::Nodes,
    retry::{Event, Next, Retry, Target},
};

/// What a call ends well with.
pub(crate) struct Done {
    /// The answer.
    pub(crate) response: Response,
    /// The node that gave it.
    pub(crate) served_by: u64,
    /// The id of the write, where it was one.
    pub(crate) request: Option<RequestId>,
}

/// One call.
pub(crate) struct Call {
    nodes: Arc<Nodes>,
    retry: Retry,
    frame: RequestFrame,
    until: Instant,
    open: Vec<Attempt>,
    answered_by: u64,
}

/// A request on a link, not answered yet.
struct Attempt {
    link: Link,
    answer: oneshot::Receiver<Answer>,
}

impl Call {
    /// A call that ends at `until`, whatever happens. The id in a [`Request::Write`] is filled in at the first
    /// attempt; a `given` one is kept.
    pub(crate) fn new(
        nodes: &Arc<Nodes>,
        request: Request,
        given: Option<RequestId>,
        seed: u64,
        until: Instant,
    ) -> Self {
        let write = matches!(request, Request::Write { .. });
        Self {
            nodes: Arc::clone(nodes),
            retry: if write { Retry::write(seed, given) } else { Retry::read(seed) },
            frame: RequestFrame { id: 0, deadline_ms: 0, request },
            until,
            open: Vec::new(),
            answered_by: 0,
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self) -> Result<Done, Error> {
        let mut next = Next::Ask(Target::Preferred);
        loop {
            let event = match next {
                Next::Done(response) => return Ok(self.done(response)),
                Next::Fail(error) => return Err(error),
                Next::Ask(target) => self.ask(&target).await,
                Next::Wait { pause, then } => {
                    let Some(event) = self.answer_within(pause).await else {
                        next = Next::Ask(then);
                        continue;
                    };
                    event
                }
            };
            next = self.retry.step(event, self.left());
        }
    }

    fn done(self, response: Response) -> Done {
        let request = match self.frame.request {
            Request::Write { request, .. } => Some(request),
            _ => None,
        };
        Done { response, served_by: self.answered_by, request }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// One attempt: until its answer, its silence, or an answer to an earlier one.
    async fn ask(&mut self, target: &Target) -> Event {
        let nodes = Arc::clone(&self.nodes);
        let reach = nodes.reach(target, self.is_write(), self.until);
        let link = match self.meanwhile(reach).await {
            Ok(Ok(link)) => link,
            Ok(Err(failures)) => return Event::Unreachable(failures),
            Err(event) => return event,
        };
        if let Target::Leader { id, address } = target
            && nodes.alias(*id, address) != *link.address()
        {
            self.retry.missed(address);
        }
        let permit = match self.meanwhile(link.permit()).await {
            Ok(permit) => permit,
            Err(event) => return event,
        };
        if let Err(event) = self.send(&link, permit) {
            return event;
        }
        if let Some(event) = self.answer_within(self.retry.patience()).await {
            return event;
        }
        link.suspect();
        nodes.forget_leader(link.address());
        Event::Silent { address: link.address().clone() }
    }

    fn is_write(&self) -> bool {
        matches!(self.frame.request, Request::Write { .. })
    }

    fn send(&mut self, link: &Link, permit: tokio::sync::OwnedSemaphorePermit) -> Result<(), Event> {
        // The server gives up a little earlier than this call, so that what it then says still arrives.
        let left = self.left();
        let deadline = left.saturating_sub(left / 10).as_millis().max(1);
        self.frame.deadline_ms = u32::try_from(deadline).unwrap_or(u32::MAX);
        if let Request::Write { request, .. } = &mut self.frame.request {
            *request = self.retry.request(|| self.nodes.fresh_request(link));
        }
        match link.send(permit, &mut self.frame) {
            Ok(answer) => {
                self.retry.sent();
                self.open.push(Attempt { link: link.clone(), answer });
                Ok(())
            }
            Err(error) => Err(Event::Dropped { address: link.address().clone(), error }),
        }
    }

    /// The output of `work`, unless an open attempt is answered or the deadline passes before.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Event> {
        tokio::pin!(work);
        // Most work is done at its first poll: no timer is needed then.
        if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            return Ok(output);
        }
        let until = self.until;
        tokio::select! {
            biased;
            output = &mut work => Ok(output),
            event = self.answer_by(until) => Err(event.unwrap_or(Event::DeadlinePassed)),
        }
    }

    /// The next answer to any open attempt within the time; `DeadlinePassed` where the deadline comes first.
    async fn answer_within(&mut self, time: Duration) -> Option<Event> {
        let (soon, until) = (Instant::now() + time, self.until);
        match self.answer_by(soon.min(until)).await {
            None if soon >= until => Some(Event::DeadlinePassed),
            event => event,
        }
    }

    async fn answer_by(&mut self, when: Instant) -> Option<Event> {
        let (attempt, answer) = timeout_at(when, next_answer(&mut self.open)).await.ok()?;
        Some(self.learn(&attempt.link, answer))
    }

    /// Takes from an answer what later calls should know.
    fn learn(&mut self, link: &Link, answer: Answer) -> Event {
        let address = link.address().clone();
        match answer {
            Err(error) => {
                self.nodes.forget_leader(&address);
                Event::Dropped { address, error }
            }
            Ok(Ok(response)) if !self.fits(&response) => {
                let error = EndpointError::Dropped { reason: "it answered something else".into() };
                link.end(&error);
                Event::Dropped { address, error }
            }
            Ok(result) => {
                match &result {
                    Ok(response) => self.learn_from(link, response),
                    Err(Refused::NotLeader { leader, address: Some(named) }) => {
                        self.nodes.learn_leader(*leader, &named.as_str().into());
                    }
                    Err(Refused::NotLeader { .. } | Refused::Unavailable(_)) => {
                        self.nodes.forget_leader(&address);
                    }
                    Err(_) => {}
                }
                Event::Answered { address, result }
            }
        }
    }

    fn learn_from(&mut self, link: &Link, response: &Response) {
        self.answered_by = link.welcome().node;
        match response {
            Response::Written { revision, .. } => {
                self.nodes.learn_index(*revision);
                self.nodes.learn_leader(None, link.address());
            }
            Response::Decided(decided) => {
                self.nodes.learn_index(decided.revision);
                self.nodes.learn_leader(None, link.address());
            }
            Response::Value { revision, .. } | Response::MembersChanged { revision } => {
                self.nodes.learn_index(*revision);
            }
            Response::Status(status) => self.nodes.learn_index(status.applied),
            Response::Compacted { discarded, .. } => self.nodes.learn_index(*discarded),
            Response::Leases(leases) => self.nodes.learn_index(leases.revision),
            Response::Lease(lease) => self.nodes.learn_index(lease.revision),
            Response::Leads { .. } | Response::Events(_) => {}
        }
    }

    fn fits(&self, response: &Response) -> bool {
        match (&self.frame.request, response) {
            (Request::Write { operation, .. }, Response::Written { .. }) => operation.is_plain(),
            (Request::Write { operation, .. }, Response::Decided(_)) => !operation.is_plain(),
            (Request::Get { .. }, Response::Value { .. })
            | (Request::Leases { .. }, Response::Leases(_))
            | (Request::Lease { .. }, Response::Lease(_))
            | (Request::Status, Response::Status(_))
            | (Request::CompactLog, Response::Compacted { .. })
            | (Request::ChangeMembers(_), Response::MembersChanged { .. })
            | (Request::Transfer { .. } | Request::Drain { .. }, Response::Leads { .. }) => true,
            _ => false,
        }
    }
}

/// The first attempt to be answered, taken out of the list; never, while the list is empty.
async fn next_answer(open: &mut Vec<Attempt>) -> (Attempt, Answer) {
    poll_fn(|context| poll_answers(open, context)).await
}

fn poll_answers(open: &mut Vec<Attempt>, context: &mut Context<'_>) -> Poll<(Attempt, Answer)> {
    for at in 0..open.len() {
        if let Poll::Ready(answer) = Pin::new(&mut open[at].answer).poll(context) {
            let gone = || Err(EndpointError::Dropped { reason: "closed".into() });
            return Poll::Ready((open.swap_remove(at), answer.unwrap_or_else(|_| gone())));
        }
    }
    Poll::Pending
}
