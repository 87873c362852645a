//! When something is so, and what is said while it is not.

use client::{EndpointError, NodeView};
use protocol::{NodeStatus, Role, response::Member};

use super::*;

fn node(id: u64, change: impl FnOnce(&mut NodeStatus)) -> NodeView {
    let members = (1..=2)
        .map(|id| Member { id, name: format!("n{id}"), address: format!("h:{id}"), ..Member::default() })
        .collect();
    let role = if id == 1 { Role::Leader } else { Role::Follower };
    let (name, leader, applied) = (format!("n{id}"), Some(1), 9);
    let mut status =
        NodeStatus { id, name, role, leader, committed: 9, applied, members, ..NodeStatus::default() };
    change(&mut status);
    NodeView {
        address: format!("h:{id}"),
        name: None,
        id: Some(id),
        skew_ms: None,
        rtt: Duration::ZERO,
        status: Ok(status),
    }
}

fn two(change: impl FnOnce(&mut NodeStatus)) -> Assessment {
    Assessment::of(vec![node(1, |_| {}), node(2, change)]).unwrap()
}

fn one_silent() -> Assessment {
    let silent = NodeView { status: Err(EndpointError::Silent), ..node(2, |_| {}) };
    Assessment::of(vec![node(1, |_| {}), silent]).unwrap()
}

fn wait(what: Condition, key: &str) -> Wait {
    Wait { what, key: (!key.is_empty()).then(|| key.into()) }
}

#[test]
fn healthy_means_all_of_it() {
    assert_eq!(healthy(&two(|_| {})), Ok("n1".into()));
    assert_eq!(healthy(&two(|s| s.trouble = "disk full".into())), Err("n2: disk full".into()));
    assert_eq!(healthy(&two(|s| s.leader = Some(2))), Err("the views of the nodes differ".into()));
    assert_eq!(healthy(&two(|s| s.state_hash = 7)), Err("the views of the nodes differ".into()));
    assert_eq!(healthy(&one_silent()), Err("n2 is silent".into()));
}

#[test]
fn caught_up_means_every_node_up_to_the_beginning_of_the_wait() {
    assert_eq!(caught_up(&two(|_| {}), 9), Ok("rev 9".into()));
    assert_eq!(caught_up(&two(|s| s.applied = 5), 9), Err("n2 is 4 entries behind".into()));
    assert_eq!(caught_up(&two(|s| s.applied = 5), 5), Ok("rev 5".into()), "what came later does not count");
    assert_eq!(caught_up(&one_silent(), 9), Err("n2 is silent".into()));
}

#[test]
fn a_key_is_cut_at_its_first_equals_sign() {
    assert_eq!(wait(Condition::Key, "a=b=c").wanted(), (&b"a"[..], Some(&b"b=c"[..])));
    assert_eq!(wait(Condition::Key, "a").wanted(), (&b"a"[..], None));
    assert_eq!(wait(Condition::Key, "a=").wanted(), (&b"a"[..], Some(&b""[..])));
    assert_eq!(wait(Condition::Key, "=a").prepare().unwrap_err().code, "KV-0203");
    assert_eq!(wait(Condition::Leader, "a").prepare().unwrap_err().code, "KV-0201");
    assert_eq!(holds(b"a", Some(b"b"), Some(b"b")), Ok("a".into()));
    assert_eq!(holds(b"a", None, Some(b"b")), Ok("a".into()));
    assert_eq!(holds(b"a", Some(b"b"), Some(b"c")), Err("a has another value".into()));
    assert_eq!(holds(b"a", None, None), Err("a is absent".into()));
}

#[test]
fn what_is_said_at_either_end() {
    let waited = wait(Condition::Leader, "").report("n1", Duration::from_millis(400));
    assert_eq!(waited.body, Body::Done(vec!["leader".into(), "n1".into(), "400.0ms".into()]));
    assert_eq!(
        waited.document.to_json(),
        r#"{"schema":"kvctl.wait/v1","condition":"leader","met":true,"detail":"n1","waited_ms":400.0}"#
    );
    let expired = wait(Condition::CaughtUp, "").expired(Duration::from_secs(1), "n2 is silent");
    assert_eq!((expired.exit, expired.code), (Exit::Deadline, "KV-0503"));
    assert_eq!(expired.message, "waited 1000.0ms for caught-up in vain: n2 is silent");
}
