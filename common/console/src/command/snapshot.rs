//! `snapshot`: the whole state of the cluster in a file, as a backup; saved from a node, and looked at without any.
//!
//! A backup is written as it comes, in constant memory. Each block is judged before it is written, so that what is damaged
//! on the way is never kept; and a file gets its name only once the end has come and all of it is on the disk. What goes to
//! stdout has no such moment: it is whole when the command says so, and without its end nobody takes it for a backup.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use protocol::snapshot::{ReadError, Reader, Summary};

use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    files::Beside,
    listing::Out,
    progress::Progress,
    report::{Body, Document, Report, Table},
    text,
};

mod restore;

pub(super) use restore::Restore;

/// Arguments of `snapshot`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl snapshot save monday.kvsnap\n  kvctl snapshot save - | age -r KEY > monday.kvsnap.age\n  \
                  kvctl snapshot verify monday.kvsnap\n  kvctl snapshot inspect monday.kvsnap\n  \
                  kvctl snapshot restore monday.kvsnap --confirm prod\n\n\
                  `kvd restore` makes a new cluster of one."
)]
pub struct Snapshot {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a backup.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// Save the state of the cluster at one revision
    Save(Save),
    /// Say what a backup is; asks no server
    Inspect(Look),
    /// Say whether a backup is sound; asks no server
    Verify(Look),
    /// Replace all keys of the running cluster by those of a backup
    Restore(Restore),
}

/// Arguments of `snapshot save`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl snapshot save monday.kvsnap\n  kvctl snapshot save --force latest.kvsnap\n  \
                        kvctl snapshot save - | age -r KEY > monday.kvsnap.age\n\n\
                        It holds every write that was acknowledged before it was begun. Writes go on meanwhile.\n\n\
                        Ends with 0 when it is whole, 10 when it broke off (no file is left), 12 when the file cannot be written."
)]
pub struct Save {
    /// Where to; `-` is stdout
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Take the place of a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `snapshot inspect` and `snapshot verify`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl snapshot inspect monday.kvsnap -o json\n  kvctl snapshot verify monday.kvsnap\n  \
                        age -d monday.kvsnap.age | kvctl snapshot verify -\n\n\
                        All of it is read: each block, each row and the sums of all are checked.\n\n\
                        Ends with 0 when it is sound, 9 when it is damaged, cut off or no backup, 12 when it cannot be read."
)]
pub struct Look {
    /// Which; `-` is stdin
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
}

impl Snapshot {
    /// Refuses what would fail in the end before anybody is asked.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match &self.what {
            What::Save(save) => save.prepare(),
            What::Restore(restore) => restore.prepare(),
            What::Inspect(_) | What::Verify(_) => Ok(()),
        }
    }

    /// Whether it changes the cluster.
    pub(super) fn changes(&self) -> bool {
        matches!(&self.what, What::Restore(restore) if restore.changes())
    }

    /// Whether it compares the name that confirms with the cluster's itself.
    pub(super) fn is_confirmed_itself(&self) -> bool {
        matches!(&self.what, What::Restore(restore) if restore.is_confirmed_itself())
    }

    /// What it reads, where that may be stdin.
    pub(super) fn input(&self) -> Option<&Path> {
        match &self.what {
            What::Save(_) => None,
            What::Restore(restore) => restore.file.as_deref(),
            What::Inspect(look) | What::Verify(look) => Some(&look.file),
        }
    }

    /// Takes what `--confirm` says.
    pub(super) fn confirm(&mut self, confirm: Option<&str>) {
        if let What::Restore(restore) = &mut self.what {
            restore.confirmed = confirm.map(str::to_owned);
        }
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(&self.what, What::Save(save) if save.is_stdout())
    }

    /// The result of what asks no server.
    pub(super) fn run_alone(&self) -> Option<Result<Report, Failure>> {
        match &self.what {
            What::Save(_) | What::Restore(_) => None,
            What::Inspect(look) => Some(look.read().map(|summary| look.inspected(&summary))),
            What::Verify(look) => Some(look.read().map(|summary| look.verified(&summary))),
        }
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        match &self.what {
            What::Save(save) => save.run(session, out).await,
            What::Restore(restore) => restore.run(session, out.screen.quiet).await,
            What::Inspect(_) | What::Verify(_) => {
                Err(Failure::internal("a file was to be asked of a cluster"))
            }
        }
    }
}

