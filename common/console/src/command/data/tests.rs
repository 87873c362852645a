//! What the reports of data commands look like in each format.

use protocol::response::Found;

use super::*;
use crate::render::{Format, Screen};

fn shown(report: Report, format: Format) -> (String, String, u8) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&Ok(report), &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit.code())
}

fn read(value: Option<&[u8]>) -> client::Read {
    let found = value.map(|value| Found {
        value: value.to_vec(),
        revision: 45,
        created: 12,
        version: 3,
        lease: None,
    });
    client::Read { found, revision: 50, served_by: 2, staleness_ms: Some(0) }
}

#[test]
fn exists_says_no_by_its_code() {
    let exists =
        Exists { key: "k".into(), fresh: Freshness { consistency: Consistency::Stale, max_staleness: None } };
    assert_eq!(shown(exists.report(&read(Some(b""))), Format::Plain), ("yes\n".into(), String::new(), 0));
    assert_eq!(shown(exists.report(&read(None)), Format::Plain), ("no\n".into(), String::new(), 1));
}

#[test]
fn a_stale_read_may_have_a_bound() {
    let wanted = |consistency, millis: Option<u64>| {
        Freshness { consistency, max_staleness: millis.map(Duration::from_millis) }.wanted()
    };
    assert_eq!(wanted(Consistency::Stale, None), protocol::Consistency::Stale);
    assert_eq!(wanted(Consistency::Stale, Some(300)), protocol::Consistency::Within(300));
    assert_eq!(wanted(Consistency::Linearizable, Some(300)), protocol::Consistency::Linearizable);
}

#[test]
fn limits_hold_before_anything_is_sent() {
    let key = |size| OsString::from("k".repeat(size));
    assert_eq!(check_key(&key(0)).unwrap_err().exit, Exit::Usage);
    assert!(check_key(&key(limits::KEY_BYTES)).is_ok());
    let failure = check_key(&key(limits::KEY_BYTES + 1)).unwrap_err();
    assert_eq!(
        (failure.exit, failure.message.as_str()),
        (Exit::Refused, "key of 4097 bytes is over the limit of 4096")
    );
}
