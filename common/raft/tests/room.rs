//! A server whose disk has no room: it makes way at once, stands for nothing, takes no entries, and is as good as any other when
//! there is room again.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

#[test]
fn a_leader_without_room_makes_way_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    cluster.raft(1).set_full(true);
    assert_ne!(cluster.status(1).role, raft::RoleName::Leader, "at once");
    cluster.ticks(60);
    let next = cluster.leader().expect("another is elected");
    assert_ne!(next, 1);
    let written = cluster.propose(next, "a").unwrap();
    cluster.settle();
    assert_eq!(cluster.status(next).applied, written.index, "the others go on");
    assert!(cluster.status(1).last.index < written.index, "it takes no entries");
    cluster.raft(1).set_full(false);
    cluster.ticks(100);
    assert_eq!(cluster.status(1).applied, cluster.status(next).applied, "and then it catches up");
}

#[test]
fn a_server_without_room_does_not_stand() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    cluster.raft(2).set_full(true);
    cluster.raft(3).set_full(true);
    cluster.isolate(1);
    cluster.ticks(2000);
    assert!(cluster.leader().is_none_or(|leader| leader == 1), "neither stands, however long nobody leads");
    cluster.raft(3).set_full(false);
    cluster.ticks(200);
    assert_eq!(cluster.leader(), Some(3));
}

#[test]
fn alone_a_server_without_room_leads_on() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.settle();
    cluster.raft(1).set_full(true);
    cluster.ticks(200);
    assert_eq!(cluster.leader(), Some(1));
}
