//! What clients ask: which calls with which rates, and what they make of the answers.
//!
//! Keys come in three families. `k` has sets, deletes, reads and conditional writes of one key; the histories that the
//! two checkers judge are of these. `n` are counters and `t` is for all that touches many keys at once; both are judged
//! by the model alone, answer by answer.

use std::collections::BTreeMap;

use protocol::{
    Condition, Consistency, Decided, KeyRange, Operation as Change, Request, RequestId, Response,
    Transaction, Verdict,
    operation::{Action, Compare, Operand, Relation},
};
use testkit::{
    history::{Call as Asked, Expects, Outcome, Seen},
    rng::Rng,
};

use super::{
    super::lying::{Lie, bad_key},
    Client,
};
use crate::{counts::Counts, options::Options, server::CLUSTER};

/// Keys of the family `t`.
const MANY: u64 = 8;

/// What a client was told of keys last, right or outdated.
#[derive(Default)]
pub(super) struct Known(BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>);

impl Known {
    /// Takes from an answer what it says of one key.
    pub(super) fn learn(&mut self, request: &Request, response: &Response) {
        let (key, row) = match (request, response) {
            (Request::Get { key, .. }, Response::Value { found, .. }) => {
                (key, found.as_ref().map(|found| (found.revision, Some(found.value.clone()))))
            }
            (
                Request::Write { operation: Change::Set { key, value }, .. },
                Response::Written { revision, .. },
            ) => (key, Some((*revision, Some(value.clone())))),
            (
                Request::Write { operation: Change::Conditional { key, value, .. }, .. },
                Response::Decided(decided),
            ) => match (decided.verdict, value) {
                (Verdict::Done, Some(value)) => (key, Some((decided.revision, Some(value.clone())))),
                (Verdict::Done, None) => (key, None),
                _ => (key, Some((decided.number, None)).filter(|_| decided.existed)),
            },
            _ => return,
        };
        match row {
            Some(row) => _ = self.0.insert(key.clone(), row),
            None => _ = self.0.remove(key),
        }
    }

    /// A condition on a key: one that may hold as far as is known, or any.
    fn condition(&self, rng: &mut Rng, key: &[u8]) -> Condition {
        match (rng.below(8), self.0.get(key)) {
            (0, _) | (1..=2, None) => Condition::Always,
            (1..=3, Some((_, Some(value)))) => Condition::Value(value.clone()),
            (4..=5, Some((revision, _))) => Condition::Revision(*revision),
            (6, _) => Condition::Revision(rng.below(60)),
            (7, _) => Condition::Value(b"what nobody wrote".to_vec()),
            _ => Condition::Absent,
        }
    }
}

impl Client {
    /// Draws the next call: as the history has it, if it does, and as it is sent.
    pub(super) fn draw(
        &mut self,
        me: usize,
        options: &Options,
        counts: &mut Counts,
    ) -> (Option<Asked>, Request) {
        if let Some(drawn) = self.draw_judged(me, options) {
            self.lie = None;
            return drawn;
        }
        let rng = &mut self.rng;
        let mut key = format!("k{}", rng.below(options.keys)).into_bytes();
        if rng.chance(options.lies) {
            counts.add("client: asked for nonsense");
            key = bad_key(rng);
        }
        if rng.chance(options.reads) {
            let stale = rng.chance(options.stale);
            let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
            let asked =
                if stale { Asked::StaleGet { key: key.clone() } } else { Asked::Get { key: key.clone() } };
            return (Some(asked), Request::Get { key, consistency, without_value: false });
        }
        let (asked, operation) = if rng.chance(options.deletes) {
            (Asked::Delete { key: key.clone() }, Change::Delete { key })
        } else {
            let mut value = format!("{me}.{}", self.calls).into_bytes();
            value.resize(value.len().max(usize::try_from(options.value_bytes).unwrap_or(0)), b' ');
            (Asked::Set { key: key.clone(), value: value.clone() }, Change::Set { key, value })
        };
        // Two deletes of one key are one operation, so their id may be one, too; each set has its own value.
        let used = self.used.filter(|_| matches!(asked, Asked::Set { .. }));
        self.lie = rng.chance(options.lies).then(|| Lie::draw(rng, used));
        if self.lie.is_some() {
            counts.add("client: lied in its request id");
        }
        (Some(asked), write(operation))
    }

