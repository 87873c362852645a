//! A command of a batch: those of kvctl that are one question to the cluster and have one answer.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use protocol::RequestId;

use super::super::{data, get, increment, remove, transact, write};
use crate::{connect::Session, error::Failure, report::Report, script, usage};

/// What a batch takes. Flags of kvctl itself are none of a line's: a batch goes to one cluster.
#[derive(Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Grammar {
    #[command(subcommand)]
    step: Step,
}

/// One command.
#[derive(Subcommand, Debug, PartialEq)]
pub(super) enum Step {
    /// Write a key
    #[command(alias = "put")]
    Set(write::Set),
    /// Read a key
    Get(Box<get::Get>),
    /// Remove a key, or many
    Del(remove::Del),
    /// Add to a number
    Incr(increment::Incr),
    /// Compare, read and write at once
    Txn(transact::Txn),
    /// Say whether a key is there
    Exists(data::Exists),
}

/// Which other commands it must not overtake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Touches {
    /// None: nothing is asked.
    Nothing,
    /// Those of this key.
    Key(Vec<u8>),
    /// All.
    Many,
}

/// The grammar of steps, made once for all lines.
pub(super) fn grammar() -> clap::Command {
    Grammar::command()
}

impl Step {
    /// Makes sense of a piece of a line and reads the files that it names.
    pub(super) fn parse(piece: &script::Step, grammar: &mut clap::Command) -> Result<Self, Failure> {
        let command = piece.command.trim();
        if piece.pipe.is_some() {
            return Err(Failure::usage(format!("a batch has no pipes: {command} | …"))
                .hint("quote a `|` that is meant, or pipe the output of the whole batch"));
        }
        let words = shlex::split(command)
            .ok_or_else(|| Failure::usage(format!("a quote is not closed: {command}")))?;
        let first = words.first().map_or("", String::as_str);
        if grammar.find_subcommand(first).is_none() {
            return Err(Failure::usage(format!("`{first}` is no command of a batch"))
                .hint("a batch takes set, get, del, incr, exists and txn; kvshell takes the others"));
        }
        let matches = grammar.try_get_matches_from_mut(&words).map_err(|error| usage::failure(&error))?;
        let mut step = Grammar::from_arg_matches(&matches).map_err(|error| usage::failure(&error))?.step;
        step.prepare()?;
        Ok(step)
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        let file = match self {
            Self::Set(set) => set.file.as_deref(),
            Self::Txn(txn) => txn.file.as_deref(),
            _ => None,
        };
        if file == Some(Path::new("-")) {
            return Err(Failure::usage("a line of a batch has no stdin of its own")
                .hint("name a file, or write the value into the line"));
        }
        match self {
            Self::Set(set) => set.prepare(),
            Self::Get(get) if get.key.is_none() => {
                Err(Failure::usage("`get` reads one key in a batch").hint("many are read by a `get` alone"))
            }
            Self::Get(get) => get.prepare(),
            Self::Del(del) => del.prepare(),
            Self::Incr(incr) => incr.prepare(),
            Self::Txn(txn) => txn.prepare(),
            Self::Exists(exists) => data::check_key(&exists.key),
        }
    }

    /// Gives a write that has no id this one.
    pub(super) fn identify(&mut self, id: RequestId) {
        let own = match self {
            Self::Set(set) => &mut set.request_id,
            Self::Del(del) => &mut del.request_id,
            Self::Incr(incr) => &mut incr.request_id,
            Self::Txn(txn) => &mut txn.request_id,
            Self::Get(_) | Self::Exists(_) => return,
        };
        own.get_or_insert(id);
    }

    pub(super) fn touches(&self) -> Touches {
        let key = match self {
            Self::Set(set) => Some(&set.key),
            Self::Get(get) => get.key.as_ref(),
            Self::Del(del) => del.key.as_ref(),
            Self::Incr(incr) => Some(&incr.key),
            Self::Exists(exists) => Some(&exists.key),
            Self::Txn(_) => None,
        };
        key.map_or(Touches::Many, |key| Touches::Key(key.as_bytes().to_vec()))
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        match self {
            Self::Set(set) => set.run(session).await,
            Self::Get(get) => get.one(session).await,
            Self::Del(del) => del.run(session).await,
            Self::Incr(incr) => incr.run(session).await,
            Self::Txn(txn) => txn.run(session).await,
            Self::Exists(exists) => exists.run(session).await,
        }
    }
}

/// The id of the `number`th command of a batch that was given `id`: another for each, and the same in every run.
pub(super) fn numbered(id: RequestId, number: u64) -> RequestId {
    let token = u128::from_be_bytes(id.token).wrapping_add(u128::from(number));
    RequestId { token: token.to_be_bytes(), ..id }
}
