//! Whole calls against fake servers over the real transport: redirects, dead nodes, lost connections, deadlines.

#[path = "fake/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod fake;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use client::{Client, EndpointError, Error, Outcome, Settings};
use fake::{APPLIED, CLUSTER, Fake, Pki, Reaction, not_leader, refused, settings, silent, value, written};
use protocol::{Consistency, NodeStatus, Refused, RequestId, Response};

/// Every test ends by itself; this ends the one that would not.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test did not end");
    });
}

#[test]
fn a_write_carries_an_id_made_from_the_welcome() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.always(written(false));
        let client = Client::new(settings(&pki, &[&node.address]));
        let done = client.set(b"k", b"v", None).await.unwrap();
        assert_eq!((done.revision, done.deduplicated), (41, false));
        assert_eq!((done.request.learned, done.request.cluster), (APPLIED, CLUSTER));
        assert_eq!(node.writes(), [done.request]);
        client.set(b"k", b"v", None).await.unwrap();
        assert_eq!(node.writes()[1].learned, 41, "the revision of the first write was learned");
        client.close().await;
    });
}

#[test]
fn a_given_id_is_kept() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.always(written(true));
        let client = Client::new(settings(&pki, &[&node.address]));
        let given = RequestId::fresh(7, CLUSTER);
        let done = client.delete(b"k", Some(given)).await.unwrap();
        assert!(done.deduplicated && done.request == given);
        assert_eq!(node.writes(), [given]);
    });
}

#[test]
fn a_redirect_is_followed_with_the_same_id_and_the_leader_remembered() {
    run(async {
        let pki = Pki::new();
        let leader = Fake::start(&pki, 2, &[]);
        leader.always(written(false));
        let follower = Fake::start(&pki, 1, &[]);
        follower.always(not_leader(2, &leader.address));
        let client = Client::new(settings(&pki, &[&follower.address]));
        let done = client.set(b"k", b"v", None).await.unwrap();
        assert_eq!((follower.writes(), leader.writes()), (vec![done.request], vec![done.request]));
        client.set(b"k", b"w", None).await.unwrap();
        assert_eq!((follower.requests(), leader.requests()), (1, 2));
    });
}

#[test]
fn reads_say_who_served_them() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 9, &[]);
        node.always(value());
        let client = Client::new(settings(&pki, &[&node.address]));
        let read = client.get(b"k", Consistency::Linearizable).await.unwrap();
        assert_eq!((read.found, read.revision, read.served_by), (None, 55, 9));
    });
}

#[test]
fn dead_endpoints_cost_neither_their_timeout_nor_the_call() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.always(written(false));
        let (_socket, nobody) = silent();
        for dead in [nobody, refused()] {
            let patient = Settings {
                connect_timeout: Duration::from_secs(9),
                ..settings(&pki, &[&dead, &node.address])
            };
            let began = Instant::now();
            Client::new(patient).set(b"k", b"v", None).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    });
}

#[test]
fn a_write_whose_connection_is_lost_is_settled_at_another_node_under_the_same_id() {
    run(async {
        let pki = Pki::new();
        let second = Fake::start(&pki, 2, &[]);
        second.always(written(true));
        let first = Fake::start(&pki, 1, &[]);
        first.on(|_| Reaction::Drop);
        let client = Client::new(settings(&pki, &[&first.address, &second.address]));
        let done = client.set(b"k", b"v", None).await.unwrap();
        assert!(done.deduplicated);
        assert_eq!((first.writes(), second.writes()), (vec![done.request], vec![done.request]));
    });
}

#[test]
fn a_node_that_stops_answering_is_left_for_one_that_does() {
    run(async {
        let pki = Pki::new();
        let second = Fake::start(&pki, 2, &[]);
        let first = Fake::start(&pki, 1, &[(2, &second.address)]);
        let mut times = 0;
        let stalled = first.address.clone();
        second.on(move |_| {
            times += 1;
            // A follower goes on naming the dead leader before it is elected itself.
            Reaction::Answer(if times < 3 { not_leader(1, &stalled) } else { written(false) })
        });
        let client = Client::new(settings(&pki, &[&first.address]));
        let done = client.set(b"k", b"v", None).await.unwrap();
        assert_eq!(first.writes(), [done.request]);
        assert_eq!(second.writes(), [done.request; 3]);
    });
}

#[test]
fn a_late_answer_is_as_good_as_an_early_one() {
    run(async {
        let pki = Pki::new();
        let leader = Fake::start(&pki, 1, &[]);
        let follower = Fake::start(&pki, 2, &[]);
        // The leader answers the second request it sees; the first one stays open, its answer never comes.
        let mut times = 0;
        leader.on(move |_| {
            times += 1;
            if times == 1 { Reaction::Ignore } else { Reaction::Answer(written(true)) }
        });
        follower.always(not_leader(1, &leader.address));
        let client = Client::new(settings(&pki, &[&leader.address, &follower.address]));
        let done = client.set(b"k", b"v", None).await.unwrap();
        assert_eq!(leader.writes(), [done.request; 2]);
    });
}

#[test]
fn a_deadline_after_sending_is_unknown_under_the_id_that_was_sent() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        let impatient = Settings { timeout: Duration::from_millis(400), ..settings(&pki, &[&node.address]) };
        let error = Client::new(impatient).set(b"k", b"v", None).await.unwrap_err();
        let Error::Unknown { request, .. } = error else { panic!("{error:?}") };
        assert_eq!(node.writes()[0], request);
        assert_eq!(error.outcome(), Outcome::Unknown);
    });
}

