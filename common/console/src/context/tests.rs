//! Precedence, names and paths, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use clap::{Args as _, FromArgMatches as _};
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
        let places = Places {
            config: Some(dir.path().join("kv")),
            system: dir.path().join("system.toml"),
            socket: dir.path().join("kvd.sock"),
            here: Some(dir.path().join("work/deep")),
        };
        fs::create_dir_all(dir.path().join("work/deep")).unwrap();
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
    assert_eq!(
        (system.endpoints[0].as_str(), system.credentials.as_ref().unwrap().ca.text.as_str()),
        ("system:1", "system-ca")
    );
    home.context("dev");
    let context = home.resolve(&named("dev")).unwrap();
    assert_eq!(
        (context.endpoints[0].as_str(), context.credentials.as_ref().unwrap().key.text.as_str()),
        ("dev:1", "dev-key")
    );
    let ca = home.file("ca.pem", "flag-ca", 0o644);
    let flags = Connection { ca: Some(ca), endpoints: vec!["flag:1".into()], ..named("dev") };
    let flag = home.resolve(&flags).unwrap();
    assert_eq!(
        (flag.endpoints[0].as_str(), flag.credentials.as_ref().unwrap().ca.text.as_str()),
        ("flag:1", "flag-ca")
    );
    assert_eq!(
        (flag.credentials.as_ref().unwrap().cert.text.as_str(), flag.name.as_str()),
        ("dev-cert", "dev")
    );
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
fn who_has_nothing_asks_the_node_of_this_machine_where_there_is_one() {
    let home = Home::new();
    let bare = Connection::default();
    assert_eq!(home.resolve(&bare).unwrap_err().code, "KV-0204");
    let socket = home.file("kvd.sock", "", 0o600);
    let found = home.resolve(&bare).unwrap();
    assert_eq!((found.endpoints, found.credentials), (vec![format!("unix:{}", socket.display())], None));
    assert_eq!(effective(&bare, &home.places).unwrap().endpoints.origin, Origin::Default);
    home.file("system.toml", &kvctx("system"), 0o600);
    assert_eq!(home.resolve(&bare).unwrap().endpoints, ["system:1"], "what is configured goes before it");
    home.context("dev");
    assert_eq!(home.resolve(&named("dev")).unwrap().endpoints, ["dev:1"]);
}

