//! `verify` against real nodes, of which one has a store that was changed behind its back.

use std::path::Path;

use redb::{Database, ReadableTable as _, TableDefinition};

use crate::trial::Trial;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Changes the last byte of a row in a store that nobody has open, as a disk that rots.
fn tamper(state: &Path, key: &str) {
    let database = Database::open(state.join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(ROWS).unwrap();
        let mut row = rows.get(key.as_bytes()).unwrap().unwrap().value().to_vec();
        *row.last_mut().unwrap() ^= 1;
        rows.insert(key.as_bytes(), row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn nodes_that_hold_the_same_and_one_whose_disk_does_not() {
    let mut trial = Trial::start(3);
    for n in 0..20 {
        assert_eq!(trial.kvctl(&["set", &format!("key/{n:02}"), &format!("value {n}")]).code, Some(0));
    }
    assert_eq!(trial.kvctl(&["del", "key/07"]).code, Some(0));
    let same = trial.kvctl(&["verify"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.text().starts_with("n1 n2 n3 identical at index "), "{same:?}");
    let (_, json) = trial.json(&["verify"]);
    let sound = |json: &serde_json::Value| json["consistent"] == true && json["compared"] == 3;
    assert!(sound(&json) && json["nodes"][0]["keys"] == 19, "{json}");

    let odd = trial.followers()[0];
    let name = format!("n{odd}");
    assert_eq!(trial.kvctl(&["compact", "log", &name]).code, Some(0), "everything is in its store");
    trial.cluster.stop(odd);
    let partly = trial.kvctl(&["verify"]);
    assert_eq!(partly.code, Some(10), "{partly:?}");
    tamper(&trial.cluster.folder().join("kv-data").join(&name).join("state"), "key/11");
    trial.cluster.restart(odd);
    let told = trial.eventually("difference", |trial| {
        let ran = trial.kvctl(&["verify", "--deep", "-o", "table"]);
        (ran.code == Some(9)).then(|| ran.text())
    });
    assert!(told.contains(&format!("! {name} holds 1 key that is not what was written")), "{told}");
    assert!(told.contains("! key/11: n1 "), "{told}");
    let (code, json) = trial.json(&["verify", "--deep"]);
    assert_eq!((code, &json["consistent"]), (9, &false.into()), "{json}");
    let verdict = |id: usize| json["nodes"][id - 1]["verdict"].as_str().unwrap().to_owned();
    assert_eq!(verdict(odd), "damaged", "{json}");
    assert!((1..=3).filter(|id| *id != odd).all(|id| verdict(id) == "same"), "{json}");
    let differences = json["differences"].as_array().unwrap();
    assert_eq!((differences.len(), &differences[0]["key"]), (1, &"key/11".into()), "{json}");

    // What is written again is right everywhere.
    assert_eq!(trial.kvctl(&["set", "key/11", "anew"]).code, Some(0));
    trial.eventually("agreement", |trial| (trial.kvctl(&["verify"]).code == Some(0)).then_some(()));
}

#[test]
fn nodes_are_compared_while_others_write() {
    let trial = Trial::start(3);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| trial.kvctl(&["bench", "--for", "2s", "--keys", "50", "--clients", "4"]));
        trial.eventually("comparison under load", |trial| {
            let ran = trial.kvctl(&["verify"]);
            assert!(ran.code != Some(9), "{ran:?}");
            (ran.code == Some(0)).then_some(())
        });
        assert_eq!(writer.join().unwrap().code, Some(0));
    });
}
