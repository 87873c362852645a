//! `snapshot restore`: all keys of a running cluster replaced by those of a backup, at one revision.
//!
//! The keys are staged in the cluster, some hundred with each write, where nobody sees them; one write switches. So the cluster
//! goes on meanwhile, and whatever ends this command before the switch leaves it as it was. Every step may be repeated: with
//! `--resume` another run goes on where this one ended, and after the switch it says that it is done.
//!
//! A file is read twice: all of it is judged before anybody is asked to confirm. Of a pipe nothing is known before its end, so
//! whoever restores from one confirms beforehand; it is switched to only when all of it was found sound.

use std::{
    fs::File,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use protocol::{
    ClusterId, Restore as Step, Verdict,
    limits::STAGED_ROWS,
    scan::{Scan, Want},
    snapshot::{Block, ReadError, Reader, Summary, Table},
    stored::Meta,
};
use tokio::sync::mpsc;

use super::{super::assess::nobody, Look};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    progress::Progress,
    protect,
    report::{Body, Document, Report},
    text,
};

/// So many bytes are one write: a node does nothing else while it applies one.
const BATCH_BYTES: usize = 128 * 1024;
/// Blocks that are read ahead, each of a mebibyte at most.
const AHEAD: usize = 2;

/// Arguments of `snapshot restore`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl snapshot restore monday.kvsnap --dry-run\n  \
                        kvctl snapshot restore monday.kvsnap --confirm prod\n  \
                        age -d monday.kvsnap.age | kvctl snapshot restore - --confirm prod\n  \
                        kvctl snapshot restore --abort\n\n\
                        All keys of the running cluster are replaced, all at one revision; other servers, members and\n\
                        retention stay. Until that moment nobody sees anything of it, and ending it does no harm. What was\n\
                        written since the backup is lost: save a backup of that first.\n\n\
                        Ends with 8 when another restore took over, 9 when the backup is not sound, 11 when it is not\n\
                        confirmed, 12 when the file cannot be read. `kvd restore` makes a new cluster of a backup.")]
pub struct Restore {
    /// Which backup; `-` is stdin
    #[arg(value_name = "FILE|-", required_unless_present = "abort")]
    pub file: Option<PathBuf>,
    /// Only show what it would replace
    #[arg(short = 'n', long, conflicts_with = "abort")]
    pub dry_run: bool,
    /// Go on with what an earlier run has staged, as it said at its end
    #[arg(long, value_name = "ID", value_parser = parse_id, conflicts_with = "abort")]
    pub resume: Option<u128>,
    /// Drop what is staged, whoever staged it
    #[arg(long, conflicts_with = "file")]
    pub abort: bool,
    /// What `--confirm` said.
    #[arg(skip)]
    pub(in crate::command) confirmed: Option<String>,
}

fn parse_id(text: &str) -> Result<u128, String> {
    let id = u128::from_str_radix(text, 16).ok().filter(|id| *id != 0 && text.len() == 32);
    id.ok_or_else(|| "an id of 32 hexadecimal digits, as an earlier run said".to_owned())
}

/// Keys and values of a block, and what all of it is, after the last.
type Part = (Vec<(Vec<u8>, Vec<u8>)>, Option<Summary>);

/// What is to be replaced.
struct There {
    cluster: ClusterId,
    rev: u64,
    keys: u64,
}

/// Rows on their way, and how far they are.
struct Staging<'a> {
    session: &'a Session,
    id: u128,
    /// Rows that the cluster has, and rows that were read.
    staged: u64,
    read: u64,
    hash: u64,
    batch: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    progress: Progress,
}

impl Restore {
    /// Whether it changes the cluster.
    pub(super) fn changes(&self) -> bool {
        !self.dry_run
    }

    /// Whether it compares the name that confirms with the cluster's itself.
    pub(super) fn is_confirmed_itself(&self) -> bool {
        !self.dry_run && !self.abort
    }

    pub(super) fn prepare(&self) -> Result<(), Failure> {
        self.check(protect::is_attended())
    }

    /// Refuses what nothing confirms, where nobody can be asked.
    fn check(&self, attended: bool) -> Result<(), Failure> {
        let unasked = self.is_confirmed_itself() && self.confirmed.is_none();
        if unasked && (self.is_stdin() || !attended) { Err(unconfirmed()) } else { Ok(()) }
    }

