//! Memory is bounded also where the disk or the state machine does not keep up.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, settings};
use raft::{Envelope, Message, NodeId, Raft, Refusal, Term};

/// Followers commit without the leader's disk (thesis 10.2.1), so nothing but the bound on memory stops a leader
/// whose disk hangs from taking in more.
#[test]
fn a_leader_whose_disk_hangs_refuses_what_memory_cannot_hold() {
    let mut cluster =
        Cluster::with(raft::Config { cache_bytes: 1000, max_uncommitted_bytes: 1000, ..settings(3) });
    cluster.elect(1);
    cluster.settle();
    cluster.servers.get_mut(&NodeId(1)).unwrap().slow_disk = true;
    let text = "x".repeat(100);
    let taken = (0..1000).take_while(|_| {
        let taken = cluster.propose(1, &text).is_ok();
        cluster.settle();
        taken
    });
    let taken = taken.count();
    assert!((10..100).contains(&taken), "{taken} entries of a hundred bytes and more in five thousand");
    assert!(cluster.status(1).commit > cluster.status(1).applied, "the followers committed them");

    cluster.servers.get_mut(&NodeId(1)).unwrap().slow_disk = false;
    cluster.sync(NodeId(1));
    cluster.settle();
    assert!(cluster.propose(1, &text).is_ok(), "it goes on once the disk does");
    cluster.settle();
    assert_eq!(cluster.status(1).applied, cluster.status(1).last.index);
}

/// Such a leader answers nobody, so another one takes over; it does not win again before its disk works.
#[test]
fn a_leader_whose_disk_hangs_makes_way() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    cluster.servers.get_mut(&NodeId(1)).unwrap().slow_disk = true;
    cluster.propose(1, "a").unwrap();
    cluster.ticks(15);
    assert_eq!(cluster.leader(), Some(1), "a slow disk alone deposes nobody");
    cluster.ticks(150);
    let leader = cluster.leader().expect("another leads");
    assert_ne!(leader, 1);
    let written = cluster.propose(leader, "b").unwrap();
    cluster.settle();
    assert_eq!(cluster.status(leader).applied, written.index);
}

/// A server whose disk hangs could not vote, so it does not say that it would: terms would go up for nothing.
#[test]
fn a_server_whose_disk_hangs_promises_no_vote() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    cluster.isolate(3);
    cluster.ticks(100);
    let last = cluster.status(1).last;
    let from_2 = |term, message| Envelope { from: NodeId(2), to: NodeId(3), term: Term(term), message };
    let promises = |raft: &mut Raft, term| {
        raft.step(from_2(term, Message::PreVote { last }));
        let granted = Message::PreVoteReply { granted: true };
        raft.effects().send.iter().any(|sent| (sent.term, &sent.message) == (Term(term), &granted))
    };
    let raft = cluster.raft(3);
    assert!(promises(raft, 20));
    raft.step(from_2(20, Message::Vote { last, handed: false }));
    let vote = raft.effects().persist.expect("a vote is to be durable");
    for _ in 0..settings(3).election_ticks {
        assert!(promises(raft, 30), "disks may take a moment");
        raft.tick();
    }
    assert!(!promises(raft, 30));
    let later = raft.effects().persist.map_or(vote.ticket, |persist| persist.ticket);
    raft.persisted(later);
    raft.tick();
    assert!(promises(raft, 30), "its disk goes on");
}

/// Nor does one serve that reads nothing for who lags: where a majority lags, nothing would ever commit.
#[test]
fn a_leader_whose_disk_reads_nothing_makes_way() {
    let mut cluster = Cluster::with(raft::Config { cache_bytes: 0, ..settings(3) });
    cluster.elect(1);
    cluster.settle();
    cluster.isolate(3);
    cluster.propose(1, "a").unwrap();
    cluster.settle();
    cluster.servers.get_mut(&NodeId(1)).unwrap().mute_disk = true;
    cluster.heal();
    cluster.ticks(15);
    assert_eq!(cluster.leader(), Some(1), "a slow disk alone deposes nobody");
    assert!(cluster.status(3).last.index < cluster.status(1).last.index, "3 waits for the disk of 1");
    cluster.ticks(200);
    assert_ne!(cluster.leader().expect("another leads"), 1);
    assert_eq!(cluster.status(3).last, cluster.status(1).last);
}

/// What waits to be applied waits in the core, where it is bounded, and reads wait with it.
#[test]
fn nothing_is_given_to_apply_nor_read_while_apply_is_held() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    let before = cluster.status(1).applied;
    cluster.raft(1).hold_apply(true);
    let written = cluster.propose(1, "a").unwrap();
    cluster.settle();
    cluster.read(1, 1).unwrap();
    cluster.settle();
    assert_eq!((cluster.status(1).commit, cluster.status(1).applied), (written.index, before));
    assert!(cluster.served.is_empty(), "the read must see the write");
    cluster.raft(1).hold_apply(false);
    cluster.settle();
    assert_eq!(cluster.status(1).applied, written.index);
    assert_eq!(cluster.served.len(), 1);
}

/// A long backlog comes in pages, so that a state machine can say stop in between.
#[test]
fn a_backlog_is_given_to_apply_in_pages() {
    let mut cluster = Cluster::with(raft::Config { max_uncommitted_entries: 100_000, ..settings(1) });
    cluster.elect(1);
    cluster.settle();
    cluster.raft(1).hold_apply(true);
    for _ in 0..5000 {
        assert_ne!(cluster.propose(1, "a"), Err(Refusal::Busy));
    }
    cluster.settle();
    let before = cluster.status(1).applied;
    cluster.raft(1).hold_apply(false);
    let page = cluster.raft(1).effects().apply;
    assert_eq!((page.len(), page[0].position.index), (4096, before.next()));
    let last = page[page.len() - 1].position.index;
    cluster.raft(1).applied(last);
    let rest = cluster.raft(1).effects().apply;
    assert_eq!(rest.len(), 5000 - 4096);
    assert_eq!(rest[0].position.index, last.next());
}
