//! The program from outside, without a cluster: what it says and with what it ends. What it does with a cluster is
//! tested where clusters are made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use assert_cmd::{Command, assert::Assert};
use tempfile::TempDir;
use transport::Authority;

/// A home of its own, so that nobody's contexts matter.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn kvctl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.env_clear().env("HOME", self.0.path());
        command
    }

    fn run(&self, words: &[&str]) -> Assert {
        self.kvctl().args(words).assert()
    }

    /// A context for a port at which nothing listens.
    fn refused(&self) -> PathBuf {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        self.context(&address.to_string())
    }

    fn context(&self, endpoint: &str) -> PathBuf {
        let authority = Authority::create("test", 1).unwrap();
        let client = authority.issue_client("admin", 1).unwrap();
        let (ca, cert, key) = (authority.cert_pem(), client.cert_pem, client.key_pem);
        let text = format!(
            "# kv context\nendpoints = [\"{endpoint}\"]\nca = \"\"\"{ca}\"\"\"\ncert = \"\"\"{cert}\"\"\"\nkey = \"\"\"{key}\"\"\"\n"
        );
        let path = self.0.path().join("test.kvctx");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn err(assert: &Assert) -> &str {
    text(&assert.get_output().stderr)
}

fn out(assert: &Assert) -> &str {
    text(&assert.get_output().stdout)
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_and_version_go_to_stdout() {
    let home = Home::new();
    let help = home.run(&["--help"]).success();
    let lists: Vec<&str> = out(&help).lines().skip_while(|line| *line != "Commands:").skip(1).collect();
    let names =
        lists.iter().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.collect();
    assert_eq!(
        names,
        [
            "set",
            "get",
            "del",
            "incr",
            "txn",
            "lease",
            "exists",
            "history",
            "revert",
            "watch",
            "lock",
            "elect",
            "ls",
            "tree",
            "export",
            "import",
            "batch",
            "snapshot",
            "status",
            "top",
            "leader",
            "drain",
            "member",
            "ping",
            "events",
            "doctor",
            "debug",
            "wait",
            "check",
            "verify",
            "compact",
            "context",
            "config",
            "retention",
            "version",
            "bench",
            "explain",
            "schema",
            "completion",
            "man",
            "generate"
        ]
    );
    let version = home.run(&["--version"]).success();
    assert_eq!(out(&version), format!("kvctl {}\n", env!("CARGO_PKG_VERSION")));
    let json = home.run(&["version", "-o", "json"]).success();
    assert!(out(&json).starts_with("{\"schema\":\"kvctl.version/v1\",\"version\":"), "{}", out(&json));
}

#[test]
fn what_does_not_parse_ends_with_2() {
    let home = Home::new();
    for words in [
        &[][..],
        &["nonsense"],
        &["get"],
        &["set", "k"],
        &["get", "k", "-o", "yaml"],
        &["get", "k", "-t", "5"],
    ] {
        let refused = home.run(words).code(2);
        assert_eq!((out(&refused), err(&refused).is_empty()), ("", false), "{words:?}");
    }
    let json = home.run(&["get", "-o", "json"]).code(2);
    assert!(err(&json).starts_with("{\"schema\":\"kvctl.error/v1\",\"code\":\"KV-0201\""), "{}", err(&json));
    assert_eq!(err(&json).lines().count(), 1);
}

#[test]
fn limits_are_told_before_a_cluster_is_looked_for() {
    let home = Home::new();
    let empty = home.run(&["set", "", "v"]).code(2);
    assert!(err(&empty).contains("KV-0203"), "{}", err(&empty));
    let long = "k".repeat(4097);
    let key = home.run(&["get", &long]).code(8);
    assert!(err(&key).contains("key of 4097 bytes is over the limit of 4096"), "{}", err(&key));
    let value =
        home.kvctl().args(["set", "k", "--file", "-"]).write_stdin(vec![0; 512 * 1024 + 1]).assert().code(8);
    assert!(err(&value).contains("over the limit of 524288"), "{}", err(&value));
    let missing = home.run(&["set", "k", "--file", "/nonexistent/value"]).code(12);
    assert!(
        err(&missing).contains("KV-1201") && err(&missing).contains("/nonexistent/value"),
        "{}",
        err(&missing)
    );
}

#[test]
fn without_a_context_it_says_how_to_get_one() {
    let home = Home::new();
    let none = home.run(&["get", "k"]).code(2);
    assert!(err(&none).contains("KV-0204") && err(&none).contains("kvd dev"), "{}", err(&none));
    let unknown = home.run(&["get", "k", "-C", "prod"]).code(2);
    assert!(err(&unknown).contains("KV-0205"), "{}", err(&unknown));
    let missing = home.run(&["get", "k", "-C", "./none.kvctx"]).code(12);
    assert!(err(&missing).contains("none.kvctx"), "{}", err(&missing));
}

#[test]
fn an_exposed_key_ends_with_7() {
    let home = Home::new();
    let context = home.refused();
    fs::set_permissions(&context, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = home.run(&["get", "k", "-C", word(&context)]).code(7);
    assert!(err(&exposed).contains("KV-0702") && err(&exposed).contains("chmod 600"), "{}", err(&exposed));
}

#[test]
fn certificates_that_are_none_end_with_7() {
    let home = Home::new();
    let pem = home.0.path().join("none.pem");
    fs::write(&pem, "nothing").unwrap();
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600)).unwrap();
    let words = ["get", "k", "--ca", word(&pem), "--cert", word(&pem), "--key", word(&pem)];
    let refused = home.run(&words).code(7);
    assert!(err(&refused).contains("KV-0703"), "{}", err(&refused));
}

#[test]
fn a_refused_endpoint_ends_with_3() {
    let home = Home::new();
    let context = home.refused();
    for command in [&["get", "k"][..], &["set", "k", "v"], &["status"], &["leader"]] {
        let words = [&["-C", word(&context), "-t", "300ms", "-o", "json"], command].concat();
        let refused = home.run(&words).code(3);
        assert_eq!(out(&refused), "");
        assert!(err(&refused).contains("\"code\":\"KV-0301\""), "{command:?}: {}", err(&refused));
        assert!(err(&refused).contains("\"state\":\"refused\""), "{command:?}: {}", err(&refused));
    }
}

#[test]
fn the_environment_is_asked_after_flags() {
    let home = Home::new();
    let context = home.refused();
    let kvctl = |words: &[&str]| {
        let mut command = home.kvctl();
        command.env("KVCTL_CONTEXT", &context).env("KVCTL_TIMEOUT", "300ms").env("KVCTL_OUTPUT", "json");
        command.args(words).assert()
    };
    let by_environment = kvctl(&["get", "k"]).code(3);
    assert!(err(&by_environment).starts_with('{'), "{}", err(&by_environment));
    let by_flag = kvctl(&["get", "k", "-C", "prod", "-o", "plain"]).code(2);
    assert!(err(&by_flag).starts_with("error: "), "{}", err(&by_flag));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut kvctl = Process::new(env!("CARGO_BIN_EXE_kvctl"));
    let child = kvctl
        .arg("version")
        .env("HOME", home.0.path())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(141), ""));
}

