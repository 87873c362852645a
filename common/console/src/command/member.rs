//! `member`: who is in the cluster, and changes of that.
//!
//! Every change is planned first, by what all nodes say (`plan.rs`): voters, quorum and failures that can be borne, before
//! and after. People see the plan on stderr, programs in the document. What the plan forbids is asked of nobody, unless
//! somebody insists and names the cluster that is meant. The leader, who knows better, judges again.
//!
//! All of it can be asked again: a change that is done already is done.

use std::time::Duration;

use clap::{Args, Subcommand};
use client::EndpointError;
use protocol::{Intent, MemberEdit, MemberRecord, Part, Verdict};

use self::{
    failure::{failed, name_taken, not_fit},
    plan::{Plan, Roll, Seat},
};
use super::assess::Assessment;
use crate::{
    connect::Session,
    context::is_endpoint,
    error::Failure,
    exit::Exit,
    listing::Out,
    render::Screen,
    report::{Body, Document, Report},
};

mod add;
mod failure;
mod list;
mod plan;
mod readmit;

/// Arguments of `member`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl member ls\n  kvctl member add n4 --addr 10.0.0.4:7400\n  kvctl member remove n1 -n\n  \
                  kvctl member replace n3 n5 --addr 10.0.0.5:7400\n  kvctl member readmit n3\n\n\
                  A member is named by its name, its id as `kvctl member ls` shows it, or its address. Each change shows\n\
                  before it is done what it does to the quorum, and is refused with 8 where it would stop the writes."
)]
pub struct Member {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be done about members.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// List them
    Ls(list::Ls),
    /// Add a server, which votes once it has caught up
    Add(add::Add),
    /// Remove a member
    Remove(Remove),
    /// Add a server in the place of a member, which goes when the new one has caught up
    Replace(add::Replace),
    /// Take a member back whose data are lost, to be sent them anew
    Readmit(readmit::Readmit),
    /// Let a learner vote
    Promote(Promote),
    /// Let a voter learn and not vote
    Demote(Demote),
    /// Record another address of a member
    Move(Move),
}

/// How a change is made.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Only show what it would come to; ends with 8 where it would be refused
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do it though too few voters would keep up; --confirm must name the context, or the cluster where no context is used
    #[arg(long)]
    pub force: bool,
    /// What `--confirm` said.
    #[arg(skip)]
    pub confirmed: Option<String>,
}

/// Arguments of `member remove`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member remove n3\n  kvctl member remove n3 --dry-run\n  \
                        kvctl member remove n3 --force --confirm prod\n\n\
                        Done when those that stay have agreed on it. Then stop its process: a removed server does nothing\n\
                        more. If it leads, it hands over by that. Ends with 1 when there is no such member, as when it was removed\n\
                        before, and with 6 when no node said what became of it.")]
pub struct Remove {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `member promote`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member promote n4\n  kvctl member promote n4 --dry-run\n\n\
                        Refused while it has not caught up, for writes would wait for it. Servers that were added without\n\
                        --learner are promoted by themselves.")]
pub struct Promote {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `member demote`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member demote n3\n  kvctl member demote n3 --dry-run\n\n\
                        It goes on to be sent every write and to serve reads, and stays a learner until it is promoted.")]
pub struct Demote {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `member move`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member move n3 --addr 10.0.0.7:7400\n\n\
                        Stop it, change its configuration, start it at the new address, then do this: the others learn where\n\
                        it is. A learner that is moved stays one until it is promoted.")]
pub struct Move {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Where it is reached from now on
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// A change that is about to be made.
struct Change<'a> {
    /// For programs.
    action: &'static str,
    /// For people, when it is done.
    done: &'static str,
    /// About whom.
    seat: &'a Seat,
    /// Who is a member then.
    after: Vec<Seat>,
    record: Option<MemberRecord>,
    edits: Vec<MemberEdit>,
}

impl Member {
    fn how(&self) -> Option<&How> {
        match &self.what {
            What::Ls(_) => None,
            What::Add(add) => Some(&add.how),
            What::Remove(remove) => Some(&remove.how),
            What::Replace(replace) => Some(&replace.how),
            What::Readmit(readmit) => Some(&readmit.how),
            What::Promote(promote) => Some(&promote.how),
            What::Demote(demote) => Some(&demote.how),
            What::Move(moved) => Some(&moved.how),
        }
    }

    /// Takes what `--confirm` says.
    pub(super) fn confirm(&mut self, confirm: Option<&str>) {
        let how = match &mut self.what {
            What::Ls(_) => return,
            What::Add(add) => &mut add.how,
            What::Remove(remove) => &mut remove.how,
            What::Replace(replace) => &mut replace.how,
            What::Readmit(readmit) => &mut readmit.how,
            What::Promote(promote) => &mut promote.how,
            What::Demote(demote) => &mut demote.how,
            What::Move(moved) => &mut moved.how,
        };
        how.confirmed = confirm.map(str::to_owned);
    }

    /// Whether it changes who is a member.
    pub(super) fn changes(&self) -> bool {
        self.how().is_some_and(|how| !how.dry_run)
    }

