//! Folders of authorities: what is written, for whom, and what several writers leave.

use std::os::unix::fs::MetadataExt;

use super::*;

fn loopback(dir: &Path, ports: [u16; 3]) -> Config {
    let servers: Vec<_> = (1..=3)
        .map(|id: usize| format!("[[server]]\nid = {id}\naddress = \"127.0.0.1:{}\"\n", ports[id - 1]))
        .collect();
    Config::parse(&dir.join("kvd.toml"), &servers.concat()).unwrap()
}

fn identity(paths: &TlsPaths) -> transport::Identity {
    transport::Identity::load(&paths.ca, &paths.cert, &paths.key).unwrap()
}

#[test]
fn an_operator_makes_issues_and_renews() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pki");
    let hosts = ["db1.example.org".to_owned(), "10.0.0.1".to_owned()];
    assert!(matches!(issue_node(&dir, 1, &hosts, 9), Err(PkiError::Missing(_))));
    assert!(!dir.exists(), "a refusal makes nothing");
    init(&dir, "prod", 100).unwrap();
    assert!(matches!(init(&dir, "prod", 100), Err(PkiError::Exists(_))));

    let paths = issue_node(&dir, 1, &hosts, 9).unwrap();
    assert!(matches!(identity(&paths).subject(), transport::Subject::Node { id: 1 }));
    assert!((8..=9).contains(&identity(&paths).days_left()));
    let context = issue_client(&dir, "alice", &["db1.example.org:7400".to_owned()], 9).unwrap();
    let text = std::fs::read_to_string(&context).unwrap();
    let Context { endpoints, protected, ca, cert, key } = Context::decode(&text).unwrap();
    assert_eq!((endpoints.as_slice(), protected), (&["db1.example.org:7400".to_owned()][..], false));
    let alice = transport::Identity::from_pem(&ca, &cert, &key).unwrap();
    assert!(matches!(alice.subject(), transport::Subject::Client { name } if name == "alice"));
    assert_eq!(alice.ca_fingerprint(), identity(&paths).ca_fingerprint());

    let protected = Context { protected: true, ..Context::decode(&text).unwrap() };
    write(&context, &protected.encode()).unwrap();
    let written = renew(&dir, 50).unwrap();
    assert!(read_context(&context).unwrap().protected, "it stays protected");
    assert_eq!(written, [context, paths.cert.clone()]);
    assert!((49..=50).contains(&identity(&paths).days_left()));

    for name in names(&dir).unwrap() {
        assert_eq!(std::fs::metadata(dir.join(&name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn names_are_checked_before_anything_is_issued() {
    let home = tempfile::tempdir().unwrap();
    init(home.path(), "prod", 100).unwrap();
    let before = names(home.path()).unwrap();
    let name = |outcome: Result<PathBuf, PkiError>| matches!(outcome, Err(PkiError::Name(..)));
    assert!(name(issue_client(home.path(), "../alice", &["a:1".to_owned()], 9)));
    assert!(name(issue_client(home.path(), "alice", &["a:70000".to_owned()], 9)));
    assert!(name(issue_node(home.path(), 1, &["a:1".to_owned()], 9).map(|paths| paths.cert)));
    assert_eq!(names(home.path()).unwrap(), before);
}

#[test]
fn a_loopback_cluster_serves_itself_and_follows_its_ports() {
    let home = tempfile::tempdir().unwrap();
    let config = loopback(home.path(), [1, 2, 3]);
    development(&config).unwrap();
    let dir = config.pki_dir();
    let first = identity(&TlsPaths::in_folder(&dir, 3)).ca_fingerprint();
    let admin = || read_context(&context_path(&dir, ADMIN)).unwrap();
    let key = admin().key;
    development(&loopback(home.path(), [4, 5, 6])).unwrap();
    assert_eq!(admin().endpoints, ["127.0.0.1:4", "127.0.0.1:5", "127.0.0.1:6"]);
    assert_eq!((admin().key, identity(&TlsPaths::in_folder(&dir, 1)).ca_fingerprint()), (key, first));
}

#[test]
fn a_crash_between_key_and_certificate_is_mended() {
    let home = tempfile::tempdir().unwrap();
    let config = loopback(home.path(), [1, 2, 3]);
    let dir = config.pki_dir();
    files::create_private_dir(&dir).unwrap();
    write(&dir.join("ca-key.pem"), "half").unwrap();
    write(&dir.join("node-1-key.pem"), "half").unwrap();
    development(&config).unwrap();
    identity(&TlsPaths::in_folder(&dir, 1));
}

#[test]
fn many_at_once_make_one_authority() {
    for _ in 0..8 {
        let home = tempfile::tempdir().unwrap();
        let config = loopback(home.path(), [1, 2, 3]);
        let dir = config.pki_dir();
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    development(&config).unwrap();
                    // What a process finds when it returns is what it finds ever after.
                    identity(&TlsPaths::in_folder(&dir, 1)).ca_fingerprint()
                });
            }
        });
        let first = identity(&TlsPaths::in_folder(&dir, 1)).ca_fingerprint();
        assert!((2..=3).all(|id| identity(&TlsPaths::in_folder(&dir, id)).ca_fingerprint() == first));
        assert_eq!(names(&dir).unwrap().len(), 2 + 3 * 3 + 2);
    }
}
