//! What a program must know of a command before it runs it beside others: whether it wants standard input for itself, and
//! whether something depends on its being ended in an orderly way.

use std::path::Path;

use super::Command;
use crate::render::Format;

impl Command {
    /// The format that the command itself asks for.
    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self::Bench(bench) if bench.json => Some(Format::Json),
            Self::Check(check) => check.format(),
            // Its lines are the file.
            Self::Export(export) if export.is_stdout() => Some(Format::Ndjson),
            // A line for each of its own.
            Self::Batch(_) => Some(Format::Ndjson),
            Self::Snapshot(snapshot) if snapshot.is_stdout() => Some(Format::Plain),
            // It is JSON in every format.
            Self::Schema(schema) if schema.name.is_some() => Some(Format::Plain),
            Self::Context(context) if context.is_file() => Some(Format::Plain),
            // Files of another grammar, whatever is wanted of results.
            Self::Completion(_) | Self::Generate(_) => Some(Format::Plain),
            Self::Man(man) if man.dir.is_none() => Some(Format::Plain),
            _ => None,
        }
    }

    /// Whether another context may be meant after it, or another cluster by the same context.
    pub fn touches_contexts(&self) -> bool {
        matches!(self, Self::Context(_))
    }

    /// Whether it goes on until somebody ends it, so that Ctrl-C is its end and nothing that went wrong.
    pub fn is_endless(&self) -> bool {
        match self {
            Self::Status(status) => status.watch.is_some(),
            Self::Elect(elect) => elect.observe,
            Self::Events(events) => events.follow,
            _ => matches!(self, Self::Watch(_) | Self::Top(_)),
        }
    }

    /// Whether it runs a command for as long as it holds something, and must outlive whatever else ends here.
    pub fn guards(&self) -> bool {
        match self {
            Self::Elect(elect) => !elect.observe,
            _ => matches!(self, Self::Lock(_)),
        }
    }

    /// Whether it takes from standard input what it works on.
    pub fn reads_stdin(&self) -> bool {
        let file = match self {
            Self::Set(set) => set.file.as_deref(),
            Self::Txn(txn) => txn.file.as_deref(),
            Self::Import(import) => Some(import.file.as_path()),
            Self::Batch(batch) => Some(batch.file.as_path()),
            Self::Snapshot(snapshot) => snapshot.input(),
            _ => None,
        };
        file == Some(Path::new("-"))
    }
}
