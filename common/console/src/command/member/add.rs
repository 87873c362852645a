//! `member add` and `member replace`: a server comes to be a member, and the wait for it.
//!
//! The new server is asked at its own address who it is. Then its name and address are recorded with what is to become of it,
//! and it is made a learner. The rest is the leader's: it sends the log or the whole state, and promotes the learner when it
//! has kept up for an election timeout, in the place of another where that was recorded. The tool only looks on, and whoever
//! ends it changes nothing.

use std::time::Duration;

use clap::Args;
use client::{EndpointError, Error, NodeView};
use protocol::{Intent, MemberEdit, MemberRecord, Part};
use tokio::time::{Instant, sleep};

use super::{
    Change, How, allow, ask, document, led, name_taken, not_fit, place,
    plan::{Plan, Roll, Seat},
    record,
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    progress::Progress,
    render::Screen,
    report::{Body, Report},
    text,
};

/// Long enough for a server to be sent a state of some size.
pub(super) const TIMEOUT: Duration = Duration::from_mins(1);
/// Between two looks: short beside an election timeout.
const PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `member add`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl member add n4 --addr 10.0.0.4:7400\n  kvctl member add n4 --addr 10.0.0.4:7400 --dry-run\n  \
                        kvctl member add n4 --addr 10.0.0.4:7400 --learner\n  kvctl member add n4 --addr 10.0.0.4:7400 --no-wait\n\n\
                        Start the server first, with `kvd join`. Ends with 0 when it votes (with --learner: when it has caught\n\
                        up; with --no-wait: when it is a learner), 10 when the time (-t, 1m) is up before that, as where it does\n\
                        not run: the leader goes on by itself, and the same command waits again."
)]
pub struct Add {
    /// Its name, as in its own configuration
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where it is reached
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: String,
    /// Its id, where it does not run yet and is waited for: 4 or 0x4
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub id: Option<u64>,
    /// It stays a learner until `member promote`: it has all data and does not vote
    #[arg(long)]
    pub learner: bool,
    /// Do not wait until it has caught up
    #[arg(long)]
    pub no_wait: bool,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `member replace`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member replace n3 n5 --addr 10.0.0.5:7400\n  \
                        kvctl member replace n3 n5 --addr 10.0.0.5:7400 --dry-run\n\n\
                        The old member may be dead. It stays until the new one has caught up; then one votes and the other\n\
                        goes in one change. Ends with 0 when that is done (with --no-wait: when the new one is a learner), 10\n\
                        when the time (-t, 1m) is up before that: the leader goes on by itself, and the same command waits again.")]
pub struct Replace {
    /// Who goes: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub old: String,
    /// The name of who comes, as in its own configuration
    #[arg(value_name = "NAME")]
    pub new: String,
    /// Where the new one is reached
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: String,
    /// The id of the new one, where it does not run yet: 4 or 0x4
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub id: Option<u64>,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// An id as configurations write it, or as it is shown.
fn parse_id(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(id) if (1..=protocol::limits::NUMBER).contains(&id) => Ok(id),
        _ => {
            Err("an id is a number from 1 on, as in the configuration, or 0x and hexadecimal digits"
                .to_owned())
        }
    }
}

/// What is waited for.
pub(super) struct Goal {
    pub(super) id: u64,
    /// Whether it is to vote, or only to keep up.
    pub(super) votes: bool,
    /// Who is to have gone.
    pub(super) gone: Option<u64>,
}

impl Goal {
    fn is_met(&self, roll: &Roll) -> bool {
        let gone = self.gone.is_none_or(|old| roll.get(old).is_none());
        let there = roll.get(self.id).is_some_and(|seat| {
            if self.votes { seat.part == Part::Voter } else { seat.part.votes() || seat.keeps_up() }
        });
        gone && there
    }
}

impl Add {
    pub(super) async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let view = session.client().status_at(&self.addr).await;
        let newcomer = newcomer(&self.name, &self.addr, self.id, &view, &roll)?;
        let known = roll.get(newcomer.id).map(|seat| seat.part);
        let voter = known.is_some_and(Part::votes);
        // Whoever votes already is not made to learn by being added once more.
        let part = if self.learner && !voter { Part::Learner } else { Part::Voter };
        let change = Change {
            action: "add",
            done: "",
            seat: &newcomer,
            after: roll.with(caught_up(part, &newcomer)),
            record: (!voter).then(|| {
                let intent = if self.learner { Intent::Hold } else { Intent::Promote };
                recognised(record(&newcomer, &self.addr, intent), &view)
            }),
            edits: if known.is_some() { Vec::new() } else { vec![MemberEdit::Add(newcomer.id)] },
        };
        let goal = Goal { id: newcomer.id, votes: !self.learner, gone: None };
        let waits = !self.no_wait;
        Coming { change, goal, waits, how: &self.how, roll: &roll, leaves: false }.run(session, screen).await
    }
}

