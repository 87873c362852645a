//! Who is let in by what was heard before and what is recorded; who waits.

use protocol::{ClusterId, Intent, Member, MemberRecord};

use super::*;

fn presence(incarnation: u8, boot: u64, process: u64) -> Presence {
    Presence { incarnation: [incarnation; 16], boot, process }
}

fn members() -> Members {
    let member = |id| Member { id, name: format!("n{id}"), address: format!("h{id}:1"), ..Member::default() };
    Members::new(ClusterId([1; 16]), NodeId(1), (1..=3).map(member).collect())
}

/// With these records, and these members.
fn recorded(ids: &[u64], records: &[MemberRecord]) -> Members {
    let mut members = members();
    let ids: Vec<_> = ids.iter().copied().map(NodeId).collect();
    members.follow(&Membership::new(&ids, &[]).unwrap(), records.iter());
    members
}

fn record(id: u64, incarnation: u8) -> MemberRecord {
    let (name, address) = (format!("n{id}"), format!("h{id}:1"));
    MemberRecord { id, name, address, intent: Intent::Promote, incarnation: Some([incarnation; 16]) }
}

fn guard(dir: &Path, members: Members) -> Guard {
    Guard::open(dir, presence(1, 1, 1), false, Directory::fixed(members)).unwrap()
}

#[test]
fn who_was_heard_is_known_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = guard(dir.path(), members());
    assert_eq!(first.known(NodeId(2)), None);
    assert_eq!(first.meet(NodeId(2), presence(2, 5, 7)).unwrap(), Verdict::New);
    assert_eq!(first.meet(NodeId(2), presence(2, 5, 7)).unwrap(), Verdict::Same, "it connects again");
    let next = guard(dir.path(), members());
    assert_eq!(next.known(NodeId(2)), Some(presence(2, 5, 7)));
    assert!(next.hears(NodeId(2), presence(2, 5, 7)));
    for (speaks, expected) in [
        (presence(9, 1, 7), Verdict::Wiped),
        (presence(2, 4, 7), Verdict::Rewound),
        (presence(2, 5, 8), Verdict::Rewound),
        (presence(2, 6, 8), Verdict::New),
        (presence(2, 5, 7), Verdict::Rewound),
    ] {
        assert_eq!(next.meet(NodeId(2), speaks).unwrap(), expected, "{speaks:?}");
    }
    assert!(next.hears(NodeId(2), presence(2, 6, 8)));
    assert!(!next.hears(NodeId(2), presence(2, 5, 7)), "a stream of an earlier life ends");
    assert_eq!(next.meet(NodeId(3), presence(9, 1, 7)).unwrap(), Verdict::New, "another server");
}

#[test]
fn what_is_recorded_goes_before_what_was_heard() {
    let dir = tempfile::tempdir().unwrap();
    guard(dir.path(), members()).meet(NodeId(2), presence(2, 5, 7)).unwrap();
    let guard = guard(dir.path(), recorded(&[1, 2, 3], &[record(2, 8)]));
    assert_eq!(guard.known(NodeId(2)), Some(presence(8, 0, 0)), "only the incarnation is recorded");
    assert_eq!(guard.meet(NodeId(2), presence(2, 6, 1)).unwrap(), Verdict::Wiped, "the old one is back");
    assert_eq!(guard.meet(NodeId(2), presence(8, 1, 3)).unwrap(), Verdict::New);
    assert_eq!(guard.known(NodeId(2)), Some(presence(8, 1, 3)));
    assert_eq!(guard.meet(NodeId(2), presence(8, 1, 4)).unwrap(), Verdict::Rewound);
}

#[test]
fn who_is_no_member_may_come_anew() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path(), recorded(&[1, 3], &[]));
    guard.meet(NodeId(2), presence(2, 5, 7)).unwrap();
    assert_eq!(guard.meet(NodeId(2), presence(9, 1, 7)).unwrap(), Verdict::New);
    assert_eq!(guard.known(NodeId(2)), Some(presence(9, 1, 7)));
    for id in 10..10 + MOST as u64 {
        guard.meet(NodeId(id), presence(2, 1, 1)).unwrap();
    }
    assert!(lock(&guard.known).len() <= MOST, "it is bounded");
}

#[test]
fn a_file_that_cannot_be_written_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    let guard = Guard::open(&gone, presence(1, 1, 1), false, Directory::fixed(members())).unwrap();
    assert!(guard.meet(NodeId(2), presence(2, 1, 1)).is_err());
    assert_eq!(guard.known(NodeId(2)), None);
}

#[test]
fn it_waits_while_it_is_not_recognised_and_somebody_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path(), members());
    let (wiped, mine) = (Some(presence(2, 3, 1)), Some(presence(1, 1, 1)));
    assert_eq!((guard.opinion(NodeId(2), None), guard.waits()), (Turn::None, false), "not known yet");
    assert_eq!((guard.opinion(NodeId(2), wiped), guard.waits()), (Turn::Waits, true));
    assert!(guard.trouble().contains("kvctl member readmit n1"), "{}", guard.trouble());
    assert_eq!(guard.opinion(NodeId(3), wiped), Turn::None);
    assert_eq!((guard.opinion(NodeId(3), mine), guard.waits()), (Turn::TakesPart, false));
    assert_eq!(guard.trouble(), "");
    let ahead = Some(presence(1, 2, 1));
    guard.opinion(NodeId(3), ahead);
    assert!(guard.waits() && guard.trouble().contains("older copy"), "{}", guard.trouble());
    assert_eq!(guard.opinion(NodeId(2), Some(presence(1, 0, 0))), Turn::TakesPart, "it was recorded");
}

#[test]
fn who_begins_anew_waits_for_somebody_who_recognises_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::fixed(members());
    let guard = Guard::open(dir.path(), presence(1, 1, 1), true, directory).unwrap();
    assert!(guard.waits());
    assert_eq!((guard.opinion(NodeId(2), None), guard.waits()), (Turn::None, true));
    assert_eq!(guard.opinion(NodeId(2), Some(presence(1, 1, 1))), Turn::TakesPart);
}

#[test]
fn the_file_is_a_promise_and_damage_is_named() {
    let known = Known::from([(2, presence(0xab, 7, 0x1c))]);
    let text = format!(
        "# Written by kvd: which life of each peer was heard last. Do not edit, copy or remove.\nformat = 1\n\n\
         [[peer]]\nid = 2\nincarnation = \"{}\"\nboot = 7\nprocess = \"000000000000001c\"\n",
        "ab".repeat(16)
    );
    assert_eq!(encode(&known), text);
    assert_eq!(decode(&text), Ok(known));
    for (a, b) in
        [("format = 1", "format = 2"), ("boot = 7", "boot = 0"), ("id = 2", "id = 0"), ("abab", "zz")]
    {
        assert!(decode(&text.replace(a, b)).is_err(), "{b}");
    }
    assert!(decode("").is_err());
    let many = |count: u64| encode(&(1..=count).map(|id| (id, presence(1, 1, 1))).collect());
    assert!(decode(&many(MOST as u64)).is_ok() && decode(&many(MOST as u64 + 1)).is_err());
}
