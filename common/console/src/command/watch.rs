//! `watch`: what happens to a key, a prefix or a range, as it happens, for as long as it is wanted.
//!
//! What one write changed is shown together, and the cursor is written after it: whoever begins again with the same file
//! sees everything, and what was shown last maybe once more. With `--exec` a command is run for each event in the place of
//! being shown, one after the other, and the cursor goes on when all of a revision succeeded.

mod child;
mod cursor;
mod show;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use client::{Error, Watching};
use protocol::{ClusterId, Refused, Scan, Watch as Wanted, watch::Event};
use tokio::time::{Instant, timeout_at};

use super::data::check_key;
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::Out,
    report::{Body, Document, Report},
    text,
};
use cursor::Cursor;
use show::{Happened, Sink};

/// Arguments of `watch`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl watch app/mode\n  kvctl watch --prefix app/ --prev -o ndjson\n  \
                        kvctl watch --prefix '' --from 4711 --until 10s\n  \
                        kvctl watch --prefix app/ --initial --cursor app.cursor\n  \
                        kvctl watch app/mode --cursor mode.cursor --exec -- ./reload.sh\n\n\
                        A command that --exec runs has KV_KEY, KV_KEY_B64, KV_EVENT (put or delete) and KV_REV in its environment, and the\n\
                        value on stdin. The watch ends with its status where that is not 0; 125 where kvctl fails, 126 and 127 where the\n\
                        command cannot be run. Begun again with the same cursor, the watch repeats the revision that it ended with.")]
pub struct Watch {
    /// Which key
    #[arg(required_unless_present_any = ["prefix", "range"], conflicts_with_all = ["prefix", "range"])]
    pub key: Option<OsString>,
    /// All keys that begin so; '' for every key
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true, conflicts_with = "range")]
    pub prefix: Option<OsString>,
    /// All keys from the first to before the second
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub range: Option<Vec<OsString>>,
    /// Begin with this revision; else with what happens from now on
    #[arg(long, value_name = "REV", conflicts_with = "initial")]
    pub from: Option<u64>,
    /// Keep here how far it has come, and begin there where the file is
    #[arg(long, value_name = "FILE")]
    pub cursor: Option<PathBuf>,
    /// First show what there is, and again where what happened since is no longer kept
    #[arg(long)]
    pub initial: bool,
    /// Show what was there before as well
    #[arg(long)]
    pub prev: bool,
    /// End after so many events, or after so long: 10, 30s, 5m
    #[arg(long, value_name = "N|TIME", value_parser = parse_until)]
    pub until: Option<Until>,
    /// Run a command for each event, which follows `--`
    #[arg(long, requires = "command")]
    pub exec: bool,
    /// The command of --exec, with its arguments
    #[arg(last = true, value_name = "COMMAND", requires = "exec")]
    pub command: Vec<OsString>,
    /// What the file said.
    #[arg(skip)]
    begun: Option<Cursor>,
}

/// When a watch ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// With the revision that makes it so many events.
    Events(u64),
    /// When so much time has passed.
    Time(Duration),
}

fn parse_until(word: &str) -> Result<Until, String> {
    match word.parse() {
        Ok(0) => Err("nothing happens in no events".to_owned()),
        Ok(events) => Ok(Until::Events(events)),
        Err(_) => text::parse_duration(word)
            .map(Until::Time)
            .map_err(|_| "how many events, such as 10, or how long, such as 30s, 5m or 1h".to_owned()),
    }
}

/// Why a watch is not followed any further.
enum Ended {
    /// It has seen what was wanted.
    Enough,
    /// A command has ended with this.
    Child(u8),
    /// What comes next is no longer kept; the oldest revision after which everything is.
    NotKept(u64),
}

