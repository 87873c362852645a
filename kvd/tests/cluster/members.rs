//! Servers that come and go while the cluster serves: real processes, real kills, and a writer that knows what it was
//! promised.

use std::time::{Duration, Instant};

use client::Client;
use protocol::{Intent, MemberEdit, MemberRecord, NodeStatus, Part, Role, Verdict};
use testkit::{cluster::Cluster, rng::Rng};

use crate::{
    real::{Leaders, client_of, converged, eventually, leader, length, runtime, seed, statuses},
    start,
    writer::Writer,
};

/// Records and adds a server that runs.
async fn add(cluster: &Cluster, client: &Client, id: usize, intent: Intent) {
    let (name, address) = (format!("n{id}"), cluster.address(id).to_owned());
    let record = MemberRecord { id: id as u64, name, address, intent, incarnation: None };
    let recorded = client.set_member(record, None).await.unwrap();
    assert_eq!(recorded.decided.verdict, Verdict::Done);
    client.change_members(&[MemberEdit::Add(id as u64)], false).await.unwrap();
}

/// Who is what, by the leader's own word, once no change is under way.
async fn settled(client: &Client) -> Vec<(usize, Part)> {
    let parts = |status: &NodeStatus| {
        let part = |member: &protocol::Member| (usize::try_from(member.id).unwrap(), member.part);
        status.members.iter().map(part).collect()
    };
    eventually(Duration::from_secs(20), "settled membership", async || {
        let statuses = statuses(client).await;
        let leads = |status: &&NodeStatus| status.role == Role::Leader;
        let leader = statuses.iter().filter(leads).max_by_key(|status| status.term)?;
        (!leader.changing).then(|| parts(leader))
    })
    .await
}

async fn becomes(client: &Client, id: usize, part: Part) {
    let what = format!("{} n{id}", part.name());
    eventually(Duration::from_secs(20), &what, async || {
        settled(client).await.contains(&(id, part)).then_some(())
    })
    .await;
}

fn voters(members: &[(usize, Part)]) -> Vec<usize> {
    members.iter().filter(|(_, part)| part.votes()).map(|(id, _)| *id).collect()
}

#[test]
fn a_server_joins_is_promoted_by_itself_and_founders_go() {
    let mut cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "grown");
        writer.write(20).await;
        let four = cluster.join();
        let own = client_of(&cluster, vec![cluster.address(four).to_owned()]).await;
        let waiting = eventually(Duration::from_secs(10), "new server", async || {
            statuses(&own).await.into_iter().next()
        });
        assert_eq!(waiting.await.members, [], "it knows that it is none");
        add(&cluster, &client, four, Intent::Promote).await;
        becomes(&client, four, Part::Voter).await;
        writer.write(20).await;

        // The founders go one after the other, the leader too; what is left is a fifth server and the fourth.
        let five = cluster.join();
        add(&cluster, &client, five, Intent::Replace(1)).await;
        becomes(&client, five, Part::Voter).await;
        assert_eq!(voters(&settled(&client).await), [2, 3, four, five]);
        for founder in [2, 3] {
            client.change_members(&[MemberEdit::Remove(founder)], false).await.unwrap();
            writer.write(10).await;
        }
        cluster.kill_all(&[1, 2, 3]);
        writer.write(20).await;
        let left = client_of(&cluster, vec![cluster.address(five).to_owned()]).await;
        assert_eq!(voters(&settled(&left).await), [four, five]);

        // Both remember who is in the cluster, though their configurations list neither the other nor what became of it.
        cluster.kill_all(&[four, five]);
        cluster.restart(four);
        cluster.restart(five);
        writer.write(20).await;
        converged(&left, 2).await;
        writer.check(&left).await;
    });
}

