//! A cluster of real nodes and the two tools, each run with nothing of the user's in its environment.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use assert_cmd::Command;
use serde_json::Value;
use testkit::{cluster::Cluster, programs};

/// Longer than any single run of a tool here, however busy the machine.
const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct Trial {
    pub(crate) cluster: Cluster,
    home: tempfile::TempDir,
}

/// What a run of a tool came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Trial {
    /// A cluster that has a leader.
    pub(crate) fn start(size: usize) -> Self {
        Self::start_with(size, "")
    }

    /// The same with more tables in the configuration.
    pub(crate) fn start_with(size: usize, tables: &str) -> Self {
        Self::over(Cluster::start_with(programs::path("kvd"), size, tables))
    }

    /// A new cluster out of a backup, that has a leader.
    pub(crate) fn restored(size: usize, backup: &Path) -> Self {
        Self::over(Cluster::restored(programs::path("kvd"), size, backup, &[]))
    }

    fn over(cluster: Cluster) -> Self {
        let trial = Self { cluster, home: tempfile::tempdir().unwrap() };
        trial.eventually("leader", |trial| (trial.kvctl(&["leader"]).code == Some(0)).then_some(()));
        trial
    }

    pub(crate) fn kvctl(&self, words: &[&str]) -> Ran {
        self.kvctl_with(words, &[])
    }

    /// With no context.
    pub(crate) fn kvctl_bare(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.env_clear().current_dir(self.home());
        self.run_with(command, words, &[])
    }

    /// With these bytes on standard input.
    pub(crate) fn kvctl_with(&self, words: &[&str], input: &[u8]) -> Ran {
        self.run(PathBuf::from(env!("CARGO_BIN_EXE_kvctl")), words, input)
    }

    pub(crate) fn kvshell(&self, words: &[&str], input: &str) -> Ran {
        self.run(programs::path("kvshell"), words, input.as_bytes())
    }

    /// A shell that nobody told which context to use, so that it uses the selected one.
    pub(crate) fn kvshell_selected(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(programs::path("kvshell"));
        command.env_clear();
        self.run_with(command, words, b"")
    }

    /// The one object that the command prints as its result, or as its failure.
    pub(crate) fn json(&self, words: &[&str]) -> (i32, Value) {
        let ran = self.kvctl(&[&["-o", "json"], words].concat());
        let text = if ran.out.is_empty() { ran.err.as_bytes() } else { &ran.out };
        let value = serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        (ran.code.unwrap(), value)
    }

    /// The id of the leader.
    pub(crate) fn leader(&self) -> usize {
        let name = self.eventually("leader", |trial| {
            let ran = trial.kvctl(&["leader"]);
            (ran.code == Some(0)).then(|| ran.text())
        });
        name.strip_prefix('n').unwrap().split('\t').next().unwrap().parse().unwrap()
    }

    /// The ids of the others.
    pub(crate) fn followers(&self) -> Vec<usize> {
        let leader = self.leader();
        (1..=self.cluster.size()).filter(|id| *id != leader).collect()
    }

    pub(crate) fn pause(&self, ids: &[usize]) {
        for id in ids {
            self.cluster.pause(*id);
        }
    }

    pub(crate) fn resume(&self, ids: &[usize]) {
        for id in ids {
            self.cluster.resume(*id);
        }
    }

    /// Asks again and again until there is an answer.
    pub(crate) fn eventually<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(began.elapsed() < BOUND, "no {what} within {BOUND:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A text of the administrator's context: `ca`, `cert` or `key`.
    pub(crate) fn of_context(&self, what: &str) -> String {
        let context: toml::Table = fs::read_to_string(self.cluster.context()).unwrap().parse().unwrap();
        context[what].as_str().unwrap().to_owned()
    }

    /// A private file of this trial.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, program: PathBuf, words: &[&str], input: &[u8]) -> Ran {
        let mut command = Command::new(program);
        command.env_clear().env("KVCTL_CONTEXT", self.cluster.context());
        self.run_with(command, words, input)
    }

    fn run_with(&self, mut command: Command, words: &[&str], input: &[u8]) -> Ran {
        command.env("HOME", self.home()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let began = Instant::now();
        let output = command.args(words).write_stdin(input).timeout(BOUND).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        Ran { code: output.status.code(), out: output.stdout, err, took: began.elapsed() }
    }
}

impl Ran {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Code, standard output and standard error.
    pub(crate) fn told(&self) -> (i32, String, &str) {
        (self.code.unwrap(), self.text(), &self.err)
    }
}