    /// Whether it compares what was confirmed itself, where no context is used.
    pub(super) fn is_forced(&self) -> bool {
        self.how().is_some_and(|how| how.force)
    }

    /// The time it may take where the line does not say.
    pub(super) fn budget(&self) -> Option<Duration> {
        matches!(self.what, What::Add(_) | What::Replace(_) | What::Readmit(_)).then_some(add::TIMEOUT)
    }

    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if let Some(how) = self.how() {
            how.check()?;
        }
        match &self.what {
            What::Add(add) => check_address(&add.addr),
            What::Replace(replace) => check_address(&replace.addr),
            What::Move(moved) => check_address(&moved.addr),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let screen = out.screen;
        match &self.what {
            What::Ls(ls) => ls.run(session).await,
            What::Add(add) => add.run(session, screen).await,
            What::Remove(remove) => remove.run(session, screen).await,
            What::Replace(replace) => replace.run(session, screen).await,
            What::Readmit(readmit) => readmit.run(session, screen).await,
            What::Promote(promote) => promote.run(session, screen).await,
            What::Demote(demote) => demote.run(session, screen).await,
            What::Move(moved) => moved.run(session, screen).await,
        }
    }
}

impl How {
    /// Whoever insists says which cluster is meant.
    fn check(&self) -> Result<(), Failure> {
        if !self.force || self.dry_run || self.confirmed.is_some() {
            return Ok(());
        }
        let message =
            "--force may stop the cluster's writes, and nothing confirms which one; nothing was done";
        Err(Failure::new(Exit::Declined, "KV-1122", "force_unconfirmed", message).hint(
            "the same command with --confirm and the name of the context, or the cluster's id where no context is used",
        ))
    }

    /// Where a context is used, its name was compared before.
    fn check_cluster(&self, context: &str, roll: &Roll) -> Result<(), Failure> {
        let confirmed = self.confirmed.as_deref().unwrap_or_default();
        let short = roll.cluster.short();
        let is_it = confirmed == short || confirmed == roll.cluster.to_string();
        if !self.force || self.dry_run || !context.is_empty() || is_it {
            return Ok(());
        }
        let message = format!("`{confirmed}` is confirmed and the cluster is {short}; nothing was done");
        Err(Failure::new(Exit::Declined, "KV-1121", "not_confirmed", message)
            .hint("`kvctl status` shows the cluster that is asked"))
    }
}

impl Remove {
    async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let Ok(seat) = roll.find(&self.node) else { return Ok(absent(&self.node, &roll)) };
        let change = Change {
            action: "remove",
            done: "removed",
            seat,
            after: roll.without(seat.id),
            record: None,
            edits: vec![MemberEdit::Remove(seat.id)],
        };
        let report = make(&change, &self.how, &roll, session, screen).await?;
        let note = format!("{} is no member any more: stop its process, if it runs", seat.name);
        Ok(if self.how.dry_run { report } else { report.note(note) })
    }
}

impl Promote {
    async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let seat = roll.find(&self.node)?;
        let after = roll.with(Seat { part: Part::Voter, ..seat.clone() });
        let edits = vec![MemberEdit::Promote(seat.id)];
        let change = Change { action: "promote", done: "votes", seat, after, record: None, edits };
        make(&change, &self.how, &roll, session, screen).await
    }
}

impl Demote {
    async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let seat = roll.find(&self.node)?;
        let change = Change {
            action: "demote",
            done: "learns",
            seat,
            after: roll.with(Seat { part: Part::Learner, ..seat.clone() }),
            // Else the leader would promote it again, as it does with every server that was added to vote.
            record: Some(record(seat, &seat.address, Intent::Hold)),
            edits: vec![MemberEdit::Demote(seat.id)],
        };
        make(&change, &self.how, &roll, session, screen).await
    }
}

impl Move {
    async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let roll = led(session).await?;
        let seat = roll.find(&self.node)?;
        roll.check_address(seat.id, &self.addr)?;
        let view = session.client().status_at(&self.addr).await;
        match &view.status {
            Ok(status) if status.id != seat.id => {
                let message =
                    format!("{} is the address of {} and not of {}", self.addr, status.name, seat.name);
                return Err(not_fit(&message, "compare the address with the configuration of the server"));
            }
            Err(EndpointError::OtherCluster) => {
                let message = format!("the server at {} is of another cluster", self.addr);
                return Err(not_fit(&message, "compare the address with the configuration of the server"));
            }
            _ => {}
        }
        let moved = Seat {
            address: self.addr.clone(),
            // Whoever does not answer there is as good as gone.
            reachable: view.status.is_ok(),
            ..seat.clone()
        };
        let change = Change {
            action: "move",
            done: "is reached at the new address",
            seat: &moved,
            after: roll.with(moved.clone()),
            record: Some(record(seat, &self.addr, Intent::Hold)),
            edits: Vec::new(),
        };
        make(&change, &self.how, &roll, session, screen).await
    }
}

