//! Situations and their verdicts.

use client::EndpointFailure;
use protocol::{NodeStatus, Role, response::Found, response::Member};

use super::*;

fn node(id: u64, change: impl FnOnce(&mut NodeStatus)) -> NodeView {
    let members = (1..=3)
        .map(|id| Member { id, name: format!("n{id}"), address: format!("h:{id}"), ..Member::default() })
        .collect();
    let mut status = NodeStatus {
        id,
        name: format!("n{id}"),
        role: if id == 2 { Role::Leader } else { Role::Follower },
        term: 4,
        leader: Some(2),
        committed: 100,
        applied: 100,
        disk_bytes: 2048,
        certificate_days: 81,
        members,
        ..NodeStatus::default()
    };
    change(&mut status);
    let (address, name) = (format!("h:{id}"), Some(format!("n{id}")));
    NodeView {
        address,
        name,
        id: Some(id),
        skew_ms: None,
        rtt: Duration::from_micros(400),
        status: Ok(status),
    }
}

fn gone(id: u64, error: EndpointError) -> NodeView {
    NodeView { status: Err(error), ..node(id, |_| {}) }
}

fn seen(views: Vec<NodeView>) -> Assessment {
    Assessment::of(views).unwrap()
}

fn three(change: impl FnOnce(&mut NodeStatus)) -> Assessment {
    seen(vec![node(1, |_| {}), node(2, |_| {}), node(3, change)])
}

#[expect(clippy::unnecessary_wraps, reason = "what is judged may have failed")]
fn read() -> Result<Duration, Failure> {
    Ok(Duration::from_micros(600))
}

fn judged(seen: &Assessment) -> (Status, String) {
    let verdict = cluster(seen, &read(), &Bounds::default());
    (verdict.status, verdict.summary)
}

#[test]
fn a_cluster_that_is_well() {
    let verdict = cluster(&three(|_| {}), &read(), &Bounds::default());
    assert_eq!(
        verdict.nagios(),
        "KV CLUSTER OK - quorum 3/3, n2 leads, rev 100 | 'voters_up'=3;;2:;0;3 'lag'=0;1000;;0 \
         'read'=0.6ms;;;0 'cert_days'=81;14:;3:"
    );
}

#[test]
fn everything_that_can_be_wrong_with_a_cluster() {
    for (cluster, want, words) in [
        (
            seen(vec![node(1, |_| {}), node(2, |_| {}), gone(3, EndpointError::Silent)]),
            Status::Warning,
            "n3 is silent",
        ),
        (
            seen(vec![node(2, |_| {}), gone(1, EndpointError::Silent), gone(3, EndpointError::Refused)]),
            Status::Critical,
            "voters_up 1",
        ),
        (
            seen(vec![node(1, |s| s.leader = None), node(3, |s| s.leader = None)]),
            Status::Critical,
            "no leader",
        ),
        (three(|s| s.role = Role::Leader), Status::Critical, "n2 and n3 all lead in one term"),
        (three(|s| s.state_hash = 7), Status::Critical, "different contents"),
        (three(|s| (s.term, s.leader) = (3, Some(1))), Status::Warning, "different leaders"),
        (three(|s| s.trouble = "disk full".into()), Status::Warning, "n3: disk full"),
        (three(|s| s.applied = 0), Status::Ok, "quorum 3/3"),
        (three(|s| s.committed = 5000), Status::Warning, "lag 4900"),
        (three(|s| s.certificate_days = 6), Status::Warning, "n3 cert_days 6"),
        (three(|s| s.certificate_days = -1), Status::Critical, "n3 cert_days -1"),
    ] {
        let (status, summary) = judged(&cluster);
        assert!(status == want && summary.contains(words), "{words}: {status:?} {summary}");
    }
    let failed = cluster(&three(|_| {}), &Err(Failure::internal("x")), &Bounds::default());
    assert_eq!((failed.status, failed.summary.as_str()), (Status::Critical, "a read fails: x"));
}

#[test]
fn bounds_of_the_line_go_before_those_of_the_check() {
    let thresholds = |text: &str| {
        crate::command::check::Thresholds::new(&[text.parse().unwrap()], &[("lag", "lag")], None).unwrap()
    };
    let late = three(|s| s.applied = 40);
    let bounds = Bounds { warn: thresholds("lag=10"), crit: thresholds("lag=50") };
    let verdict = cluster(&late, &read(), &bounds);
    assert_eq!((verdict.status, verdict.summary.as_str()), (Status::Critical, "n3 lag 60"));
    let per_node = replication(&late, &bounds);
    assert_eq!(per_node.status, Status::Critical);
    assert!(per_node.nagios().contains(" 'lag_n3'=60;10;50;0"), "{}", per_node.nagios());
}