    /// Draws a call of what is judged by what is there; seldom, for the others must stay frequent.
    fn draw_judged(&mut self, me: usize, options: &Options) -> Option<(Option<Asked>, Request)> {
        let rng = &mut self.other;
        if rng.chance(options.conditions) {
            let family = if rng.chance(700_000) { "k" } else { "t" };
            let keys = if family == "k" { options.keys } else { MANY };
            let key = format!("{family}{}", rng.below(keys)).into_bytes();
            let value = (!rng.chance(250_000)).then(|| format!("{me}.{}?", self.calls).into_bytes());
            let (condition, previous) = (self.known.condition(rng, &key), rng.chance(300_000));
            let asked =
                Asked::Conditional { key: key.clone(), value: value.clone(), expects: expects(&condition) };
            let operation = Change::Conditional { key, value, condition, previous };
            return Some((Some(asked).filter(|_| family == "k"), write(operation)));
        }
        let operation = if rng.chance(options.additions) {
            draw_addition(rng)
        } else if rng.chance(options.increments) {
            draw_count(rng)
        } else if rng.chance(options.removals) {
            draw_many(rng)
        } else if rng.chance(options.transactions) {
            write(Change::Transaction(draw_transaction(rng, &self.known, options.keys)))
        } else {
            return None;
        };
        Some((None, operation))
    }
}

/// A call of a counter that is only added to.
fn draw_addition(rng: &mut Rng) -> Request {
    let key = format!("c{}", rng.below(2)).into_bytes();
    if rng.below(3) == 0 {
        return get(key, rng);
    }
    write(Change::Increment { key, by: 1 + rng.below(9).cast_signed() })
}

/// A call of a counter: mostly additions, and now and then something that is no number.
fn draw_count(rng: &mut Rng) -> Request {
    let key = format!("n{}", rng.below(3)).into_bytes();
    match rng.below(20) {
        0 => write(Change::Set { key, value: b"no number".to_vec() }),
        1 => write(Change::Set { key, value: rng.below(100).to_string().into_bytes() }),
        2 => write(Change::Delete { key }),
        3..6 => get(key, rng),
        6 => write(Change::Increment { key, by: i64::MAX - i64::from(rng.below(3) == 0) }),
        7 => write(Change::Increment { key, by: i64::MIN }),
        _ => write(Change::Increment { key, by: rng.below(7).cast_signed() - 3 }),
    }
}

/// A call of the keys that are removed many at a time.
fn draw_many(rng: &mut Rng) -> Request {
    let key = format!("t{}", rng.below(MANY)).into_bytes();
    match rng.below(10) {
        0..5 => write(Change::Set { key, value: rng.below(1000).to_string().into_bytes() }),
        5 => write(Change::Delete { key }),
        6..8 => get(key, rng),
        _ => {
            let to = (rng.below(2) == 0).then(|| format!("t{}x", rng.below(MANY)).into_bytes());
            let prefix = KeyRange::prefix(b"t");
            let range = KeyRange { from: key, to: to.or(prefix.to.clone()) };
            let range = if range.is_empty() { prefix } else { range };
            write(Change::DeleteRange { range, most: u32::try_from(1 + rng.below(MANY)).unwrap_or(1) })
        }
    }
}

/// Compares keys of any family, and writes those of which no history is kept.
fn draw_transaction(rng: &mut Rng, known: &Known, keys: u64) -> Transaction {
    let compares = (0..rng.below(3)).map(|_| draw_compare(rng, known, keys)).collect();
    if rng.below(20) == 0 {
        let range = KeyRange::prefix(b"");
        let everything = Action::Range { range, limit: 1000 };
        let mut then = vec![Action::Set { key: b"t0".to_vec(), value: b"read all".to_vec() }];
        then.resize(128, everything);
        return Transaction { compares, otherwise: then.clone(), then };
    }
    let count = 1 + rng.index(5);
    Transaction { compares, then: draw_actions(rng, count), otherwise: draw_actions(rng, 2) }
}

fn draw_compare(rng: &mut Rng, known: &Known, keys: u64) -> Compare {
    let key = match rng.below(3) {
        0 => format!("k{}", rng.below(keys)),
        1 => format!("n{}", rng.below(3)),
        _ => format!("t{}", rng.below(MANY)),
    };
    let (key, seen) = (key.clone().into_bytes(), known.0.get(key.as_bytes()));
    let relation = *rng.pick(&Relation::ALL).unwrap_or(&Relation::Equal);
    let operand = match (rng.below(4), seen) {
        (0, Some((revision, _))) => Operand::Revision(*revision),
        (1, Some((_, Some(value)))) => Operand::Value(value.clone()),
        (2, _) => Operand::Version(rng.below(4)),
        (3, _) => Operand::Value(rng.below(1000).to_string().into_bytes()),
        _ => return Compare { key, relation: Relation::ALL[rng.index(2)], operand: Operand::Present },
    };
    Compare { key, relation, operand }
}

/// Steps that write no key twice, in any order.
fn draw_actions(rng: &mut Rng, count: usize) -> Vec<Action> {
    let mut keys: Vec<Vec<u8>> = (0..MANY).map(|at| format!("t{at}").into_bytes()).collect();
    rng.shuffle(&mut keys);
    let mut actions = Vec::new();
    for (key, other) in keys.clone().into_iter().zip(keys.into_iter().rev()).take(count) {
        actions.push(match rng.below(6) {
            0..3 => Action::Set { key, value: rng.below(1000).to_string().into_bytes() },
            3 => Action::Delete { key },
            4 => Action::Get { key: other },
            _ => Action::Range {
                range: KeyRange::prefix(b"t"),
                limit: 1 + u32::try_from(rng.below(MANY)).unwrap_or(0),
            },
        });
    }
    actions
}

