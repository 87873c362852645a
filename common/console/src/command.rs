//! The command language, once: `kvctl` parses it from its arguments, `kvshell` from a line. Each family of commands
//! is a file with arguments, call and report side by side.

use std::{ffi::OsString, time::Duration};

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    connect::Session,
    context::{Connection, Places, Sources, chosen},
    error::Failure,
    listing::Out,
    render::{Color, Format, Screen},
    report::Report,
};

mod assess;
mod batch;
mod bench;
pub(crate) mod check;
mod cluster;
mod compact;
mod config;
mod context;
mod data;
mod debug;
mod doctor;
mod events;
mod exec;
mod explain;
mod frames;
mod generate;
mod get;
mod handover;
mod history;
mod increment;
mod install;
mod lease;
mod lock;
mod member;
mod nature;
mod past;
mod ping;
mod remove;
mod retention;
mod revert;
mod snapshot;
mod top;
mod transact;
mod transfer;
mod tree;
mod verify;
mod wait;
mod watch;
mod write;

pub use install::names::CONTEXT_NAME;
pub use transfer::Meaning;

/// Plugins have ten seconds by custom.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Long enough for a node to write a full overlay of its state.
const COMPACT_TIMEOUT: Duration = Duration::from_mins(1);

/// Long enough for a cluster to come up or to elect.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// One command with its flags.
#[derive(Parser, Debug, PartialEq)]
#[command(
    name = "kvctl",
    version,
    about = "Runs one command against a kv cluster.",
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  kvctl set app/mode blue\n  kvctl get app/mode\n  kvctl get --prefix app/\n  kvctl status -o json\n\n\
                  Exit codes: 0 done, 1 no such key or condition false, 2 usage, 3 no endpoint, 4 no leader, 5 deadline,\n\
                  6 outcome unknown, 7 denied, 8 refused, 9 integrity, 10 in part, 11 not confirmed, 12 local file,\n\
                  70 bug.\n\
                  `kvctl explain CODE` explains the code of an error."
)]
pub struct Line {
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// How it is shown.
    #[command(flatten)]
    pub display: Display,
    /// Change a protected context, by its name; with --force, the context or cluster that is meant
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub confirm: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which of it the environment said.
    #[arg(skip)]
    pub sources: Sources,
}

/// The flags that say how results are shown.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Output")]
pub struct Display {
    /// How results look; a table on a terminal, else plain
    #[arg(short, long, global = true, value_name = "FORMAT", env = "KVCTL_OUTPUT")]
    pub output: Option<Format>,
    /// Data only: no confirmations, no notes
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Also say on stderr which context and endpoints are used and how long it took
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// The leader's name as the views of all nodes tell it, for those who want no more than that.
pub fn leader_name(views: Vec<client::NodeView>) -> Option<String> {
    assess::Assessment::of(views).ok()?.leader_name()
}

impl Line {
    /// Makes sense of words, of which the first is the program's name.
    pub fn parse_words(words: &[OsString]) -> Result<Self, clap::Error> {
        let mut grammar = Self::command();
        let matches = grammar.try_get_matches_from_mut(words)?;
        Self::of_matches(&matches).map_err(|error| error.format(&mut grammar))
    }

    /// The line of words that were matched.
    pub fn of_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut line = Self::from_arg_matches(matches)?;
        line.sources = Sources::of(matches);
        Ok(line)
    }

    /// The result of a command that asks nobody.
    pub fn run_alone(&self, places: &Places) -> Option<Result<Report, Failure>> {
        match &self.command {
            Command::Config(config) => Some(config.report(self, places)),
            Command::Context(context) => {
                let used = || chosen(&self.connection, places);
                let confirm = self.confirm.as_deref();
                Some(context.report(&context::Desk { places, used: &used, confirm }))
            }
            command => command.run_alone(),
        }
    }

    /// Takes what this line does not say from the line that the shell was started with. A line that says anything of
    /// where it goes is about another cluster, and has nothing of ours but the times.
    pub fn inherit(&mut self, shell: &Connection, sources: Sources) {
        let own = ["context", "endpoints", "ca", "cert", "client_key"];
        let line = std::mem::replace(&mut self.connection, shell.clone());
        if own.iter().any(|setting| self.sources.is_flag(setting)) {
            let times = (self.connection.timeout, self.connection.connect_timeout);
            self.connection = line.clone();
            (self.connection.timeout, self.connection.connect_timeout) = times;
        }
        if self.sources.is_flag("timeout") {
            self.connection.timeout = line.timeout;
        }
        if self.sources.is_flag("connect_timeout") {
            self.connection.connect_timeout = line.connect_timeout;
        }
        self.sources = self.sources.over(sources);
    }

