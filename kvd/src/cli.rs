//! What may be said on the command line, and what a run of the program ends with.
//!
//! Two grammars lead to the same node: `kvd run --config FILE` and the seed project's
//! `kvd <pid> <configFilePath> <logFilePath> <databaseStorePath>`, told apart by the number in front.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{logging::LogFormat, recover::Place as Survivors};

/// How the program ends. The numbers are shared with `kvctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// A clean "no": there is nothing to recover from.
    No = 1,
    /// The command line or the configuration is refused; nothing was changed.
    Usage = 2,
    /// A certificate or key is refused.
    Identity = 7,
    /// What is on disk contradicts itself.
    Integrity = 9,
    /// What may be lost was not accepted.
    Declined = 11,
    /// A file or a directory could not be read or written.
    Disk = 12,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// One invocation.
#[derive(Debug)]
pub enum Invocation {
    /// A command with its flags.
    Command(Cli),
    /// The seed project's form.
    Seed(Seed),
}

/// The replicated key-value daemon.
#[derive(Debug, Parser)]
#[command(
    name = "kvd",
    version,
    after_help = "Examples:\n  \
        kvd dev                                  three nodes on this machine, until Ctrl-C\n  \
        kvd dev -- kvctl set hello world         the same around one command\n  \
        kvd join --config kvd.toml --node n4     a new server of a cluster that runs\n  \
        kvd restore monday.kvsnap --config kvd.toml --node n1    a server of a new cluster, from a backup\n  \
        kvd recover inspect /mnt/n2 /mnt/n4      what is left of a cluster that lost its majority\n  \
        kvd config check kvd.toml                is this configuration usable?\n  \
        kvd run --config kvd.toml --node n1      one node of a cluster\n  \
        kvd 1 servers.json ./log ./store         the same, in the seed project's form:\n  \
        kvd <pid> <configFilePath> <logFilePath> <databaseStorePath>"
)]
pub struct Cli {
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value = "human", env = "KVD_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node of a cluster until SIGTERM or SIGINT; SIGHUP reloads its certificates.
    #[command(after_help = "Example of a configuration:\n  \
        [[server]]\n  id = 1\n  address = \"127.0.0.1:7401\"\n\n  \
        [[server]]\n  id = 2\n  address = \"127.0.0.1:7402\"\n\n\
        docs/operations.md lists every key.")]
    Run(Run),
    /// Start a server that joins a cluster, for the first time: an empty one that waits to be added.
    #[command(
        after_help = "Example, on the new server, whose configuration lists the founders as theirs does and itself:\n  \
        [[server]]\n  id = 4\n  name = \"n4\"\n  address = \"10.0.0.4:7400\"\n  joins = true\n\n  \
        kvd join --config kvd.toml --node n4\n  \
        kvctl member add n4 --addr 10.0.0.4:7400       on any machine\n\n\
        From the next start on `kvd run` does. docs/operations.md has the whole recipe."
    )]
    Join(Run),
    /// Make a server of a new cluster out of a backup, before its first start.
    #[command(after_help = "Example, on each server of the new cluster:\n  \
        kvd restore monday.kvsnap --config kvd.toml --node n1\n  \
        kvd run --config kvd.toml --node n1\n\n\
        Ends with 0 when it is done, 2 when it is refused, 9 when the backup is damaged, 12 when the disk is.")]
    Restore(Restore),
    /// Save what is left of a cluster that has lost its majority for good, for a new one.
    #[command(
        subcommand,
        after_help = "Example, with the directories of all nodes that are left, none of them running:\n  \
            kvd recover inspect /mnt/n2 /mnt/n4\n  \
            kvd recover plan /mnt/n2 /mnt/n4\n  \
            kvd recover apply --data-dir /mnt/n4 --plan plan.json --backup rescued.kvsnap\n  \
            kvd restore rescued.kvsnap --config kvd.toml --node n1    on each server of the new cluster\n\n\
            The directories are only read. Ends with 0 when it is done, 1 when nothing can be recovered from, 2 when it\n\
            is refused, 9 when a directory is damaged, 11 when a loss was not accepted, 12 when a file is the trouble."
    )]
    Recover(Recover),
    /// Look at configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the certificates of a cluster.
    #[command(
        subcommand,
        after_help = "Example:\n  \
            kvd pki init\n  \
            kvd pki issue node 1 --host db1.example.org --host 10.0.0.1\n  \
            kvd pki issue client alice --endpoints db1.example.org:7400,db2.example.org:7400\n  \
            kvd pki renew"
    )]
    Pki(Pki),
    /// Run a whole cluster on this machine, for trying and testing.
    #[command(after_help = "Examples:\n  \
        kvd dev                            until Ctrl-C; kvctl and kvshell find it by the context `dev`\n  \
        kvd dev --keep ./play              the same, and what was written is there the next time\n  \
        kvd dev -- sh -c 'kvctl status'    run a command against it, tear down, exit with its status")]
    Dev(Dev),
    /// Print a manual page, or write all of them.
    #[command(after_help = "Examples:\n  \
        kvd man run | man -l -\n  \
        kvd man pki issue | man -l -\n  \
        kvd man --dir /usr/local/share/man/man1")]
    Man(Man),
    /// Print the completion script of a shell.
    #[command(after_help = "Examples:\n  \
        kvd completion bash > /etc/bash_completion.d/kvd\n  \
        kvd completion fish > ~/.config/fish/completions/kvd.fish")]
    Completion(Completion),
}

