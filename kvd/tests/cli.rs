//! The program from outside: what it refuses and how, what it makes, and that it leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvd"));
    command.args(arguments).current_dir(home).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", home.join("xdg")).env("TMPDIR", home);
    for name in ["KVD_LOG", "KVD_CONFIG", "KVD_NODE", "KVD_LOG_FORMAT", "KVD_PKI", "KVCTL_CONFIG"] {
        command.env_remove(name);
    }
    command
}

fn kvd(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().unwrap()
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn ports<const N: usize>() -> [u16; N] {
    let held: [UdpSocket; N] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    held.map(|socket| socket.local_addr().unwrap().port())
}

/// A process that is ended with its test, and the lines it writes to stderr.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    #[track_caller]
    fn until(&self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen = seen + &line + "\n",
                Err(error) => panic!("never said {words:?} ({error}):\n{seen}"),
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Its exit code.
    #[track_caller]
    fn ended(&mut self) -> Option<i32> {
        let (sender, ended) = mpsc::channel();
        let lines = std::mem::replace(&mut self.lines, mpsc::channel().1);
        // Its stderr closes when it ends.
        std::thread::spawn(move || {
            lines.iter().for_each(drop);
            sender.send(())
        });
        ended.recv_timeout(PATIENCE).expect("it ends");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until nobody holds the lock of a node's directory, so until its process is gone.
#[track_caller]
fn wait_unlocked(dir: &Path) {
    let lock = File::open(dir.join("lock")).unwrap();
    let (sender, unlocked) = mpsc::channel();
    std::thread::spawn(move || sender.send(lock.lock().is_ok()));
    assert_eq!(unlocked.recv_timeout(PATIENCE), Ok(true), "{} is still in use", dir.display());
}

fn home_with(name: &str, text: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(name), text).unwrap();
    home
}

fn servers(addresses: &[String]) -> String {
    let each = (1..).zip(addresses);
    let tables: Vec<_> =
        each.map(|(id, address)| format!("[[server]]\nid = {id}\naddress = \"{address}\"\n")).collect();
    tables.concat()
}

fn loopback(number: usize) -> String {
    servers(&ports::<3>()[..number].iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>())
}

#[test]
fn an_unusable_configuration_is_refused_without_a_trace() {
    let json = |total: u32, url: &str| {
        format!(
            r#"{{"object":{{"total":{total},"Servers":[{{"mypid":1,"url":"127.0.0.1:7401"}},{{"mypid":2,"url":"{url}"}}]}}}}"#
        )
    };
    let timing = format!("[timing]\nheartbeat_ms = 150\n{}", loopback(1));
    let cases: [(&str, String, &[&str]); 7] = [
        ("seed.json", json(3, "127.0.0.1:7402"), &["object.total", "`3`"]),
        ("seed.json", json(2, "127.0.0.1:100001"), &["object.Servers[1].url", "127.0.0.1:100001", "65535"]),
        ("seed.json", json(2, "127.0.0.1:7401"), &["object.Servers[1].url", "127.0.0.1:7401"]),
        (
            "seed.json",
            json(2, "a:1").replace("\"mypid\":2", "\"mypid\":1"),
            &["object.Servers[1].mypid", "`1`"],
        ),
        ("seed.json", "{".into(), &["line 1"]),
        ("kvd.toml", timing, &["timing.heartbeat_ms", "`150`", "at most 100"]),
        ("kvd.toml", "[[server]]\nid = 1\nadress = \"a:1\"".into(), &["line 3", "adress"]),
    ];
    for (name, text, words) in cases {
        let home = home_with(name, &text);
        let seed = kvd(home.path(), &["1", name, "log", "store"]);
        let run = kvd(home.path(), &["run", "--node", "n1", "--config", name]);
        for output in [kvd(home.path(), &["config", "check", name]), seed, run] {
            refused(&output, words);
            refused(&output, &[name, "try: "]);
        }
        assert_eq!(names(home.path()), [name], "nothing is made");
    }
}

#[test]
fn a_server_that_is_not_listed_is_refused_without_a_trace() {
    let home = home_with("kvd.toml", &loopback(3));
    refused(&kvd(home.path(), &["7", "kvd.toml", "log", "store"]), &["no server `7`", "n1, n2, n3"]);
    refused(&kvd(home.path(), &["run", "--config", "kvd.toml"]), &["--node", "n1, n2, n3"]);
    refused(
        &kvd(home.path(), &["run", "--config", "absent.toml", "--node", "n1"]),
        &["absent.toml", "try: "],
    );
    refused(&kvd(home.path(), &["1", "kvd.toml", "log"]), &["databaseStorePath"]);
    assert_eq!(names(home.path()), ["kvd.toml"]);
}

#[test]
fn a_good_configuration_passes_and_nothing_is_made() {
    let home = home_with("kvd.toml", &loopback(3));
    let output = kvd(home.path(), &["config", "check", "kvd.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 servers"));
    assert_eq!(names(home.path()), ["kvd.toml"]);
}

#[test]
fn other_addresses_demand_issued_certificates() {
    let [port] = ports();
    let text =
        format!("[[server]]\nid = 1\naddress = \"db1.example.org:7400\"\nlisten = \"127.0.0.1:{port}\"\n");
    let home = home_with("kvd.toml", &text);
    let run = ["--log-format", "json", "run", "--config", "kvd.toml"];
    let said = kvd(home.path(), &run);
    refused(&said, &["kvd pki init", "kvd pki issue node 1 --host db1.example.org"]);
    assert_eq!(names(home.path()), ["kvd.toml"]);

    // What the refusal says is enough.
    for arguments in [
        &["pki", "init", "--dir", "kv-pki"][..],
        &["pki", "issue", "node", "1", "--host", "db1.example.org", "--dir", "kv-pki", "--days", "30"],
        &["pki", "issue", "client", "alice", "--endpoints", "db1.example.org:7400", "--dir", "kv-pki"],
    ] {
        assert_eq!(kvd(home.path(), arguments).status.code(), Some(0), "{arguments:?}");
    }
    assert!(
        fs::read_to_string(home.path().join("kv-pki/alice.kvctx")).unwrap().contains("db1.example.org:7400")
    );
    let mut node = Running::start(command(home.path(), &run));
    node.until("\"became leader\"");

    // New certificates without a restart, and a clean end.
    assert_eq!(kvd(home.path(), &["pki", "renew", "--days", "99"]).status.code(), Some(0));
    node.signal("-HUP");
    let said = node.until("certificates reloaded");
    assert!(said.contains("\"days_left\":98") || said.contains("\"days_left\":99"), "{said}");
    let asked = Instant::now();
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn a_wiped_node_does_not_start_again() {
    let home = home_with("servers.json", "");
    let [port] = ports();
    let text = format!(r#"{{"object":{{"total":1,"Servers":[{{"mypid":1,"url":"127.0.0.1:{port}"}}]}}}}"#);
    fs::write(home.path().join("servers.json"), &text).unwrap();
    let seed = ["1", "servers.json", "log", "store", "--log-format", "json"];
    for _ in 0..2 {
        let mut node = Running::start(command(home.path(), &seed));
        node.until("\"became leader\"");
        refused(&kvd(home.path(), &seed), &["in use by another process"]);
        node.signal("-INT");
        assert_eq!(node.ended(), Some(0));
    }
    fs::remove_dir_all(home.path().join("log")).unwrap();
    refused(&kvd(home.path(), &seed), &["a wiped node must not vote"]);
    fs::remove_dir_all(home.path().join("store")).unwrap();
    refused(&kvd(home.path(), &seed), &["a wiped node must not vote"]);
    assert_eq!(names(home.path()), ["kv-pki", "servers.json"]);
}

/// The backup that the golden file shows: one key, at revision 3.
fn backup(home: &Path) -> Vec<u8> {
    let hex = include_str!("golden/backup.txt").split_whitespace();
    let bytes: Vec<u8> = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    fs::write(home.join("b.kvsnap"), &bytes).unwrap();
    bytes
}

#[test]
fn a_backup_makes_a_server_once_and_a_damaged_one_makes_nothing() {
    let home = home_with("kvd.toml", &loopback(1));
    let mut bytes = backup(home.path());
    let restore = || kvd(home.path(), &["restore", "b.kvsnap", "--config", "kvd.toml"]);
    bytes[99] ^= 1;
    fs::write(home.path().join("b.kvsnap"), &bytes).unwrap();
    let damaged = restore();
    let said = String::from_utf8_lossy(&damaged.stderr);
    assert!(
        damaged.status.code() == Some(9) && said.contains("b.kvsnap: no sound backup: at byte 53: "),
        "{said}"
    );
    fs::remove_file(home.path().join("b.kvsnap")).unwrap();
    assert_eq!(restore().status.code(), Some(12));
    assert_eq!(names(home.path()), ["kvd.toml"], "nothing was made");

    backup(home.path());
    let restored = restore();
    let said = String::from_utf8_lossy(&restored.stdout);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    assert!(
        said.contains("n1: 1 keys of revision 3 of cluster 0707") && said.contains("after 1000000003"),
        "{said}"
    );
    refused(&restore(), &["this server has run already", "started-1"]);

    let mut node = Running::start(command(home.path(), &["run", "--config", "kvd.toml"]));
    assert!(node.until("opened log and state").contains("applied=1000000003"));
    node.until("became leader");
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0));

    // One that died is no node.
    let mark = home.path().join("kv-pki/started-1");
    let text = fs::read_to_string(&mark).unwrap().replace("\"started\"", "\"restoring\"");
    fs::write(&mark, text).unwrap();
    refused(
        &kvd(home.path(), &["run", "--config", "kvd.toml"]),
        &["a restore from a backup was begun and did not end"],
    );
    assert_eq!(restore().status.code(), Some(0), "and is begun anew");
}

#[test]
fn three_processes_at_once_make_one_cluster() {
    let home = home_with("kvd.toml", &loopback(3));
    let run =
        |node| command(home.path(), &["run", "--log-format", "json", "--config", "kvd.toml", "--node", node]);
    let nodes = ["n1", "n2", "n3"].map(|node| Running::start(run(node)));
    let ready = nodes.each_ref().map(|node| node.until("\"ready\""));
    let cluster =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["cluster"].to_string();
    assert_eq!(cluster(&ready[0]), cluster(&ready[1]));
    assert_eq!(cluster(&ready[0]), cluster(&ready[2]));
    assert!(home.path().join("kv-pki/admin.kvctx").exists());
}

#[test]
fn dev_runs_a_command_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let script = "grep -q endpoints \"$KVCTL_CONTEXT\" && command -v kvd && exit 7";
    let output = kvd(home.path(), &["dev", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let found = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert_eq!(
        found,
        Path::new(env!("CARGO_BIN_EXE_kvd")),
        "only the command speaks, and it finds the tools"
    );
    assert_eq!(names(home.path()), [""; 0]);
    assert_eq!(kvd(home.path(), &["dev", "--nodes", "1", "--", "./absent"]).status.code(), Some(127));
    assert_eq!(
        kvd(home.path(), &["dev", "--nodes", "1", "--", "sh", "-c", "kill -9 $$"]).status.code(),
        Some(137)
    );
    assert_eq!(names(home.path()), [""; 0]);
}

#[test]
fn dev_selects_its_context_until_it_is_stopped() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("xdg/kv")).unwrap();
    let config = home.path().join("xdg/kv/config.toml");
    fs::write(&config, "current = \"prod\"\n").unwrap();
    let mut dev = command(home.path(), &["dev"]);
    let mut dev = Running::start({
        dev.stdout(Stdio::piped());
        dev
    });
    let mut said = String::new();
    BufReader::new(dev.child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(
        said.starts_with("✓ 3 nodes up in") && said.contains("context \"dev\" selected (ephemeral)"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), "current = \"dev\"\n");
    assert!(home.path().join("xdg/kv/contexts/dev.kvctx").exists());
    dev.signal("-INT");
    assert_eq!(dev.ended(), Some(0));
    assert_eq!(fs::read_to_string(&config).unwrap(), "current = \"prod\"\n");
    assert_eq!(names(home.path()), ["xdg"]);
    assert_eq!(names(&home.path().join("xdg/kv/contexts")), [""; 0]);
}

#[test]
fn no_node_outlives_a_killed_dev_and_a_kept_cluster_continues() {
    let home = tempfile::tempdir().unwrap();
    let keep = home.path().join("keep");
    let mut dev = command(home.path(), &["dev", "--nodes", "2", "--keep", "keep"]);
    dev.stdout(Stdio::piped());
    let mut dev = Running::start(dev);
    BufReader::new(dev.child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    refused(&kvd(home.path(), &["dev", "--keep", "keep"]), &["another kvd dev"]);
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    for dir in ["n1/log", "n1/state", "n2/log", "n2/state"] {
        wait_unlocked(&keep.join("kv-data").join(dir));
    }
    let first = fs::read(keep.join("kv-pki/started-2")).unwrap();
    refused(&kvd(home.path(), &["dev", "--nodes", "3", "--keep", "keep"]), &["has 2 nodes, not 3"]);
    assert_eq!(kvd(home.path(), &["dev", "--keep", "keep", "--", "true"]).status.code(), Some(0));
    assert_eq!(fs::read(keep.join("kv-pki/started-2")).unwrap(), first);
}

#[test]
fn a_directory_of_somebody_else_is_not_kept() {
    let home = home_with("thesis.tex", "x");
    refused(&kvd(home.path(), &["dev", "--keep", "."]), &["in use for something else"]);
    assert_eq!(names(home.path()), ["thesis.tex"]);
}

#[test]
fn help_and_version() {
    let home = tempfile::tempdir().unwrap();
    let output = kvd(home.path(), &["--version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("kvd ", env!("CARGO_PKG_VERSION"), "\n"));
    let output = kvd(home.path(), &["--help"]);
    let said = String::from_utf8_lossy(&output.stdout);
    for word in ["run", "config", "pki", "dev", "<pid> <configFilePath> <logFilePath> <databaseStorePath>"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!said.contains("until-stdin-closes"));
    assert_eq!(kvd(home.path(), &["frobnicate"]).status.code(), Some(2));
    let mut nothing = String::new();
    kvd(home.path(), &[]).stdout.as_slice().read_to_string(&mut nothing).unwrap();
    assert_eq!(nothing, "");
}

#[test]
fn every_command_has_a_page() {
    let home = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str]| String::from_utf8(kvd(home.path(), arguments).stdout).unwrap();
    let main = said(&["man"]);
    assert!(main.contains(".TH kvd 1 ") && main.contains("kvd\\-run(1)"), "{main}");
    let node = said(&["man", "pki", "issue", "node"]);
    assert!(node.contains(".TH kvd-pki-issue-node 1 ") && node.contains("\\-\\-host"), "{node}");
    assert!(!said(&["man", "run"]).contains("stdin"), "what is hidden has no place in it");
    refused(&kvd(home.path(), &["man", "frobnicate"]), &["no command `frobnicate`", "--help"]);

    for (shell, begins) in [("bash", "_kvd() {"), ("zsh", "#compdef kvd"), ("fish", "# Print an optspec")] {
        let script = said(&["completion", shell]);
        assert!(script.starts_with(begins) && script.contains("config"), "{shell}: {script}");
        assert!(!script.contains("until-stdin-closes"), "what is hidden is not offered: {shell}");
    }

    fs::create_dir(home.path().join("man1")).unwrap();
    let written = said(&["man", "--dir", "man1"]);
    let pages = names(&home.path().join("man1"));
    assert!(written.contains(&format!("{} pages", pages.len())), "{written}");
    for page in ["kvd.1", "kvd-config-check.1", "kvd-dev.1", "kvd-man.1", "kvd-pki-init.1", "kvd-run.1"] {
        assert!(pages.contains(&page.to_owned()), "{page}: {pages:?}");
    }
    let lost = kvd(home.path(), &["man", "--dir", "none"]);
    assert_eq!(lost.status.code(), Some(12));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("cannot write into none"), "{lost:?}");
}