#[test]
fn a_check_has_only_the_four_codes_of_a_plugin() {
    let home = Home::new();
    let context = home.refused();
    let refused = ["-C", word(&context), "-t", "300ms"];
    for (words, code, begin) in [
        (&["check"][..], 3, "KV CHECK UNKNOWN - "),
        (&["check", "nonsense"], 3, "KV CHECK UNKNOWN - "),
        (&["check", "key"], 3, "KV CHECK UNKNOWN - "),
        (&["check", "live", "-w", "x"], 3, "KV CHECK UNKNOWN - "),
        (&["check", "cluster", "-w", "5"], 3, "KV CLUSTER UNKNOWN - "),
        (&["check", "live"], 3, "KV LIVE UNKNOWN - no context is selected"),
        (&["check", "live", "-C", "./none.kvctx"], 3, "KV LIVE UNKNOWN - cannot read ./none.kvctx"),
        (&[&["check", "live"], &refused[..]].concat(), 2, "KV LIVE CRITICAL - 127.0.0.1:"),
        (&[&["check", "ready"], &refused[..]].concat(), 2, "KV READY CRITICAL - no endpoint answered: "),
        (&[&["check", "cluster"], &refused[..]].concat(), 2, "KV CLUSTER CRITICAL - no endpoint answered: "),
        (&[&["check", "disk"], &refused[..]].concat(), 3, "KV DISK UNKNOWN - no endpoint answered: "),
        (&[&["check", "key", "k"], &refused[..]].concat(), 3, "KV KEY UNKNOWN - no endpoint answered: "),
        (&[&["check", "all"], &refused[..]].concat(), 2, "KV ALL CRITICAL - live CRITICAL: "),
    ] {
        let ran = home.run(words).code(code);
        assert!(
            out(&ran).starts_with(begin) && err(&ran).is_empty(),
            "{words:?}: {} {}",
            out(&ran),
            err(&ran)
        );
        assert_eq!(out(&ran).lines().count(), 1, "{words:?}");
    }
    let json = home.run(&["check", "live", "-w", "x", "--format", "json"]).code(3);
    assert!(out(&json).starts_with("{\"schema\":\"kvctl.check/v1\""), "{}", out(&json));
    assert!(out(&home.run(&["check", "live", "--help"]).success()).contains("[NAME=]RANGE"));
}

#[test]
fn the_third_failure_in_a_row_is_the_first_that_is_told() {
    let home = Home::new();
    let context = home.refused();
    let words = ["check", "live", "-C", word(&context), "--for", "3", "--quiet-ok"];
    for _ in 0..2 {
        let forgiven = home.run(&words).code(0);
        assert_eq!((out(&forgiven), err(&forgiven)), ("", ""));
    }
    assert!(out(&home.run(&words).code(2)).starts_with("KV LIVE CRITICAL - "));
}

