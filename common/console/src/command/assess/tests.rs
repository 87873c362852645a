//! Situations of a cluster of three, and what is said of each.

use protocol::ClusterId;

use super::*;
use crate::render::{Format, Screen};

fn members() -> Vec<Member> {
    (1..=3)
        .map(|id| Member { id, name: format!("n{id}"), address: format!("h:{id}"), ..Member::default() })
        .collect()
}

fn node(id: u64, term: u64, leader: Option<u64>) -> NodeView {
    let status = NodeStatus {
        cluster: ClusterId([0x7f; 16]),
        id,
        name: format!("n{id}"),
        role: if leader == Some(id) { Role::Leader } else { Role::Follower },
        term,
        leader,
        committed: 100,
        applied: 100,
        disk_bytes: 2048,
        uptime_ms: 7_200_000,
        certificate_days: 81,
        version: "0.1.0".into(),
        members: members(),
        ..NodeStatus::default()
    };
    NodeView {
        address: format!("h:{id}"),
        name: Some(format!("n{id}")),
        id: Some(id),
        skew_ms: None,
        rtt: Duration::from_micros(400),
        status: Ok(status),
    }
}

fn dead(id: u64) -> NodeView {
    NodeView {
        address: format!("h:{id}"),
        name: None,
        id: None,
        skew_ms: None,
        rtt: Duration::ZERO,
        status: Err(EndpointError::Refused),
    }
}

fn change(mut view: NodeView, change: impl FnOnce(&mut NodeStatus)) -> NodeView {
    change(view.status.as_mut().unwrap());
    view
}

fn assess(views: Vec<NodeView>) -> Assessment {
    Assessment::of(views).ok().unwrap()
}

fn shown(views: Vec<NodeView>, format: Format) -> (String, Exit) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let mut out = Vec::new();
    let exit = screen.show_on(&Ok(assess(views).status("dev")), &mut out, &mut Vec::new());
    (String::from_utf8(out).unwrap(), exit)
}

#[test]
fn all_is_well() {
    let late = change(node(3, 4, Some(2)), |status| status.applied = 90);
    let views = vec![late, node(1, 4, Some(2)), node(2, 4, Some(2))];
    let (out, exit) = shown(views, Format::Table);
    let want = "\
dev 7f7f7f7f   OK   quorum 3/3, tolerates 1 failure   rev 100   v0.1.0
NODE  ROLE      STATE  TERM  APPLIED  LAG  RTT    DISK  CERT  UP
n1    follower  ok     4     100      0    0.4ms  2.0K  81d   2h
n2 *  leader    ok     4     100      -    0.4ms  2.0K  81d   2h
n3    follower  ok     4     90       10   0.4ms  2.0K  81d   2h
";
    assert_eq!((out.as_str(), exit), (want, Exit::Success));
}

#[test]
fn a_dead_node_is_a_row() {
    let (out, exit) = shown(vec![node(1, 4, Some(2)), node(2, 4, Some(2)), dead(3)], Format::Table);
    assert_eq!(exit, Exit::Partial);
    assert!(out.contains("DEGRADED, 1 warning   quorum 2/3, tolerates 0 failures"), "{out}");
    assert!(out.contains("\nn3    -         refused  -     -        -    -"), "{out}");
    assert!(out.ends_with("! n3 (h:3) refused the connection\n"), "{out}");
    let (plain, _) = shown(vec![node(1, 4, Some(2)), node(2, 4, Some(2)), dead(3)], Format::Plain);
    assert_eq!(plain.lines().last(), Some("n3\t-\trefused\t-\t-\t-\t-\t-\t-\t-"));
}

#[test]
fn no_quorum_is_no_leader() {
    let (out, exit) = shown(vec![node(1, 4, Some(1)), dead(2), dead(3)], Format::Table);
    assert_eq!(exit, Exit::NoLeader);
    assert!(out.contains("DOWN, no quorum"), "{out}");
    let (out, exit) = shown(vec![node(1, 4, None), node(2, 4, None), node(3, 4, None)], Format::Table);
    assert_eq!(exit, Exit::NoLeader);
    assert!(out.contains("DOWN, no leader"), "{out}");
}

#[test]
fn nobody_answers() {
    let failure = Assessment::of(vec![dead(1), dead(2)]).err().unwrap();
    assert_eq!((failure.exit, failure.endpoints.len()), (Exit::Unreachable, 2));
    let tls = NodeView { status: Err(EndpointError::Tls { reason: "unknown issuer".into() }), ..dead(1) };
    assert_eq!(Assessment::of(vec![tls]).err().unwrap().exit, Exit::Denied);
}

