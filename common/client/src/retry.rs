//! Decides, after each thing that happened to a call, what to do next. No IO, no clock, no randomness but a seed:
//! the driver (`call`) tells what happened and how much time is left, and does as it is told.
//!
//! ```text
//!            Ask(target) ──► a node is reached ──► sent ──┬─► answered ──► Done, Fail, Ask or Wait
//!                 ▲               │                       ├─► silent ────► Ask another; the attempt stays open
//!                 │               └─► unreachable ──┐     └─► dropped ───► Ask another; the attempt stays open
//!                 └──── Wait(pause, target) ◄───────┘
//! ```
//!
//! **Exactly once.** All attempts of a write carry one request id, so the cluster applies it at most once however
//! often it is sent; that is what makes asking again always safe. What remains is to tell the truth at the end:
//!
//! * an attempt is *open* from being sent until an answer says that nothing was done by it. [`Refused::Lost`], a
//!   dropped connection and silence leave it open for good;
//! * an id given by the caller comes from an earlier call whose attempts this one knows nothing of: it counts as open
//!   from the start;
//! * with an open attempt, every failure that is not a verdict on the operation itself is [`Error::Unknown`]. That
//!   includes an expired id: it says that this attempt did nothing, and nothing about the earlier one;
//! * without one, it is "not applied", told apart by what stood in the way.
//!
//! **Who is asked.** A redirect is followed at once, but not for ever (two nodes may each take the other for the
//! leader), and not to a node that has just been silent or gone: followers go on naming a dead leader for an election
//! timeout. After it was named a few times more, it is tried again: it may have come back.

use std::{sync::Arc, time::Duration};

use protocol::{Refused, RequestId, Response};

use crate::error::{EndpointError, EndpointFailure, Error, List};

/// `host:port` of a node, shared because every attempt carries it.
pub type Address = Arc<str>;

/// How often in a row something is tried at once; then comes a pause.
const HOPS: u32 = 3;
/// The first pause; it doubles to [`LONGEST_PAUSE`], each time cut by up to a half at random.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: what a client adds to a failover at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long a node may take to answer before another is asked as well; doubles with each silence, eight times at
/// most. Below an election timeout, so that a dead leader is found out before its successor is elected.
const PATIENCE: Duration = Duration::from_millis(150);
/// How often followers may name a node that let us down before it is tried again.
const NAMED: u32 = 3;
/// With less time left a write is not sent once more: it could hardly be answered, and would only turn "not applied"
/// into "unknown".
const TOO_LATE: Duration = Duration::from_millis(50);
/// How long all endpoints may say a definite no (nothing listens, no such name) before the call ends early: long
/// enough for a whole cluster to be restarted by hand, short enough for a person at a terminal.
const DEFINITE: Duration = Duration::from_secs(1);

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader where it is known and matters, else whoever answers first.
    Preferred,
    /// The node a redirect named; another one if it cannot be reached.
    Leader {
        /// Its id, by which a connection to it may be known under another address.
        id: Option<u64>,
        /// Its advertised address.
        address: Address,
    },
    /// Whoever answers first, this one last.
    NotAt(Address),
}

/// What happened to a call.
#[derive(Clone, Debug)]
pub enum Event {
    /// The node at `address` answered one of the attempts.
    Answered {
        /// Who.
        address: Address,
        /// With what.
        result: Result<Response, Refused>,
    },
    /// The latest attempt has had no answer for [`Retry::patience`]. It is still waited for.
    Silent {
        /// Where it was sent.
        address: Address,
    },
    /// A connection ended (or spoke nonsense) with an attempt on it unanswered.
    Dropped {
        /// Where.
        address: Address,
        /// Why.
        error: EndpointError,
    },
    /// No node at all could be reached.
    Unreachable(Vec<EndpointFailure>),
    /// The time is up.
    DeadlinePassed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Return this.
    Done(Response),
    /// Give up with this.
    Fail(Error),
    /// Reach the target and send to it.
    Ask(Target),
    /// Do so after a pause; an open attempt may answer meanwhile.
    Wait {
        /// How long.
        pause: Duration,
        /// Then whom.
        then: Target,
    },
}

/// What stood in the way last: the reason a deadline is reported with.
#[derive(Debug)]
enum Trouble {
    None,
    Unreachable(Vec<EndpointFailure>),
    NoLeader(String),
    Other(String),
}

