use clap::Parser as _;
use protocol::{ClusterId, Decided};

use super::*;
use crate::command::{Command, Line};

fn judged(verdict: Verdict, number: u64) -> Judged {
    let request = RequestId { token: [1; 16], learned: 2, cluster: ClusterId([3; 16]) };
    Judged { decided: Decided { revision: 45, verdict, number, ..Decided::default() }, request }
}

fn parse(words: &[&str]) -> Result<Lease, clap::Error> {
    let line = Line::try_parse_from([&["kvctl", "lease"], words].concat())?;
    let Command::Lease(lease) = line.command else { panic!("{words:?}") };
    Ok(lease)
}

#[test]
fn a_lease_is_named_as_it_was_printed_and_a_time_has_a_unit() {
    for words in [&["renew", "2d"][..], &["grant", "--ttl", "100ms"], &["show", "1"], &["ls"]] {
        assert!(parse(words).is_ok(), "{words:?}");
    }
    for words in [&["renew"][..], &["renew", "0"], &["renew", "x"], &["grant"], &["grant", "--ttl", "30"]] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    assert_eq!(parse_lease(&show_lease(45)), Ok(45));
    assert_eq!(parse_lease(&show_lease(limits::NUMBER)), Ok(limits::NUMBER));
    assert!(parse_lease(&show_lease(limits::NUMBER + 1)).is_err());
}

#[test]
fn a_time_out_of_bounds_is_refused_before_anything_is_sent() {
    let refused = |ttl: &str| parse(&["grant", "--ttl", ttl]).unwrap().prepare().map_err(|error| error.exit);
    assert_eq!((refused("100ms"), refused("366d")), (Ok(()), Ok(())));
    assert_eq!(refused("99ms"), Err(Exit::Refused));
    assert!(parse(&["grant", "--ttl", "367d"]).is_err());
}

#[test]
fn a_lease_that_is_over_is_a_clean_no() {
    let report = renewed(&judged(Verdict::NoLease, 0), 45);
    assert_eq!((report.exit, &report.body), (Exit::No, &Body::Empty));
    assert_eq!(report.note.unwrap(), "no such lease: 2d is over, was revoked, or never was");
    assert_eq!(revoked(&judged(Verdict::NoLease, 0), 45).exit, Exit::No);
    let renewed = renewed(&judged(Verdict::Done, 90_000), 45);
    assert_eq!(renewed.body, Body::Done(vec!["ok".into(), "rev 45".into(), "90s again".into()]));
    let revoked = revoked(&judged(Verdict::Done, 1), 45);
    assert_eq!(revoked.body, Body::Done(vec!["ok".into(), "rev 45".into(), "removed 1 key".into()]));
}

#[test]
fn every_bound_is_a_refusal_that_names_it() {
    for (verdict, limit) in [
        (Verdict::TooManyLeases, "200000 leases"),
        (Verdict::LeaseFull, "10000 keys"),
        (Verdict::LeasedTooLarge, "134217728 bytes"),
    ] {
        let failure = granted(&judged(verdict, 0), 1000).unwrap_err();
        assert_eq!((failure.exit, failure.code), (Exit::Refused, "KV-0840"));
        assert!(failure.message.contains(limit), "{}", failure.message);
    }
    assert_eq!(granted(&judged(Verdict::Done, 0), 1000).unwrap().body, Body::Line(vec!["2d".into()]));
}

#[test]
fn a_lease_is_shown_with_its_keys_also_those_that_are_no_text() {
    let held = Held { id: 45, ttl_ms: 30_000, remaining_ms: 900, keys: 2, own: false };
    let report = shown(&held, &[b"k".to_vec(), b"\xff".to_vec()]);
    assert_eq!(
        report.document.to_json(),
        r#"{"schema":"kvctl.lease/v1","id":"2d","found":true,"ttl_ms":30000,"remaining_ms":900,"own":false,"#
            .to_owned()
            + r#""keys":["k"],"keys_b64":["/w=="]}"#
    );
    let Body::Table(table) = report.body else { panic!() };
    assert_eq!(table.head, ["lease 2d", "ttl 30s", "left 900ms", "keys 2"]);
    assert_eq!(cells(&held), ["2d", "30s", "900ms", "2"]);
}