#[test]
fn what_would_stop_the_cluster_is_refused_unless_somebody_insists() {
    let mut cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "careful");
        writer.write(10).await;
        let first = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let others: Vec<_> = (1..=3).filter(|id| *id != first).collect();
        cluster.kill(others[0]);
        // Until its leader cannot but have noticed.
        let killed = Instant::now();
        while killed.elapsed() < Duration::from_secs(1) {
            writer.write(1).await;
        }
        let refused = eventually(Duration::from_secs(20), "refusal", async || {
            client.change_members(&[MemberEdit::Demote(others[1] as u64)], false).await.err()
        })
        .await;
        let client::Error::Refused(protocol::Refused::Unsafe(why)) = refused else { panic!("{refused}") };
        assert!(why.contains(&format!("n{}", others[0])), "{why}");
        client.change_members(&[MemberEdit::Remove(others[0] as u64)], true).await.unwrap();
        writer.write(10).await;
        let unknown = MemberEdit::Add(9);
        let refused = client.change_members(&[unknown], false).await.unwrap_err();
        assert!(refused.to_string().contains("nobody has recorded"), "{refused}");
        writer.check(&client).await;
    });
}

/// Members change all the time while servers are killed; no acknowledged write is lost. 200 changes take about two minutes:
/// `KVD_TEST_CHANGES=200`.
#[test]
fn changes_under_kills_lose_no_write() {
    let mut cluster = start(5);
    let mut rng = Rng::new(seed("changes_under_kills"));
    runtime().block_on(async {
        let spare = [cluster.join(), cluster.join()];
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "churned");
        for id in spare {
            add(&cluster, &client, id, Intent::Hold).await;
        }
        let mut leaders = Leaders::default();
        let mut changes = 0;
        while changes < length("KVD_TEST_CHANGES", 12) {
            let members = settled(&client).await;
            let voting = voters(&members);
            let learning: Vec<_> =
                members.iter().map(|(id, _)| *id).filter(|id| !voting.contains(id)).collect();
            // One server at a time is down, and it is up again before the next change is judged by who keeps up.
            let edits = change(&mut rng, &voting, &learning);
            let victim = *rng.pick(&cluster.running()).unwrap();
            let changing = client.change_members(&edits, false);
            let kill = async {
                writer.write(rng.below(4)).await;
                cluster.kill(victim);
                writer.write(2).await;
                cluster.restart(victim);
            };
            let (done, ()) = tokio::join!(changing, kill);
            match done {
                Ok(_) => changes += 1,
                Err(client::Error::Refused(protocol::Refused::Unsafe(_) | protocol::Refused::Invalid(_))) => {
                }
                Err(error) => assert_eq!(error.outcome(), client::Outcome::NotApplied, "{error}"),
            }
            leaders.see(&statuses(&client).await);
        }
        cluster.revive();
        settled(&client).await;
        let everyone = cluster.size();
        let all: Vec<_> = (1..=everyone as u64).map(MemberEdit::Add).collect();
        // Servers that were removed last are brought back, so that all of them can be compared.
        eventually(Duration::from_secs(20), "everybody back", async || {
            client.change_members(&all, false).await.ok()
        })
        .await;
        converged(&client, everyone).await;
        writer.check(&client).await;
        leaders.see_logs(&cluster);
    });
}

/// A change that leaves three to six voters.
fn change(rng: &mut Rng, voters: &[usize], learners: &[usize]) -> Vec<MemberEdit> {
    let learner = rng.pick(learners).map(|id| *id as u64);
    let voter = *rng.pick(voters).unwrap() as u64;
    match (rng.below(3), learner) {
        (0, Some(learner)) if voters.len() > 3 => {
            vec![MemberEdit::Promote(learner), MemberEdit::Demote(voter)]
        }
        (1, Some(learner)) if voters.len() < 6 => vec![MemberEdit::Promote(learner)],
        _ if voters.len() > 3 => vec![MemberEdit::Demote(voter)],
        (_, Some(learner)) => vec![MemberEdit::Promote(learner)],
        (_, None) => vec![MemberEdit::Add(voter)],
    }
}
