//! `batch`: many commands, a line each as the shell reads them, and their results as lines of JSON in the same order.
//!
//! ```text
//! file ──► a thread reads and parses ──► on the way, at most WINDOW ──► results, in order ──► stdout
//! ```
//!
//! Commands are sent without waiting for one another where that cannot show in what they answer: two of one key are done in
//! their order, and one of many keys (a transaction, a removal of a range) when all before it is done, and before anything
//! after it is begun. Memory is bounded by the window, however many lines there are.
//!
//! Every write has a request id and is applied once, however often it is sent. The ids of a batch that was given one are
//! made of that one and the number of the command, so the same batch under the same id can be run again: what was done is
//! answered from memory, and the rest is done. What the cluster no longer remembers is refused, never done twice.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use protocol::RequestId;
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    lines::{Lines, Numbered},
    step::Touches,
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::Out,
    report::{Body, Document, Report},
};

mod lines;
mod step;

/// Commands on the way at one time, and results that wait for those before them.
const WINDOW: usize = 256;
/// Commands that were read and not begun.
const READ_AHEAD: usize = 64;
/// So many bytes of results are written out together, unless nothing is there to be done meanwhile.
const TEXT_BYTES: usize = 64 * 1024;

/// Arguments of `batch`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl batch -f changes.kv\n  kvctl batch -f changes.kv --stop-on-error\n  \
                        seq 1000 | sed 's/.*/set n\\/& 0/' | kvctl batch\n\n\
                        A line is `set`, `get`, `del`, `incr`, `exists` or `txn` as kvctl takes them, without the word kvctl;\n\
                        quotes hold words together, `;` separates commands, `#` begins a comment.\n\n\
                        Exit codes: 0 all done, 1 some said no (an absent key, a false condition), 10 some failed;\n\
                        that of the first failure where nothing was done, and with --stop-on-error."
)]
pub struct Batch {
    /// Where the commands are; `-` is stdin
    #[arg(short, long, value_name = "FILE|-", default_value = "-")]
    pub file: PathBuf,
    /// Run one after the other, and nothing after the first that fails
    #[arg(long)]
    pub stop_on_error: bool,
    /// Make the ids of all writes of this one: under the same id the same batch can be run again
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

impl Batch {
    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let failed = |error: io::Error| Failure::file("read", &self.file, &error);
        let reader: Box<dyn Read + Send> = if self.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).map_err(failed)?)
        };
        let (told, mut steps) = mpsc::channel(READ_AHEAD);
        let lines = Lines::new(BufReader::with_capacity(1 << 16, reader), self.file.clone(), self.request_id);
        // A thread that nobody waits for: it may hang on a reader that says nothing when the batch is over.
        std::thread::spawn(move || lines.each(|read| told.blocking_send(read).is_ok()));
        let mut run = Run::new(session, out, self.stop_on_error);
        let read = run.all(&mut steps).await;
        // Whatever stopped it, what is on the way is waited for and told.
        let settled = run.settle().await;
        read.and(settled)?;
        run.end()
    }
}

/// A command that was begun and not told of yet.
struct OnTheWay {
    line: u64,
    touches: Touches,
    task: JoinHandle<Result<Report, Failure>>,
}

/// What came of the commands so far.
#[derive(Default)]
struct Sum {
    done: u64,
    no: u64,
    failed: u64,
    /// The code of the first that failed.
    first: Option<Exit>,
    stopped: bool,
}

impl Sum {
    fn add(&mut self, result: &Result<Report, Failure>) {
        let count = match result {
            Ok(report) if report.exit == Exit::Success => &mut self.done,
            Ok(_) => &mut self.no,
            Err(failure) => {
                self.first.get_or_insert(failure.exit);
                &mut self.failed
            }
        };
        *count = count.saturating_add(1);
    }

    fn exit(&self) -> Exit {
        match self.first {
            None if self.no > 0 => Exit::No,
            None => Exit::Success,
            Some(first) if self.stopped || (self.done, self.no) == (0, 0) => first,
            Some(_) => Exit::Partial,
        }
    }

    fn document(&self) -> Document {
        Document::new("batch")
            .with("type", "end")
            .with("count", self.done.saturating_add(self.no).saturating_add(self.failed))
            .with("ok", self.done)
            .with("no", self.no)
            .with("failed", self.failed)
            .with("stopped", self.stopped)
            .with("exit", self.exit().code())
    }
}

/// The commands on the way, in their order.
struct Run<'o, 'a> {
    session: Arc<Session>,
    out: &'o mut Out<'a>,
    stop_on_error: bool,
    way: VecDeque<OnTheWay>,
    keys: HashSet<Vec<u8>>,
    text: String,
    sum: Sum,
}

