//! `context`: the files that say how to reach clusters. No cluster is asked, and no key is ever shown.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::Value;
use transport::{Identity, Subject};

use super::install::names::CONTEXT_NAME;
use crate::{
    context::{Chosen, File, Origin, Places, shelf},
    error::Failure,
    exit::Exit,
    files,
    protect::{self, Asking},
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `context`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl context ls\n  kvctl context import admin.kvctx --name prod --protected\n  \
                        kvctl context use prod\n  kvctl context use -"
)]
pub struct Context {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with contexts.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// List them; `*` is the one that commands use now
    Ls(Ls),
    /// Select one
    Use(Use),
    /// Select the one that was selected before
    #[command(name = "-")]
    Back(Back),
    /// Show one, without its key
    Show(Show),
    /// Take a .kvctx file among them
    Import(Import),
    /// Write one to a file
    Export(Export),
    /// Remove them
    Rm(Rm),
}

/// Arguments of `context ls`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Example:\n  kvctl context ls -o json\n\nEnds with 0, or with 10 when one of them is damaged."
)]
pub struct Ls {}

/// Arguments of `context use`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl context use prod\n  kvctl context use -")]
pub struct Use {
    /// Its name; `-` for the one that was selected before
    #[arg(id = CONTEXT_NAME, value_name = "NAME|-", allow_hyphen_values = true)]
    pub name: String,
}

/// Arguments of `context -`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  kvctl context -")]
pub struct Back {}

/// Arguments of `context show`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl context show\n  kvctl context show prod")]
pub struct Show {
    /// Its name; the one that commands use now where none is given
    #[arg(id = CONTEXT_NAME, value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `context import`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl context import admin.kvctx\n  \
                        kvctl context import admin.kvctx --name prod --protected --use\n  \
                        ssh db1 cat kv-pki/admin.kvctx | kvctl context import - --name prod")]
pub struct Import {
    /// The file, or `-` for stdin
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// What to call it; where that is not given, as its file
    #[arg(long)]
    pub name: Option<String>,
    /// Changes through it need its name from now on
    #[arg(long)]
    pub protected: bool,
    /// Select it as well
    #[arg(long = "use")]
    pub select: bool,
    /// Even if there is one of that name
    #[arg(long)]
    pub replace: bool,
}

/// Arguments of `context export`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl context export prod prod.kvctx\n  kvctl context export prod - | ssh laptop kvctl context import - --name prod"
)]
pub struct Export {
    /// Its name
    #[arg(id = CONTEXT_NAME, value_name = "NAME")]
    pub name: String,
    /// Where to, with mode 0600; or `-` for stdout
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Even if there is such a file
    #[arg(long)]
    pub replace: bool,
}

/// Arguments of `context rm`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  kvctl context rm old")]
pub struct Rm {
    /// Their names
    #[arg(id = CONTEXT_NAME, required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// What a command on contexts needs of its line.
pub(super) struct Desk<'a> {
    pub(super) places: &'a Places,
    /// The context that commands of this line would use, for which a damaged choice is an error.
    pub(super) used: &'a dyn Fn() -> Result<Option<Chosen>, Failure>,
    pub(super) confirm: Option<&'a str>,
}

/// A context as it was found.
struct Entry {
    name: String,
    path: PathBuf,
    /// What it says, and whose certificate it has.
    found: Result<(File, Identity), Failure>,
}

impl Entry {
    fn of(name: &str, path: PathBuf) -> Self {
        let found = File::read(&path).and_then(|file| file.whole(&path).map(|identity| (file, identity)));
        Self { name: name.to_owned(), path, found }
    }

    fn state(&self) -> &'static str {
        match &self.found {
            Ok((file, _)) if file.protected => "protected",
            Ok(_) => "",
            Err(_) => "damaged",
        }
    }

    fn endpoints(&self) -> &[String] {
        self.found.as_ref().map_or(&[], |(file, _)| &file.endpoints)
    }

    fn document(&self, document: Document, used: bool) -> Document {
        let found = self.found.as_ref().ok();
        let (kind, subject) = found.map_or((None, None), |(_, identity)| {
            let (kind, subject) = subject(identity);
            (Some(kind), Some(subject))
        });
        document
            .with("name", self.name.as_str())
            .with("path", self.path.display().to_string())
            .with("current", used)
            .with("protected", found.map(|(file, _)| file.protected))
            .with("endpoints", self.endpoints())
            .with("subject_kind", kind)
            .with("subject", subject)
            .with("cert_days", found.map(|(_, identity)| identity.days_left()))
            .with("error", self.found.as_ref().err().map(|failure| failure.message.clone()))
    }
}

fn subject(identity: &Identity) -> (&'static str, String) {
    match identity.subject() {
        Subject::Client { name } => ("client", name.clone()),
        Subject::Node { id } => ("node", id.to_string()),
    }
}

impl Context {
    /// Whether what it prints is a file and no report.
    pub(super) fn is_file(&self) -> bool {
        matches!(&self.what, What::Export(export) if export.file == Path::new("-"))
    }