    fn is_stdin(&self) -> bool {
        self.file() == Path::new("-")
    }

    fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new("-"))
    }

    pub(super) async fn run(&self, session: &Session, quiet: bool) -> Result<Report, Failure> {
        if self.abort {
            return abort(session).await;
        }
        let look = Look { file: self.file().to_owned() };
        let known = if self.is_stdin() && !self.dry_run { None } else { Some(look.read()?) };
        let there = There::of(session).await?;
        if self.dry_run {
            let plan = known.as_ref().map(|summary| there.replaced_by(summary)).unwrap_or_default();
            let document = self.document("plan").with("rev", there.rev).with("replaced_keys", there.keys);
            let document = document.with("keys", known.map_or(0, |summary| summary.keys));
            return Ok(Report::new(document, Body::Done(vec!["plan".to_owned(), plan])));
        }
        self.confirm(session, &there, known.as_ref())?;
        let id = self.resume.unwrap_or_else(fresh_id);
        let restored = tokio::select! {
            restored = self.restore(session, (id, quiet), &look, known.as_ref()) => restored?,
            _ = tokio::signal::ctrl_c() => return Err(self.explained(Failure::interrupted(true), id)),
        };
        let (rev, keys) = restored;
        let document = self.document("restore").with("rev", rev).with("replaced_keys", there.keys);
        let document = document.with("keys", keys).with("staging", hex(id));
        let cells = vec!["restored".to_owned(), format!("rev {rev}"), format!("{keys} keys")];
        Ok(Report::new(document, Body::Done(cells)))
    }

    fn document(&self, action: &str) -> Document {
        Document::new("restore").with("action", action).with("file", self.file().display().to_string())
    }

    /// Whoever restores says which cluster is meant, by the name of the context or the cluster's id.
    fn confirm(&self, session: &Session, there: &There, summary: Option<&Summary>) -> Result<(), Failure> {
        let short = there.cluster.short();
        let (context, wanted) = match session.name() {
            "" => (false, short.clone()),
            name => (true, name.to_owned()),
        };
        let typed = match (&self.confirmed, summary) {
            // The name of a context was compared before.
            (Some(_), _) if context => return Ok(()),
            (Some(confirmed), _) => confirmed.clone(),
            (None, Some(summary)) => {
                let (plan, name) = (there.replaced_by(summary), text::printable(&wanted));
                let question = format!("{}\nType {name} to go on: ", text::printable(&plan));
                protect::typed(&question).ok_or_else(unconfirmed)?
            }
            (None, None) => return Err(unconfirmed()),
        };
        if typed.trim() == wanted || !context && typed.trim() == there.cluster.to_string() {
            return Ok(());
        }
        let message = format!("`{}` is confirmed and {wanted} is asked; nothing was done", typed.trim());
        Err(Failure::new(Exit::Declined, "KV-1121", "not_confirmed", message)
            .hint("`kvctl status` shows the cluster that is asked"))
    }

    /// Stages and switches; the revision of all keys, and how many there are.
    async fn restore(
        &self,
        session: &Session,
        (id, quiet): (u128, bool),
        look: &Look,
        known: Option<&Summary>,
    ) -> Result<(u64, u64), Failure> {
        let failed = |error: client::Error| self.explained(error.into(), id);
        let begun = session.client().restore(&Step::Begin { id }).await.map_err(failed)?.decided;
        if begun.verdict != Verdict::Done {
            // An earlier run has switched, and did not hear of it.
            let keys = There::of(session).await?.keys;
            return Ok((begun.number, known.map_or(keys, |summary| summary.keys)));
        }
        let progress = Progress::new("staged", quiet);
        let (staged, batch) = (begun.number, Vec::new());
        let mut staging = Staging { session, id, staged, read: 0, hash: 0, batch, bytes: 0, progress };
        let summary = self.stage(&mut staging, look).await?;
        if known.is_some_and(|known| known.sum != summary.sum) {
            let message =
                format!("{} changed while it was read; nothing was replaced", self.file().display());
            return Err(self.explained(Failure::new(Exit::Integrity, "KV-0903", "damaged", message), id));
        }
        let switch = Step::Switch { id, count: staging.read, hash: staging.hash };
        let switched = session.client().restore(&switch).await.map_err(failed)?.decided;
        match switched.verdict {
            Verdict::Done => Ok((switched.number, staging.read)),
            _ => Err(not_switched(switched.number)),
        }
    }

    /// Reads all rows, judges them, and stages those that are not yet.
    async fn stage(&self, staging: &mut Staging<'_>, look: &Look) -> Result<Summary, Failure> {
        let from: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            let failed = |error: io::Error| Failure::file("read", self.file(), &error);
            Box::new(File::open(self.file()).map_err(failed)?)
        };
        let mut parts = read_apart(from);
        while let Some(part) = parts.recv().await {
            let (rows, whole) = part.map_err(|error| self.explained(look.failure(error), staging.id))?;
            for (key, value) in rows {
                staging.add(key, value);
                if staging.is_full() {
                    staging.send().await.map_err(|failure| self.explained(failure, staging.id))?;
                }
            }
            if let Some(summary) = whole {
                staging.send().await.map_err(|failure| self.explained(failure, staging.id))?;
                return Ok(summary);
            }
        }
        Err(Failure::internal("a backup has neither an end nor an error"))
    }

    /// A failure of before the switch, with what can be done about what is staged.
    fn explained(&self, failure: Failure, id: u128) -> Failure {
        if failure.code == "KV-0860" {
            return failure;
        }
        failure.hint(format!(
            "until the switch no key is replaced; go on with: kvctl snapshot restore {} --resume {}, or drop what is staged: kvctl snapshot restore --abort",
            self.file().display(),
            hex(id)
        ))
    }
}

