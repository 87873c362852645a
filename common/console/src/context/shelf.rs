//! The contexts that have names: files `contexts/NAME.kvctx` in the user's folder, and `config.toml` beside them, which
//! says which one is selected. Both are replaced in one step and are their owner's alone.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Places, choice, file};
use crate::{error::Failure, exit::Exit, files};

/// What a context's file is called, after its name.
const ENDING: &str = "kvctx";
/// Longest name.
const NAME_BYTES: usize = 64;

/// The user's `config.toml`. An unknown key is refused: a misspelt one would select nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    /// The selected context.
    current: Option<String>,
    /// The one before, for `context use -`.
    previous: Option<String>,
}

/// Whether a context may be called so: it must be a file name, and no path, flag or pattern.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['-', '.'])
        && Path::new(name).extension().is_none_or(|ending| ending != ENDING)
}

/// The same as a refusal.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("`{name}` cannot be the name of a context");
    Err(Failure::new(Exit::Usage, "KV-0220", "bad_context_name", message).hint(format!(
        "1 to {NAME_BYTES} letters, digits and - _ . @, with a letter or digit or _ or @ first; --name chooses another"
    )))
}

/// The file of a context that is there.
pub(crate) fn find(name: &str, places: &Places) -> Result<PathBuf, Failure> {
    let Some(path) = path_of(name, places) else {
        return Err(choice::unknown(
            name,
            "neither KVCTL_CONFIG nor XDG_CONFIG_HOME nor HOME is set".to_owned(),
        ));
    };
    if is_name(name) && path.exists() {
        return Ok(path);
    }
    let folder = path.parent().unwrap_or(&path).display().to_string();
    Err(choice::unknown(
        name,
        match names(places).join(", ") {
            none if none.is_empty() => format!("there are none in {folder}; a path to a .kvctx file will do"),
            some => format!("there are: {some}"),
        },
    ))
}

/// Where a context of that name is, or would be.
fn path_of(name: &str, places: &Places) -> Option<PathBuf> {
    Some(places.config.as_ref()?.join("contexts").join(format!("{name}.{ENDING}")))
}

/// The names of all contexts, sorted.
pub fn names(places: &Places) -> Vec<String> {
    let folder = places.config.as_ref().map(|config| config.join("contexts"));
    let Some(Ok(entries)) = folder.map(fs::read_dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let contexts = paths.filter(|path| path.extension().is_some_and(|is| is == ENDING));
    let names = contexts.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = names.filter(|name| is_name(name)).collect();
    names.sort();
    names
}

/// The selected context and the file that says so.
pub(crate) fn selected(places: &Places) -> Result<Option<(String, PathBuf)>, Failure> {
    let Some(path) = config(places).filter(|path| path.exists()) else { return Ok(None) };
    Ok(selection(&path)?.current.map(|name| (name, path)))
}

/// The context that was selected before the selected one.
pub(crate) fn previous(places: &Places) -> Result<Option<String>, Failure> {
    let Some(path) = config(places).filter(|path| path.exists()) else { return Ok(None) };
    Ok(selection(&path)?.previous)
}

fn config(places: &Places) -> Option<PathBuf> {
    places.config.as_ref().map(|config| config.join("config.toml"))
}

fn selection(path: &Path) -> Result<Selection, Failure> {
    file::parse(path, &file::read(path)?)
}

/// Selects a context, or none. Every other line of the file stays as it is.
pub(crate) fn select(name: Option<&str>, places: &Places) -> Result<(), Failure> {
    let path = config(places).ok_or_else(homeless)?;
    // Where it is a link to a file of another folder, that file is meant.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let text = if path.exists() { file::read(&path)? } else { String::new() };
    let before: Selection = file::parse(&path, &text)?;
    let former = before.current.filter(|current| Some(current.as_str()) != name);
    let changed = with_line(&text, "current", name);
    let changed = match &former {
        Some(former) => with_line(&changed, "previous", Some(former)),
        None => changed,
    };
    // A line that looks like `current` inside of something longer would leave another file than was meant.
    let after: Selection = file::parse(&path, &changed)?;
    if after.current.as_deref() != name {
        let message = format!("{} has no line of its own for `current`", path.display());
        return Err(Failure::config(message).hint("write `current = \"NAME\"` into it by hand"));
    }
    write(&path, changed.as_bytes())
}

/// The text with the line of a key replaced, put in front or taken out.
fn with_line(text: &str, key: &str, value: Option<&str>) -> String {
    let is_key = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| is_key(line));
    let new = value.map(|value| format!("{key} = {}", toml::Value::from(value)));
    match (at, new) {
        (Some(at), Some(new)) => lines.splice(at..=at, [new]).for_each(drop),
        (Some(at), None) => drop(lines.remove(at)),
        (None, Some(new)) => lines.insert(0, new),
        (None, None) => {}
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Puts a context in its place.
pub(crate) fn put(name: &str, text: &str, places: &Places) -> Result<PathBuf, Failure> {
    check_name(name)?;
    let path = path_of(name, places).ok_or_else(homeless)?;
    write(&path, text.as_bytes())?;
    Ok(path)
}

/// Removes a context's file.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| Failure::file("remove", path, &error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::file("make", folder, &error))?;
    files::replace_private(path, bytes).map_err(|error| Failure::file("write", path, &error))
}

fn homeless() -> Failure {
    Failure::usage(
        "there is no folder for contexts: neither KVCTL_CONFIG nor XDG_CONFIG_HOME nor HOME is set",
    )
    .hint("set HOME, or KVCTL_CONFIG to a folder")
}
