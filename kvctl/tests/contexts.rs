//! Contexts and settings from outside, without a cluster: files in a home of their own, what is said of them, and with
//! what it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command as Process,
};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use transport::Authority;

struct Home(TempDir);

impl Home {
    /// With a file `admin.kvctx` that leads to a port at which nothing listens.
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let authority = Authority::create("test", 1).unwrap();
        let client = authority.issue_client("alice", 9).unwrap();
        let (ca, cert, key) = (authority.cert_pem(), client.cert_pem, client.key_pem);
        let address = socket.local_addr().unwrap();
        let text = format!(
            "endpoints = [\"{address}\", \"b:2\"]\nca = \"\"\"{ca}\"\"\"\ncert = \"\"\"{cert}\"\"\"\nkey = \"\"\"{key}\"\"\"\n"
        );
        home.write("admin.kvctx", &text, 0o600);
        home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().permissions().mode() & 0o777
    }

    fn kvctl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.env_clear().env("HOME", self.0.path()).current_dir(self.0.path());
        command
    }

    /// Code, standard output and standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        told(&mut self.kvctl(), words)
    }

    fn json(&self, words: &[&str]) -> Value {
        let (_, out, err) = self.run(&[words, &["-o", "json"]].concat());
        serde_json::from_str(if out.is_empty() { &err } else { &out }).unwrap()
    }
}

