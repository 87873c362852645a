//! Where a setting came from. What the words of the line said and what the environment said arrive alike, as clap has
//! it; which of the two it was is noted beside.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, parser::ValueSource};

/// Each setting that the line and the environment can say: its id in the grammar, its flag, its variable.
const SETTINGS: [(&str, &str, &str); 8] = [
    ("context", "--context", "KVCTL_CONTEXT"),
    ("endpoints", "--endpoints", "KVCTL_ENDPOINTS"),
    ("ca", "--ca", "KVCTL_CA"),
    ("cert", "--cert", "KVCTL_CERT"),
    ("client_key", "--key", "KVCTL_KEY"),
    ("timeout", "--timeout", "KVCTL_TIMEOUT"),
    ("connect_timeout", "--connect-timeout", ""),
    ("output", "--output", "KVCTL_OUTPUT"),
];

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag or a variable.
    Line,
    /// A `.kv/context` above the current folder.
    Project(PathBuf),
    /// `current` of the user's `config.toml`.
    Selected(PathBuf),
    /// A context's file.
    Context(PathBuf),
    /// The system's file.
    System(PathBuf),
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// Its file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Project(path) | Self::Selected(path) | Self::Context(path) | Self::System(path) => {
                Some(path)
            }
            Self::Line | Self::Default => None,
        }
    }

    /// A word for programs.
    pub fn word(&self, setting: &str, sources: Sources) -> &'static str {
        match self {
            Self::Line if sources.is_environment(setting) => "environment",
            Self::Line => "flag",
            Self::Project(_) => "project",
            Self::Selected(_) => "selected",
            Self::Context(_) => "context",
            Self::System(_) => "system",
            Self::Default => "default",
        }
    }

    /// The place within that: a flag, a variable, a file; nothing for a default.
    pub fn place(&self, setting: &str, sources: Sources) -> Option<String> {
        match self.path() {
            Some(path) => Some(path.display().to_string()),
            None if *self == Self::Default => None,
            None => {
                let (_, flag, variable) = SETTINGS.iter().find(|(id, ..)| *id == setting)?;
                Some((*if sources.is_environment(setting) { variable } else { flag }).to_owned())
            }
        }
    }
}

/// Which settings a flag said and which the environment, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    flags: u8,
    environment: u8,
}

impl Sources {
    /// Those of parsed words.
    pub fn of(matches: &ArgMatches) -> Self {
        let said_by = |source: ValueSource| {
            let is = |id: &str| {
                // A grammar that has no such flag has no such source.
                matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id) == Some(source)
            };
            let said = SETTINGS.iter().enumerate().filter(|(_, (id, ..))| is(id));
            said.fold(0, |bits, (at, _)| bits | 1 << at)
        };
        Self { flags: said_by(ValueSource::CommandLine), environment: said_by(ValueSource::EnvVariable) }
    }

    /// Those of a line that is spoken in a shell of which these are the sources.
    #[must_use]
    pub fn over(self, shell: Self) -> Self {
        Self { flags: self.flags | shell.flags, environment: shell.environment & !self.flags }
    }

    /// Those of a shell that was told to use a context and nothing else.
    #[must_use]
    pub fn naming_context(self) -> Self {
        let bit = |wanted: &str| SETTINGS.iter().position(|(id, ..)| *id == wanted).map_or(0, |at| 1 << at);
        let kept = ["timeout", "connect_timeout", "output"].iter().fold(0, |bits, id| bits | bit(id));
        Self { flags: self.flags & kept | bit("context"), environment: self.environment & kept }
    }

    /// Whether a flag said it.
    pub fn is_flag(self, setting: &str) -> bool {
        has(self.flags, setting)
    }

    fn is_environment(self, setting: &str) -> bool {
        has(self.environment, setting)
    }
}

fn has(bits: u8, setting: &str) -> bool {
    SETTINGS.iter().position(|(id, ..)| *id == setting).is_some_and(|at| bits & 1 << at != 0)
}