    /// The screen of this process with the flags of this line.
    pub fn screen(&self) -> Screen {
        let own = self.command.format();
        Screen::of_process(own.or(self.display.output), self.display.color, self.display.quiet)
    }

    /// Reads the local files the command names and gives it its own budget. It is done before anything else, for it
    /// may block.
    pub fn prepare(&mut self) -> Result<(), Failure> {
        self.connection.timeout = self.connection.timeout.or(self.command.budget());
        match &mut self.command {
            Command::Check(check) => check.identify(&self.connection),
            Command::Member(member) => member.confirm(self.confirm.as_deref()),
            Command::Snapshot(snapshot) => snapshot.confirm(self.confirm.as_deref()),
            _ => {}
        }
        if let Command::Debug(_) = &self.command {
            let settings = config::Config::seen(self, &Places::of_process());
            if let Command::Debug(debug) = &mut self.command {
                debug.settings = settings;
            }
        }
        self.command.prepare()
    }

    /// What confirms the context of this name. What is forced without a context confirms the cluster, which the command
    /// itself compares.
    pub fn confirmation(&self, context: &str) -> Option<&str> {
        let of_cluster = match &self.command {
            Command::Member(member) => member.is_forced(),
            Command::Snapshot(snapshot) => snapshot.is_confirmed_itself(),
            _ => false,
        };
        self.confirm.as_deref().filter(|_| !(context.is_empty() && of_cluster))
    }

    /// What the command makes of its own result; a check has a verdict whatever happened.
    pub fn conclude(&self, result: Result<Report, Failure>) -> Result<Report, Failure> {
        match &self.command {
            Command::Check(check) => check.conclude(result),
            Command::Watch(watch) => watch.conclude(result),
            Command::Lock(_) => lock::conclude(result),
            Command::Elect(elect) => elect.conclude(result),
            Command::Doctor(_) => doctor::Doctor::conclude(result),
            _ => result,
        }
    }
}

/// Every command there is.
#[derive(Subcommand, Debug, PartialEq)]
pub enum Command {
    /// Write a key
    #[command(visible_alias = "put")]
    Set(Box<write::Set>),
    /// Read a key, or many
    Get(Box<get::Get>),
    /// Remove a key, or all keys of a prefix or a range
    Del(remove::Del),
    /// Add to a number
    Incr(increment::Incr),
    /// Compare keys, and read and write as that comes out, all at once
    Txn(transact::Txn),
    /// Make, renew and end leases, whose keys go with them
    Lease(lease::Lease),
    /// Say whether a key is there
    Exists(data::Exists),
    /// Show what a key held, newest first
    History(history::History),
    /// Give a key what it held earlier
    Revert(revert::Revert),
    /// Show what happens to keys as it happens, or run a command for it
    Watch(Box<watch::Watch>),
    /// Run a command while holding a lock
    Lock(lock::Lock),
    /// Run a command while being the leader of many, or show who is
    Elect(lock::Elect),
    /// List keys and folders below a prefix
    Ls(tree::Ls),
    /// Draw keys as a tree of folders
    Tree(tree::Tree),
    /// Write keys and values to a file
    Export(transfer::Export),
    /// Write the keys and values of a file to the cluster
    Import(transfer::Import),
    /// Run many commands, a line each
    Batch(batch::Batch),
    /// Save a backup of the whole state, look at one, or put one in the place of all keys
    Snapshot(snapshot::Snapshot),
    /// Ask every node how it is
    Status(cluster::Status),
    /// Show what the nodes do now, again and again
    Top(top::Top),
    /// Say which node leads, or have another one lead
    Leader(cluster::Leader),
    /// Have a node leave leading to others
    Drain(handover::Drain),
    /// List, add, remove, replace and move the servers of the cluster
    Member(member::Member),
    /// Measure the way to each node
    Ping(ping::Ping),
    /// Show what happened: elections and their reasons, slow disks, starts and stops
    Events(events::Events),
    /// Look for everything that can be wrong between here and the cluster
    Doctor(doctor::Doctor),
    /// Gather what somebody who helps needs to see
    Debug(debug::Debug),
    /// Wait until something is so
    Wait(wait::Wait),
    /// Judge the cluster or a node, for monitoring and cron
    Check(check::Check),
    /// Compare what all nodes hold
    Verify(verify::Verify),
    /// Make what a node keeps smaller
    Compact(compact::Compact),
    /// List, select, import and remove contexts, which say how to reach a cluster
    Context(context::Context),
    /// Show the settings that hold
    Config(config::Config),
    /// Show or change how much of the past is kept
    Retention(retention::Retention),
    /// Say which version this is
    Version(cluster::Version),
    /// Measure the cluster under load
    Bench(bench::Bench),
    /// Say what an error code means and what to do
    Explain(explain::Explain),
    /// Print the JSON Schema of a document
    Schema(explain::Schema),
    /// Print the completion script of a shell
    Completion(install::Completion),
    /// Print a manual page, or write all of them
    Man(install::Man),
    /// Print a file for Prometheus, Grafana, systemd or cron
    Generate(generate::Generate),
}