#[test]
fn the_highest_term_says_who_leads() {
    let views = || vec![node(1, 4, Some(1)), node(2, 5, Some(3)), node(3, 5, Some(3))];
    let screen = Screen { format: Format::Plain, terminal: false, color: false, quiet: false };
    let show = |address| {
        let mut out = Vec::new();
        screen.show_on(&assess(views()).leader_report(address), &mut out, &mut Vec::new());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(show(false), "n3\th:3\tterm 5\n");
    assert_eq!(show(true), "h:3\n");
    let candidate = assess(vec![node(1, 4, Some(1)), node(2, 5, None)]);
    let failure = candidate.leader_report(false).unwrap_err();
    assert_eq!((failure.exit, failure.code), (Exit::NoLeader, "KV-0401"));
}

#[test]
fn a_node_under_two_addresses_is_one_row() {
    let other = NodeView { address: "alias:1".into(), ..node(1, 4, Some(1)) };
    assert_eq!(assess(vec![node(1, 4, Some(1)), other, dead(1)]).rows.len(), 1);
}

#[test]
fn certificates_and_trouble_are_findings() {
    let old = change(node(1, 4, Some(2)), |status| status.certificate_days = 6);
    let sick = change(node(3, 4, Some(2)), |status| status.trouble = "disk full".into());
    let (out, exit) = shown(vec![old, node(2, 4, Some(2)), sick], Format::Table);
    assert_eq!(exit, Exit::Success);
    assert!(out.contains("6d !") && out.contains("trouble"), "{out}");
    assert!(out.ends_with("! n1 certificate expires in 6 days: kvd pki renew\n! n3 disk full\n"), "{out}");
}

#[test]
fn the_document_names_everything() {
    let (out, _) = shown(vec![node(1, 4, Some(2)), node(2, 4, Some(2)), dead(3)], Format::Json);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(out.starts_with(r#"{"schema":"kvctl.status/v1","context":"dev","cluster_id":"7f7f"#), "{out}");
    assert_eq!(document["leader"], json!({"id": "2", "name": "n2"}));
    assert_eq!(document["quorum"], json!({"voters": 3, "up": 2, "needed": 2, "tolerates": 0}));
    assert_eq!((&document["health"], &document["views_agree"]), (&json!("degraded"), &json!(true)));
    assert_eq!(
        (&document["nodes"][2]["state"], &document["nodes"][2]["name"]),
        (&json!("refused"), &json!("n3"))
    );
}

#[test]
fn states_that_differ_at_the_same_index_do_not_agree() {
    let other = change(node(1, 4, Some(2)), |status| status.state_hash = 1);
    assert!(!assess(vec![other, node(2, 4, Some(2))]).views_agree());
    let behind = change(node(1, 4, Some(2)), |status| (status.state_hash, status.applied) = (1, 99));
    assert!(assess(vec![behind, node(2, 4, Some(2))]).views_agree());
}

fn with_learner(mut view: NodeView) -> NodeView {
    if let Ok(status) = &mut view.status {
        let (name, address) = ("n4".to_owned(), "h:4".to_owned());
        status.members.push(Member { id: 4, name, address, part: Part::Learner });
    }
    view
}

#[test]
fn learners_make_no_quorum_and_take_nothing_from_it() {
    let four = |last: NodeView| {
        let voters = (1..=3).map(|id| with_learner(node(id, 4, Some(2))));
        voters.chain([with_learner(last)]).collect::<Vec<_>>()
    };
    let (out, exit) = shown(four(node(4, 4, Some(2))), Format::Table);
    assert_eq!(exit, Exit::Success);
    assert!(out.contains("   OK   quorum 3/3, tolerates 1 failure, 1 learner   "), "{out}");
    assert!(out.contains("\nn4    learner   ok "), "{out}");
    let (out, exit) = shown(four(dead(4)), Format::Table);
    assert_eq!(exit, Exit::Partial, "somebody is missing");
    assert!(out.contains("   OK, 1 warning   quorum 3/3, tolerates 1 failure, 1 learner   "), "{out}");
    assert!(out.contains("\nn4    learner   refused "), "{out}");
    assert!(out.ends_with("! n4 (h:4) refused the connection\n"), "{out}");
    let one = vec![with_learner(node(1, 4, Some(1))), dead(2), dead(3), with_learner(node(4, 4, Some(1)))];
    let seen = assess(one);
    assert_eq!((seen.up(), seen.voters(), seen.needed()), (1, 3, 2), "its learner is no second voice");
}

#[test]
fn a_voter_that_goes_counts_until_it_has_gone() {
    let going = |id| {
        change(node(id, 4, Some(2)), |status| {
            status.members.iter_mut().for_each(|member| {
                member.part = if member.id == 3 { Part::Outgoing } else { Part::Voter };
            });
        })
    };
    let seen = assess((1..=3).map(going).collect());
    assert_eq!((seen.up(), seen.voters()), (3, 3));
}

#[test]
fn a_stranger_is_shown_and_not_counted() {
    let joins = change(node(9, 7, None), |status| status.members.clear());
    let views = vec![node(1, 4, Some(2)), node(2, 4, Some(2)), dead(3), joins];
    let (out, _) = shown(views.clone(), Format::Table);
    assert!(out.contains("DEGRADED, 1 warning   quorum 2/3, tolerates 0 failures"), "{out}");
    assert!(out.contains("\nn9    stranger  ok "), "{out}");
    let (out, _) = shown(views, Format::Json);
    let document: Value = serde_json::from_str(&out).unwrap();
    let parts: Vec<_> = document["nodes"].as_array().unwrap().iter().map(|node| &node["part"]).collect();
    assert_eq!(parts, [&json!("voter"), &json!("voter"), &json!("voter"), &Value::Null]);
    let gone = NodeView { address: "old:1".into(), ..dead(9) };
    let (out, exit) = shown((1..=3).map(|id| node(id, 4, Some(2))).chain([gone]).collect(), Format::Table);
    assert!(exit == Exit::Partial && out.contains("   OK, 1 warning   quorum 3/3"), "{out}");
}
