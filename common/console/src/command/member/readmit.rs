//! `member readmit`: a member whose data are lost comes back under its name.
//!
//! Such a server begins again as another incarnation, which the others do not recognise, and waits (`kvd/src/recognition.rs`).
//! It voted and acknowledged as what it was, so it cannot simply go on: it is removed, which makes everybody forget how far
//! its log was; its new incarnation is recorded; and it is added as any new server is, sent the data, and promoted by the
//! leader. While it is gone the others are a cluster of their own, and that is what is judged first.

use clap::Args;
use client::{Error, NodeView};
use protocol::{Intent, MemberEdit, MemberRecord, Part};

use super::{
    Change, How,
    add::{Coming, Goal, caught_up},
    led, not_fit, place,
    plan::{Plan, Seat},
    record,
};
use crate::{connect::Session, error::Failure, render::Screen, report::Report};

/// Arguments of `member readmit`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member readmit n3\n  kvctl member readmit n3 --dry-run\n\n\
                        For a member that lost its data: start it with empty directories, where it waits, then do this. It is sent\n\
                        everything anew and votes when it has caught up. Ends with 0 when it votes (with --no-wait: when it is a\n\
                        learner), 8 where it has lost nothing or the others are too few, 10 when the time (-t, 1m) is up before\n\
                        that: the leader goes on by itself.")]
pub struct Readmit {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Do not wait until it has caught up
    #[arg(long)]
    pub no_wait: bool,
    /// How
    #[command(flatten)]
    pub how: How,
}

impl Readmit {
    pub(super) async fn run(&self, session: &Session, screen: Screen) -> Result<Report, Failure> {
        let mut roll = led(session).await?;
        let seat = roll.find(&self.node)?.clone();
        let view = session.client().status_at(&seat.address).await;
        let incarnation = begun_again(&seat, &view)?;
        // What the leader holds of it is of what it was.
        let empty = Seat { matched: None, lag: None, ..seat.clone() };
        roll.seats = roll.with(empty.clone());
        roll.seats.sort_by_key(|seat| seat.id);
        let meanwhile = Plan::of(&place(session, &roll), &roll.seats, &roll.without(seat.id));
        if let Some(why) = meanwhile.danger().filter(|_| !self.how.force) {
            return Err(meanwhile.refused(&why));
        }
        let votes = seat.part.votes();
        let (part, intent) =
            if votes { (Part::Voter, Intent::Promote) } else { (Part::Learner, Intent::Hold) };
        let known = MemberRecord { incarnation: Some(incarnation), ..record(&empty, &seat.address, intent) };
        let change = Change {
            action: "readmit",
            done: "",
            seat: &empty,
            after: roll.with(caught_up(part, &empty)),
            record: Some(known),
            edits: vec![MemberEdit::Add(seat.id)],
        };
        let goal = Goal { id: seat.id, votes, gone: None };
        let coming = Coming { change, goal, waits: !self.no_wait, how: &self.how, roll: &roll, leaves: true };
        coming.run(session, screen).await
    }
}

/// Which incarnation the server is that waits at the member's address; a failure where none does.
fn begun_again(seat: &Seat, view: &NodeView) -> Result<[u8; 16], Failure> {
    let status = view.status.as_ref().map_err(|error| {
        Failure::from(Error::at(&seat.address, error.clone()))
            .hint("start it first, with empty directories: it waits to be admitted")
    })?;
    if status.id != seat.id {
        let message = format!("{} is the address of {} and not of {}", seat.address, status.name, seat.name);
        return Err(not_fit(&message, "compare the address with the configuration of the server"));
    }
    match status.incarnation {
        Some(incarnation) if status.waits => Ok(incarnation),
        _ => {
            let message = format!("{} is recognised by the others and need not be readmitted", seat.name);
            Err(not_fit(&message, "`kvctl status` shows how it is"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::NodeStatus;

    use super::*;
    use crate::command::member::plan::tests::seat;

    fn judged(status: NodeStatus) -> Result<[u8; 16], Failure> {
        let address = "h:1".to_owned();
        let (name, id, skew_ms, status) = (None, None, None, Ok(status));
        begun_again(&seat(1), &NodeView { address, name, id, rtt: Duration::ZERO, skew_ms, status })
    }

    #[test]
    fn only_who_waits_is_readmitted() {
        let waits = NodeStatus { id: 1, waits: true, incarnation: Some([7; 16]), ..NodeStatus::default() };
        assert_eq!(judged(waits.clone()).unwrap(), [7; 16]);
        for other in [
            NodeStatus { waits: false, ..waits.clone() },
            NodeStatus { id: 2, ..waits.clone() },
            NodeStatus { incarnation: None, ..waits },
        ] {
            assert!(judged(other).is_err());
        }
    }
}
