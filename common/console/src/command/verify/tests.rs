use super::*;
use crate::render::{Format, Screen};

fn holding(hash: u64, damaged: u64) -> Seen {
    Seen { digest: Digest { revision: 9, count: 2, hash, damaged }, kept: Some(7) }
}

#[expect(clippy::unnecessary_wraps, reason = "what was seen of others is an error")]
fn seen(hash: u64) -> Result<Seen, String> {
    Ok(holding(hash, 0))
}

#[expect(clippy::unnecessary_wraps, reason = "as above")]
fn damaged(hash: u64) -> Result<Seen, String> {
    Ok(holding(hash, 1))
}

fn rows(seen: impl IntoIterator<Item = Result<Seen, String>>) -> Vec<Row> {
    let row = |(id, seen)| Row { name: format!("n{id}"), address: format!("h:{id}"), seen };
    (1..).zip(seen).map(row).collect()
}

fn shown(rows: &[Row], format: Format) -> (String, String, Exit) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let report = report(rows, &Verdict::of(rows), 9, None, Duration::from_millis(840));
    let exit = screen.show_on(&Ok(report), &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit)
}

fn words(seen: impl IntoIterator<Item = Result<Seen, String>>) -> Vec<&'static str> {
    Verdict::of(&rows(seen)).words
}

#[test]
fn nodes_that_agree_are_one_line() {
    let (plain, err, exit) = shown(&rows([seen(1), seen(1), seen(1)]), Format::Plain);
    assert_eq!((plain.as_str(), err.as_str()), ("n1 n2 n3 identical at index 9 (0.8s)\n", ""));
    assert_eq!(exit, Exit::Success);
    assert_eq!(shown(&rows([seen(1)]), Format::Plain).0, "n1 sound at index 9 (0.8s)\n");
}

#[test]
fn the_odd_one_is_named_where_it_can_be_known() {
    assert_eq!(words([seen(1), seen(2), seen(1)]), ["same", "differs", "same"]);
    assert_eq!(words([seen(1), seen(2)]), ["unclear", "unclear"]);
    assert_eq!(words([seen(1), damaged(2)]), ["unclear", "damaged"]);
    assert_eq!(words([seen(1), seen(1), damaged(2)]), ["same", "same", "damaged"]);
    assert_eq!(words([seen(1), Err("gone".into()), seen(1)]), ["same", "not compared", "same"]);
    assert_eq!(words([seen(1), seen(2), seen(3)]), ["unclear"; 3]);
    let gone = || Err("gone".into());
    let (few, lost) = (["unclear"; 3], "not compared");
    assert_eq!(words([seen(1), seen(2), seen(1), gone(), gone()]), [&few[..], &[lost; 2]].concat());
    assert_eq!(words([seen(1), gone(), gone()]), ["same", lost, lost], "nothing differs");
    assert_eq!(
        words([seen(1), gone(), seen(2), seen(1), seen(1)]),
        ["same", lost, "differs", "same", "same"]
    );
    let other_past = seen(1).map(|seen| Seen { kept: Some(8), ..seen });
    assert_eq!(words([seen(1), other_past, seen(1)]), ["same", "differs", "same"]);
    let (table, _, exit) = shown(&rows([seen(1), seen(2), seen(1)]), Format::Table);
    assert!(table.contains("! n2 holds something else than the others at index 9"), "{table}");
    assert_eq!(exit, Exit::Integrity);
    assert_eq!(shown(&rows([damaged(1)]), Format::Plain).2, Exit::Integrity);
}

#[test]
fn a_node_that_could_not_be_compared_is_said_and_is_no_agreement() {
    let (table, _, exit) = shown(&rows([seen(1), Err("is silent".into()), seen(1)]), Format::Table);
    assert!(table.contains("! n2 (h:2) was not compared: is silent"), "{table}");
    assert_eq!(exit, Exit::Partial);
    let (json, _, _) = shown(&rows([seen(1), Err("is silent".into())]), Format::Json);
    let want = "{\"schema\":\"kvctl.verify/v1\",\"index\":9,\"consistent\":true,\"asked\":2,\"compared\":1,\
                \"history_compared\":true,\"nodes\":[{\"addr\":\"h:1\",\"damaged\":0,\"error\":null,\
                \"hash\":\"0000000000000001\",\"keys\":2,\"name\":\"n1\",\"state_hash\":\"0000000000000007\",\
                \"verdict\":\"same\"},{\"addr\":\"h:2\",\"damaged\":null,\"error\":\"is silent\",\"hash\":null,\
                \"keys\":null,\"name\":\"n2\",\"state_hash\":null,\"verdict\":\"not compared\"}],\
                \"differences\":[],\"more_differences\":false,\"took_ms\":840.0}\n";
    assert_eq!(json, want);
}

#[test]
fn it_is_said_where_the_past_was_not_compared() {
    let apart = || seen(1).map(|seen| Seen { kept: None, ..seen });
    let (_, err, exit) = shown(&rows([apart(), apart()]), Format::Plain);
    assert!(err.contains("keys and values only"), "{err}");
    assert_eq!(exit, Exit::Success);
}