fn get(key: Vec<u8>, rng: &mut Rng) -> Request {
    let consistency = if rng.below(4) == 0 { Consistency::Stale } else { Consistency::Linearizable };
    Request::Get { key, consistency, without_value: false }
}

/// A write whose id is filled in at the first attempt.
fn write(operation: Change) -> Request {
    let request = RequestId { token: [0; 16], learned: 0, cluster: CLUSTER };
    Request::Write { request, operation }
}

fn expects(condition: &Condition) -> Expects {
    match condition {
        Condition::Always => Expects::Anything,
        Condition::Absent => Expects::Absent,
        Condition::Revision(revision) => Expects::Revision(*revision),
        Condition::Value(value) => Expects::Value(value.clone()),
    }
}

/// Whether a request changes anything.
pub(super) fn is_write(request: &Request) -> bool {
    matches!(request, Request::Write { .. })
}

/// The counter of what was decided.
pub(super) fn decision(decided: &Decided) -> &'static str {
    match (decided.deduplicated, decided.verdict) {
        (true, Verdict::Done) => "client: answered from memory",
        (true, _) => "client: told again that it was not done",
        (false, Verdict::Done) => "client: judged and done",
        (false, Verdict::Unmet) => "client: condition did not hold",
        (false, Verdict::NotANumber | Verdict::Overflow) => "client: nothing was added",
        (false, Verdict::TooLarge) => "client: transaction found too much",
        (false, Verdict::TooMany) => "client: too many keys to remove",
        (false, _) => "client: no lease, or no room for one",
    }
}

/// Whether a write was not done for want of a lease, or of room for one: whatever the history knows, it may be so.
fn needs_lease(verdict: Verdict) -> bool {
    use Verdict::{LeaseFull, LeasedTooLarge, NoLease, TooManyLeases};
    matches!(verdict, NoLease | LeaseFull | LeasedTooLarge | TooManyLeases)
}

/// What an answer is to the history.
pub(super) fn outcome_of(response: Response) -> Outcome {
    match response {
        Response::Written { revision, existed, .. } => Outcome::Written { revision, existed },
        Response::Decided(decided) if needs_lease(decided.verdict) => Outcome::NotApplied,
        Response::Decided(decided) => Outcome::Judged {
            revision: decided.revision,
            is_met: decided.verdict == Verdict::Done,
            found: Some(decided.number).filter(|_| decided.existed),
        },
        Response::Value { found, revision, .. } => {
            let seen = |found: protocol::response::Found| Seen {
                value: found.value,
                revision: found.revision,
                created: found.created,
                version: found.version,
            };
            Outcome::Read { found: found.map(seen), revision }
        }
        Response::Status(_)
        | Response::MembersChanged { .. }
        | Response::Leases(_)
        | Response::Lease(_)
        | Response::Compacted { .. }
        | Response::Leads { .. }
        | Response::Events(_) => Outcome::NotApplied,
    }
}

/// A request in a few words.
pub(super) fn told(request: &Request) -> String {
    match request {
        Request::Write { operation: Change::Set { key, value }, .. } => {
            format!("set {} to {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value).trim_end())
        }
        Request::Write { operation: Change::Delete { key }, .. } => {
            format!("delete {}", String::from_utf8_lossy(key))
        }
        Request::Write { operation: other, .. } => {
            let mut told = format!("{other:?}");
            told.truncate(300);
            told
        }
        Request::Get { key, consistency, .. } => {
            format!("get {} {consistency:?}", String::from_utf8_lossy(key))
        }
        Request::ChangeMembers(change) => format!("change members {change:?}"),
        Request::Scan(scan) => format!("scan {scan:?}"),
        Request::Save => "save".to_owned(),
        Request::Watch(watch) => format!("watch {watch:?}"),
        Request::Status => "status".to_owned(),
        Request::Leases { after } => format!("leases after {after:x}"),
        Request::Lease { id, .. } => format!("lease {id:x}"),
        Request::CompactLog => "compact log".to_owned(),
        Request::Transfer { to } => format!("transfer to {to:?}"),
        Request::Drain { undo } => format!("drain, undo {undo}"),
        Request::Events { since_ms } => format!("events since {since_ms}"),
    }
}

/// Whether this is a read that a leader must confirm.
pub(super) fn asks_quorum(request: &Request) -> bool {
    match request {
        Request::Get { consistency, .. } => *consistency == Consistency::Linearizable,
        Request::Scan(scan) => scan.consistency == Consistency::Linearizable,
        Request::Leases { .. } | Request::Lease { .. } => true,
        _ => false,
    }
}
