//! The lines of `member`, and who may force what.

use client::{EndpointFailure, Error};
use protocol::{ClusterId, Refused};

use super::*;
use crate::Line;

fn parsed(words: &[&str]) -> Line {
    let words: Vec<std::ffi::OsString> =
        ["kvctl", "member"].iter().chain(words).map(std::ffi::OsString::from).collect();
    Line::parse_words(&words).unwrap()
}

#[test]
fn whoever_insists_names_the_cluster() {
    let prepared = |words: &[&str]| parsed(words).prepare().map_err(|failure| failure.code);
    assert_eq!(prepared(&["remove", "n1"]), Ok(()));
    assert_eq!(prepared(&["remove", "n1", "--force"]), Err("KV-1122"));
    assert_eq!(prepared(&["remove", "n1", "--force", "-n"]), Ok(()), "nothing is done");
    assert_eq!(prepared(&["remove", "n1", "--force", "--confirm", "prod"]), Ok(()));
    assert_eq!(prepared(&["add", "n4", "--addr", "h"]), Err("KV-0201"));
    assert_eq!(prepared(&["move", "n4", "--addr", "h:0"]), Err("KV-0201"));
}

#[test]
fn without_a_context_the_cluster_itself_is_confirmed() {
    let roll = Roll { seats: Vec::new(), changing: false, cluster: ClusterId([0x7f; 16]), committed: 1 };
    let how = |confirmed: &str| How { force: true, confirmed: Some(confirmed.to_owned()), dry_run: false };
    assert!(how("7f7f7f7f").check_cluster("", &roll).is_ok());
    assert!(how(&"7f".repeat(16)).check_cluster("", &roll).is_ok());
    assert_eq!(how("prod").check_cluster("", &roll).unwrap_err().code, "KV-1121");
    assert!(how("prod").check_cluster("prod", &roll).is_ok(), "it was compared before");
    let mut line = parsed(&["remove", "n1", "--force", "--confirm", "7f7f7f7f"]);
    line.prepare().unwrap();
    assert_eq!((line.confirmation(""), line.confirmation("prod")), (None, Some("7f7f7f7f")));
    let line = parsed(&["remove", "n1", "--confirm", "7f7f7f7f"]);
    assert_eq!(line.confirmation(""), Some("7f7f7f7f"), "nothing is forced: it means a context");
}

#[test]
fn silence_is_no_refusal() {
    let dropped = EndpointError::Dropped { reason: "closed".into() };
    let endpoints = vec![EndpointFailure { address: "h:1".into(), error: dropped }];
    for error in [
        Error::Refused(Refused::Lost),
        Error::Deadline { why: String::new() },
        Error::NoLeader { why: String::new() },
        Error::Unreachable { endpoints },
    ] {
        assert_eq!((failed(error.clone()).exit, failed(error).code), (Exit::Unknown, "KV-0604"));
    }
    assert_eq!(failed(Error::Refused(Refused::Unsafe("w".into()))).code, "KV-0850");
    assert_eq!(failed(Error::Refused(Refused::Busy { what: "w".into() })).exit, Exit::Deadline);
}