    pub(super) fn report(&self, desk: &Desk<'_>) -> Result<Report, Failure> {
        match &self.what {
            What::Ls(_) => Ok(list(desk)),
            What::Use(selecting) => select(&selecting.name, desk),
            What::Back(_) => select("-", desk),
            What::Show(show) => show.report(desk),
            What::Import(import) => import.report(desk),
            What::Export(export) => export.report(desk),
            What::Rm(rm) => rm.report(desk),
        }
    }
}

fn list(desk: &Desk<'_>) -> Report {
    let entries: Vec<Entry> = shelf::names(desk.places)
        .iter()
        .filter_map(|name| Some(Entry::of(name, shelf::find(name, desk.places).ok()?)))
        .collect();
    // A choice of a context that is gone must not hide those there are.
    let (used, lost) = match (desk.used)() {
        Ok(used) => (used, None),
        Err(failure) => (None, Some(failure)),
    };
    let is_used = |entry: &Entry| used.as_ref().is_some_and(|used| used.path == entry.path);
    let document = |entry: &Entry| {
        serde_json::to_value(entry.document(Document::bare(), is_used(entry))).unwrap_or(Value::Null)
    };
    let damaged = entries.iter().filter_map(|entry| entry.found.as_ref().err());
    let findings: Vec<String> = damaged.chain(&lost).map(|failure| failure.message.clone()).collect();
    let exit = if findings.is_empty() { Exit::Success } else { Exit::Partial };
    let mark = |entry: &Entry| if is_used(entry) { "*" } else { "" };
    let full = entries.iter().map(|entry| {
        let (name, endpoints) = (entry.name.clone(), entry.endpoints().join(","));
        vec![mark(entry).to_owned(), name, endpoints, entry.state().to_owned()]
    });
    let full = full.collect();
    let table = Table {
        rows: entries
            .iter()
            .map(|entry| {
                let name = format!("{:1} {}", mark(entry), entry.name);
                vec![name, first_of(entry.endpoints()), entry.state().to_owned()]
            })
            .collect(),
        findings,
        ..Table::default()
    };
    let selected = shelf::selected(desk.places).ok().flatten().map(|(name, _)| name);
    let document = Document::new("contexts")
        .with("current", used.as_ref().map(|used| used.name.clone()))
        .with("selected", selected)
        .with("contexts", entries.iter().map(document).collect::<Vec<Value>>())
        .with("error", lost.map(|failure| failure.message));
    let report = Report::new(document, Body::Shortened(table, full)).exit(exit);
    match used.filter(|used| !matches!(used.origin, Origin::Selected(_))) {
        Some(used) => report.note(format!("{} is used here: {} names it", used.name, namer(&used.origin))),
        None => report,
    }
}

/// The first endpoint and how many more there are.
fn first_of(endpoints: &[String]) -> String {
    match endpoints {
        [] => String::new(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} +{}", more.len()),
    }
}

fn namer(origin: &Origin) -> String {
    origin.path().map_or_else(|| "-C or KVCTL_CONTEXT".to_owned(), |path| path.display().to_string())
}

fn select(name: &str, desk: &Desk<'_>) -> Result<Report, Failure> {
    let before = || {
        shelf::previous(desk.places)?.ok_or_else(|| {
            Failure::new(Exit::Usage, "KV-0221", "no_previous", "no context was selected before this one")
                .hint("`kvctl context ls` lists them, `kvctl context use NAME` selects one")
        })
    };
    let name = if name == "-" { before()? } else { name.to_owned() };
    let entry = Entry::of(&name, shelf::find(&name, desk.places)?);
    // Not what would fail with every command.
    entry.found.as_ref().map_err(Clone::clone)?;
    shelf::select(Some(&name), desk.places)?;
    Ok(said(&entry, "selected", desk))
}

/// That it was done, and that it has no effect where something else goes before it.
fn said(entry: &Entry, done: &'static str, desk: &Desk<'_>) -> Report {
    let used = (desk.used)().ok().flatten();
    let is_used = used.as_ref().is_some_and(|used| used.path == entry.path);
    let document = entry.document(Document::new("context"), is_used);
    let mut cells = vec![done.to_owned(), entry.name.clone()];
    cells.extend((!entry.state().is_empty()).then(|| entry.state().to_owned()));
    let report = Report::new(document, Body::Done(cells));
    match used.filter(|_| !is_used) {
        Some(used) => {
            report.note(format!("{} is used here all the same: {} names it", used.name, namer(&used.origin)))
        }
        None => report,
    }
}