impl<'o, 'a> Run<'o, 'a> {
    fn new(session: &Session, out: &'o mut Out<'a>, stop_on_error: bool) -> Self {
        let (session, way, keys) = (Arc::new(session.clone()), VecDeque::new(), HashSet::new());
        Self { session, out, stop_on_error, way, keys, text: String::new(), sum: Sum::default() }
    }

    async fn all(&mut self, steps: &mut mpsc::Receiver<Result<Numbered, Failure>>) -> Result<(), Failure> {
        while let Some(Numbered { line, step }) = self.next(steps).await? {
            let touches = step.as_ref().map_or(Touches::Nothing, step::Step::touches);
            while self.must_wait_for(&touches) {
                self.first().await?;
            }
            if self.sum.stopped {
                break;
            }
            if let Touches::Key(key) = &touches {
                self.keys.insert(key.clone());
            }
            let session = Arc::clone(&self.session);
            let task = tokio::spawn(async move { step?.run(&session).await });
            self.way.push_back(OnTheWay { line, touches, task });
        }
        Ok(())
    }

    /// The next command; meanwhile what is done is told. None at the end, or where it is to stop.
    async fn next(
        &mut self,
        steps: &mut mpsc::Receiver<Result<Numbered, Failure>>,
    ) -> Result<Option<Numbered>, Failure> {
        while !self.sum.stopped {
            if let Ok(step) = steps.try_recv() {
                return step.map(Some);
            }
            self.flush_unless_done()?;
            tokio::select! {
                step = steps.recv() => return step.transpose(),
                done = first(&mut self.way) => self.tell(&done)?,
            }
        }
        Ok(None)
    }

    /// Whether something must be told of before a command can be begun that touches this.
    fn must_wait_for(&self, touches: &Touches) -> bool {
        let window = if self.stop_on_error { 1 } else { WINDOW };
        let alone = self.way.back().is_some_and(|last| last.touches == Touches::Many);
        let in_order = match touches {
            Touches::Nothing => false,
            Touches::Key(key) => self.keys.contains(key),
            Touches::Many => !self.way.is_empty(),
        };
        self.way.len() >= window || alone || in_order
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        while !self.way.is_empty() {
            self.first().await?;
        }
        self.flush()
    }

    /// Waits for the first of those on the way.
    async fn first(&mut self) -> Result<(), Failure> {
        self.flush_unless_done()?;
        let done = first(&mut self.way).await;
        self.tell(&done)
    }

    /// Takes the first of those on the way, which is done, out and tells of it.
    fn tell(&mut self, result: &Result<Report, Failure>) -> Result<(), Failure> {
        let Some(OnTheWay { line, touches, .. }) = self.way.pop_front() else { return Ok(()) };
        if let Touches::Key(key) = &touches {
            self.keys.remove(key);
        }
        self.text += &told(line, result);
        self.sum.add(result);
        self.sum.stopped |= self.stop_on_error && result.is_err();
        if self.text.len() >= TEXT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Before it is waited for anything, who reads gets what there is.
    fn flush_unless_done(&mut self) -> Result<(), Failure> {
        let is_done = self.way.front().is_some_and(|first| first.task.is_finished());
        if is_done { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.text.is_empty() {
            return Ok(());
        }
        let written = self.out.stream.write_all(self.text.as_bytes());
        self.text.clear();
        let written = written.and_then(|()| self.out.stream.flush());
        written.map_err(|error| Failure::stream("cannot write to stdout", &error))
    }

    fn end(mut self) -> Result<Report, Failure> {
        let document = self.sum.document();
        self.text = document.to_json() + "\n";
        self.flush()?;
        Ok(Report::new(document, Body::Hidden).exit(self.sum.exit()))
    }
}

impl Drop for Run<'_, '_> {
    fn drop(&mut self) {
        for begun in &self.way {
            begun.task.abort();
        }
    }
}

/// What came of the first of those on the way; never, while there is none.
async fn first(way: &mut VecDeque<OnTheWay>) -> Result<Report, Failure> {
    let Some(first) = way.front_mut() else { return std::future::pending().await };
    let done = (&mut first.task).await;
    done.unwrap_or_else(|error| Err(Failure::internal(format!("a command has no outcome: {error}"))))
}

/// The line of a result, in which the command's own document stands as it is.
fn told(line: u64, result: &Result<Report, Failure>) -> String {
    let (exit, name, document) = match result {
        Ok(report) => (report.exit, "result", report.document.to_json()),
        Err(failure) => (failure.exit, "error", failure.to_document().to_json()),
    };
    let head = Document::new("batch").with("type", "result").with("line", line).with("exit", exit.code());
    let head = head.to_json();
    let head = head.strip_suffix('}').unwrap_or_default();
    format!("{head},\"{name}\":{document}}}\n")
}

#[cfg(test)]
mod tests;
