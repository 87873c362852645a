//! Situations, and what is found in each.

use std::time::Duration;

use client::EndpointError;
use protocol::{NodeStatus, Role, response::Member};

use super::{judge::Here, *};
use crate::{
    codes::findings::FINDINGS,
    render::{Format, Screen},
};

fn node(id: u64, change: impl FnOnce(&mut NodeStatus)) -> NodeView {
    let member =
        |id| Member { id, name: format!("n{id}"), address: format!("h{id}:7400"), ..Member::default() };
    let members = (1..=3).map(member);
    let mut status = NodeStatus {
        id,
        name: format!("n{id}"),
        role: if id == 2 { Role::Leader } else { Role::Follower },
        term: 3,
        leader: Some(2),
        committed: 5000,
        applied: 5000,
        certificate_days: 81,
        version: "0.1.0".into(),
        members: members.collect(),
        disk_free: 50,
        disk_size: 100,
        ..NodeStatus::default()
    };
    change(&mut status);
    NodeView {
        address: format!("h{id}:7400"),
        name: Some(format!("n{id}")),
        id: Some(id),
        rtt: Duration::from_micros(400),
        skew_ms: Some(0),
        status: Ok(status),
    }
}

fn well() -> Vec<NodeView> {
    (1..=3).map(|id| node(id, |_| {})).collect()
}

fn but(view: NodeView) -> Vec<NodeView> {
    let mut views = well();
    let at = views.iter().position(|known| known.id == view.id).unwrap();
    views[at] = view;
    views
}

fn unreached(error: EndpointError) -> Vec<NodeView> {
    but(NodeView { status: Err(error), skew_ms: None, ..node(3, |_| {}) })
}

fn prod() -> Here {
    Here { context: "prod".into(), endpoints: vec!["h1:7400".into()], certificate_days: Some(200) }
}

fn look(views: &[NodeView]) -> Vec<Looked> {
    let mut looked = judge::here(&prod());
    looked.extend(judge::clock_here(views));
    looked.extend(judge::nodes(views, views));
    looked.extend(judge::cluster(views.to_vec()));
    looked
}

/// Where something was found, how bad it is, and its name.
fn found(views: &[NodeView]) -> Vec<(String, &'static str, &'static str)> {
    let looked = look(views).into_iter().filter(|looked| looked.state != State::Ok);
    looked.map(|looked| (looked.at, looked.state.word(), looked.code.unwrap().1)).collect()
}

fn one(at: &str, state: &'static str, name: &'static str) -> Vec<(String, &'static str, &'static str)> {
    vec![(at.to_owned(), state, name)]
}

fn shown(looked: &[Looked], format: Format) -> (String, Exit) {
    shown_of(&Ok(report(looked)), format)
}

#[test]
fn where_nothing_is_wrong_all_that_was_looked_at_is_shown() {
    let (table, exit) = shown(&look(&well()), Format::Table);
    assert!(table.starts_with("OK  WHAT     FOUND "), "{table}");
    assert!(table.contains("✓   here     context prod, endpoints h1:7400 "), "{table}");
    assert!(table.contains("good for 200 days, its key can be read by nobody else"), "{table}");
    assert!(table.contains("h2:7400 answers in 0.4ms, TLS and protocol ok: leader, v0.1.0"), "{table}");
    assert!(table.contains("n2 leads, 3 of 3 members answer, 2 are needed"), "{table}");
    assert_eq!((table.lines().count(), exit), (7, Exit::Success), "{table}");
}

#[test]
fn each_way_not_to_reach_a_node_is_told_apart() {
    let reason = || "why".to_owned();
    let cases = [
        (EndpointError::Unresolved { reason: reason() }, "unresolved"),
        (EndpointError::Refused, "refused"),
        (EndpointError::Silent, "silent"),
        (EndpointError::Tls { reason: reason() }, "untrusted"),
        (EndpointError::Version, "protocol"),
        (EndpointError::OtherCluster, "other_cluster"),
        (EndpointError::Dropped { reason: reason() }, "dropped"),
        (EndpointError::Local { reason: reason() }, "untried"),
    ];
    for (error, name) in cases {
        assert_eq!(found(&unreached(error)), one("n3", "failed", name));
    }
    let silent = look(&unreached(EndpointError::Silent));
    let fix = silent.iter().find_map(|looked| looked.fix.as_ref()).unwrap();
    assert!(fix.contains("let 7400/udp through"), "{fix}");
}

#[test]
fn what_a_node_says_of_itself_is_judged() {
    let of = |change: fn(&mut NodeStatus)| found(&but(node(3, change)));
    assert_eq!(of(|status| status.certificate_days = 14), []);
    assert_eq!(of(|status| status.certificate_days = 13), one("n3", "warning", "node_certificate"));
    assert_eq!(of(|status| status.certificate_days = -1), one("n3", "failed", "node_certificate"));
    assert_eq!(of(|status| status.disk_free = 15), []);
    assert_eq!(of(|status| status.disk_free = 14), one("n3", "warning", "disk_space"));
    assert_eq!(of(|status| status.disk_free = 4), one("n3", "failed", "disk_space"));
    assert_eq!(of(|status| (status.disk_free, status.disk_size) = (0, 0)), [], "an older one does not say");
    assert_eq!(of(|status| status.trouble = "t".into()), one("n3", "failed", "trouble"));
    assert_eq!(of(|status| status.drained = true), one("n3", "warning", "drained"));
    assert_eq!(of(|status| status.applied = 4000), []);
    assert_eq!(of(|status| status.applied = 3999), one("n3", "warning", "behind"));
    assert_eq!(of(|status| status.version = "0.2.0".into()), one("cluster", "warning", "versions"));
}

