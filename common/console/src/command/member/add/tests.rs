//! Servers that are to come: who is let in, and when the wait is over.

use protocol::{ClusterId, NodeStatus};

use super::*;
use crate::command::member::plan::tests::seat;

fn roll() -> Roll {
    let learner = Seat { part: Part::Learner, lag: Some(5000), ..seat(4) };
    let seats = vec![seat(1), seat(2), seat(3), learner];
    Roll { seats, changing: false, cluster: ClusterId([0x7f; 16]), committed: 100 }
}

fn view(status: Result<(u64, &str), EndpointError>) -> NodeView {
    let status = status.map(|(id, name)| NodeStatus { id, name: name.to_owned(), ..NodeStatus::default() });
    NodeView { address: "h:5".into(), name: None, id: None, rtt: Duration::ZERO, skew_ms: None, status }
}

fn code(name: &str, address: &str, id: Option<u64>, view: &NodeView) -> &'static str {
    newcomer(name, address, id, view, &roll()).map_or_else(|failure| failure.code, |_| "ok")
}

#[test]
fn a_server_is_asked_who_it_is() {
    let answers = || view(Ok((5, "n5")));
    let seat = newcomer("n5", "h:5", None, &answers(), &roll()).unwrap();
    assert_eq!((seat.id, seat.reachable, seat.part), (5, true, Part::Learner));
    assert_eq!(code("n5", "h:5", Some(5), &answers()), "ok");
    assert_eq!(code("n5", "h:5", Some(6), &answers()), "KV-0851");
    assert_eq!(code("n6", "h:5", None, &answers()), "KV-0851");
    assert_eq!(code("n5", "h:1", None, &answers()), "KV-0851", "that is n1's address");
    assert_eq!(code("n5", "h:5", None, &view(Ok((1, "n5")))), "KV-0851", "that is n1's id");
    assert_eq!(code("n1", "h:5", None, &view(Ok((5, "n1")))), "KV-0852");
    assert_eq!(code("n5", "h:5", Some(5), &view(Err(EndpointError::OtherCluster))), "KV-0851");
}

#[test]
fn a_server_that_does_not_run_yet_needs_its_id() {
    let gone = || view(Err(EndpointError::Refused));
    assert_eq!(code("n5", "h:5", None, &gone()), "KV-0301");
    let seat = newcomer("n5", "h:5", Some(5), &gone(), &roll()).unwrap();
    assert!(!seat.reachable && seat.id == 5);
    let tls = view(Err(EndpointError::Tls { reason: "unknown issuer".into() }));
    assert_eq!(code("n5", "h:5", Some(5), &tls), "KV-0701", "it runs, and is none of ours");
}

#[test]
fn a_member_is_added_again_and_not_moved() {
    assert_eq!(
        code("n4", "h:5", None, &view(Ok((4, "n4")))),
        "ok",
        "a learner may have been recorded wrongly"
    );
    assert_eq!(code("n3", "h:3", None, &view(Ok((3, "n3")))), "ok");
    let moved = newcomer("n3", "h:5", None, &view(Ok((3, "n3"))), &roll()).unwrap_err();
    assert!(moved.hint.unwrap().contains("member move n3 --addr h:5"));
}

#[test]
fn ids_are_as_in_configurations_or_as_they_are_shown() {
    assert_eq!((parse_id("12"), parse_id("0xc")), (Ok(12), Ok(12)));
    let over = (protocol::limits::NUMBER + 1).to_string();
    for bad in ["0", "c", "-1", "", "0x", over.as_str()] {
        assert!(parse_id(bad).is_err(), "{bad}");
    }
    assert!(parse_id(&protocol::limits::NUMBER.to_string()).is_ok());
}

#[test]
fn the_wait_ends_when_it_votes_or_keeps_up_and_the_old_one_has_gone() {
    let goal = |votes, gone| Goal { id: 4, votes, gone };
    let with = |seat: Seat| Roll { seats: roll().with(seat), ..roll() };
    let learner = |lag| with(Seat { part: Part::Learner, lag: Some(lag), ..seat(4) });
    assert!(!goal(true, None).is_met(&learner(0)) && goal(true, None).is_met(&with(seat(4))));
    assert!(!goal(false, None).is_met(&learner(1025)) && goal(false, None).is_met(&learner(1024)));
    assert!(!goal(true, Some(3)).is_met(&with(seat(4))), "n3 is still there");
    let mut replaced = with(seat(4));
    replaced.seats.retain(|seat| seat.id != 3);
    assert!(goal(true, Some(3)).is_met(&replaced));
}

#[test]
fn how_far_it_is_in_words() {
    assert_eq!(words(Part::Learner, Some(0.389)), "learner, 38%");
    assert_eq!(
        (words(Part::Learner, None), words(Part::Voter, Some(1.0))),
        ("learner".into(), "votes".into())
    );
}