/// The state of one call.
#[derive(Debug)]
pub struct Retry {
    is_write: bool,
    request: Option<RequestId>,
    /// The id was the caller's: an earlier call may have delivered it.
    given: bool,
    /// Attempts sent and not answered with "nothing was done".
    open: u32,
    hops: u32,
    pauses: u32,
    silences: u32,
    /// Nodes that let this call down, and how often they were named as leader since.
    shunned: Vec<(Address, u32)>,
    /// The time left when all endpoints began to say a definite no.
    definite_since: Option<Duration>,
    trouble: Trouble,
    random: u64,
}

impl Retry {
    /// A call that changes nothing. `seed` spreads the pauses of many clients.
    pub fn read(seed: u64) -> Self {
        Self {
            is_write: false,
            request: None,
            given: false,
            open: 0,
            hops: 0,
            pauses: 0,
            silences: 0,
            shunned: Vec::new(),
            definite_since: None,
            trouble: Trouble::None,
            random: seed,
        }
    }

    /// A write; `given` is the id of an earlier call that this one is to settle.
    pub fn write(seed: u64, given: Option<RequestId>) -> Self {
        Self { is_write: true, request: given, given: given.is_some(), ..Self::read(seed) }
    }

    /// The id of the write: the one of the first attempt for ever, made by `fresh` if there was none.
    pub fn request(&mut self, fresh: impl FnOnce() -> RequestId) -> RequestId {
        *self.request.get_or_insert_with(fresh)
    }

    /// An attempt is about to leave and may arrive.
    pub fn sent(&mut self) {
        self.open += 1;
    }

    /// Another node had to be asked because this one could not be reached.
    pub fn missed(&mut self, address: &Address) {
        self.shun(address);
    }

    /// How long the latest attempt may go unanswered.
    pub fn patience(&self) -> Duration {
        PATIENCE * (1 << self.silences.min(3))
    }

    /// Decides.
    pub fn step(&mut self, event: Event, left: Duration) -> Next {
        if !matches!(event, Event::Unreachable(_) | Event::DeadlinePassed) {
            self.definite_since = None;
        }
        let next = self.decide(event, left);
        let remains = match &next {
            Next::Done(_) | Next::Fail(_) => return next,
            Next::Ask(_) => left,
            Next::Wait { pause, .. } => left.saturating_sub(*pause),
        };
        if remains < TOO_LATE && self.is_write && !self.may_be_applied() {
            return Next::Fail(self.verdict());
        }
        next
    }

    fn decide(&mut self, event: Event, left: Duration) -> Next {
        match event {
            Event::Answered { result: Ok(response), .. } => Next::Done(response),
            Event::Answered { address, result: Err(refused) } => self.refused(&address, refused),
            Event::Silent { address } => self.silent(&address),
            Event::Dropped { address, error } => self.dropped(&address, error),
            Event::Unreachable(failures) => self.unreachable(failures, left),
            Event::DeadlinePassed => Next::Fail(self.verdict()),
        }
    }

    fn refused(&mut self, by: &Address, refused: Refused) -> Next {
        if refused != Refused::Lost {
            self.open = self.open.saturating_sub(1);
        }
        match refused {
            Refused::NotLeader { leader, address: Some(address) } => {
                self.redirected(by, leader, address.into())
            }
            Refused::NotLeader { .. } => {
                self.leaderless(format!("{by} knows none"), Target::NotAt(by.clone()))
            }
            Refused::NoQuorum => self.leaderless(format!("{by} got no quorum"), Target::Preferred),
            Refused::Lost | Refused::Busy { .. } => {
                self.later(format!("{by} said {refused}"), Target::Preferred)
            }
            Refused::Unavailable(_) => self.later(format!("{by} said {refused}"), Target::NotAt(by.clone())),
            Refused::Expired if self.may_be_applied() => Next::Fail(
                self.unknown(format!("{by} said {refused}, after an attempt that may have arrived")),
            ),
            Refused::TooLarge { .. }
            | Refused::Invalid(_)
            | Refused::Expired
            | Refused::BadRequestId(_)
            | Refused::Unsafe(_)
            | Refused::NotKept { .. } => Next::Fail(Error::Refused(refused)),
        }
    }