#[test]
fn a_clock_is_wrong_where_most_others_differ_from_it() {
    let with = |skews: [i64; 3]| {
        let mut views = well();
        views.iter_mut().zip(skews).for_each(|(view, skew)| view.skew_ms = Some(skew));
        found(&views)
    };
    assert_eq!(with([900, -900, 0]), []);
    assert_eq!(with([0, 1001, 0]), one("n2", "warning", "clock"));
    assert_eq!(with([41_000, 41_000, 41_200]), one("here", "warning", "clock"));
    assert_eq!(
        with([41_000, 41_000, 0]),
        [one("here", "warning", "clock"), one("n3", "warning", "clock")].concat()
    );
    let two = |skews: [i64; 2]| {
        let views = [1, 2].map(|id| node(id, |_| {})).into_iter().zip(skews);
        let views: Vec<NodeView> =
            views.map(|(view, skew)| NodeView { skew_ms: Some(skew), ..view }).collect();
        found(&views).into_iter().filter(|(.., name)| *name == "clock").map(|(at, ..)| at).collect::<Vec<_>>()
    };
    assert_eq!(two([0, 41_000]), ["n2"], "whom this machine agrees with is right");
    assert_eq!(two([-41_000, 0]), ["n1"]);
    assert_eq!(two([41_000, 41_100]), ["here"]);
    let alone = vec![NodeView { skew_ms: Some(-41_000), ..node(2, |_| {}) }];
    let looked = look(&alone);
    let clock = looked.iter().find(|looked| looked.code.is_some_and(|(_, name)| name == "clock")).unwrap();
    assert_eq!(clock.found, "the clock is 41s behind this machine's");
}

#[test]
fn the_cluster_is_judged_over_all_nodes() {
    let down = |ids: &[u64]| {
        let mut views = well();
        for view in views.iter_mut().filter(|view| ids.contains(&view.id.unwrap())) {
            *view = NodeView { status: Err(EndpointError::Refused), skew_ms: None, ..view.clone() };
        }
        found(&views)
    };
    let refused = |id: u64| (format!("n{id}"), "failed", "refused");
    let leaderless = ("cluster".to_owned(), "failed", "leaderless");
    assert_eq!(down(&[1, 3]), [refused(1), refused(3), leaderless.clone()]);
    assert_eq!(down(&[1, 2, 3]), [refused(1), refused(2), refused(3), leaderless]);
    let diverged = found(&but(node(3, |status| status.state_hash = 1)));
    assert_eq!(diverged, one("cluster", "failed", "diverged"));
    let other = found(&but(node(3, |status| status.leader = Some(1))));
    assert_eq!(other, one("cluster", "warning", "disagreement"));
    let members = found(&but(node(1, |status| status.members.truncate(2))));
    assert_eq!(members, one("cluster", "failed", "disagreement"));
    let removed = found(&but(node(3, |status| status.members.truncate(2))));
    assert_eq!(removed, [], "who is no member by its own list knows an old one");
}

#[test]
fn what_is_found_here_is_judged_as_well() {
    let of = |days| judge::here(&Here { certificate_days: days, ..prod() }).pop().unwrap();
    assert_eq!((of(Some(14)).state, of(None).state), (State::Ok, State::Ok));
    assert_eq!(of(Some(13)).state, State::Warning);
    assert_eq!(
        (of(Some(-2)).state, of(Some(-2)).found.as_str()),
        (State::Failed, "the certificate expired 2 days ago")
    );
    let exposed = Failure::new(Exit::Denied, "KV-0702", "key_exposed", "k: others").hint("chmod 600");
    let (json, exit) = shown_of(&Doctor::conclude(Err(exposed)), Format::Json);
    assert!(json.contains(r#""code":"KV-0702""#) && json.contains(r#""healthy":false"#), "{json}");
    assert_eq!(exit, Exit::No);
    let unknown = Failure::new(Exit::Usage, "KV-0206", "unknown_node", "no");
    assert!(Doctor::conclude(Err(unknown)).is_err(), "a node that is not there is the line's mistake");
}

fn shown_of(report: &Result<Report, Failure>, format: Format) -> (String, Exit) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let mut out = Vec::new();
    let exit = screen.show_on(report, &mut out, &mut Vec::new());
    (String::from_utf8(out).unwrap(), exit)
}

#[test]
fn everything_that_is_found_can_be_explained_and_mended() {
    for views in [unreached(EndpointError::Refused), but(node(3, |status| status.drained = true))] {
        for looked in look(&views).iter().filter(|looked| looked.state != State::Ok) {
            let (code, _) = looked.code.unwrap();
            assert!(
                FINDINGS.iter().any(|finding| finding.code == code) && looked.fix.is_some(),
                "{looked:?}"
            );
        }
    }
}