#[test]
fn a_textfile_is_left_by_a_check_that_could_not_even_begin() {
    let home = Home::new();
    let file = home.0.path().join("kv.prom");
    let words = ["check", "all", "--format", "prometheus", "--textfile", word(&file)];
    let ran = home.run(&words).code(3);
    assert_eq!(out(&ran), "", "it is in the file");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nkv_check_status{check=\"all\"} 3\n"), "{text}");
    assert!(text.contains("\nkv_check_last_run_timestamp_seconds{check=\"all\"} "), "{text}");
    assert!(!text.contains("last_success"), "there was none yet");
    let lost =
        home.run(&["check", "all", "--format", "prometheus", "--textfile", "/nonexistent/kv.prom"]).code(3);
    assert!(err(&lost).starts_with("cannot write /nonexistent/kv.prom: "), "{}", err(&lost));
}

#[test]
fn codes_and_schemas_are_explained_without_a_cluster() {
    let home = Home::new();
    let one = home.run(&["explain", "KV-0401"]).success();
    assert!(
        out(&one).starts_with("KV-0401 no_leader   exit 4, retry may help, not applied\n"),
        "{}",
        out(&one)
    );
    let all = home.run(&["explain"]).success();
    assert!(out(&all).lines().all(|row| row.starts_with("KV-") && row.split('\t').count() == 5));
    assert!(err(&home.run(&["explain", "KV-9999"]).code(2)).contains("KV-0207"));
    assert!(err(&home.run(&["schema", "none"]).code(2)).contains("KV-0208"));
    let names = home.run(&["schema"]).success();
    for name in out(&names).lines().map(|row| row.split('\t').next().unwrap()) {
        let schema = home.run(&["schema", name, "-o", "json"]).success();
        let schema: serde_json::Value = serde_json::from_str(out(&schema)).unwrap();
        assert_eq!(schema["title"], format!("kvctl.{name}/v1"));
    }
}

/// What bash offers for the last of the words.
fn completed(home: &Home, script: &Path, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let (quoted, at) = (words.join("' '"), if last > 0 { words[last - 1] } else { "" });
    let ask = format!(
        "source {}; COMP_WORDS=('{quoted}'); COMP_CWORD={last}; _kvctl kvctl '{}' '{at}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words[last],
    );
    let ran = Process::new("bash").args(["--norc", "-c", &ask]).env("HOME", home.0.path()).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", text(&ran.stderr));
    text(&ran.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn completion_scripts_know_every_command() {
    let home = Home::new();
    let script = home.0.path().join("kvctl.bash");
    fs::write(&script, out(&home.run(&["completion", "bash", "-o", "json"]).success())).unwrap();
    assert_eq!(completed(&home, &script, &["kvctl", "che"]), ["check"]);
    assert_eq!(completed(&home, &script, &["kvctl", "check", "--quiet-"]), ["--quiet-ok"]);
    assert_eq!(completed(&home, &script, &["kvctl", "wait", "lea"]), ["leader"]);
    assert_eq!(completed(&home, &script, &["kvctl", "status", "-o", "ta"]), ["table"]);
    for (shell, begin) in [("zsh", "#compdef kvctl\n"), ("fish", "# Print an optspec")] {
        let script = home.run(&["completion", shell]).success();
        assert!(out(&script).starts_with(begin), "{shell}: {}", out(&script));
        for name in ["set", "check", "completion", "quiet-ok", "textfile"] {
            assert!(out(&script).contains(name), "{shell} knows {name}");
        }
    }
    home.run(&["completion", "tcsh"]).code(2);
}

#[test]
fn every_command_has_a_page() {
    let home = Home::new();
    let main = home.run(&["man"]).success();
    assert!(out(&main).contains(".TH kvctl 1 ") && out(&main).contains("kvctl\\-check(1)"), "{}", out(&main));
    let check = home.run(&["man", "check"]).success();
    for word in [".TH kvctl-check 1 ", "quiet\\-ok", "\\fBKVCTL_CONTEXT\\fR environment", "app/heartbeat"] {
        assert!(out(&check).contains(word), "{word}: {}", out(&check));
    }
    assert!(err(&home.run(&["man", "none"]).code(2)).contains("KV-0209"));
    let pages = home.0.path().join("man1");
    fs::create_dir(&pages).unwrap();
    home.run(&["man", "--dir", word(&pages)]).success();
    let written = fs::read_dir(&pages).unwrap().flatten().map(|page| page.file_name().into_string().unwrap());
    let mut written: Vec<String> = written.collect();
    written.sort();
    let help = home.run(&["--help"]).success();
    let commands = out(&help).lines().skip_while(|line| *line != "Commands:").skip(1);
    let names =
        commands.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().next().unwrap());
    let mut want: Vec<String> =
        names.map(|name| format!("kvctl-{name}.1")).chain(["kvctl.1".into()]).collect();
    want.sort();
    assert_eq!(written, want);
    let missing = home.run(&["man", "--dir", "/nonexistent/man1"]).code(12);
    assert!(err(&missing).contains("KV-1201"), "{}", err(&missing));
}