/// The answer where nothing is to be removed: it may have been before, or never was there.
fn absent(node: &str, roll: &Roll) -> Report {
    let mut document =
        Document::new("member").with("action", "remove").with("state", "absent").with("name", node);
    for unknown in ["id", "addr", "part", "rev", "progress"] {
        document = document.with(unknown, ());
    }
    let plan = Plan::of("", &roll.seats, &roll.seats);
    let document = document.with("plan", plan.value());
    let said = format!("no member is named `{node}`; there are: {}", roll.names());
    Report::new(document, Body::Empty).exit(Exit::No).note(said)
}

/// The members of a cluster that can be changed.
async fn led(session: &Session) -> Result<Roll, Failure> {
    let views = session.client().status().await;
    let roll = Roll::of(&views)?;
    let seen = Assessment::of(views)?;
    if seen.leader_name().is_none() || roll.seats.is_empty() {
        return Err(seen.no_leader());
    }
    Ok(roll)
}

/// Plans a change, says the plan, and makes it.
async fn make(
    change: &Change<'_>,
    how: &How,
    roll: &Roll,
    session: &Session,
    screen: Screen,
) -> Result<Report, Failure> {
    let plan = Plan::of(&place(session, roll), &roll.seats, &change.after);
    if let Some(report) = allow(change, how, &plan, roll, session, screen)? {
        return Ok(report);
    }
    let rev = ask(change, how, session).await?;
    let cells = vec![change.seat.name.clone(), change.done.to_owned()];
    let document = document(change, "done", rev, None, &plan);
    Ok(Report::new(document, Body::Done([cells, plan.cells()].concat())))
}

/// Says the plan and judges it. The report is that of a dry run.
fn allow(
    change: &Change<'_>,
    how: &How,
    plan: &Plan,
    roll: &Roll,
    session: &Session,
    screen: Screen,
) -> Result<Option<Report>, Failure> {
    let danger = plan.danger();
    let last = plan.after.voters == 0;
    if how.dry_run {
        let mut report =
            Report::new(document(change, "planned", None, None, plan), Body::Line(vec![plan.line()]));
        if danger.is_some() {
            report = report.exit(Exit::Refused);
        }
        return Ok(Some(match danger {
            Some(why) => report.note(format!("it would be refused: {why}")),
            None => report.note("nothing was done"),
        }));
    }
    screen.tell(&plan.line());
    if last {
        let message = format!("{} is the only voter: nobody could write any more", change.seat.name);
        return Err(Failure::new(Exit::Refused, "KV-0854", "last_voter", message)
            .hint("nothing was done; add a server first, or use `member replace`"));
    }
    how.check_cluster(session.name(), roll)?;
    match danger {
        Some(why) if !how.force => Err(plan.refused(&why)),
        _ => Ok(None),
    }
}

/// Asks for it; where its last entry stands in the log.
async fn ask(change: &Change<'_>, how: &How, session: &Session) -> Result<Option<u64>, Failure> {
    let mut rev = None;
    if let Some(record) = change.record.clone() {
        let name = record.name.clone();
        // Of a write it is known whether it was applied.
        let judged = session.client().set_member(record, None).await?;
        match judged.decided.verdict {
            Verdict::Unmet => return Err(name_taken(&name)),
            Verdict::TooMany => {
                let message = "as many servers are recorded as there can be; nothing was done";
                return Err(Failure::new(Exit::Refused, "KV-0853", "too_many_members", message)
                    .hint("`kvctl member ls` lists the members; remove one first"));
            }
            _ => rev = Some(judged.decided.revision),
        }
    }
    if !change.edits.is_empty() {
        rev = Some(session.client().change_members(&change.edits, how.force).await.map_err(failed)?);
    }
    Ok(rev)
}

fn check_address(address: &str) -> Result<(), Failure> {
    if is_endpoint(address) {
        return Ok(());
    }
    Err(Failure::usage(format!("`{address}` is not HOST:PORT with a port of 1 to 65535"))
        .hint("the address at which the others reach the server, such as 10.0.0.4:7400"))
}

fn record(seat: &Seat, address: &str, intent: Intent) -> MemberRecord {
    let (name, address) = (seat.name.clone(), address.to_owned());
    MemberRecord { id: seat.id, name, address, intent, incarnation: None }
}

/// What is confirmed by name.
fn place(session: &Session, roll: &Roll) -> String {
    if session.name().is_empty() { roll.cluster.short() } else { session.name().to_owned() }
}

fn document(
    change: &Change<'_>,
    state: &'static str,
    rev: Option<u64>,
    progress: Option<f64>,
    plan: &Plan,
) -> Document {
    let seat = change.seat;
    let after = change.after.iter().find(|after| after.id == seat.id);
    Document::new("member")
        .with("action", change.action)
        .with("state", state)
        .with("id", format!("{:x}", seat.id))
        .with("name", seat.name.as_str())
        .with("addr", seat.address.as_str())
        .with("part", after.map(|seat| seat.part.name()))
        .with("rev", rev)
        .with("progress", progress)
        .with("plan", plan.value())
}

#[cfg(test)]
mod tests;
