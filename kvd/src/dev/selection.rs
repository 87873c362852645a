//! The context `dev` in the user's configuration folder, for as long as the cluster lives.
//!
//! Two files are touched: `contexts/dev.kvctx` and, in `config.toml`, the one key `current`. Each is put back at the
//! end only when it still says what was written here, so that a choice the user made meanwhile stays.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use crate::bootstrap::files;

const NAME: &str = "dev";

/// What was changed and what was there.
pub(super) struct Selection {
    context: Replaced,
    config: Replaced,
}

struct Replaced {
    path: PathBuf,
    before: Option<String>,
    now: String,
}

impl Selection {
    /// Installs the context and selects it.
    pub(super) fn make(context: &Path) -> io::Result<Self> {
        let missing = || io::Error::other("neither XDG_CONFIG_HOME nor HOME is set");
        Self::make_in(&folder().ok_or_else(missing)?, context)
    }

    fn make_in(folder: &Path, context: &Path) -> io::Result<Self> {
        let text = files::read_small(context)?.ok_or_else(|| io::Error::other("the context is gone"))?;
        let context = Replaced::write(folder.join("contexts").join(format!("{NAME}.kvctx")), |_| text)?;
        let config = Replaced::write(folder.join("config.toml"), |before| select(before, NAME));
        match config {
            Ok(config) => Ok(Self { context, config }),
            Err(error) => {
                context.restore();
                Err(error)
            }
        }
    }

    /// Puts back what was there.
    pub(super) fn restore(self) {
        self.config.restore();
        self.context.restore();
    }
}

impl Replaced {
    fn write(path: PathBuf, now: impl FnOnce(&str) -> String) -> io::Result<Self> {
        files::create_private_dir(files::parent(&path))?;
        let before = files::read_small(&path)?;
        let now = now(before.as_deref().unwrap_or(""));
        files::write_private(&path, now.as_bytes())?;
        Ok(Self { path, before, now })
    }

    /// Best effort: at the end there is nobody left to mend it.
    fn restore(self) {
        let Ok(Some(found)) = files::read_small(&self.path) else { return };
        if found != self.now {
            return;
        }
        let _ = match self.before {
            Some(before) => files::write_private(&self.path, before.as_bytes()),
            None => std::fs::remove_file(&self.path),
        };
    }
}

fn folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // As kvctl looks for it.
    if let Some(chosen) = set("KVCTL_CONFIG") {
        return Some(chosen);
    }
    Some(set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?.join("kv"))
}

/// The text with `current` set: its line is replaced or put in front; every other line stays as it is.
fn select(text: &str, name: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let tables = lines.iter().position(|line| line.trim_start().starts_with('[')).unwrap_or(lines.len());
    let is_current = |line: &&str| {
        line.trim_start().strip_prefix("current").is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let at = lines[..tables].iter().position(is_current);
    let line = format!("current = \"{name}\"");
    if let Some(at) = at {
        lines.remove(at);
    }
    lines.insert(at.unwrap_or(0), &line);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_one_line_of_the_users_file_changes() {
        assert_eq!(select("", "dev"), "current = \"dev\"\n");
        let text = "# mine\ncolor = \"never\"\ncurrent = \"prod\"\n[shell]\ncurrent = 1\n";
        assert_eq!(select(text, "dev"), text.replace("prod", "dev"));
        assert_eq!(select("[shell]\nx = 1\n", "dev"), "current = \"dev\"\n[shell]\nx = 1\n");
    }

    #[test]
    fn the_former_selection_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("admin.kvctx"), "endpoints = []").unwrap();
        let folder = at("kv");
        let selection = Selection::make_in(&folder, &at("admin.kvctx")).unwrap();
        assert!(folder.join("contexts/dev.kvctx").exists());
        selection.restore();
        assert!(!folder.join("contexts/dev.kvctx").exists() && !folder.join("config.toml").exists());

        fs::write(folder.join("config.toml"), "current = \"prod\"\n").unwrap();
        Selection::make_in(&folder, &at("admin.kvctx")).unwrap().restore();
        assert_eq!(fs::read_to_string(folder.join("config.toml")).unwrap(), "current = \"prod\"\n");

        let selection = Selection::make_in(&folder, &at("admin.kvctx")).unwrap();
        fs::write(folder.join("config.toml"), "current = \"chosen-meanwhile\"\n").unwrap();
        selection.restore();
        assert_eq!(
            fs::read_to_string(folder.join("config.toml")).unwrap(),
            "current = \"chosen-meanwhile\"\n"
        );
    }
}
