//! The Debian packages: built from these very programs, looked into, unpacked, and the maintainer scripts run twice. Where
//! `dpkg-deb` is not installed only the scripts are looked at.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use testkit::programs;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging/deb")
}

fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Paths in a package with their mode and owner, as `dpkg-deb --contents` says them.
fn contents(package: &str) -> Vec<(String, String)> {
    let listed = ok(Command::new("dpkg-deb").args(["--contents", package]));
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[5].to_owned(), format!("{} {}", words[0], words[1]))
    };
    listed.lines().map(line).collect()
}

#[track_caller]
fn has(contents: &[(String, String)], path: &str, mode: &str) {
    let found = contents.iter().find(|(there, _)| there == path);
    assert_eq!(found.map(|(_, mode)| mode.as_str()), Some(mode), "{path} in {contents:?}");
}

const FILE: &str = "-rw-r--r-- root/root";
const PROGRAM: &str = "-rwxr-xr-x root/root";

#[test]
fn packages_hold_what_an_installation_needs_and_it_runs() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return;
    }
    let kvd = programs::path("kvd");
    let bin = kvd.parent().unwrap().to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let build = |into: &str| {
        let out = out.path().join(into);
        let arguments = ["--bin-dir", bin, "--level", "0", "--out", out.to_str().unwrap()];
        ok(Command::new(packaging().join("build")).args(arguments).env("SOURCE_DATE_EPOCH", "1700000000"))
    };
    let files = build("a");
    let [server, client] = files.lines().collect::<Vec<_>>().try_into().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(server.contains(&format!("/kv-server_{version}-1_")), "{server}");
    let again = build("b");
    for (first, second) in files.lines().zip(again.lines()) {
        assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "{first} is made the same each time");
    }

    let files = contents(server);
    has(&files, "./usr/bin/kvd", PROGRAM);
    has(&files, "./etc/kv/kvd.toml", FILE);
    for path in ["lib/systemd/system/kvd@.service", "lib/sysusers.d/kv.conf"] {
        has(&files, &format!("./usr/{path}"), FILE);
    }
    for page in ["kvd", "kvd-run", "kvd-pki-issue-node", "kvd-completion"] {
        has(&files, &format!("./usr/share/man/man1/{page}.1.gz"), FILE);
    }
    has(&files, "./usr/share/bash-completion/completions/kvd", FILE);
    has(&files, "./usr/share/doc/kv-server/copyright", FILE);
    let files = contents(client);
    for program in ["kvctl", "kvshell"] {
        has(&files, &format!("./usr/bin/{program}"), PROGRAM);
        has(&files, &format!("./usr/share/man/man1/{program}.1.gz"), FILE);
        has(&files, &format!("./usr/share/bash-completion/completions/{program}"), FILE);
        has(&files, &format!("./usr/share/zsh/vendor-completions/_{program}"), FILE);
        has(&files, &format!("./usr/share/fish/vendor_completions.d/{program}.fish"), FILE);
    }

    let field = |package, field| ok(Command::new("dpkg-deb").args(["--field", package, field]));
    assert_eq!(field(server, "Package"), "kv-server\n");
    assert_eq!(field(client, "Version"), format!("{version}-1\n"));
    assert!(
        field(server, "Depends").ends_with("systemd-sysusers | adduser\n"),
        "{}",
        field(server, "Depends")
    );
    let info = ok(Command::new("dpkg-deb").args(["--info", server]));
    for part in ["conffiles", "postinst", "prerm", "postrm", "md5sums"] {
        assert!(info.contains(part), "{part}: {info}");
    }
    unpacked_they_run(out.path(), server, client);
}

