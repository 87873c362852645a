//! A `.kvctx` file: one TOML file with everything a client needs.
//!
//! ```toml
//! # kv context
//! endpoints = ["127.0.0.1:7401", "127.0.0.1:7402"]
//! protected = true
//! ca = """-----BEGIN CERTIFICATE-----…"""
//! cert = """…"""
//! key = """…"""
//! ```
//!
//! It holds a private key, so a file that others may read is refused rather than used. What is damaged is refused by
//! name and line; what stands there is never shown, for it may be the key. An unknown key is damage too: a misspelt
//! `protected` would protect nothing.

use std::{
    fmt::Write as _,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;
use transport::{Identity, TransportError};

use super::is_endpoint;
use crate::{error::Failure, exit::Exit};

/// Longest file that is read as a configuration: many times a context of 31 nodes.
pub(super) const FILE_BYTES: u64 = 1024 * 1024;

/// PEM text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// The text.
    pub text: String,
    /// Its file.
    pub path: PathBuf,
    /// The line of the file on which it begins; `None` for a file that is nothing else.
    pub line: Option<usize>,
}

/// What a context says. Each of it may be missing; the system's file has the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// `host:port` of the nodes.
    pub endpoints: Vec<String>,
    /// Whether whoever changes something must name it.
    pub protected: bool,
    /// The CA's certificate.
    pub ca: Option<Pem>,
    /// The client's certificate.
    pub cert: Option<Pem>,
    /// The client's private key.
    pub key: Option<Pem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    endpoints: Vec<String>,
    protected: Option<bool>,
    ca: Option<Spanned<String>>,
    cert: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
}

impl File {
    /// Reads a context and refuses one whose key others may read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let file = Self::parse(path, &read(path)?)?;
        if file.key.is_some() {
            check_private(path)?;
        }
        Ok(file)
    }

    /// Whether the file asks to be protected, also where others may read it and it cannot be used before that is mended.
    pub fn asks_protection(path: &Path) -> bool {
        read(path).and_then(|text| Self::parse(path, &text)).is_ok_and(|file| file.protected)
    }

    /// Reads a context from a stream that ends, which is called `-`.
    pub(crate) fn from_stream(stream: &mut dyn Read) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = stream.take(FILE_BYTES.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Failure::stream("cannot read stdin", &error))?;
        let path = Path::new("-");
        Self::parse(path, &text(path, bytes)?)
    }

    /// Reads the system's file; one that is not there says nothing. It is of no context, so it protects none.
    pub(super) fn read_system(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let file = Self::read(path)?;
        if file.protected {
            let message = format!("{}: only a context can be `protected`, for it has a name", path.display());
            return Err(Failure::config(message).hint("put it into a .kvctx file; see docs/cli.md"));
        }
        Ok(file)
    }

    /// Makes sense of the text of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let raw: Raw = parse(path, text)?;
        let pem = |spanned: Option<Spanned<String>>| {
            spanned.map(|spanned| Pem {
                line: Some(line_of(text, spanned.span().start)),
                text: spanned.into_inner(),
                path: path.to_owned(),
            })
        };
        Ok(Self {
            endpoints: raw.endpoints,
            protected: raw.protected.unwrap_or(false),
            ca: pem(raw.ca),
            cert: pem(raw.cert),
            key: pem(raw.key),
        })
    }

    /// The certificates and the key, when it has all that a context needs to stand alone.
    pub fn whole(&self, path: &Path) -> Result<Identity, Failure> {
        let lacks = |what: &str| {
            let message = format!("{} has no {what}", path.display());
            Failure::config(message).hint("a context that stands alone has endpoints, ca, cert and key")
        };
        if self.endpoints.is_empty() {
            return Err(lacks("endpoints"));
        }
        if let Some(bad) = self.endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            let message =
                format!("{}: endpoint `{bad}` is not HOST:PORT with a port of 1 to 65535", path.display());
            return Err(Failure::config(message).hint("such as n1.example.org:7400 or [::1]:7400"));
        }
        let [ca, cert, key] = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)]
            .map(|(what, pem)| pem.as_ref().ok_or_else(|| lacks(what)));
        identity([ca?, cert?, key?])
    }

    /// Its text. PEM has neither quotes nor backslashes, so its lines stand as they are; whatever has is escaped.
    pub fn encode(&self) -> String {
        let string = |text: &str| toml::Value::from(text).to_string();
        let endpoints: Vec<String> = self.endpoints.iter().map(|endpoint| string(endpoint)).collect();
        let mut text = format!(
            "# Access to a kv cluster. Whoever can read this file can do what its client may.\nendpoints = [{}]\n",
            endpoints.join(", ")
        );
        if self.protected {
            text += "protected = true\n";
        }
        for (name, pem) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
            let Some(Pem { text: pem, .. }) = pem else { continue };
            let plain = pem.chars().all(|c| c == '\n' || (' '..='~').contains(&c) && c != '"' && c != '\\');
            // Writing to a string does not fail.
            let _ = if plain {
                writeln!(text, "{name} = \"\"\"\n{}\n\"\"\"", pem.trim_matches('\n'))
            } else {
                writeln!(text, "{name} = {}", string(pem))
            };
        }
        text
    }
}