impl Replace {
    pub(super) async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let view = session.client().status_at(&self.addr).await;
        let newcomer = newcomer(&self.new, &self.addr, self.id, &view, &roll)?;
        let known = roll.get(newcomer.id).map(|seat| seat.part);
        let voter = known.is_some_and(Part::votes);
        let old = match roll.find(&self.old) {
            Ok(old) if old.id == newcomer.id => {
                let hint = "a server that is back at another address is moved with `member move`";
                return Err(not_fit(&format!("{} would take the place of itself", self.new), hint));
            }
            Ok(old) if voter && !roll.changing => {
                let hint = format!("`kvctl member remove {}` removes the other one", old.name);
                return Err(not_fit(&format!("{} votes already", self.new), &hint));
            }
            Ok(old) => Some(old),
            // It has been done.
            Err(_) if voter => None,
            Err(failure) => return Err(failure),
        };
        let mut after = roll.with(caught_up(Part::Voter, &newcomer));
        after.retain(|seat| old.is_none_or(|old| seat.id != old.id));
        let change = Change {
            action: "replace",
            done: "",
            seat: &newcomer,
            after,
            record: old
                .filter(|_| !voter)
                .map(|old| recognised(record(&newcomer, &self.addr, Intent::Replace(old.id)), &view)),
            edits: if known.is_some() { Vec::new() } else { vec![MemberEdit::Add(newcomer.id)] },
        };
        let goal = Goal { id: newcomer.id, votes: true, gone: old.map(|old| old.id) };
        let waits = !self.no_wait;
        Coming { change, goal, waits, how: &self.how, roll: &roll, leaves: false }.run(session, screen).await
    }
}

/// With the incarnation that the server says it is: no other is taken for it then.
fn recognised(record: MemberRecord, view: &NodeView) -> MemberRecord {
    MemberRecord { incarnation: view.status.as_ref().ok().and_then(|status| status.incarnation), ..record }
}

/// As it is when the leader lets it vote, which it does not before.
pub(super) fn caught_up(part: Part, newcomer: &Seat) -> Seat {
    Seat { part, reachable: true, matched: Some(1), lag: Some(0), ..newcomer.clone() }
}

/// Who the server is that is to come, by its own word where it answers; a failure where it cannot come.
fn newcomer(
    name: &str,
    address: &str,
    id: Option<u64>,
    view: &NodeView,
    roll: &Roll,
) -> Result<Seat, Failure> {
    let own = "compare name, id and address with the configuration of the server";
    let id = match &view.status {
        Ok(status) if status.name != name => {
            let message = format!("the server at {address} calls itself {} and not {name}", status.name);
            return Err(not_fit(&message, own));
        }
        Ok(status) if id.is_some_and(|id| id != status.id) => {
            let message = format!("the server at {address} has the id {:#x} and no other", status.id);
            return Err(not_fit(&message, own));
        }
        Ok(status) => status.id,
        Err(EndpointError::OtherCluster) => {
            let message = format!("the server at {address} is of another cluster");
            return Err(not_fit(
                &message,
                "start it with `kvd join`, with this cluster's certificates and no data",
            ));
        }
        Err(error) => absent(id, address, error)?,
    };
    let others = || roll.seats.iter().filter(|seat| seat.id != id);
    if others().any(|seat| seat.name == name) {
        return Err(name_taken(name));
    }
    roll.check_address(id, address)?;
    match roll.get(id) {
        Some(seat) if seat.name != name => {
            Err(not_fit(&format!("the id {id:#x} is that of the member {}", seat.name), own))
        }
        Some(seat) if seat.part.votes() && seat.address != address => {
            let message = format!("{name} votes already, at {}", seat.address);
            Err(not_fit(
                &message,
                &format!("`kvctl member move {name} --addr {address}` gives it another address"),
            ))
        }
        Some(seat) => Ok(Seat { address: address.to_owned(), ..seat.clone() }),
        None => Ok(Seat {
            id,
            name: name.to_owned(),
            address: address.to_owned(),
            part: Part::Learner,
            reachable: view.status.is_ok(),
            matched: None,
            lag: None,
            leads: false,
        }),
    }
}

/// A server that does not run yet is known by the id that was given.
fn absent(id: Option<u64>, address: &str, error: &EndpointError) -> Result<u64, Failure> {
    let away = matches!(
        error,
        EndpointError::Refused
            | EndpointError::Silent
            | EndpointError::Unresolved { .. }
            | EndpointError::Dropped { .. }
    );
    match id {
        Some(id) if away => Ok(id),
        _ if away => Err(Failure::from(Error::at(address, error.clone()))
            .hint("start the server first, with `kvd join`; or give its --id to add it before it runs")),
        _ => Err(Error::at(address, error.clone()).into()),
    }
}