fn told(command: &mut Command, words: &[&str]) -> (i32, String, String) {
    let output = command.args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const PROD: &str = ".config/kv/contexts/prod.kvctx";

#[test]
fn a_context_is_imported_selected_shown_exported_and_removed() {
    let home = Home::new();
    assert_eq!(home.run(&["context", "ls"]), (0, String::new(), String::new()));
    let (code, out, err) = home.run(&["context", "import", "admin.kvctx", "--name", "prod", "--protected"]);
    assert_eq!((code, out.as_str()), (0, "imported\tprod\tprotected\n"), "{err}");
    assert_eq!(err, "`kvctl context use prod` selects it\n");
    assert_eq!(
        (home.mode(PROD), home.mode(".config/kv"), home.mode(".config/kv/contexts")),
        (0o600, 0o700, 0o700)
    );
    assert_eq!(home.run(&["context", "import", "admin.kvctx", "--use"]).1, "imported and selected\tadmin\n");
    assert_eq!(
        (home.read(".config/kv/config.toml"), home.mode(".config/kv/config.toml")),
        ("current = \"admin\"\n".to_owned(), 0o600)
    );

    let endpoints = home.json(&["context", "show", "prod"])["endpoints"].clone();
    let first = endpoints[0].as_str().unwrap();
    let (code, out, _) = home.run(&["context", "ls", "-o", "table"]);
    assert_eq!((code, out), (0, format!("* admin  {first} +1\n  prod   {first} +1  protected\n")));
    let plain = format!("*\tadmin\t{first},b:2\t\n\tprod\t{first},b:2\tprotected\n");
    assert_eq!(home.run(&["context", "ls"]).1, plain);
    let list = home.json(&["context", "ls"]);
    assert_eq!((&list["current"], &list["contexts"][1]["protected"]), (&"admin".into(), &true.into()));

    assert_eq!(home.run(&["context", "use", "prod"]).1, "selected\tprod\tprotected\n");
    assert_eq!(home.run(&["context", "use", "-"]).1, "selected\tadmin\n");
    assert_eq!(home.run(&["context", "-"]).1, "selected\tprod\tprotected\n");
    let shown = home.json(&["context", "show"]);
    assert_eq!(
        (&shown["name"], &shown["subject"], &shown["current"]),
        (&"prod".into(), &"alice".into(), &true.into())
    );
    assert!(!shown.to_string().contains("PRIVATE") && !home.run(&["context", "show"]).1.contains("BEGIN"));

    assert_eq!(home.run(&["context", "export", "prod", "out.kvctx"]).0, 0);
    assert_eq!((home.mode("out.kvctx"), home.read("out.kvctx")), (0o600, home.read(PROD)));
    assert_eq!(home.run(&["context", "export", "prod", "-", "-o", "json"]).1, home.read(PROD));
    assert_eq!(home.run(&["context", "export", "prod", "out.kvctx"]).0, 8, "what is there stays");
    assert_eq!(home.run(&["context", "export", "prod", "out.kvctx", "--replace"]).0, 0);

    assert_eq!(home.run(&["context", "rm", "prod"]).0, 11, "it is protected");
    let (code, out, err) = home.run(&["context", "rm", "prod", "--confirm", "prod"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "removed\tprod\n", "prod was selected; now none is\n")
    );
    assert!(!home.at(PROD).exists());
    assert_eq!(home.run(&["context", "show"]).0, 2);
}

#[test]
fn what_is_there_is_not_replaced_unasked() {
    let home = Home::new();
    home.run(&["context", "import", "admin.kvctx", "--name", "prod", "--protected"]);
    let again = ["context", "import", "admin.kvctx", "--name", "prod"];
    let (code, _, err) = home.run(&again);
    assert!(code == 8 && err.contains("KV-0820") && err.contains("--replace"), "{err}");
    let replace = [&again[..], &["--replace"]].concat();
    assert_eq!(home.run(&replace).0, 11, "nor a protected one by mistake");
    assert_eq!(home.run(&[&replace[..], &["--confirm", "dev"]].concat()).0, 11);
    assert_eq!(home.run(&[&replace[..], &["--confirm", "prod"]].concat()).0, 0);
    assert_eq!(home.json(&["context", "show", "prod"])["protected"], false);
}

#[test]
fn a_stream_is_imported_under_the_name_it_is_given() {
    let home = Home::new();
    let text = home.read("admin.kvctx");
    let import = |words: &[&str], input: &[u8]| {
        let output =
            home.kvctl().args(["context", "import", "-"]).args(words).write_stdin(input).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(import(&[], text.as_bytes()).0, 2);
    assert_eq!(import(&["--name", "prod"], text.as_bytes()).0, 0);
    let (code, err) = import(&["--name", "cut"], &text.as_bytes()[..text.len() / 2]);
    assert!(code == 2 && err.contains("KV-0202") && err.contains("-, line "), "{err}");
    let (code, err) = import(&["--name", "bin"], b"\n\xff");
    assert!(code == 2 && err.contains("-, line 2: this is not UTF-8"), "{err}");
    assert_eq!(import(&["--name", "../up"], text.as_bytes()).0, 2);
    assert_eq!(home.run(&["context", "ls"]).1.lines().count(), 1);
}

#[test]
fn what_is_damaged_is_refused_by_name_and_line_and_hides_nothing_else() {
    let home = Home::new();
    home.run(&["context", "import", "admin.kvctx"]);
    let good = home.read("admin.kvctx");
    for (name, text, mode, want) in [
        ("bad", good.replacen("ca =", "cca =", 1), 0o600, "bad.kvctx, line 2: unknown field"),
        ("open", good.clone(), 0o644, "open.kvctx holds a private key and others may read it (mode 0644)"),
        ("part", good.split("key").next().unwrap().to_owned(), 0o600, "part.kvctx has no key"),
        ("pem", good.replacen("BEGIN PRIVATE", "BEGIN PUBLIC", 1), 0o600, "pem.kvctx, line "),
        ("addr", good.replacen("b:2", "b", 1), 0o600, "addr.kvctx: endpoint `b` is not HOST:PORT"),
    ] {
        home.write(&format!(".config/kv/contexts/{name}.kvctx"), &text, mode);
        let refusals = [
            home.run(&["context", "use", name]),
            home.run(&["context", "show", name]),
            home.run(&["context", "export", name, "-"]),
            home.run(&["context", "import", &format!(".config/kv/contexts/{name}.kvctx"), "--name", "copy"]),
        ];
        for (code, out, err) in refusals {
            assert!([2, 7].contains(&code) && out.is_empty() && err.contains(want), "{name}: {code} {err}");
        }
        let (code, out, err) = home.run(&["context", "ls"]);
        assert!(code == 10 && err.contains(want), "{name}: {err}");
        assert!(out.contains("\tadmin\t") && out.contains(&format!("\t{name}\t\tdamaged\n")), "{out}");
        assert_eq!(home.run(&["context", "rm", name]).0, 0, "it can be removed");
    }
    home.write(".config/kv/config.toml", "# mine\ncurrrent = \"admin\"\n", 0o600);
    for words in [&["context", "use", "admin"][..], &["get", "k"], &["config", "view"]] {
        let (code, _, err) = home.run(words);
        assert!(code == 2 && err.contains("config.toml, line 2: unknown field"), "{words:?}: {err}");
    }
}

#[test]
fn every_setting_says_where_it_came_from() {
    let home = Home::new();
    home.run(&["context", "import", "admin.kvctx", "--name", "prod", "--protected", "--use"]);
    let origin = |command: &mut Command, words: &[&str], name: &str| {
        let (code, out, err) = told(command, &[&["config", "view", "--origin"], words].concat());
        assert_eq!(code, 0, "{err}");
        let rows = out.lines().map(|row| row.split('\t').collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row[0] == name).unwrap();
        (row[1].to_owned(), row[2].to_owned())
    };
    let selected = format!("selected {}", home.at(".config/kv/config.toml").display());
    let context = format!("context {}", home.at(PROD).display());
    assert_eq!(origin(&mut home.kvctl(), &[], "context"), ("prod".into(), selected));
    assert_eq!(origin(&mut home.kvctl(), &[], "protected"), ("yes".into(), context.clone()));
    assert_eq!(origin(&mut home.kvctl(), &[], "key"), (home.at(PROD).display().to_string(), context.clone()));
    assert_eq!(origin(&mut home.kvctl(), &[], "endpoints").1, context);
    assert_eq!(origin(&mut home.kvctl(), &[], "connect-timeout"), ("1s".into(), "default".into()));
    let flag = ["-e", "c:3", "-t", "2s", "--connect-timeout", "1s"];
    assert_eq!(origin(&mut home.kvctl(), &flag, "endpoints"), ("c:3".into(), "flag --endpoints".into()));
    assert_eq!(origin(&mut home.kvctl(), &flag, "timeout"), ("2s".into(), "flag --timeout".into()));
    assert_eq!(
        origin(&mut home.kvctl(), &flag, "connect-timeout"),
        ("1s".into(), "flag --connect-timeout".into())
    );
    let variable = || {
        let mut command = home.kvctl();
        command.env("KVCTL_ENDPOINTS", "d:4,e:5").env("KVCTL_CONTEXT", home.at("admin.kvctx"));
        command
    };
    assert_eq!(
        origin(&mut variable(), &[], "endpoints"),
        ("d:4,e:5".into(), "environment KVCTL_ENDPOINTS".into())
    );
    assert_eq!(origin(&mut variable(), &flag, "endpoints").1, "flag --endpoints", "a flag goes first");
    assert_eq!(origin(&mut variable(), &[], "context"), ("admin".into(), "environment KVCTL_CONTEXT".into()));
    home.write("work/.kv/context", "prod\n", 0o644);
    let mut inside = home.kvctl();
    let project = format!("project {}", home.at("work/.kv/context").display());
    assert_eq!(origin(inside.current_dir(home.at("work")), &[], "context"), ("prod".into(), project));
    let bare = Home::new();
    let (code, out, err) = bare.run(&["config", "view"]);
    assert!(code == 0 && out.contains("ca\t-\n") && err.contains("nothing has ca, cert, key"), "{out} {err}");
}

#[test]
fn another_folder_of_contexts_can_be_named() {
    let home = Home::new();
    let mut command = home.kvctl();
    command.env("KVCTL_CONFIG", home.at("elsewhere"));
    assert_eq!(told(&mut command, &["context", "import", "admin.kvctx", "--use"]).0, 0);
    assert_eq!(home.mode("elsewhere/contexts/admin.kvctx"), 0o600);
    assert!(!home.at(".config").exists());
}

#[test]
fn a_protected_context_is_left_alone_without_its_name() {
    let home = Home::new();
    home.run(&["context", "import", "admin.kvctx", "--name", "prod", "--protected", "--use"]);
    let refused = |words: &[&str]| home.run(&[&["-t", "300ms"], words].concat());
    for words in [
        &["set", "k", "v"][..],
        &["del", "--prefix", "a"],
        &["incr", "n"],
        &["txn", "--then", "del k"],
        &["compact", "log"],
        &["bench"],
        &["import", "-"],
        &["revert", "k", "--to", "3"],
        &["retention", "--changes", "9"],
        &["leader", "transfer"],
        &["drain", "n1"],
        &["member", "remove", "n1"],
    ] {
        let (code, out, err) = refused(words);
        assert!(
            code == 11 && out.is_empty() && err.contains("KV-1120") && err.contains("--confirm prod"),
            "{err}"
        );
        let (code, _, err) = refused(&[words, &["--confirm", "admin"]].concat());
        assert!(code == 11 && err.contains("`admin` is confirmed and the context is prod"), "{err}");
        // An import without an end is refused before anybody is asked.
        let further = if words[0] == "import" { 9 } else { 3 };
        assert_eq!(refused(&[words, &["--confirm", "prod"]].concat()).0, further, "{words:?} goes its way");
    }
    for words in [
        &["get", "k"][..],
        &["status"],
        &["txn", "--then", "get k"],
        &["export", "-"],
        &["leader"],
        &["member", "ls"],
        &["member", "remove", "n1", "--dry-run"],
        &["retention"],
    ] {
        assert_eq!(refused(words).0, 3, "{words:?} only reads");
    }
    let error = home.json(&["set", "k", "v"]);
    assert_eq!(
        (&error["exit"], &error["applied"], &error["retryable"]),
        (&11.into(), &"no".into(), &false.into())
    );
}

/// What bash offers for the last of the words, with the program of this test in its path.
fn completed(home: &Home, words: &[&str]) -> Vec<String> {
    let (last, before) = (words.len() - 1, words[words.len().saturating_sub(2)]);
    let program = Path::new(env!("CARGO_BIN_EXE_kvctl")).parent().unwrap();
    let ask = format!(
        "PATH={}:$PATH; source <(kvctl completion bash); COMP_WORDS=('{}'); COMP_CWORD={last}; \
         COMP_LINE='{}'; COMP_POINT=${{#COMP_LINE}}; _kvctl kvctl '{}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        program.display(),
        words.join("' '"),
        words.join(" "),
        words[last],
    );
    let ran = Process::new("bash").args(["--norc", "-c", &ask]).env("HOME", home.0.path()).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn completions_know_the_names_of_contexts() {
    let home = Home::new();
    for name in ["prod", "dev"] {
        home.run(&["context", "import", "admin.kvctx", "--name", name]);
    }
    for words in [
        &["kvctl", "-C", ""][..],
        &["kvctl", "get", "k", "--context", ""],
        &["kvctl", "set", "k", "v", "--confirm", ""],
        &["kvctl", "context", "use", ""],
        &["kvctl", "-o", "json", "context", "rm", "dev", ""],
    ] {
        assert_eq!(completed(&home, words), ["dev", "prod"], "{words:?}");
    }
    assert_eq!(completed(&home, &["kvctl", "context", "show", "p"]), ["prod"]);
    assert_eq!(completed(&home, &["kvctl", "context", "im"]), ["import"]);
    assert_eq!(completed(&home, &["kvctl", "context", "use", "--conf"]), ["--confirm"]);
    let (zsh, fish) = (home.run(&["completion", "zsh"]).1, home.run(&["completion", "fish"]).1);
    assert!(
        zsh.contains("]:NAME|FILE:_kvctl_names' \\\n")
            && zsh.contains(":context_name -- Its name:_kvctl_names'")
    );
    assert!(zsh.find("_kvctl_names() {").unwrap() < zsh.find("\n_kvctl() {").unwrap());
    assert!(fish.contains(
        " -l context -d 'A context: its name, or the path of a .kvctx file' -r -f -a \"(__kvctl_names)\""
    ));
}
