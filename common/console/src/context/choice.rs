//! Which context is meant: the one that the line or the environment names, else that of the project, else the selected
//! one.
//!
//! A project says it in `.kv/context`, which is looked for from the current folder upwards. It may only name a context
//! of the user's, and never brings endpoints or certificates of its own: who can write into a folder must not be able to
//! lead somebody's writes elsewhere. For the same reason a file of another user's is refused.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Places, file, origin::Origin, shelf};
use crate::{error::Failure, exit::Exit};

/// Folders above the current one in which a project is looked for.
const DEPTH: usize = 64;
/// Longest `.kv/context`: a name and a comment.
const PROJECT_BYTES: u64 = 4096;

/// A context that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Who named it.
    pub origin: Origin,
}

/// The context that is meant, if any: the one `named`, else that of the project or the selected one. A line that is
/// `complete` without needs none.
pub(super) fn choose(
    named: Option<&str>,
    places: &Places,
    complete: bool,
) -> Result<Option<Chosen>, Failure> {
    if let Some(named) = named {
        let (name, path) = locate(named, places)?;
        return Ok(Some(Chosen { name, path, origin: Origin::Line }));
    }
    if complete {
        return Ok(None);
    }
    unnamed(places)
}

/// The context of a line that names none.
pub(crate) fn unnamed(places: &Places) -> Result<Option<Chosen>, Failure> {
    if let Some((name, file)) = project(places)? {
        let path = shelf::find(&name, places).map_err(|failure| named_by(failure, &file))?;
        return Ok(Some(Chosen { name, path, origin: Origin::Project(file) }));
    }
    let Some((name, file)) = shelf::selected(places)? else { return Ok(None) };
    let path = shelf::find(&name, places).map_err(|failure| named_by(failure, &file))?;
    Ok(Some(Chosen { name, path, origin: Origin::Selected(file) }))
}

/// A context that is not there is more easily mended by who knows where its name stands.
fn named_by(failure: Failure, file: &Path) -> Failure {
    Failure { message: format!("{}, which {} names", failure.message, file.display()), ..failure }
}

/// A name, or the path of a file.
fn locate(named: &str, places: &Places) -> Result<(String, PathBuf), Failure> {
    let is_path = named.contains('/') || Path::new(named).extension().is_some_and(|is| is == "kvctx");
    if is_path {
        let path = PathBuf::from(named);
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        return Ok((name, path));
    }
    Ok((named.to_owned(), shelf::find(named, places)?))
}

/// Whether there is nothing, as opposed to something that cannot be looked at.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// What the nearest `.kv/context` names, and that file.
fn project(places: &Places) -> Result<Option<(String, PathBuf)>, Failure> {
    let Some(here) = &places.here else { return Ok(None) };
    let mut found = None;
    for path in here.ancestors().take(DEPTH).map(|folder| folder.join(".kv").join("context")) {
        match fs::metadata(&path) {
            Ok(metadata) => {
                found = Some((path, metadata));
                break;
            }
            // A link that leads nowhere is there, and says which cluster is meant.
            Err(_) if fs::symlink_metadata(&path).is_err_and(|error| is_absent(&error)) => {}
            Err(error) => return Err(Failure::file("read", &path, &error)),
        }
    }
    let Some((path, metadata)) = found else { return Ok(None) };
    let refused = |why: String| {
        Failure::config(format!("{}: {why}", path.display()))
            .hint("it holds the name of one of your contexts and nothing else; -C NAME goes before it")
    };
    // Where the system does not say who we are, nobody is trusted but root.
    let own = fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
    if metadata.uid() != own && metadata.uid() != 0 {
        return Err(refused(format!("it belongs to another user ({})", metadata.uid())));
    }
    if !metadata.is_file() || metadata.len() > PROJECT_BYTES {
        return Err(refused(format!("it is no file of at most {PROJECT_BYTES} bytes")));
    }
    let text = file::read(&path)?;
    let mut names = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let Some((at, name)) = names.next() else { return Err(refused("it names no context".to_owned())) };
    if let Some((second, _)) = names.next() {
        return Err(refused(format!("line {} names a second context", second.saturating_add(1))));
    }
    let name = name.trim();
    if !shelf::is_name(name) {
        return Err(refused(format!("line {} is no name of a context", at.saturating_add(1))));
    }
    Ok(Some((name.to_owned(), path)))
}

/// There is no context of that name.
pub(super) fn unknown(named: &str, hint: String) -> Failure {
    let message = format!("there is no context named `{named}`");
    Failure::new(Exit::Usage, "KV-0205", "unknown_context", message).hint(hint)
}
