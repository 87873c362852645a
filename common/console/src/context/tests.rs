//! Precedence, names and paths, and what is refused.

use tempfile::TempDir;

use super::*;

struct Home {
    dir: TempDir,
    places: Places,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kv/contexts")).unwrap();
        let places = Places { config: Some(dir.path().join("kv")), system: dir.path().join("system.toml") };
        Self { dir, places }
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn context(&self, name: &str) -> PathBuf {
        self.file(&format!("kv/contexts/{name}.kvctx"), &kvctx(name), 0o600)
    }

    fn resolve(&self, flags: &Connection) -> Result<Resolved, Failure> {
        resolve(flags, &self.places)
    }
}

/// A context whose every setting bears its name.
fn kvctx(of: &str) -> String {
    format!(
        "# kv context\nendpoints = [\"{of}:1\"]\nca = \"\"\"{of}-ca\"\"\"\ncert = \"{of}-cert\"\nkey = \"{of}-key\"\n"
    )
}

fn named(name: &str) -> Connection {
    Connection { context: Some(name.to_owned()), ..Connection::default() }
}

#[test]
fn a_flag_goes_before_the_context_and_that_before_the_system() {
    let home = Home::new();
    home.file("system.toml", &kvctx("system"), 0o600);
    let system = home.resolve(&Connection::default()).unwrap();
    assert_eq!((system.endpoints[0].as_str(), system.ca.as_str()), ("system:1", "system-ca"));
    home.context("dev");
    let context = home.resolve(&named("dev")).unwrap();
    assert_eq!((context.endpoints[0].as_str(), context.key.as_str()), ("dev:1", "dev-key"));
    let ca = home.file("ca.pem", "flag-ca", 0o644);
    let flags = Connection { ca: Some(ca), endpoints: vec!["flag:1".into()], ..named("dev") };
    let flag = home.resolve(&flags).unwrap();
    assert_eq!((flag.endpoints[0].as_str(), flag.ca.as_str()), ("flag:1", "flag-ca"));
    assert_eq!((flag.cert.as_str(), flag.name.as_str()), ("dev-cert", "dev"));
}

#[test]
fn a_part_missing_in_the_context_comes_from_the_system_and_at_last_by_default() {
    let home = Home::new();
    home.file("kv/contexts/part.kvctx", "ca = \"a\"\ncert = \"b\"\nkey = \"c\"\n", 0o600);
    assert_eq!(home.resolve(&named("part")).unwrap().endpoints, [DEFAULT_ENDPOINT]);
    home.file("system.toml", "endpoints = [\"system:1\"]\n", 0o644);
    assert_eq!(home.resolve(&named("part")).unwrap().endpoints, ["system:1"]);
}

#[test]
fn the_current_context_is_used_where_none_is_named() {
    let home = Home::new();
    home.context("dev");
    home.context("prod");
    home.file("kv/config.toml", "current = \"prod\"\n", 0o644);
    assert_eq!(home.resolve(&Connection::default()).unwrap().name, "prod");
    assert_eq!(home.resolve(&named("dev")).unwrap().name, "dev");
}

#[test]
fn a_path_is_as_good_as_a_name() {
    let home = Home::new();
    let path = home.file("admin.kvctx", &kvctx("admin"), 0o600);
    let resolved = home.resolve(&named(path.to_str().unwrap())).unwrap();
    assert_eq!((resolved.name.as_str(), resolved.ca.as_str()), ("admin", "admin-ca"));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let home = Home::new();
    for mode in [0o644, 0o640, 0o604] {
        let path = home.file("open.kvctx", &kvctx("open"), mode);
        let failure = home.resolve(&named(path.to_str().unwrap())).unwrap_err();
        assert_eq!((failure.exit, failure.code), (Exit::Denied, "KV-0702"));
        assert!(failure.hint.unwrap().starts_with("chmod 600 "));
    }
    let path = home.file("open.kvctx", &kvctx("open"), 0o400);
    assert!(home.resolve(&named(path.to_str().unwrap())).is_ok());
}

#[test]
fn what_is_missing_is_named() {
    let home = Home::new();
    assert_eq!(home.resolve(&Connection::default()).unwrap_err().code, "KV-0204");
    home.context("dev");
    let unknown = home.resolve(&named("prod")).unwrap_err();
    assert_eq!((unknown.code, unknown.hint.as_deref()), ("KV-0205", Some("there are: dev")));
    let missing = home.resolve(&named("./none.kvctx")).unwrap_err();
    assert_eq!(missing.exit, Exit::File);
}

#[test]
fn a_bad_file_is_refused_by_line_without_its_content() {
    let home = Home::new();
    let path = home.file("bad.kvctx", "endpoints = [\"a:1\"]\nkey = secret\n", 0o600);
    let failure = home.resolve(&named(path.to_str().unwrap())).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(
        failure.message.contains("bad.kvctx, line 2") && !failure.message.contains("secret"),
        "{failure}"
    );
}

#[test]
fn endpoints_need_a_host_and_a_port() {
    for good in ["a:1", "[::1]:7400", "n1.example.org:65535"] {
        assert!(check_endpoint(good).is_ok(), "{good}");
    }
    for bad in ["", "a", ":1", "a:", "a:0", "a:65536", "a:b"] {
        assert_eq!(check_endpoint(bad).unwrap_err().exit, Exit::Usage, "{bad}");
    }
}