/// Makes an identity of three PEM texts; what is wrong is said with its file and line.
pub(super) fn identity(pems: [&Pem; 3]) -> Result<Identity, Failure> {
    let [ca, cert, key] = pems.map(|pem| pem.text.as_str());
    let names = pems.map(|pem| match pem.line {
        Some(line) => format!("{}, line {line}", pem.path.display()),
        None => pem.path.display().to_string(),
    });
    let made = Identity::from_named_pem([ca, cert, key], names.each_ref().map(String::as_str));
    made.map_err(|error: TransportError| {
        let message = format!("the certificates cannot be used: {error}");
        Failure::new(Exit::Denied, "KV-0703", "bad_identity", message)
            .hint("ca, cert and key are PEM, and the key belongs to the certificate; see docs/cli.md")
    })
}

/// Reads a file that is PEM and nothing else.
pub(super) fn read_pem(path: &Path) -> Result<Pem, Failure> {
    Ok(Pem { text: read(path)?, path: path.to_owned(), line: None })
}

fn check_private(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let message = format!("{} holds a private key and others may read it (mode {mode:04o})", path.display());
    Err(Failure::new(Exit::Denied, "KV-0702", "exposed_key", message)
        .hint(format!("chmod 600 {}", path.display())))
}

/// The text of a file, all of it or a refusal.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let file =
        fs::File::open(path).and_then(|file| file.take(FILE_BYTES.saturating_add(1)).read_to_end(&mut bytes));
    file.map_err(|error| Failure::file("read", path, &error))?;
    text(path, bytes)
}

/// Bytes that came from `path` as text.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.len() as u64 > FILE_BYTES {
        let message = format!("{} is longer than {FILE_BYTES} bytes", path.display());
        return Err(Failure::config(message).hint("is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let until = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(until);
        let line = before.filter(|byte| **byte == b'\n').count().saturating_add(1);
        Failure::config(format!("{}, line {line}: this is not UTF-8", path.display()))
            .hint("is this the right file?")
    })
}

/// Says where in a file the trouble is, never what stands there: it may be a key.
pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        Failure::config(format!("{}, line {line}: {}", path.display(), hushed(error.message()))).hint(
            "a context has endpoints, ca, cert, key and protected, config.toml current; see docs/cli.md",
        )
    })
}

/// The message without what it quotes of the file: strings, and names too long for a setting, which may be a line of a
/// key that lost its quotes.
fn hushed(message: &str) -> String {
    const NAME_BYTES: usize = 24;
    let mut out = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(at);
        let mark = if quoted.starts_with('"') { '"' } else { '`' };
        let inner = quoted.get(1..).unwrap_or_default();
        // A string may hold the mark itself, so it ends at the last one.
        let end = if mark == '"' { inner.rfind(mark) } else { inner.find(mark) };
        let Some((inside, after)) = end.map(|end| inner.split_at(end)) else { break };
        out += before;
        out.push(mark);
        out += if mark == '`' && inside.len() <= NAME_BYTES { inside } else { "…" };
        out.push(mark);
        rest = after.get(1..).unwrap_or_default();
    }
    let tail = rest.find('"').map_or(rest, |at| rest.split_at(at).0);
    out + tail
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset.min(text.len())).unwrap_or(text).split('\n').count()
}
