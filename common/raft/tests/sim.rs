//! A small cluster under time, and what clients see of it.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

#[test]
fn a_cluster_elects_commits_reads_and_restarts() {
    for voters in [1, 2, 3, 5] {
        let mut cluster = Cluster::new(voters);
        cluster.ticks(40);
        let leader = cluster.leader().expect("someone leads");
        cluster.propose(leader, "a").unwrap();
        for id in cluster.ids() {
            cluster.read(id.0, id.0).unwrap();
        }
        cluster.settle();
        assert_eq!(cluster.served.len(), cluster.ids().len(), "{voters} voters");
        let commit = cluster.status(leader).commit;
        assert_eq!(commit, cluster.status(leader).last.index);
        for id in cluster.ids() {
            assert_eq!(cluster.status(id.0).applied, commit);
            cluster.crash(id);
            cluster.start(id, raft::Index(0));
        }
        cluster.ticks(40);
        let leader = cluster.leader().expect("someone leads again");
        assert_eq!(cluster.server(leader).applied.len() as u64, commit.0 + 1);
    }
}