    /// `by` names another node as the leader.
    fn redirected(&mut self, by: &Address, id: Option<u64>, address: Address) -> Next {
        if let Some(at) = self.shunned.iter().position(|(shunned, _)| *shunned == address) {
            self.shunned[at].1 += 1;
            if self.shunned[at].1 < NAMED {
                return self.leaderless(format!("{by} still names {address}"), Target::NotAt(address));
            }
            self.shunned.swap_remove(at);
        }
        self.trouble = Trouble::NoLeader(format!("{by} names {address}, which did not take it"));
        self.at_once(Target::Leader { id, address })
    }

    fn silent(&mut self, address: &Address) -> Next {
        self.silences += 1;
        self.shun(address);
        self.trouble = Trouble::Other(format!("{address} stopped answering"));
        self.at_once(Target::NotAt(address.clone()))
    }

    fn dropped(&mut self, address: &Address, error: EndpointError) -> Next {
        self.shun(address);
        let failure = EndpointFailure { address: address.to_string(), error };
        self.trouble = Trouble::Other(failure.to_string());
        self.at_once(Target::NotAt(address.clone()))
    }

    fn unreachable(&mut self, failures: Vec<EndpointFailure>, left: Duration) -> Next {
        let all = |test: fn(&EndpointError) -> bool| failures.iter().all(|failure| test(&failure.error));
        let denied = !failures.is_empty() && all(EndpointError::is_denied);
        let definite = all(EndpointError::is_definite);
        if denied && !self.may_be_applied() {
            return Next::Fail(Error::Denied { endpoints: failures });
        }
        self.trouble = Trouble::Unreachable(failures);
        if definite {
            let since = *self.definite_since.get_or_insert(left);
            if since.saturating_sub(left) >= DEFINITE && !self.may_be_applied() {
                return Next::Fail(self.verdict());
            }
        } else {
            self.definite_since = None;
        }
        Next::Wait { pause: self.pause(), then: Target::Preferred }
    }

    fn leaderless(&mut self, why: String, then: Target) -> Next {
        self.trouble = Trouble::NoLeader(why);
        Next::Wait { pause: self.pause(), then }
    }

    fn later(&mut self, why: String, then: Target) -> Next {
        self.trouble = Trouble::Other(why);
        Next::Wait { pause: self.pause(), then }
    }

    /// Without a pause, unless that was done too often.
    fn at_once(&mut self, target: Target) -> Next {
        if self.hops < HOPS {
            self.hops += 1;
            return Next::Ask(target);
        }
        Next::Wait { pause: self.pause(), then: target }
    }

    fn shun(&mut self, address: &Address) {
        if !self.shunned.iter().any(|(shunned, _)| shunned == address) {
            self.shunned.push((address.clone(), 0));
        }
    }

    /// Doubles each time; the random half keeps many clients from coming back together.
    fn pause(&mut self) -> Duration {
        let whole = (FIRST_PAUSE * (1 << self.pauses.min(4))).min(LONGEST_PAUSE);
        self.pauses += 1;
        self.hops = 0;
        self.random = next_random(self.random);
        let thousandths = u32::try_from(self.random % 1000).unwrap_or(0);
        whole / 2 + whole / 2 * thousandths / 1000
    }

    /// Whether an attempt, of this call or an earlier one with the same id, may have taken effect.
    fn may_be_applied(&self) -> bool {
        self.request.is_some() && (self.given || self.open > 0)
    }

    fn unknown(&self, why: String) -> Error {
        let request = self.request.expect("only writes are unknown, and an attempt of a write has its id");
        Error::Unknown { request, why }
    }

    /// What a call that ran out of time has to say.
    fn verdict(&mut self) -> Error {
        let trouble = std::mem::replace(&mut self.trouble, Trouble::None);
        if self.may_be_applied() {
            return self.unknown(match trouble {
                Trouble::None => "no answer came before the deadline".into(),
                Trouble::Unreachable(failures) => format!("then no endpoint answered: {}", List(&failures)),
                Trouble::NoLeader(why) => format!("then there was no leader: {why}"),
                Trouble::Other(why) => why,
            });
        }
        match trouble {
            Trouble::None => Error::Deadline { why: "no answer came".into() },
            Trouble::Unreachable(endpoints) => Error::Unreachable { endpoints },
            Trouble::NoLeader(why) => Error::NoLeader { why },
            Trouble::Other(why) => Error::Deadline { why },
        }
    }
}

/// The next number of a splitmix64 sequence, enough to spread pauses and to pick keys.
pub fn next_random(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