impl Show {
    fn report(&self, desk: &Desk<'_>) -> Result<Report, Failure> {
        let used = (desk.used)();
        let entry = match &self.name {
            Some(name) => Entry::of(name, shelf::find(name, desk.places)?),
            None => match used.clone()? {
                Some(used) => Entry::of(&used.name, used.path),
                None => {
                    return Err(Failure::new(Exit::Usage, "KV-0204", "no_context", "no context is selected")
                        .hint("`kvctl context ls` lists them, `kvctl context use NAME` selects one"));
                }
            },
        };
        let (file, identity) = entry.found.as_ref().map_err(Clone::clone)?;
        let is_used = used.is_ok_and(|used| used.is_some_and(|used| used.path == entry.path));
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let (kind, subject) = subject(identity);
        let fingerprint = text::hex(&identity.ca_fingerprint());
        let rows = [
            ("name", entry.name.clone()),
            ("file", entry.path.display().to_string()),
            ("current", yes(is_used)),
            ("protected", yes(file.protected)),
            ("endpoints", file.endpoints.join(",")),
            ("certificate", format!("{kind} {subject}, {} days left", identity.days_left())),
            ("CA", format!("sha256 {fingerprint}")),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
        let document = entry.document(Document::new("context"), is_used).with("ca_sha256", fingerprint);
        Ok(Report::new(document, Body::Table(Table { rows, ..Table::default() })))
    }
}

impl Import {
    fn report(&self, desk: &Desk<'_>) -> Result<Report, Failure> {
        let (name, mut file) = if self.file == Path::new("-") {
            let name = self.name.clone().ok_or_else(|| {
                Failure::usage("a context from stdin has no name").hint("give it one with --name")
            })?;
            (name, File::from_stream(&mut std::io::stdin().lock())?)
        } else {
            let stem = || self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (self.name.clone().unwrap_or_else(stem), File::read(&self.file)?)
        };
        shelf::check_name(&name)?;
        file.whole(&self.file)?;
        file.protected |= self.protected;
        if let Ok(former) = shelf::find(&name, desk.places) {
            self.may_replace(&name, &former, desk)?;
        }
        let path = shelf::put(&name, &file.encode(), desk.places)?;
        if self.select {
            shelf::select(Some(&name), desk.places)?;
        }
        let entry = Entry::of(&name, path);
        let report = said(&entry, if self.select { "imported and selected" } else { "imported" }, desk);
        // What a person wants to know next is how to use it.
        Ok(if self.select { report } else { report.note(format!("`kvctl context use {name}` selects it")) })
    }

    fn may_replace(&self, name: &str, former: &Path, desk: &Desk<'_>) -> Result<(), Failure> {
        if !self.replace {
            let message = format!("there is a context named {name} already; nothing was changed");
            return Err(Failure::new(Exit::Refused, "KV-0820", "exists", message)
                .hint("--name gives it another name, --replace takes the place of the old one"));
        }
        confirm(name, former, desk.confirm)
    }
}

/// The credentials of a protected context are as hard to lose as its data.
fn confirm(name: &str, path: &Path, confirmed: Option<&str>) -> Result<(), Failure> {
    // One that is damaged protects nothing that could still be used.
    protect::allow(name, File::asks_protection(path), confirmed, Asking::Person(&mut protect::ask))
}

impl Export {
    fn report(&self, desk: &Desk<'_>) -> Result<Report, Failure> {
        let entry = Entry::of(&self.name, shelf::find(&self.name, desk.places)?);
        let (file, _) = entry.found.as_ref().map_err(Clone::clone)?;
        let text = file.encode();
        let document = Document::new("context_export")
            .with("name", self.name.as_str())
            .with("path", self.file.display().to_string());
        if self.file == Path::new("-") {
            return Ok(Report::new(document, Body::Text(text)));
        }
        if self.file.exists() && !self.replace {
            let message = format!("there is a file {} already; nothing was written", self.file.display());
            return Err(
                Failure::new(Exit::Refused, "KV-0820", "exists", message).hint("another name, or --replace")
            );
        }
        files::replace_private(&self.file, text.as_bytes())
            .map_err(|error| Failure::file("write", &self.file, &error))?;
        let said = vec!["exported".to_owned(), self.name.clone(), self.file.display().to_string()];
        Ok(Report::new(document, Body::Done(said)).note("it holds a private key"))
    }
}

impl Rm {
    fn report(&self, desk: &Desk<'_>) -> Result<Report, Failure> {
        let names: BTreeSet<String> = self.names.iter().cloned().collect();
        let mut paths = Vec::new();
        // First everything that can be refused.
        for name in &names {
            let path = shelf::find(name, desk.places)?;
            // What is confirmed is one of these; the others are not protected.
            let another =
                desk.confirm.is_some_and(|confirmed| confirmed != name && names.contains(confirmed));
            let confirmed = desk.confirm.filter(|_| !another || File::asks_protection(&path));
            confirm(name, &path, confirmed)?;
            paths.push(path);
        }
        let selected = shelf::selected(desk.places)?.map(|(name, _)| name);
        let unselected = selected.filter(|selected| names.contains(selected));
        paths.iter().try_for_each(|path| shelf::remove(path))?;
        if unselected.is_some() {
            shelf::select(None, desk.places)?;
        }
        let names: Vec<String> = names.into_iter().collect();
        let document = Document::new("context_rm")
            .with("names", names.as_slice())
            .with("unselected", unselected.clone());
        let said = [vec!["removed".to_owned()], names].concat();
        let report = Report::new(document, Body::Done(said));
        Ok(match unselected {
            Some(name) => report.note(format!("{name} was selected; now none is")),
            None => report,
        })
    }
}