impl Staging<'_> {
    fn add(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.hash = self.hash.wrapping_add(protocol::restore::element(&key, &value));
        self.read = self.read.saturating_add(1);
        // What an earlier run has staged is only counted.
        if self.read > self.staged {
            self.bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
            self.batch.push((key, value));
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.batch.len() >= STAGED_ROWS
    }

    async fn send(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.batch);
        let (offset, count) = (self.staged, rows.len() as u64);
        let step = Step::Rows { id: self.id, offset, rows };
        let told = self.session.client().restore(&step).await?.decided;
        if told.verdict != Verdict::Done || told.number != offset.saturating_add(count) {
            return Err(not_switched(told.number));
        }
        (self.staged, self.bytes) = (told.number, 0);
        self.progress.reached(self.staged, 0);
        Ok(())
    }
}

impl There {
    async fn of(session: &Session) -> Result<Self, Failure> {
        let views = session.client().status().await;
        let statuses = views.iter().filter_map(|view| view.status.as_ref().ok());
        let Some(cluster) = statuses.max_by_key(|status| status.applied).map(|status| status.cluster) else {
            return Err(nobody(&views));
        };
        let mut pages = session.client().scan(Scan { want: Want::Count, ..Scan::default() });
        while pages.next().await?.is_some() {}
        let end = pages.end();
        Ok(Self {
            cluster,
            rev: end.as_ref().map_or(0, |end| end.revision),
            keys: end.map_or(0, |end| end.count),
        })
    }

    fn replaced_by(&self, summary: &Summary) -> String {
        let Self { cluster, rev, keys } = self;
        let own = if summary.head.cluster == *cluster { "the same cluster" } else { "another cluster" };
        format!(
            "{keys} keys of cluster {} at revision {rev} are replaced by {} keys ({}) of {own}, {}, revision {}, saved {}",
            cluster.short(),
            summary.keys,
            text::size(summary.row_bytes),
            summary.head.cluster.short(),
            summary.head.at.index.0,
            summary.facts.saved_ms.map_or_else(|| "-".to_owned(), text::timestamp),
        )
    }
}

async fn abort(session: &Session) -> Result<Report, Failure> {
    let dropped = session.client().restore(&Step::Abort).await?.decided;
    let document = Document::new("restore").with("action", "abort").with("file", "-");
    let document =
        document.with("rev", dropped.revision).with("replaced_keys", 0_u64).with("keys", dropped.number);
    let said = if dropped.existed {
        format!("what was staged is dropped: {} keys", dropped.number)
    } else {
        "nothing was staged".to_owned()
    };
    Ok(Report::new(document, Body::Done(vec!["ok".to_owned(), said])))
}

