//! `member ls`: who is in the cluster, what each counts for and how far it is.

use clap::Args;
use protocol::Part;
use serde_json::{Value, json};

use super::plan::{Roll, Seat};
use crate::{
    connect::Session,
    error::Failure,
    report::{Body, Document, Report, Table},
};

/// Arguments of `member ls`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl member ls\n  kvctl member ls -o json\n\n\
                        Ends with 0 also where a member does not answer: `kvctl status` and `check` judge that.")]
pub struct Ls {}

impl Ls {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        Ok(report(&Roll::of(&session.client().status().await)?, session.name()))
    }
}

fn report(roll: &Roll, context: &str) -> Report {
    let document = Document::new("members")
        .with("context", context)
        .with("cluster_id", roll.cluster.to_string())
        .with("committed", roll.committed)
        .with("changing", roll.changing)
        .with("members", roll.seats.iter().map(value).collect::<Vec<Value>>());
    let mut findings = Vec::new();
    if roll.changing {
        findings.push("a change of members is under way".to_owned());
    }
    if roll.seats.is_empty() {
        findings.push("the node that answers is in no cluster yet, or not any more".to_owned());
    }
    let table = Table {
        columns: vec!["NODE", "ID", "PART", "STATE", "MATCHED", "LAG", "ADDRESS"],
        rows: roll.seats.iter().map(cells).collect(),
        findings,
        ..Table::default()
    };
    Report::new(document, Body::Table(table))
}

fn state(seat: &Seat) -> &'static str {
    if seat.reachable { "reachable" } else { "unreachable" }
}

fn cells(seat: &Seat) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        if seat.leads { format!("{} *", seat.name) } else { seat.name.clone() },
        format!("{:x}", seat.id),
        seat.part.name().to_owned(),
        state(seat).to_owned(),
        number(seat.matched),
        number(seat.lag),
        seat.address.clone(),
    ]
}

fn value(seat: &Seat) -> Value {
    json!({
        "id": format!("{:x}", seat.id),
        "name": seat.name,
        "addr": seat.address,
        "part": Part::name(seat.part),
        "leader": seat.leads,
        "reachable": seat.reachable,
        "matched": seat.matched,
        "lag_entries": seat.lag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::member::plan::tests::seat,
        render::{Format, Screen},
    };

    fn shown(roll: &Roll, format: Format) -> String {
        let screen = Screen { format, terminal: false, color: false, quiet: false };
        let mut out = Vec::new();
        screen.show_on(&Ok(report(roll, "prod")), &mut out, &mut Vec::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_member_is_a_row() {
        let learner = Seat { part: Part::Learner, matched: Some(25), lag: Some(75), ..seat(12) };
        let gone = Seat { reachable: false, matched: None, lag: None, ..seat(2) };
        let seats = vec![seat(1), gone, learner];
        let roll = Roll { seats, changing: true, cluster: protocol::ClusterId([0x7f; 16]), committed: 100 };
        let want = "\
NODE  ID  PART     STATE        MATCHED  LAG  ADDRESS
n1 *  1   voter    reachable    100      0    h:1
n2    2   voter    unreachable  -        -    h:2
n12   c   learner  reachable    25       75   h:12
! a change of members is under way
";
        assert_eq!(shown(&roll, Format::Table), want);
        let document: Value = serde_json::from_str(&shown(&roll, Format::Json)).unwrap();
        assert_eq!((&document["changing"], &document["members"][2]["id"]), (&json!(true), &json!("c")));
    }
}