impl Save {
    fn is_stdout(&self) -> bool {
        self.file == Path::new("-")
    }

    fn prepare(&self) -> Result<(), Failure> {
        if self.is_stdout() {
            let refused = Failure::usage("a backup is bytes, and stdout is a terminal")
                .hint("name a file, or pipe it: kvctl snapshot save - | gzip > FILE");
            return if io::stdout().is_terminal() { Err(refused) } else { Ok(()) };
        }
        self.check_free()
    }

    /// Whether a file may be put there.
    fn check_free(&self) -> Result<(), Failure> {
        let shown = self.file.display();
        let taken = |message: String| Failure::new(Exit::File, "KV-1203", "file_exists", message);
        let found = std::fs::symlink_metadata(&self.file);
        if found.as_ref().is_ok_and(|found| !found.is_file()) {
            return Err(taken(format!("{shown} is there and is no file"))
                .hint("name another; `-` writes to stdout, whatever that is"));
        }
        if found.is_ok() && !self.force {
            return Err(taken(format!("{shown} is there already"))
                .hint("name another file, or replace it with --force"));
        }
        Ok(())
    }

    async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        if self.is_stdout() {
            let failed = |error: io::Error| Failure::stream("cannot write to stdout", &error);
            let quiet = out.screen.quiet;
            let summary = copy(session, quiet, out.stream, failed).await?;
            let report = Report::new(document(&summary, "-"), Body::Hidden);
            return Ok(if quiet { report } else { report.note(said(&summary).join("  ")) });
        }
        let failed = |error: io::Error| Failure::file("write", &self.file, &error);
        let mut file = Beside::create_private(&self.file).map_err(failed)?;
        let summary = tokio::select! {
            copied = copy(session, out.screen.quiet, &mut file, failed) => copied?,
            // The process would end with a part of it beside its place.
            _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted(false)),
        };
        if self.force {
            self.check_free()?;
            file.keep().map_err(failed)?;
        } else {
            // Somebody may have put one there meanwhile.
            file.keep_new().map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => self.check_free().err().unwrap_or_else(|| failed(error)),
                _ => failed(error),
            })?;
        }
        let body = Body::Done(said(&summary));
        Ok(Report::new(document(&summary, &self.file.display().to_string()), body))
    }
}