fn unpacked_they_run(out: &Path, server: &str, client: &str) {
    let root = out.join("root");
    for package in [server, client] {
        ok(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root));
    }
    let run = |program: &str, words: &[&str]| {
        Command::new(root.join("usr/bin").join(program)).args(words).output().unwrap()
    };
    for program in ["kvd", "kvctl", "kvshell"] {
        let said = run(program, &["--version"]);
        assert!(String::from_utf8_lossy(&said.stdout).contains(env!("CARGO_PKG_VERSION")), "{said:?}");
    }

    // As it is installed the configuration lists nobody and no start gets past it; filled in it does.
    let config = root.join("etc/kv/kvd.toml");
    let check = || run("kvd", &["config", "check", config.to_str().unwrap()]);
    assert_eq!(check().status.code(), Some(2), "{:?}", check());
    let text = fs::read_to_string(&config).unwrap();
    let (before, table) = text.split_once("# [[server]]").unwrap();
    fs::write(&config, format!("{before}[[server]]{}", table.replace("\n# ", "\n"))).unwrap();
    assert_eq!(check().status.code(), Some(0), "{:?}", check());

    // What the unit runs are commands that the daemon has.
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/kvd@.service")).unwrap();
    assert!(unit.starts_with("# /usr/lib/systemd/system/kvd@.service: "), "{unit}");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/kvd ")).unwrap();
    let words: Vec<&str> = start.split(' ').map(|word| if word == "%i" { "n9" } else { word }).collect();
    let words: Vec<&str> = words
        .into_iter()
        .map(|word| if word.starts_with('/') { config.to_str().unwrap() } else { word })
        .collect();
    let said = run("kvd", &words);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no server `n9`"), "{said:?}");
}

/// A root to which a maintainer script is bent, and a folder of programs that only note that they were called.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for folder in ["bin", "etc/kv", "var/lib"] {
            fs::create_dir_all(root.at(folder)).unwrap();
        }
        for (program, does) in [
            ("getent", "[ -e ROOT/user ]"),
            ("systemd-sysusers", "touch ROOT/user; echo user >>ROOT/calls"),
            ("chown", "echo \"chown $*\" >>ROOT/calls"),
            ("systemctl", "echo \"systemctl $1\" >>ROOT/calls"),
        ] {
            let script = format!("#!/bin/sh\n{}\n", does.replace("ROOT", root.0.path().to_str().unwrap()));
            fs::write(root.at(&format!("bin/{program}")), script).unwrap();
            fs::set_permissions(root.at(&format!("bin/{program}")), fs::Permissions::from_mode(0o755))
                .unwrap();
        }
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// What it said.
    fn run(&self, script: &str, argument: &str) -> String {
        let text = fs::read_to_string(packaging().join(format!("kv-server.{script}"))).unwrap();
        let root = self.0.path().to_str().unwrap();
        let text = ["/etc/kv", "/var/lib/kv", "/run/systemd"]
            .iter()
            .fold(text, |text, path| text.replace(path, &format!("{root}{path}")));
        let path = format!("{root}/bin:{}", std::env::var("PATH").unwrap());
        ok(Command::new("sh").args(["-c", &text, script, argument]).env("PATH", path))
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.at("calls"));
        calls.replace(self.0.path().to_str().unwrap(), "").lines().map(str::to_owned).collect()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o777
    }
}

#[test]
fn maintainer_scripts_can_be_run_again_and_start_nothing() {
    let root = Root::new();
    root.run("postinst", "configure");
    assert_eq!(root.calls(), ["user", "chown kv:kv /etc/kv/pki", "chown kv:kv /var/lib/kv"]);
    assert_eq!((root.mode("etc/kv/pki"), root.mode("var/lib/kv")), (0o700, 0o700));

    // What was chosen since stays, and there is a systemd now, which is told of the unit and of nothing to start.
    fs::set_permissions(root.at("etc/kv/pki"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir_all(root.at("run/systemd/system")).unwrap();
    root.run("postinst", "configure");
    assert_eq!(root.calls(), ["systemctl --system", "systemctl list-units"]);
    assert_eq!(root.mode("etc/kv/pki"), 0o750);

    root.run("prerm", "upgrade");
    assert!(root.calls().is_empty(), "an upgrade stops nothing");
    root.run("prerm", "remove");
    assert_eq!(root.calls(), ["systemctl stop"]);

    fs::write(root.at("var/lib/kv/data"), "data").unwrap();
    for _ in 0..2 {
        let said = root.run("postrm", "purge");
        assert!(said.contains("/var/lib/kv holds keys or data and stays") && !said.contains("pki"), "{said}");
    }
    assert!(root.at("var/lib/kv/data").exists() && !root.at("etc/kv").exists());
    fs::remove_file(root.at("var/lib/kv/data")).unwrap();
    assert_eq!(root.run("postrm", "purge"), "");
    assert!(!root.at("var/lib/kv").exists());
}
