//! `ping` and `wait` against real nodes: what comes, what does not come, and who is gone.

use crate::trial::Trial;

#[test]
fn ping_tells_every_node_apart() {
    let mut trial = Trial::start(3);
    let all = trial.kvctl(&["ping"]);
    let rows: Vec<Vec<String>> =
        all.text().lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect();
    assert_eq!((all.code, rows.len()), (Some(0), 3), "{all:?}");
    for (id, row) in (1..).zip(&rows) {
        assert_eq!(row[..3], [format!("n{id}"), trial.cluster.address(id).to_owned(), "ok".into()]);
        assert!(row[3].ends_with("ms"), "{row:?}");
    }
    let [dead, alive] = trial.followers()[..] else { panic!("two followers") };
    trial.cluster.kill(dead);
    let (dead_name, alive_name) = (format!("n{dead}"), format!("n{alive}"));
    let (code, json) = trial.json(&["ping"]);
    assert_eq!((code, &json["asked"], &json["answered"]), (10, &3.into(), &2.into()), "{json}");
    let table = trial.kvctl(&["ping", "-o", "table"]);
    assert!(table.text().contains(&format!("! {dead_name} ")), "{table:?}");
    assert_eq!(trial.kvctl(&["ping", &alive_name]).code, Some(0));
    assert_eq!(trial.kvctl(&["ping", &dead_name, &alive_name]).code, Some(10));
    let gone = trial.kvctl(&["ping", &dead_name]);
    assert!(gone.code == Some(3) && gone.out.is_empty() && gone.err.contains("KV-0301"), "{gone:?}");
    assert_eq!(trial.kvctl(&["ping", trial.cluster.address(alive)]).code, Some(0));
    assert_eq!(trial.kvctl(&["ping", "127.0.0.1:1"]).code, Some(3), "an address nobody knows is asked");
    let unknown = trial.kvctl(&["ping", "n9"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("KV-0206"), "{unknown:?}");
}

#[test]
fn what_is_waited_for_comes() {
    let mut trial = Trial::start(3);
    let (code, json) = trial.json(&["wait", "leader"]);
    assert_eq!((code, &json["schema"], &json["met"]), (0, &"kvctl.wait/v1".into(), &true.into()), "{json}");
    assert_eq!(trial.kvctl(&["wait", "healthy"]).code, Some(0));
    let dead = trial.followers()[0];
    trial.cluster.kill(dead);
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));
    let late = trial.kvctl(&["wait", "caught-up", "-t", "400ms"]);
    assert!(late.code == Some(5) && late.err.contains("KV-0503"), "{late:?}");
    assert!(late.err.contains(&format!("n{dead} refused the connection")), "it says why: {late:?}");
    assert_eq!(trial.kvctl(&["wait", "healthy", "-t", "400ms"]).code, Some(5));
    trial.cluster.restart(dead);
    let caught_up = trial.kvctl(&["wait", "caught-up"]);
    assert!(caught_up.code == Some(0) && caught_up.text().starts_with("caught-up\trev "), "{caught_up:?}");

    assert_eq!(trial.kvctl(&["wait", "key", "k=v"]).code, Some(0));
    let other = trial.kvctl(&["wait", "key", "k=w", "-t", "400ms"]);
    assert!(other.code == Some(5) && other.err.contains("k has another value"), "{other:?}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| trial.kvctl(&["wait", "key", "k=w"]));
        assert_eq!(trial.kvctl(&["set", "k", "w"]).code, Some(0));
        assert_eq!(waiting.join().unwrap().code, Some(0));
    });

    let ids: Vec<usize> = trial.cluster.running();
    trial.cluster.kill_all(&ids);
    let nobody = trial.kvctl(&["wait", "leader", "-t", "300ms"]);
    assert!(nobody.code == Some(5) && nobody.err.contains("no endpoint answered"), "{nobody:?}");
}

#[test]
fn what_cannot_pass_is_not_waited_for() {
    let trial = Trial::start(1);
    let other = transport::Authority::create("other", 1).unwrap();
    let ca = trial.file("other.pem", other.cert_pem().as_bytes());
    for words in [&["wait", "leader"][..], &["wait", "key", "k"]] {
        let denied = trial.kvctl(&[&["--ca", &ca], words].concat());
        assert!(denied.code == Some(7) && denied.err.contains("KV-0701"), "{denied:?}");
    }
    assert_eq!(trial.kvctl(&["wait", "key"]).code, Some(2));
    assert_eq!(trial.kvctl(&["wait", "leader", "k"]).code, Some(2));
}