/// `kvd completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// Of which shell.
    pub shell: clap_complete::Shell,
}

/// `kvd man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The page of this command; that of kvd where none is given.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write all pages into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// `kvd run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration file: TOML, or the seed project's JSON.
    #[arg(long, value_name = "FILE", env = "KVD_CONFIG")]
    pub config: PathBuf,
    /// Which of its servers this is, by name or id; needed when it lists several.
    #[arg(long, value_name = "NAME", env = "KVD_NODE")]
    pub node: Option<String>,
    /// Stop when standard input closes: `kvd dev` holds the other end, so that its nodes cannot outlive it.
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// `kvd recover`.
#[derive(Debug, Subcommand)]
pub enum Recover {
    /// Say what each directory holds and whether it is sound, the best first; changes nothing.
    Inspect {
        /// A node's data: its folder with `log` and `state` in it, or LOGDIR,STATEDIR.
        #[arg(value_name = "DIR", required = true, value_parser = Survivors::parse)]
        dirs: Vec<Survivors>,
    },
    /// The same, and write down what is to be recovered and what may be lost.
    Plan {
        /// A node's data: its folder with `log` and `state` in it, or LOGDIR,STATEDIR.
        #[arg(value_name = "DIR", required = true, value_parser = Survivors::parse)]
        dirs: Vec<Survivors>,
        /// Where the plan goes.
        #[arg(long, value_name = "FILE", default_value = "plan.json")]
        out: PathBuf,
    },
    /// Write a backup of all that the directory of the plan has, its log replayed to the end.
    Apply {
        /// The directory that the plan names.
        #[arg(long, value_name = "DIR", value_parser = Survivors::parse)]
        data_dir: Survivors,
        /// The plan.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// The backup; there is none of that name yet.
        #[arg(long, value_name = "FILE", default_value = "rescued.kvsnap")]
        backup: PathBuf,
        /// Go on though writes that were acknowledged may be missing.
        #[arg(long)]
        accept_loss: bool,
    },
}

/// `kvd restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup, as `kvctl snapshot save` wrote it.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: PathBuf,
    /// The configuration file of the new cluster.
    #[arg(long, value_name = "FILE", env = "KVD_CONFIG")]
    pub config: PathBuf,
    /// Which of its servers this is, by name or id; needed when it lists several.
    #[arg(long, value_name = "NAME", env = "KVD_NODE")]
    pub node: Option<String>,
    /// Tells clusters apart that are restored from one backup with one CA; the same on every server of one.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = short)]
    pub name: String,
}

fn short(text: &str) -> Result<String, String> {
    let limit = protocol::limits::NAME_BYTES;
    if text.len() <= limit { Ok(text.to_owned()) } else { Err(format!("longer than {limit} bytes")) }
}

