//! What the reports of data commands look like in each format.

use protocol::{ClusterId, response::Found};

use super::*;
use crate::render::{Format, Screen};

fn shown(report: Report, format: Format) -> (String, String, u8) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&Ok(report), &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit.code())
}

fn written(existed: bool, deduplicated: bool) -> Written {
    let request = RequestId { token: [0; 16], learned: 0, cluster: ClusterId([0; 16]) };
    Written { revision: 45, existed, deduplicated, request }
}

fn read(value: Option<&[u8]>) -> client::Read {
    let found = value.map(|value| Found { value: value.to_vec(), revision: 45, created: 12, version: 3 });
    client::Read { found, revision: 50, served_by: 2 }
}

fn set() -> Set {
    Set { key: "k".into(), value: Some("v".into()), file: None, request_id: None, loaded: Vec::new() }
}

#[test]
fn set_says_the_revision() {
    assert_eq!(shown(set().report(&written(false, false)), Format::Plain).0, "ok\trev 45\n");
    let repeated = shown(set().report(&written(true, true)), Format::Table).0;
    assert_eq!(repeated, "ok  rev 45  had been applied before\n");
    let json = shown(set().report(&written(false, false)), Format::Json).0;
    let id = "0".repeat(80);
    let want = format!(
        "{{\"schema\":\"kvctl.set/v1\",\"key\":\"k\",\"rev\":45,\"applied\":true,\"request_id\":\"{id}\",\
         \"deduplicated\":false}}\n"
    );
    assert_eq!(json, want);
}

#[test]
fn del_and_exists_say_no_by_their_code() {
    let del = Del { key: "k".into(), request_id: None };
    assert_eq!(
        shown(del.report(&written(true, false)), Format::Plain),
        ("deleted\trev 45\n".into(), String::new(), 0)
    );
    assert_eq!(shown(del.report(&written(false, false)), Format::Plain).2, 1);
    let exists = Exists { key: "k".into(), consistency: Consistency::Stale };
    assert_eq!(shown(exists.report(&read(Some(b""))), Format::Plain), ("yes\n".into(), String::new(), 0));
    assert_eq!(shown(exists.report(&read(None)), Format::Plain), ("no\n".into(), String::new(), 1));
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
    let sized = |size| Set { value: Some("v".repeat(size).into()), ..set() }.prepare();
    assert!(sized(limits::VALUE_BYTES).is_ok());
    assert_eq!(sized(limits::VALUE_BYTES + 1).unwrap_err().exit, Exit::Refused);
}

#[test]
fn a_value_comes_from_a_file_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    let from = |path: &Path| Set { value: None, file: Some(path.to_owned()), ..set() };
    std::fs::write(&path, b"\0\xff\n").unwrap();
    let mut read = from(&path);
    read.prepare().unwrap();
    assert_eq!(read.bytes(), b"\0\xff\n");
    std::fs::write(&path, vec![0; limits::VALUE_BYTES + 1]).unwrap();
    assert_eq!(from(&path).prepare().unwrap_err().exit, Exit::Refused);
    assert_eq!(from(&dir.path().join("none")).prepare().unwrap_err().exit, Exit::File);
}