/// Writes all blocks as they come.
async fn copy(
    session: &Session,
    quiet: bool,
    to: &mut dyn Write,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<Summary, Failure> {
    let mut saving = session.client().save();
    let mut progress = Progress::new("saved", quiet);
    while let Some(block) = saving.next().await.map_err(broke_off)? {
        to.write_all(&block).map_err(&failed)?;
        let (keys, bytes) = saving.so_far();
        progress.reached(keys, bytes);
    }
    to.flush().map_err(failed)?;
    saving.summary().cloned().ok_or_else(|| Failure::internal("a backup has no end"))
}

/// A backup that broke off is none, unlike the rows of a scan.
fn broke_off(error: client::Error) -> Failure {
    match error {
        client::Error::Cut { why, .. } => {
            let message = format!("the backup broke off: {why}");
            Failure::new(Exit::Partial, "KV-1002", "save_cut", message)
                .hint("no file was written, and what went to stdout is no backup; run it again")
        }
        error => error.into(),
    }
}

impl Look {
    fn read(&self) -> Result<Summary, Failure> {
        let failed = |error: io::Error| Failure::file("read", &self.file, &error);
        let from: Box<dyn Read> = if self.file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.file).map_err(failed)?)
        };
        let mut reader = Reader::new(io::BufReader::with_capacity(1 << 18, from));
        let mut progress = Progress::new("read", false);
        loop {
            let whole = reader.next_block().map(|(_, whole)| whole).map_err(|error| self.failure(error))?;
            if let Some(summary) = whole {
                return Ok(summary);
            }
            let (keys, bytes) = reader.checker().so_far();
            progress.reached(keys, bytes);
        }
    }

    fn failure(&self, error: ReadError) -> Failure {
        match error {
            ReadError::Io(error) => Failure::file("read", &self.file, &error),
            ReadError::Damaged { at, why } => {
                let message = format!("{} is no sound backup: at byte {at}: {why}", self.file.display());
                Failure::new(Exit::Integrity, "KV-0903", "damaged", message)
                    .hint("nothing can be restored from it; look at another copy, or save again")
            }
        }
    }

    fn verified(&self, summary: &Summary) -> Report {
        let mut cells = vec!["sound".to_owned()];
        cells.extend(said(summary).into_iter().skip(1));
        Report::new(document(summary, &self.file.display().to_string()), Body::Done(cells))
    }

    fn inspected(&self, summary: &Summary) -> Report {
        let facts = &summary.facts;
        let window = facts.window;
        let age = text::exact_age(Duration::from_millis(window.age_ms));
        let at = |wall_ms: u64| if wall_ms == 0 { "-".to_owned() } else { text::timestamp(wall_ms) };
        let rows = [
            ("cluster", summary.head.cluster.to_string()),
            ("revision", summary.head.at.index.0.to_string()),
            ("term", summary.head.at.term.0.to_string()),
            ("saved", at(facts.saved_ms.unwrap_or(0))),
            ("newest change", at(summary.wall_ms)),
            ("keys", summary.keys.to_string()),
            ("keys and values", text::size(summary.row_bytes)),
            (
                "history",
                format!(
                    "{} changes, revisions {} to {}",
                    summary.changes, facts.oldest, summary.head.at.index.0
                ),
            ),
            ("retention", format!("{} changes, {}, {age}", window.changes, text::size(window.bytes))),
            ("file", text::size(summary.bytes)),
            ("sha256", text::hex(&summary.sum)),
        ];
        let rows = rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect();
        let table = Table { columns: vec!["WHAT", "VALUE"], rows, ..Table::default() };
        Report::new(document(summary, &self.file.display().to_string()), Body::Table(table))
    }
}

/// What is said of a backup in one line.
fn said(summary: &Summary) -> Vec<String> {
    vec![
        "saved".to_owned(),
        format!("rev {}", summary.head.at.index.0),
        format!("{} keys", summary.keys),
        text::size(summary.bytes),
        format!("sha256 {}", text::hex(&summary.sum)),
    ]
}

fn document(summary: &Summary, file: &str) -> Document {
    let facts = &summary.facts;
    let at = |wall_ms: Option<u64>| wall_ms.map(text::timestamp);
    Document::new("snapshot")
        .with("file", file)
        .with("cluster_id", summary.head.cluster.to_string())
        .with("rev", summary.head.at.index.0)
        .with("term", summary.head.at.term.0)
        .with("saved_at", at(facts.saved_ms))
        .with("newest_change_at", at((summary.wall_ms > 0).then_some(summary.wall_ms)))
        .with("keys", summary.keys)
        .with("data_bytes", summary.row_bytes)
        .with("changes", summary.changes)
        .with("oldest_rev", facts.oldest)
        .with("most_changes", facts.window.changes)
        .with("most_bytes", facts.window.bytes)
        .with("most_age_ms", facts.window.age_ms)
        .with("bytes", summary.bytes)
        .with("sha256", text::hex(&summary.sum))
}

#[cfg(test)]
mod tests;