/// `kvd config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file completely and change nothing: exit 0 or 2.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `kvd pki`.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make a certificate authority.
    Init {
        /// The folder for it.
        #[command(flatten)]
        place: Place,
        /// What it is called.
        #[arg(long, default_value = "kv")]
        name: String,
        /// For how many days it is valid.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a certificate with its key.
    #[command(subcommand)]
    Issue(Issue),
    /// Issue anew everything the folder holds, with new keys and the same names.
    Renew {
        /// The authority's folder.
        #[command(flatten)]
        place: Place,
        /// For how many days the new ones are valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
}

/// Where an authority keeps its files.
#[derive(Debug, Args)]
pub struct Place {
    /// The authority's folder.
    #[arg(long, default_value = "kv-pki", value_name = "DIR", env = "KVD_PKI")]
    pub dir: PathBuf,
}

/// `kvd pki issue`.
#[derive(Debug, Subcommand)]
pub enum Issue {
    /// For a node: `node-ID.pem` and `node-ID-key.pem`.
    Node {
        /// Its id in the configuration.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// A host name or address others reach it by; may be repeated.
        #[arg(long = "host", required = true, value_name = "HOST")]
        hosts: Vec<String>,
        /// The authority's folder.
        #[command(flatten)]
        place: Place,
        /// For how many days it is valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// For a user: one file `NAME.kvctx` with everything `kvctl` and `kvshell` need.
    Client {
        /// The user's name.
        name: String,
        /// The cluster's addresses, `host:port`, separated by commas.
        #[arg(long, required = true, value_delimiter = ',', value_name = "HOST:PORT")]
        endpoints: Vec<String>,
        /// The authority's folder.
        #[command(flatten)]
        place: Place,
        /// For how many days it is valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
}

/// `kvd dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// How many nodes [default: 3, or as many as the kept directory has].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: Option<u64>,
    /// Keep everything in this directory, to be continued by the next `kvd dev --keep`.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// A command to run against the cluster; its status becomes this program's.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// The seed project's form.
#[derive(Debug, Parser)]
#[command(name = "kvd", override_usage = "kvd <pid> <configFilePath> <logFilePath> <databaseStorePath>")]
pub struct Seed {
    /// The id of this server in the configuration.
    pub pid: u64,
    /// The configuration file.
    #[arg(value_name = "configFilePath")]
    pub config: PathBuf,
    /// The directory of the log.
    #[arg(value_name = "logFilePath")]
    pub log: PathBuf,
    /// The directory of the state.
    #[arg(value_name = "databaseStorePath")]
    pub database: PathBuf,
    /// How log lines on stderr look.
    #[arg(long, value_enum, default_value = "human", env = "KVD_LOG_FORMAT")]
    pub log_format: LogFormat,
}

impl Invocation {
    /// Understands the arguments, the program's name in front.
    pub fn parse(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or("");
        if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Seed::try_parse_from(arguments).map(Self::Seed);
        }
        Cli::try_parse_from(arguments).map(Self::Command)
    }

    /// How the invocation wants log lines to look.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Command(cli) => cli.log_format,
            Self::Seed(seed) => seed.log_format,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, clap::Error> {
        Invocation::parse(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_grammar_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        Seed::command().debug_assert();
    }

    #[test]
    fn a_number_in_front_is_the_seed_form() {
        let Invocation::Seed(seed) = parse("kvd 2 servers.json ./log ./store").unwrap() else { panic!() };
        assert_eq!((seed.pid, seed.log), (2, PathBuf::from("./log")));
        assert!(parse("kvd 2 servers.json ./log").is_err());
        assert!(parse("kvd 2 servers.json ./log ./store more").is_err());
    }

    #[test]
    fn the_name_of_a_restore_has_a_bound() {
        let named = |bytes: usize| parse(&format!("kvd restore b --config c --name {}", "n".repeat(bytes)));
        assert!(named(64).is_ok() && named(65).is_err());
        assert!(parse("kvd restore b --config c").is_ok() && parse("kvd restore --config c").is_err());
    }

    #[test]
    fn dev_takes_a_command_as_it_is() {
        let Invocation::Command(cli) = parse("kvd dev --nodes 5 -- kvctl get --keep").unwrap() else {
            panic!()
        };
        let Command::Dev(dev) = cli.command else { panic!() };
        assert_eq!(dev.nodes, Some(5));
        assert_eq!(dev.command, ["kvctl", "get", "--keep"]);
        assert!(parse("kvd dev --nodes 0").is_err());
    }
}