/// Reads on a thread of its own, some blocks ahead: a pipe may stand still for long, in which Ctrl-C is to be heard.
fn read_apart(from: Box<dyn Read + Send>) -> mpsc::Receiver<Result<Part, ReadError>> {
    let (to, parts) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut reader = Reader::new(io::BufReader::with_capacity(1 << 18, from));
        loop {
            let part = reader.next_block().map(|(block, whole)| (rows_of(block), whole));
            let ended = part.as_ref().map_or(true, |(_, whole)| whole.is_some());
            if to.blocking_send(part).is_err() || ended {
                return;
            }
        }
    });
    parts
}

/// Keys and values of a block. The reader has judged them.
fn rows_of(block: Block<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Block::Pairs(Table::Rows, pairs) = block else { return Vec::new() };
    let rows = pairs.filter_map(|pair| {
        let (key, row) = pair.ok()?;
        Some((key.to_vec(), Meta::split(row)?.1.to_vec()))
    });
    rows.collect()
}

fn unconfirmed() -> Failure {
    let message =
        "a restore replaces all keys, and nothing confirms which cluster is meant; nothing was done";
    Failure::new(Exit::Declined, "KV-1122", "force_unconfirmed", message).hint(
        "the same command with --confirm and the name of the context, or the cluster's id where no context is used; -n shows what is replaced",
    )
}

/// Why a step was not done, where so many rows of this restore are staged.
fn not_switched(staged: u64) -> Failure {
    if staged > 0 {
        let message = "what is staged is not of this file; no key was replaced";
        return Failure::new(Exit::Refused, "KV-0860", "staging_lost", message).hint(
            "resume with the file that it was begun with, or `kvctl snapshot restore --abort` and begin anew",
        );
    }
    let message = "what was staged is not there any more: another restore began, or somebody aborted; no key was replaced by this one";
    Failure::new(Exit::Refused, "KV-0860", "staging_lost", message)
        .hint("see who else restores; then run it again, without --resume")
}

fn fresh_id() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    (half() << 64 | half()).max(1)
}

fn hex(id: u128) -> String {
    text::hex(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore(file: &str) -> Restore {
        Restore { file: Some(file.into()), dry_run: false, resume: None, abort: false, confirmed: None }
    }

    #[test]
    fn what_replaces_all_keys_wants_to_be_confirmed_and_what_does_not_does_not() {
        for (file, attended) in [("f", false), ("-", true)] {
            let declined = restore(file).check(attended).unwrap_err();
            assert_eq!((declined.exit, declined.code), (Exit::Declined, "KV-1122"));
        }
        assert!(restore("f").check(true).is_ok(), "somebody is asked later");
        assert!(Restore { confirmed: Some("prod".into()), ..restore("f") }.check(false).is_ok());
        assert!(Restore { dry_run: true, ..restore("f") }.check(false).is_ok());
        assert!(Restore { abort: true, file: None, ..restore("f") }.check(false).is_ok());
    }

    #[test]
    fn an_id_is_read_as_it_is_said_and_nothing_else_is_one() {
        let id = fresh_id();
        assert_eq!(parse_id(&hex(id)), Ok(id));
        assert_ne!(id, fresh_id());
        for none in ["", "7", &"0".repeat(32), &"g".repeat(32), &"1".repeat(33)] {
            assert!(parse_id(none).is_err(), "{none:?}");
        }
    }

    #[test]
    fn whoever_is_cut_off_hears_how_to_go_on_and_how_to_drop_it() {
        let failure = restore("monday").explained(Failure::interrupted(true), 7);
        assert_eq!(failure.exit, Exit::Interrupted);
        let hint = failure.hint.unwrap();
        let resume = "kvctl snapshot restore monday --resume 00000000000000000000000000000007";
        assert!(hint.contains(resume) && hint.contains("--abort"), "{hint}");
        let (lost, other) = (not_switched(0), not_switched(3));
        assert_eq!(restore("f").explained(lost.clone(), 7), lost, "there is nothing to go on with");
        assert!(other.message.contains("not of this file"), "{other:?}");
    }
}