#[test]
fn a_deadline_before_sending_is_not_applied() {
    run(async {
        let pki = Pki::new();
        let (_socket, nobody) = silent();
        let impatient = Settings { timeout: Duration::from_millis(300), ..settings(&pki, &[&nobody]) };
        let error = Client::new(impatient).set(b"k", b"v", None).await.unwrap_err();
        let Error::Unreachable { ref endpoints } = error else { panic!("{error:?}") };
        assert_eq!((&endpoints[0].address, &endpoints[0].error), (&nobody, &EndpointError::Silent));
        assert_eq!(error.outcome(), Outcome::NotApplied);
    });
}

#[test]
fn no_leader_until_the_deadline_is_said_so() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.always(Err(Refused::NotLeader { leader: None, address: None }));
        let impatient = Settings { timeout: Duration::from_secs(1), ..settings(&pki, &[&node.address]) };
        let error = Client::new(impatient).get(b"k", Consistency::Linearizable).await.unwrap_err();
        assert!(matches!(error, Error::NoLeader { .. }), "{error:?}");
        assert!(node.requests() > 1);
    });
}

#[test]
fn another_ca_is_denied_at_once() {
    run(async {
        let node = Fake::start(&Pki::new(), 1, &[]);
        let began = Instant::now();
        let client = Client::new(settings(&Pki::new(), &[&node.address]));
        let error = client.get(b"k", Consistency::Stale).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(node.requests(), 0);
    });
}

#[test]
fn limits_are_refused_before_anything_is_sent() {
    run(async {
        let client = Client::new(settings(&Pki::new(), &[&refused()]));
        let error = client.set(b"", b"v", None).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refused::Invalid(_))), "{error:?}");
        let error = client.set(b"k", &vec![0; protocol::limits::VALUE_BYTES + 1], None).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refused::TooLarge { .. })), "{error:?}");
    });
}

#[test]
fn status_asks_members_too_and_a_dead_one_is_a_row() {
    run(async {
        let pki = Pki::new();
        let (_socket, nobody) = silent();
        let members = [(1, "n1:1"), (2, nobody.as_str())];
        let node = Fake::start(&pki, 1, &members);
        let status = NodeStatus { id: 1, name: "n1".into(), ..NodeStatus::default() };
        node.always(Ok(Response::Status(Box::new(status))));
        let brief =
            Settings { connect_timeout: Duration::from_millis(300), ..settings(&pki, &[&node.address]) };
        let began = Instant::now();
        let views = Client::new(brief).status().await;
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(views.len(), 2, "{views:?}");
        assert_eq!((views[0].id, views[0].status.is_ok()), (Some(1), true));
        assert_eq!(
            (&views[1].address, views[1].status.as_ref().err()),
            (&nobody, Some(&EndpointError::Silent))
        );
    });
}

#[test]
fn status_asks_again_where_a_connection_had_died() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        let mut dead = true;
        node.on(move |_| {
            if std::mem::take(&mut dead) {
                return Reaction::Drop;
            }
            Reaction::Answer(Ok(Response::Status(Box::new(NodeStatus { id: 1, ..NodeStatus::default() }))))
        });
        let views = Client::new(settings(&pki, &[&node.address])).status().await;
        assert!(views.len() == 1 && views[0].status.is_ok(), "{views:?}");
        assert_eq!(node.connections(), 2);
    });
}

#[test]
fn a_load_generator_spreads_over_its_connections() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.on(|frame| {
            Reaction::Answer(if matches!(frame.request, protocol::Request::Get { .. }) {
                value()
            } else {
                written(false)
            })
        });
        let workload = client::bench::Workload {
            clients: 3,
            keys: 10,
            read_percent: 50,
            warmup: Duration::ZERO,
            measure: Duration::from_millis(100),
            ..client::bench::Workload::default()
        };
        let report = client::bench::run(settings(&pki, &[&node.address]), &workload).await.unwrap();
        assert!(report.operations > 10 && report.failed == 0 && report.unknown == 0, "{report:?}");
        assert!(report.reads > 0 && report.reads < report.operations, "{report:?}");
        assert!(report.p50_us > 0 && report.p50_us <= report.p99_us && report.p99_us <= report.max_us);
        assert!(report.operations + 10 <= node.requests() as u64);
        assert_eq!(node.connections(), 3);
    });
}

#[test]
fn a_probe_asks_one_node_once_and_takes_its_word() {
    run(async {
        let pki = Pki::new();
        let other = Fake::start(&pki, 2, &[]);
        other.always(value());
        let asked = Fake::start(&pki, 1, &[(2, &other.address)]);
        let settings = Settings {
            timeout: Duration::from_millis(300),
            ..settings(&pki, &[&asked.address, &other.address])
        };
        let client = Client::new(settings);
        let probe = async || client.exists_at(&asked.address, b"k").await;

        asked.always(value());
        assert_eq!(probe().await.unwrap().served_by, 1);
        asked.always(not_leader(2, &other.address));
        assert!(matches!(probe().await, Err(Error::NoLeader { .. })), "a redirect is not followed");
        asked.always(Err(Refused::Unavailable("full".into())));
        assert!(matches!(probe().await, Err(Error::Refused(Refused::Unavailable(_)))));
        asked.on(|_| Reaction::Ignore);
        assert!(matches!(probe().await, Err(Error::Deadline { .. })));
        assert_eq!((asked.requests(), other.requests()), (4, 0), "one attempt each, nobody else");

        let gone = client.exists_at(&refused(), b"k").await;
        assert!(
            matches!(gone, Err(Error::Unreachable { ref endpoints }) if endpoints.len() == 1),
            "{gone:?}"
        );
        let view = client.status_at(&refused()).await;
        assert_eq!(view.status.unwrap_err(), EndpointError::Refused);
    });
}