impl Command {
    fn prepare(&mut self) -> Result<(), Failure> {
        match self {
            Self::Set(set) => set.prepare(),
            Self::Get(get) => get.prepare(),
            Self::Del(del) => del.prepare(),
            Self::Incr(incr) => incr.prepare(),
            Self::Txn(txn) => txn.prepare(),
            Self::Lease(lease) => lease.prepare(),
            Self::Exists(exists) => data::check_key(&exists.key),
            Self::History(history) => history.prepare(),
            Self::Revert(revert) => revert.prepare(),
            Self::Watch(watch) => watch.prepare(),
            Self::Lock(lock) => lock.prepare(),
            Self::Elect(elect) => elect.prepare(),
            Self::Retention(retention) => retention.prepare(),
            Self::Bench(bench) => bench.prepare(),
            Self::Check(check) => check.prepare(),
            Self::Wait(wait) => wait.prepare(),
            Self::Top(top) => top.prepare(),
            Self::Snapshot(snapshot) => snapshot.prepare(),
            Self::Member(member) => member.prepare(),
            Self::Debug(debug) => debug.prepare(),
            Self::Context(_)
            | Self::Config(_)
            | Self::Ls(_)
            | Self::Tree(_)
            | Self::Export(_)
            | Self::Import(_)
            | Self::Batch(_)
            | Self::Ping(_)
            | Self::Events(_)
            | Self::Doctor(_)
            | Self::Compact(_)
            | Self::Drain(_)
            | Self::Verify(_)
            | Self::Status(_)
            | Self::Leader(_)
            | Self::Version(_)
            | Self::Explain(_)
            | Self::Schema(_)
            | Self::Completion(_)
            | Self::Man(_)
            | Self::Generate(_) => Ok(()),
        }
    }