impl Watch {
    /// Of who holds a key, beginning with who does now.
    pub(super) fn of_holder(key: &OsString, command: &[OsString]) -> Self {
        Self {
            key: Some(key.clone()),
            prefix: None,
            range: None,
            from: None,
            cursor: None,
            initial: true,
            prev: false,
            until: None,
            exec: !command.is_empty(),
            command: command.to_vec(),
            begun: None,
        }
    }

    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        match (&self.key, self.range.as_deref()) {
            (Some(key), _) => check_key(key)?,
            (None, Some([from, to])) if from >= to => {
                let show = |word: &OsString| text::key(word.as_bytes());
                let said = format!("nothing lies from `{}` to before `{}`", show(from), show(to));
                return Err(Failure::usage(said).hint("--range FROM TO, in the order of bytes"));
            }
            (None, _) => {}
        }
        self.begun = self.cursor.as_deref().map(Cursor::read).transpose()?.flatten();
        Ok(())
    }

    /// Where a command is run, what goes wrong here has a code that none of its own has by custom.
    pub(super) fn conclude(&self, result: Result<Report, Failure>) -> Result<Report, Failure> {
        let own = |exit| matches!(exit, Exit::Chosen(_) | Exit::Interrupted | Exit::Pipe);
        result.map_err(|failure| match failure.exit {
            exit if self.exec && !own(exit) => Failure { exit: Exit::Chosen(125), ..failure },
            _ => failure,
        })
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let quiet = out.screen.quiet || out.screen.format.is_json();
        let mut progress = Progress {
            sink: Sink::new(out, self.prev, &self.command),
            cluster: None,
            through: None,
            events: 0,
            until: match self.until {
                Some(Until::Time(time)) => Instant::now().checked_add(time),
                _ => None,
            },
            served_by: 0,
            quiet,
        };
        let mut after = self.begun.as_ref().map(|cursor| cursor.revision);
        let mut initial = self.initial && after.is_none();
        after = after.or(self.from.map(|from| from.saturating_sub(1)));
        loop {
            if initial {
                match self.show_initial(session, &mut progress).await? {
                    Ok(revision) => after = Some(revision),
                    Err(code) => return Ok(child_ended(code)),
                }
            }
            match self.follow(session, after, &mut progress).await? {
                Ended::Enough => return progress.end(),
                Ended::Child(code) => return Ok(child_ended(code)),
                Ended::NotKept(oldest) => {
                    progress.sink.resync(oldest)?;
                    if !self.initial {
                        return Err(not_kept(oldest));
                    }
                    if self.exec && !progress.quiet {
                        // Commands hear of what is there, and not that something is missing before it. Where stderr is gone
                        // nobody misses it.
                        let _ = writeln!(
                            io::stderr(),
                            "what happened up to revision {oldest} is no longer kept: all that is there follows, removals before it are not told"
                        );
                    }
                    initial = true;
                }
            }
        }
    }

    /// The watch of the range, after a revision.
    fn wanted(&self, after: Option<u64>) -> Wanted {
        let range = match (&self.key, self.range.as_deref()) {
            (Some(key), _) => Wanted::key(key.as_bytes()),
            (None, Some([from, to])) => Wanted::range(from.as_bytes(), to.as_bytes()),
            (None, _) => Wanted::prefix(self.prefix.as_ref().map_or(b"", |prefix| prefix.as_bytes())),
        };
        Wanted { after, previous: self.prev, ..range }
    }

    /// Shows what there is, and says of which revision that was.
    async fn show_initial(
        &self,
        session: &Session,
        progress: &mut Progress<'_, '_>,
    ) -> Result<Result<u64, u8>, Failure> {
        let Wanted { from, to, .. } = self.wanted(None);
        let mut pages = session.client().scan(Scan { from, to, ..Scan::default() });
        while let Some(page) = pages.next().await? {
            for row in page.rows {
                let event = Event {
                    key: row.key,
                    revision: row.found.revision,
                    found: Some(row.found),
                    previous: None,
                    previous_left_out: false,
                    wall_ms: 0,
                    expired: false,
                };
                if let Some(code) = progress.sink.show(&Happened::initial(&event))? {
                    return Ok(Err(code));
                }
                progress.events = progress.events.saturating_add(1);
            }
            progress.sink.flush()?;
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        Ok(Ok(end.revision))
    }

    /// Shows what happens, until that is enough.
    async fn follow(
        &self,
        session: &Session,
        after: Option<u64>,
        progress: &mut Progress<'_, '_>,
    ) -> Result<Ended, Failure> {
        let mut watching = session.client().watch(self.wanted(after));
        let mut troubled = false;
        loop {
            let Some(next) = next(&mut watching, progress.until).await else { return Ok(Ended::Enough) };
            if let Some(cluster) = watching.cluster() {
                self.is_ours(cluster)?;
                progress.cluster = Some(cluster);
            }
            progress.served_by = watching.served_by();
            match next {
                Ok(batch) => {
                    troubled = false;
                    if let Some(code) = self.show(&batch.events, batch.through, progress)? {
                        return Ok(Ended::Child(code));
                    }
                    if matches!(self.until, Some(Until::Events(most)) if progress.events >= most) {
                        return Ok(Ended::Enough);
                    }
                }
                Err(Error::Refused(Refused::NotKept { oldest, .. })) => return Ok(Ended::NotKept(oldest)),
                Err(error) if is_passing(&error) && watching.through().is_some() => {
                    if !std::mem::replace(&mut troubled, true) && !progress.quiet {
                        // Where stderr is gone nobody misses it.
                        let _ = writeln!(io::stderr(), "no node serves the watch, trying on: {error}");
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Shows whole revisions and keeps how far that came. Returns with what a command ended, where it did not succeed.
    fn show(
        &self,
        events: &[Event],
        through: u64,
        progress: &mut Progress<'_, '_>,
    ) -> Result<Option<u8>, Failure> {
        for revision in events.chunk_by(|a, b| a.revision == b.revision) {
            for (number, event) in revision.iter().enumerate() {
                // Before the last of a revision not all of it has been shown.
                let is_last = number.saturating_add(1) == revision.len();
                let seen = if is_last { event.revision } else { event.revision.saturating_sub(1) };
                let happened = Happened::new(event, progress.cursor(seen));
                if let Some(code) = progress.sink.show(&happened)? {
                    return Ok(Some(code));
                }
                progress.events = progress.events.saturating_add(1);
            }
            if let (true, Some(last)) = (self.exec, revision.last()) {
                self.keep(progress.cursor(last.revision))?;
            }
            if matches!(self.until, Some(Until::Events(most)) if progress.events >= most) {
                let last = revision.last().map_or(through, |last| last.revision);
                return self.shown(last, progress).map(|()| None);
            }
        }
        if events.is_empty() {
            progress.sink.mark(through, progress.cursor(through).as_ref());
        }
        self.shown(through, progress).map(|()| None)
    }

    /// Everything up to a revision was shown.
    fn shown(&self, through: u64, progress: &mut Progress<'_, '_>) -> Result<(), Failure> {
        progress.sink.flush()?;
        let before = progress.through.replace(through);
        if before == Some(through) { Ok(()) } else { self.keep(progress.cursor(through)) }
    }

    fn keep(&self, cursor: Option<Cursor>) -> Result<(), Failure> {
        match (&self.cursor, cursor) {
            (Some(path), Some(cursor)) => cursor.write(path),
            _ => Ok(()),
        }
    }

    /// Refuses to go on in another cluster than the one that the cursor is of.
    fn is_ours(&self, cluster: ClusterId) -> Result<(), Failure> {
        match (&self.begun, &self.cursor) {
            (Some(begun), Some(path)) if begun.cluster != cluster => {
                let (own, this) = (begun.cluster.short(), cluster.short());
                let message =
                    format!("{} is a cursor of cluster {own}, and this is cluster {this}", path.display());
                Err(Failure::new(Exit::Refused, "KV-0830", "other_cluster", message)
                    .hint("is this the context that is meant? another cluster needs another file"))
            }
            _ => Ok(()),
        }
    }
}

/// What was shown, and where.
struct Progress<'o, 'a> {
    sink: Sink<'o, 'a>,
    cluster: Option<ClusterId>,
    through: Option<u64>,
    events: u64,
    until: Option<Instant>,
    served_by: u64,
    quiet: bool,
}

impl Progress<'_, '_> {
    fn cursor(&self, revision: u64) -> Option<Cursor> {
        self.cluster.map(|cluster| Cursor { cluster, revision })
    }

    fn end(self) -> Result<Report, Failure> {
        let document = Document::bare()
            .with("count", self.events)
            .with("rev", self.through.unwrap_or(0))
            .with("more", true)
            .with("served_by", format!("{:x}", self.served_by))
            .with("consistency", "linearizable");
        self.sink.end(document)
    }
}

/// What comes next, unless the time is up before.
async fn next(watching: &mut Watching, until: Option<Instant>) -> Option<Result<client::Batch, Error>> {
    match until {
        Some(until) => timeout_at(until, watching.next()).await.ok(),
        None => Some(watching.next().await),
    }
}

/// Whether the same watch may be served a little later.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. } | Error::NoLeader { .. } | Error::Deadline { .. } | Error::Cut { .. }
    )
}

fn child_ended(code: u8) -> Report {
    Report::new(Document::new("watched"), Body::Hidden).exit(Exit::Chosen(code))
}

fn not_kept(oldest: u64) -> Failure {
    let refused = Refused::NotKept { oldest, age_ms: None };
    let first = oldest.saturating_add(1);
    Failure::from(refused).hint(format!(
        "what happened before is not known; `--from {first}` begins with the oldest that is, without the cursor file; --initial shows what there is instead"
    ))
}

#[cfg(test)]
mod tests;
