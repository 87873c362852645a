//! Why a configuration is refused: always file, key, value and remedy.

use std::{fmt, path::PathBuf};

/// A configuration that cannot be used. The operator mends the file; nothing was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("{}: cannot be read: {why}\n  try: give the path of a configuration file; `kvd run --help` shows one", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// One key's value is refused.
    #[error("{}: {complaint}", file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// Key, value, reason and remedy.
        complaint: Complaint,
    },
    /// This process was told to be a server that the file does not list.
    #[error("{}: {}\n  try: name one of {}", file.display(), not_listed(wanted.as_deref()), known.join(", "))]
    NotListed {
        /// The file.
        file: PathBuf,
        /// What was asked for, if anything.
        wanted: Option<String>,
        /// The names there are.
        known: Vec<String>,
    },
}

fn not_listed(wanted: Option<&str>) -> String {
    match wanted {
        Some(wanted) => format!("no server `{wanted}` is listed"),
        None => "several servers are listed and `--node` does not say which one this is".to_owned(),
    }
}

/// One refused key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The key, as a path.
    pub key: String,
    /// What the file has there.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
    /// What to write instead.
    pub remedy: String,
}

impl Complaint {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and borrowed text alike")]
    pub(super) fn new(
        key: impl Into<String>,
        value: impl ToString,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), value: value.to_string(), why: why.into(), remedy: remedy.into() }
    }

    /// A text that does not parse: the key is the line, the value is what stands on it.
    pub(super) fn unparsable(text: &str, line: usize, why: &str, remedy: &str) -> Self {
        let shown: String =
            text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim().chars().take(120).collect();
        Self::new(format!("line {line}"), shown, why, remedy)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = `{}`: {}\n  try: {}", self.key, self.value, self.why, self.remedy)
    }
}