/// A server that is about to come.
pub(super) struct Coming<'a> {
    pub(super) change: Change<'a>,
    pub(super) goal: Goal,
    pub(super) waits: bool,
    pub(super) how: &'a How,
    pub(super) roll: &'a Roll,
    /// Whether it is a member, and goes before it comes: what it said before is not believed any more.
    pub(super) leaves: bool,
}

/// What the wait came to.
struct Waited {
    met: bool,
    part: Part,
    progress: Option<f64>,
    took: Duration,
}

impl Coming<'_> {
    /// What to do where a member that is taken back is removed and perhaps not added again.
    fn halfway(&self, failure: Failure) -> Failure {
        if !self.leaves {
            return failure;
        }
        let Seat { name, address, .. } = self.change.seat;
        let learner = if self.goal.votes { "" } else { " --learner" };
        failure
            .hint(format!("{name} is removed; go on with: kvctl member add {name} --addr {address}{learner}"))
    }

    pub(super) async fn run(mut self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let plan = Plan::of(&place(session, self.roll), &self.roll.seats, &self.change.after);
        if let Some(report) = allow(&self.change, self.how, &plan, self.roll, session, screen)? {
            return Ok(report);
        }
        if self.leaves {
            let leaving = Change {
                edits: vec![MemberEdit::Remove(self.goal.id)],
                after: Vec::new(),
                record: None,
                ..self.change
            };
            ask(&leaving, self.how, session).await?;
        }
        let rev = ask(&self.change, self.how, session).await.map_err(|failure| self.halfway(failure))?;
        let newcomer = self.change.seat;
        if self.waits && !newcomer.reachable {
            let Seat { name, address, .. } = newcomer;
            screen.tell(&format!("{name} does not answer at {address}: start it with `kvd join`"));
        }
        let waited = self.wait(session, screen).await;
        let seat = self.change.seat.clone();
        self.change.after = self.roll.with(Seat { part: waited.part, ..seat });
        Ok(self.report(rev, &waited, &plan))
    }

    /// Looks until it is so, or the time is up. Nobody who does not answer for a moment ends it.
    async fn wait(&self, session: &Session, screen: Screen) -> Waited {
        let began = Instant::now();
        let until = began.checked_add(session.settings().timeout).unwrap_or(began);
        let mut drawing = Progress::new("", screen.quiet || screen.format.is_json());
        let name = &self.change.seat.name;
        let mut waited = Waited { met: false, part: Part::Learner, progress: None, took: Duration::ZERO };
        loop {
            let look = Roll::of(&session.client().status().await);
            if let Ok((roll, seat)) = look.as_ref().map(|roll| (roll, roll.get(self.goal.id))) {
                waited.met = self.goal.is_met(roll);
                if let Some(seat) = seat {
                    (waited.part, waited.progress) = (seat.part, seat.progress());
                }
                drawing.say(&format!("{name} {}", words(waited.part, waited.progress)));
            }
            waited.took = began.elapsed();
            if waited.met || !self.waits || until.saturating_duration_since(Instant::now()) <= PAUSE {
                return waited;
            }
            sleep(PAUSE).await;
        }
    }

    fn report(&self, rev: Option<u64>, waited: &Waited, plan: &Plan) -> Report {
        let seat = self.change.seat;
        let state = if waited.met { "done" } else { "under_way" };
        let document = document(&self.change, state, rev, waited.progress, plan);
        let mut cells = vec![seat.name.clone(), words(waited.part, waited.progress)];
        if self.waits && waited.met {
            cells.push(text::millis(waited.took));
        }
        cells.extend(plan.cells());
        let report = Report::new(document, Body::Done(cells));
        if waited.met {
            return report;
        }
        let next = if self.goal.votes {
            "the leader goes on by itself and lets it vote when it has caught up"
        } else {
            "the leader goes on to send it what it lacks"
        };
        let runs = if seat.reachable { "" } else { "; start it with `kvd join`" };
        let note = format!("{} is a learner: {next}{runs}. `kvctl member ls` shows how far it is", seat.name);
        // Whoever said not to wait has what was wanted.
        report.note(note).exit(if self.waits { Exit::Partial } else { Exit::Success })
    }
}

/// How far it is.
fn words(part: Part, progress: Option<f64>) -> String {
    let share = progress.map_or_else(String::new, |share| format!(", {:.0}%", (share * 100.0).floor()));
    match part {
        Part::Learner => format!("learner{share}"),
        Part::Voter | Part::Outgoing => "votes".to_owned(),
    }
}

#[cfg(test)]
mod tests;