    /// Runs it. [`Line::prepare`] comes first. Rows that are many go to `out` as they come, and the caller waits there for
    /// a reader who is slow: connections must be driven by another thread meanwhile, where it [`streams`](Self::streams).
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        match self {
            Self::Set(set) => set.run(session).await,
            Self::Get(get) => get.run(session, out).await,
            Self::Ls(ls) => ls.run(session, out).await,
            Self::Tree(tree) => tree.run(session, out).await,
            Self::Export(export) => export.run(session, out).await,
            Self::Import(import) => import.run(session).await,
            Self::Batch(batch) => batch.run(session, out).await,
            Self::Snapshot(snapshot) => snapshot.run(session, out).await,
            Self::Del(del) => del.run(session).await,
            Self::Incr(incr) => incr.run(session).await,
            Self::Txn(txn) => txn.run(session).await,
            Self::Lease(lease) => lease.run(session, out).await,
            Self::Exists(exists) => exists.run(session).await,
            Self::History(history) => history.run(session, out).await,
            Self::Revert(revert) => revert.run(session).await,
            Self::Watch(watch) => watch.run(session, out).await,
            Self::Lock(lock) => lock.run(session, out).await,
            Self::Elect(elect) => elect.run(session, out).await,
            Self::Retention(retention) => retention.run(session).await,
            Self::Status(status) => status.run(session, out).await,
            Self::Top(top) => top.run(session, out).await,
            Self::Leader(leader) => leader.run(session).await,
            Self::Bench(bench) => bench.run(session).await,
            Self::Check(check) => check.run(session).await,
            Self::Verify(verify) => verify.run(session).await,
            Self::Ping(ping) => ping.run(session).await,
            Self::Events(events) => events.run(session, out).await,
            Self::Doctor(doctor) => doctor.run(session).await,
            Self::Debug(debug) => debug.run(session).await,
            Self::Wait(wait) => wait.run(session).await,
            Self::Compact(compact) => compact.run(session).await,
            Self::Drain(drain) => drain.run(session).await,
            Self::Member(member) => member.run(session, out).await,
            Self::Context(_)
            | Self::Config(_)
            | Self::Version(_)
            | Self::Explain(_)
            | Self::Schema(_)
            | Self::Completion(_)
            | Self::Man(_)
            | Self::Generate(_) => Err(Failure::internal("a command that asks nobody was to ask a cluster")),
        }
    }

    /// Whether it changes data or the cluster, so that a protected context wants its name. Each command is named: a new one
    /// has to say which it is.
    pub fn changes(&self) -> bool {
        match self {
            Self::Set(_)
            | Self::Del(_)
            | Self::Incr(_)
            | Self::Import(_)
            | Self::Batch(_)
            | Self::Lock(_)
            | Self::Bench(_)
            | Self::Compact(_)
            | Self::Drain(_)
            | Self::Revert(_) => true,
            Self::Txn(txn) => txn.changes(),
            Self::Elect(elect) => !elect.observe,
            Self::Lease(lease) => lease.changes(),
            Self::Retention(retention) => retention.writes(),
            Self::Leader(leader) => leader.changes(),
            Self::Member(member) => member.changes(),
            Self::Snapshot(snapshot) => snapshot.changes(),
            Self::Get(_)
            | Self::Exists(_)
            | Self::History(_)
            | Self::Watch(_)
            | Self::Ls(_)
            | Self::Tree(_)
            | Self::Export(_)
            | Self::Status(_)
            | Self::Top(_)
            | Self::Ping(_)
            | Self::Events(_)
            | Self::Doctor(_)
            | Self::Debug(_)
            | Self::Wait(_)
            | Self::Check(_)
            | Self::Verify(_)
            | Self::Context(_)
            | Self::Config(_)
            | Self::Version(_)
            | Self::Explain(_)
            | Self::Schema(_)
            | Self::Completion(_)
            | Self::Man(_)
            | Self::Generate(_) => false,
        }
    }

    /// Whether it reads or writes files and standard streams while it runs.
    pub fn streams(&self) -> bool {
        match self {
            Self::Get(get) => get.streams(),
            Self::Lease(lease) => lease.streams(),
            Self::Status(status) => status.watch.is_some(),
            Self::History(_)
            | Self::Watch(_)
            | Self::Lock(_)
            | Self::Elect(_)
            | Self::Events(_)
            | Self::Ls(_)
            | Self::Tree(_)
            | Self::Export(_)
            | Self::Import(_)
            | Self::Batch(_)
            | Self::Snapshot(_)
            | Self::Top(_) => true,
            _ => false,
        }
    }

    /// The time it may take where the line does not say; `None` for that of the session.
    fn budget(&self) -> Option<Duration> {
        match self {
            Self::Check(_) => Some(CHECK_TIMEOUT),
            Self::Wait(_) => Some(WAIT_TIMEOUT),
            Self::Member(member) => member.budget(),
            Self::Compact(_) | Self::Snapshot(_) => Some(COMPACT_TIMEOUT),
            _ => None,
        }
    }

    fn run_alone(&self) -> Option<Result<Report, Failure>> {
        match self {
            Self::Version(version) => Some(Ok(version.report())),
            Self::Explain(explain) => Some(explain.report()),
            Self::Schema(schema) => Some(schema.report()),
            Self::Completion(completion) => Some(Ok(completion.report())),
            Self::Man(man) => Some(man.report()),
            Self::Generate(generate) => Some(Ok(generate.report())),
            Self::Snapshot(snapshot) => snapshot.run_alone(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