#[test]
fn a_process_lives_or_is_gone_or_cannot_be_asked() {
    let of = |error| live(&[node(1, |_| {}), gone(2, error)], &Bounds::default()).status;
    assert_eq!(of(EndpointError::Refused), Status::Critical);
    assert_eq!(of(EndpointError::Silent), Status::Critical);
    assert_eq!(
        of(EndpointError::Tls { reason: "expired".into() }),
        Status::Unknown,
        "something answers there"
    );
    assert_eq!(of(EndpointError::Unresolved { reason: "no such name".into() }), Status::Unknown);
    assert_eq!(
        live(&[node(1, |_| {})], &Bounds::default()).nagios(),
        "KV LIVE OK - 1 node alive | 'rtt_n1'=0.4ms;;;0"
    );
}

#[test]
fn a_node_is_ready_when_it_serves_a_read() {
    let failure = Failure::from(client::Error::NoLeader { why: "h:2 knows none".into() });
    let verdict = ready(&[("n1".into(), read()), ("n2".into(), Err(failure))], &Bounds::default());
    assert_eq!(verdict.nagios(), "KV READY CRITICAL - n2: no leader: h:2 knows none | 'read_n1'=0.6ms;;;0");
    let endpoints = vec![EndpointFailure { address: "h:1".into(), error: EndpointError::Refused }];
    let gone = Failure::from(client::Error::Unreachable { endpoints });
    let verdict = ready(&[("h:1".into(), Err(gone))], &Bounds::default());
    assert_eq!(verdict.summary, "no endpoint answered: h:1 refused the connection", "its name is there once");
}

#[test]
fn what_a_node_does_not_tell_is_unknown() {
    let partly = seen(vec![node(1, |_| {}), node(2, |_| {}), gone(3, EndpointError::Silent)]);
    for judge in [replication, disk, cert] {
        let verdict = judge(&partly, &Bounds::default());
        assert_eq!((verdict.status, verdict.items.len()), (Status::Unknown, 2), "{verdict:?}");
    }
    assert_eq!(disk(&three(|_| {}), &Bounds::default()).summary, "3 nodes use at most 2.0K");
    assert_eq!(cert(&three(|s| s.certificate_days = 2), &Bounds::default()).status, Status::Critical);
    assert_eq!(latency(&Ok(Duration::from_millis(150)), &Bounds::default()).status, Status::Warning);
}

#[test]
fn a_key_and_its_heartbeat() {
    let found = Found { value: b"blue".to_vec(), revision: 90, created: 12, version: 3, lease: None };
    let at = |found| Ok(client::Read { found, revision: 100, served_by: 1, staleness_ms: Some(0) });
    let judge = |found, wanted: &Wanted| key(b"app/mode", &at(found), wanted, &Bounds::default());
    assert_eq!(
        judge(Some(found.clone()), &Wanted::default()).nagios(),
        "KV KEY OK - app/mode at rev 90 | 'age'=10;;;0 'version'=3;;;0 'size'=4B;;;0"
    );
    let value = |text: &str| Wanted { value: Some(text.into()), absent: false };
    let absent = Wanted { value: None, absent: true };
    for (there, wanted, status) in [
        (true, value("blue"), Status::Ok),
        (true, value("green"), Status::Critical),
        (true, absent.clone(), Status::Critical),
        (false, absent, Status::Ok),
        (false, value("blue"), Status::Critical),
        (false, Wanted::default(), Status::Critical),
    ] {
        assert_eq!(judge(there.then(|| found.clone()), &wanted).status, status, "{there} {wanted:?}");
    }
    let nobody = key(b"k", &Err(Failure::internal("x")), &Wanted::default(), &Bounds::default());
    assert_eq!(nobody.status, Status::Unknown, "whether it is there nobody knows");
}

#[test]
fn of_all_the_worst_counts_and_nothing_is_told_twice() {
    let seen = three(|s| s.certificate_days = 6);
    let bounds = Bounds::default();
    let verdict =
        all(vec![cluster(&seen, &read(), &bounds), cert(&seen, &bounds), latency(&read(), &bounds)]);
    assert_eq!(verdict.status, Status::Warning);
    assert_eq!(verdict.summary, "cluster WARNING: n3 cert_days 6; cert WARNING: n3 cert_days 6");
    assert_eq!(verdict.nagios().matches("'read'=").count(), 1);
    assert_eq!(verdict.items.len(), 4 + 3);
    let samples = verdict.prometheus(1.0, None);
    for sample in ["{check=\"all\"} 1\n", "{check=\"cluster\"} 1\n", "{check=\"latency\"} 0\n"] {
        assert!(samples.contains(&format!("kv_check_status{sample}")), "{samples}");
    }
}