#[test]
fn a_line_that_names_a_socket_needs_no_certificates_and_takes_those_it_names() {
    let home = Home::new();
    home.context("dev");
    home.file("kv/config.toml", "current = \"dev\"\n", 0o644);
    let socket = |context| Connection { endpoints: vec!["unix:/run/kv/kvd.sock".into()], ..context };
    let found = home.resolve(&socket(Connection::default())).unwrap();
    assert_eq!(
        (found.name.as_str(), found.credentials),
        ("", None),
        "the selected context is another cluster's"
    );
    let found = home.resolve(&socket(named("dev"))).unwrap();
    assert_eq!((found.name.as_str(), found.credentials.unwrap().ca.text.as_str()), ("dev", "dev-ca"));
    let ca = home.file("ca.pem", "flag-ca", 0o644);
    let part = Connection { ca: Some(ca), ..socket(Connection::default()) };
    assert_eq!(home.resolve(&part).unwrap_err().code, "KV-0204", "a part of them is no use");
    let mixed = vec!["unix:/run/kv/kvd.sock".into(), "n1:7400".into()];
    let mixed = Connection { endpoints: mixed, ..Connection::default() };
    assert_eq!(
        home.resolve(&mixed).unwrap().name,
        "dev",
        "who is asked over the network is shown a certificate"
    );
    for bad in ["unix:", "n1", ":7400", "n1:0"] {
        let flags = Connection { endpoints: vec![bad.into()], ..named("dev") };
        assert_eq!(home.resolve(&flags).unwrap_err().code, "KV-0201", "{bad}");
    }
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
    assert_eq!(
        (resolved.name.as_str(), resolved.credentials.as_ref().unwrap().ca.text.as_str()),
        ("admin", "admin-ca")
    );
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
fn a_file_that_is_no_context_is_refused_by_name_and_line() {
    let home = Home::new();
    for (text, want) in [
        (&b"endpoints = []\nprotectd = true\n"[..], "line 2: unknown field `protectd`"),
        (b"# \n\n\xff\n", "line 3: this is not UTF-8"),
        (b"ca = \"a\"\nca = \"b\"\n", "line 2: duplicate key"),
        (b"endpoints = [\"a:1\"]\nprotected = \"yes\"\n", "line 2: invalid type"),
        (b"[context]\nca = \"a\"\n", "line 1: unknown field `context`"),
        (&vec![b'#'; usize::try_from(file::FILE_BYTES).unwrap() + 1], "is longer than 1048576 bytes"),
    ] {
        let path = home.dir.path().join("bad.kvctx");
        fs::write(&path, text).unwrap();
        let failure = home.resolve(&named(path.to_str().unwrap())).unwrap_err();
        assert_eq!((failure.exit, failure.code), (Exit::Usage, "KV-0202"));
        assert!(failure.message.contains("bad.kvctx") && failure.message.contains(want), "{failure}");
    }
    let longest = home.dir.path().join("long.kvctx");
    fs::write(&longest, vec![b'#'; usize::try_from(file::FILE_BYTES).unwrap()]).unwrap();
    assert!(File::read(&longest).is_ok(), "one byte less is read");
}

#[test]
fn certificates_that_are_none_are_refused_by_name_and_line() {
    let home = Home::new();
    let path = home.context("dev");
    let failure = home.resolve(&named("dev")).unwrap().identity().unwrap_err();
    assert_eq!((failure.exit, failure.code), (Exit::Denied, "KV-0703"));
    let at = format!("{}, line 5: ", path.display());
    assert!(failure.message.contains(&at) && !failure.message.contains("dev-key"), "{failure}");
    let part = home.file("kv/contexts/part.kvctx", "endpoints = [\"a:1\"]\n", 0o600);
    let failure = home.resolve(&named("part")).unwrap_err();
    assert_eq!(failure.code, "KV-0204");
    assert!(failure.message.starts_with(&format!("{} has no ca", part.display())), "{failure}");
}

#[test]
fn a_context_is_written_as_it_is_read() {
    let path = Path::new("x.kvctx");
    let pem = |text: &str| Some(Pem { text: text.to_owned(), path: path.to_owned(), line: None });
    for (key, protected) in
        [("-----BEGIN\nA+/=\n-----END", true), ("quote \" and \\ and \u{7}\n", false), ("", false)]
    {
        let endpoints = vec!["a:1".to_owned(), "[::1]:\"2".to_owned()];
        let file = File { endpoints, protected, ca: pem("c"), cert: None, key: pem(key) };
        let text = file.encode();
        let again = File::parse(path, &text).unwrap_or_else(|failure| panic!("{failure}: {text}"));
        assert_eq!(
            (&again.endpoints, again.protected, again.cert.is_none()),
            (&file.endpoints, protected, true)
        );
        assert_eq!(again.key.unwrap().text.trim_matches('\n'), key.trim_matches('\n'));
    }
}

#[test]
fn a_project_names_a_context_and_no_more() {
    let home = Home::new();
    home.context("dev");
    home.context("prod");
    home.file("kv/config.toml", "current = \"prod\"\n", 0o600);
    fs::create_dir(home.dir.path().join("work/.kv")).unwrap();
    let named_by = |text: &str| {
        home.file("work/.kv/context", text, 0o644);
        home.resolve(&Connection::default())
    };
    assert_eq!(named_by("# ours\n\n dev \n").unwrap().name, "dev");
    assert_eq!(home.resolve(&named("prod")).unwrap().name, "prod", "the line goes before it");
    for (text, want) in [
        ("", "names no context"),
        ("dev\nprod\n", "line 2 names a second"),
        ("\n./dev.kvctx\n", "line 2 is no name"),
        ("../dev\n", "line 1 is no name"),
        ("none\n", "there is no context named `none`, which"),
        (&"#".repeat(4097), "at most 4096 bytes"),
    ] {
        let failure = named_by(text).unwrap_err();
        assert!(
            failure.message.contains(want) && failure.message.contains("work/.kv/context"),
            "{text:?}: {failure}"
        );
    }
    assert!(named_by(&format!("dev\n{}", "#".repeat(4092))).is_ok(), "4096 bytes are read");
}

#[test]
fn only_a_context_protects() {
    let home = Home::new();
    home.file("kv/contexts/prod.kvctx", &(kvctx("prod") + "protected = true\n"), 0o600);
    home.context("dev");
    assert!(
        home.resolve(&named("prod")).unwrap().protected && !home.resolve(&named("dev")).unwrap().protected
    );
    let flags = Connection { endpoints: vec!["b:1".into()], ..named("prod") };
    assert!(home.resolve(&flags).unwrap().protected, "also at other endpoints");
    home.file("system.toml", "protected = true\n", 0o644);
    let failure = home.resolve(&named("dev")).unwrap_err();
    assert!(failure.message.contains("system.toml: only a context"), "{failure}");
}

#[test]
fn where_each_setting_came_from_is_known() {
    let home = Home::new();
    let part = home.file("kv/contexts/part.kvctx", "ca = \"a\"\nkey = \"c\"\n", 0o600);
    home.file("kv/config.toml", "current = \"part\"\n", 0o600);
    home.file("system.toml", "cert = \"s\"\nkey = \"s\"\n", 0o600);
    let ca = home.file("ca.pem", "flag", 0o644);
    let flags = Connection { ca: Some(ca), ..Connection::default() };
    let found = effective(&flags, &home.places).unwrap();
    let origin = |pem: &Option<Found<Pem>>| pem.as_ref().unwrap().origin.clone();
    assert_eq!(found.endpoints.origin, Origin::Default);
    assert_eq!(origin(&found.ca), Origin::Line);
    assert_eq!(origin(&found.cert), Origin::System(home.places.system.clone()));
    assert_eq!(origin(&found.key), Origin::Context(part));
    assert_eq!(found.context.unwrap().origin, Origin::Selected(home.dir.path().join("kv/config.toml")));
    home.file("system.toml", "", 0o600);
    assert_eq!(effective(&flags, &home.places).unwrap().cert, None, "what is missing is shown as missing");
}

#[test]
fn a_flag_is_told_from_a_variable() {
    let grammar = Connection::augment_args(clap::Command::new("x"));
    let matches = grammar.try_get_matches_from(["x", "-C", "dev"]).unwrap();
    let sources = Sources::of(&matches);
    assert!(
        Connection::from_arg_matches(&matches).is_ok()
            && sources.is_flag("context")
            && !sources.is_flag("ca")
    );
    assert_eq!(Origin::Line.word("context", sources), "flag");
    assert_eq!(Origin::Line.place("context", sources).as_deref(), Some("--context"));
    assert_eq!(Origin::Default.place("context", sources), None);
}

#[test]
fn selecting_changes_one_line_and_remembers_the_last() {
    let home = Home::new();
    let config = home.dir.path().join("kv/config.toml");
    let now = || fs::read_to_string(&config).unwrap();
    shelf::select(Some("dev"), &home.places).unwrap();
    assert_eq!(now(), "current = \"dev\"\n");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    home.file("kv/config.toml", "# mine\n  current='dev' # now\n", 0o644);
    shelf::select(Some("prod"), &home.places).unwrap();
    assert_eq!(now(), "previous = \"dev\"\n# mine\ncurrent = \"prod\"\n");
    shelf::select(Some("prod"), &home.places).unwrap();
    assert_eq!(shelf::previous(&home.places).unwrap().as_deref(), Some("dev"), "the same again is no change");
    shelf::select(None, &home.places).unwrap();
    assert_eq!(now(), "previous = \"prod\"\n# mine\n");
    for bad in ["curent = \"dev\"\n", "current = \n", "previous = \"\"\"\ncurrent = 1\n\"\"\"\n"] {
        home.file("kv/config.toml", bad, 0o600);
        let failure = shelf::select(Some("dev"), &home.places).unwrap_err();
        assert!(failure.code == "KV-0202" && failure.message.contains("config.toml"), "{failure}");
        assert_eq!(now(), bad, "a damaged file is left alone");
    }
}

#[test]
fn names_are_file_names_and_nothing_else() {
    for good in ["prod", "eu-1.prod", "a@b", "_x", "9", &"n".repeat(64)] {
        assert!(shelf::is_name(good), "{good}");
    }
    for bad in ["", "-", "-x", ".x", "..", "a/b", "a b", "a\n", "\u{e4}", "x.kvctx", "*", &"n".repeat(65)] {
        assert!(!shelf::is_name(bad), "{bad:?}");
    }
}

#[test]
fn nothing_of_a_key_is_shown_wherever_it_stands() {
    let home = Home::new();
    let secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    for text in [
        format!("endpoints = \"{secret}\"\n"),
        format!("endpoints = \"a\\\"{secret}\"\n"),
        format!("protected = \"\"\"\n{secret}\n\"\"\"\n"),
        format!("{secret} = 1\n"),
        format!("key = \"x\"\n{secret}\n"),
        format!("key = {secret}\n"),
        format!("key = [\"{secret}\"]\n"),
        format!("key = '{secret}\n"),
        format!("\"{secret}\" = 1\n"),
        format!("[{secret}]\n"),
    ] {
        let path = home.file("bad.kvctx", &text, 0o600);
        let failure = home.resolve(&named(path.to_str().unwrap())).unwrap_err();
        let told = format!("{} {:?}", failure.message, failure.hint);
        assert!(!told.contains(&secret[..25]), "{text}: {told}");
        assert!(failure.message.contains("bad.kvctx, line "), "{told}");
    }
}

#[test]
fn endpoints_need_a_host_and_a_port() {
    for good in ["a:1", "[::1]:7400", "n1.example.org:65535"] {
        assert!(is_endpoint(good), "{good}");
    }
    for bad in ["", "a", ":1", "a:", "a:0", "a:65536", "a:b"] {
        assert_eq!(check_endpoint(bad, &Origin::Line).unwrap_err().exit, Exit::Usage, "{bad}");
    }
}
